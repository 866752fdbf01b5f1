"""One way to open connections: TLS that trusts one certificate authority, time limits, errors that people can read.

Everything that a client sends goes through a `Connection`.  It follows no redirect and never leaves the origin that
it was made for, whatever host an answer names, so that no token reaches another one.  Called by the other modules here.
"""

from __future__ import annotations

import email.utils
import random
import re
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

import httpx

from wherry.client.outward import context_for, proxy_for
from wherry.client.private_addresses import refusing_public
from wherry.model.errors import ApiError, UsageError, WherryError
from wherry.model.way import DIRECT, Way

Json = dict[str, Any]

TIMEOUT = httpx.Timeout(30.0, connect=10.0)
LONGEST_WAIT = 60.0

_REASON = re.compile(r"certificate verify failed: ([^(]*\S)")
# What Entra's shape puts around the sentence that tells what is wrong.
_ENTRA = re.compile(r"^AADSTS\d+: | Trace ID: .*$", re.DOTALL)


class Unreachable(WherryError):
    """No answer came: the host is down, not to be found, or shows a certificate that is not trusted."""


class NotKept(httpx.TransportError):
    """Nothing was asked for by it: what came last cannot be written down, and must be before it is used."""


class Connection:
    """Connections to one origin, shared by threads; closed by `close` or at the end of a `with`.

    `private`: to private addresses only, and never by a proxy, which might lead anywhere.  `way`: that of an agent;
    without one a proxy is taken that the environment names.
    """

    def __init__(
        self,
        url: str,
        ca_file: Path,
        timeout: httpx.Timeout = TIMEOUT,
        *,
        private: bool = False,
        way: Way | None = None,
    ) -> None:
        self.url = url
        self.ca_file = ca_file
        self._private = private
        try:
            context = context_for(ca_file, way or DIRECT)
        except (OSError, ssl.SSLError) as broken:
            raise UsageError(f"{ca_file} holds no certificate of an authority that can be read.") from broken
        proxy = None if private else proxy_for(url, way or DIRECT)
        self.http = httpx.Client(
            base_url=url,
            verify=context,
            timeout=timeout,
            follow_redirects=False,
            proxy=proxy,
            trust_env=way is None and not private,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.http.close()

    def absolute(self, link: str) -> str:
        """`link` at this origin.  A control plane may go by several names; what it is sent goes where we trust it."""
        parts = urlsplit(link)
        return urlunsplit((*urlsplit(self.url)[:2], parts.path or "/", parts.query, ""))

    def send(self, method: str, url: str, **options: Any) -> httpx.Response:
        """One request, not repeated.  `httpx.TransportError` when no answer came."""
        return self.http.request(method, self.absolute(url), **self.guarded(options))

    def guarded(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options of a request, with what keeps it from public addresses where that is asked for."""
        if not self._private:
            return dict(options)
        extensions = dict(options.get("extensions", {}))
        return {**options, "extensions": {**extensions, "trace": refusing_public(extensions.get("trace"))}}

    def ask(self, method: str, url: str, *, attempts: int = 4, **options: Any) -> httpx.Response:
        """A request that may be repeated: again after no answer, 429 and 503.  `Unreachable` when none ever came."""
        for attempt in range(1, attempts + 1):
            last = attempt == attempts
            try:
                answer = self.send(method, url, **options)
            except httpx.TransportError as trouble:
                if last or certificate_refused(trouble):
                    raise unreachable(self.url, trouble) from trouble
                time.sleep(pause(attempt))
                continue
            if last or answer.status_code not in (429, 503):
                return answer
            time.sleep(retry_after(answer, attempt))
        raise UsageError("A request needs at least one attempt.")


def pause(attempt: int, longest: float = 5.0) -> float:
    """How long to wait before attempt `attempt + 1`: full jitter, doubling."""
    return random.uniform(0.1, min(longest, 0.25 * 2.0 ** min(attempt, 16)))  # noqa: S311 - no secret depends on it


def retry_after(answer: httpx.Response, attempt: int) -> float:
    """What the server asks to wait, in seconds or as a date; else a pause of our own."""
    value = answer.headers.get("Retry-After", "")
    if value.isdigit():
        return min(float(value), LONGEST_WAIT)
    when = http_date(value)
    if when is not None:
        return min(max(0.0, when - time.time()), LONGEST_WAIT)
    return pause(attempt)


def http_date(value: str) -> float | None:
    """The Unix time of an HTTP date."""
    try:
        return email.utils.parsedate_to_datetime(value).timestamp()
    except ValueError:
        return None


def certificate_refused(trouble: BaseException) -> bool:
    """Whether the other side could not show a certificate that is trusted: trying again is of no use."""
    seen: BaseException | None = trouble
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in str(seen):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def unreachable(url: str, trouble: httpx.TransportError) -> Unreachable:
    """What to tell a person about a request that got no answer."""
    host = urlsplit(url).netloc
    if isinstance(trouble, NotKept):
        return Unreachable(str(trouble))
    if certificate_refused(trouble):
        found = _REASON.search(str(trouble))
        reason = found[1] if found else ""
        return Unreachable(
            f"{host} shows a certificate that is not trusted{f' ({reason})' if reason else ''}. Nothing was sent. "
            f"{_remedy(reason)}"
        )
    if isinstance(trouble, httpx.ProxyError):
        return Unreachable(
            f"{host} cannot be reached: the proxy opens no way there ({trouble}). Check the proxy's settings: "
            "Network configuration, Update network configuration."
        )
    if isinstance(trouble, httpx.TimeoutException):
        return Unreachable(f"{host} does not answer in time. Check the network, then try again.")
    return Unreachable(
        f"{host} cannot be reached ({trouble}). Check the address, the network and the firewall."
    )


def _remedy(reason: str) -> str:
    """What to do about a certificate that OpenSSL refuses for this reason."""
    if "not yet valid" in reason or "expired" in reason:
        return (
            f"This machine's clock says {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC: set it if that is wrong; "
            "if it is right, the control plane's certificate has to be renewed."
        )
    if "mismatch" in reason:
        return "Use an address that the certificate is for."
    return (
        "The certificate authority that is trusted here did not sign it. Check the CA file or the fingerprint, and "
        "whether somebody takes TLS apart on the way."
    )


def error_of(answer: httpx.Response) -> ApiError:
    """The `ApiError` of an answer: ARM's body, OAuth's body, or what little there is."""
    body = json_of(answer)
    error = body.get("error")
    code, message, target = f"Http{answer.status_code}", "", None
    if isinstance(error, Mapping):
        code, message = str(error.get("code") or code), str(error.get("message") or "")
        target = error.get("target")
    elif isinstance(error, str):
        code, message = error, _ENTRA.sub("", str(body.get("error_description") or ""))
    if not message:
        message = f"The control plane answered {answer.status_code} {answer.reason_phrase}."
    request_id = answer.headers.get("x-ms-request-id")
    if answer.status_code >= 500 and request_id:
        message = f"{message} (request {request_id})"
    return ApiError(answer.status_code, code, message, None if target is None else str(target))


def json_of(answer: httpx.Response) -> Json:
    """The JSON object of an answer; empty when there is none."""
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
