"""Errors of the control plane's doors that carry HTTP headers, and the sentences that clients compare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from wherry.model.errors import ApiError
from wherry.trust.principals import Principal


class Refusal(ApiError):
    """An `ApiError` with headers for its answer: challenges, `Retry-After`, nonces.

    `who` is set where a genuine token was refused, because whom it was given to may come in no more.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        headers: Mapping[str, str],
    ) -> None:
        super().__init__(status, code, message)
        self.headers = dict(headers)
        self.who: Principal | None = None

    def about(self, principal: Principal) -> Self:
        """The same, known to be about `principal`."""
        self.who = principal
        return self


class NotTheirs(ApiError):
    """404 about what is another's or nobody's, which the answer does not tell apart; the audit trail has it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(404, code, message)


def unauthenticated(
    code: str, message: str, authority: str, *, error: str = "invalid_token", resource: str = ""
) -> Refusal:
    """401 of a bearer door; the challenge names the authority that gives tokens, as Azure's does.

    With a `resource` it is that of a vault: clients learn from it what to get a token for.
    """
    place = (
        f'authorization="{authority}", resource="{resource}"'
        if resource
        else f'authorization_uri="{authority}"'
    )
    challenge = f'Bearer {place}, error="{error}", error_description="{message}"'
    return Refusal(401, code, message, {"WWW-Authenticate": challenge})


def bad_proof(error: str, message: str, nonce: str | None) -> Refusal:
    """401 of a door that wants a proof of possession (RFC 9449); hands out a nonce to try again with."""
    headers = {"WWW-Authenticate": f'DPoP error="{error}", error_description="{message}", algs="ES256 RS256"'}
    if nonce:
        headers["DPoP-Nonce"] = nonce
    return Refusal(401, error, message, headers)


def from_elsewhere(why: str) -> Refusal:
    """403 for an agent that comes by another network than its private link scope allows."""
    return Refusal(403, "PublicNetworkAccessDenied", f"{why.partition(': ')[2]}.", {})


def forbidden(principal: Principal, action: str, scope: str) -> ApiError:
    """403 in Azure's words."""
    return ApiError(
        403,
        "AuthorizationFailed",
        f"The client '{principal.name}' with object id '{principal.oid}' does not have authorization to perform "
        f"action '{action}' over scope '{scope or '/'}' or the scope is invalid. If access was recently granted, "
        "please refresh your credentials.",
    )


def too_many(message: str, seconds: int) -> Refusal:
    """429 that says when to come back."""
    return Refusal(429, "TooManyRequests", message, {"Retry-After": str(seconds)})
