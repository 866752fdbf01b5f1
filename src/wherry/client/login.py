"""A person's sign-in: device code once, then refresh tokens that rotate, kept in a 0600 file.

The authority revokes a whole sign-in when one refresh token is used twice, so refreshing happens under a lock that all
processes of this person share, and what is new is on disk before it is used.  Used by the command line and the demo.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import httpx

from wherry.client import device_code, kept_file
from wherry.client.connection import Connection, Json, error_of, json_of, unreachable
from wherry.client.device_code import DeviceCode, Endpoints, SignInFailed
from wherry.client.profile import Profile, config_directory
from wherry.model.errors import UsageError, WherryError

CLIENT_ID = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
SCOPE = "https://management.azure.com/.default offline_access openid profile"
_EARLY = 120.0


class NotSignedIn(WherryError):
    """Nobody is signed in here, or the sign-in is over."""

    def __init__(self, why: str = "You are not signed in.") -> None:
        super().__init__(f"{why} Run: wherry login")


@dataclass(frozen=True, slots=True)
class Account:
    """A sign-in as it is kept: who, where, and the tokens.  `expires_at` is that of the access token."""

    authority: str
    tenant: str
    name: str
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_at: float


class SignIn:
    """The sign-in of this person to one deployment, a `TokenSource` for `ResourceClient`."""

    def __init__(self, profile: Profile, directory: Path | None = None) -> None:
        self.profile = profile
        self._directory = directory or config_directory()
        self._file = self._directory / "sign-ins.json"

    def account(self) -> Account | None:
        """Who is signed in; nothing is contacted."""
        return _read(self._file).get(self._key)

    def sign_in(
        self, show: Callable[[DeviceCode], None], sleep: Callable[[float], None] = time.sleep
    ) -> Account:
        """Sign a person in: `show` tells what to type where.  Raises `SignInFailed`."""
        with self._connection() as connection:
            endpoints = Endpoints.discover(connection, self.profile.tenant)
            code = device_code.request(connection, endpoints, {"client_id": CLIENT_ID, "scope": SCOPE})
            show(code)
            asked = time.time()
            answer = device_code.redeem(connection, endpoints, code, CLIENT_ID, sleep=sleep)
        account = self._account(answer, asked, "")
        with self._locked():
            self._keep(account)
        return account

    def sign_out(self) -> bool:
        """Forget the sign-in on this machine; whether there was one."""
        with self._locked():
            accounts = _read(self._file)
            if accounts.pop(self._key, None) is None:
                return False
            _write(self._file, accounts)
            return True

    def token(self, *, fresh: bool = False) -> str:
        """An access token, refreshed when it is old or `fresh` is asked for.  Raises `NotSignedIn`."""
        known = self.account()
        if known is None:
            raise NotSignedIn
        if not fresh and _good(known):
            return known.access_token
        with self._locked():
            latest = self.account()
            if latest is None:
                raise NotSignedIn
            # Another process was faster.
            if latest.access_token != known.access_token and _good(latest):
                return latest.access_token
            return self._refresh(latest).access_token

    def token_for(self, resource: str) -> str:
        """An access token for another resource than the API, such as vaults; asked for at each call."""
        with self._locked():
            account = self.account()
            if account is None:
                raise NotSignedIn
            answer = self._redeem(account, f"{resource}/.default offline_access openid profile")
            if "access_token" not in answer:
                raise SignInFailed("refused", "The authority gave no usable token.")
            # Used once each: the new one is on disk before anything is done with the token.
            self._keep(
                replace(account, refresh_token=str(answer.get("refresh_token") or account.refresh_token))
            )
            return str(answer["access_token"])

    @property
    def _key(self) -> str:
        return f"{self.profile.authority}/{self.profile.tenant}"

    def _connection(self) -> Connection:
        return Connection(self.profile.authority, self.profile.ca_file)

    def _refresh(self, account: Account) -> Account:
        asked = time.time()
        renewed = self._account(self._redeem(account, SCOPE), asked, account.refresh_token)
        self._keep(renewed)
        return renewed

    def _redeem(self, account: Account, scope: str) -> Json:
        """What the authority gives for the refresh token, which is used up by that."""
        form = {
            "grant_type": "refresh_token",
            "client_id": CLIENT_ID,
            "refresh_token": account.refresh_token,
            "scope": scope,
        }
        with self._connection() as connection:
            endpoints = Endpoints.discover(connection, self.profile.tenant)
            try:
                # Sent once: whether a lost answer used the token up, only the authority knows.
                answer = connection.send("POST", endpoints.token, data=form)
            except httpx.TransportError as trouble:
                raise unreachable(connection.url, trouble) from trouble
        if json_of(answer).get("error") in ("invalid_grant", "interaction_required"):
            raise NotSignedIn("Your sign-in is over.")
        if answer.status_code != 200:
            raise error_of(answer)
        return json_of(answer)

    def _account(self, answer: Json, asked: float, refresh_token: str) -> Account:
        try:
            return Account(
                authority=self.profile.authority,
                tenant=self.profile.tenant,
                name=_name(str(answer.get("id_token") or answer["access_token"])),
                access_token=str(answer["access_token"]),
                refresh_token=str(answer.get("refresh_token") or refresh_token),
                expires_at=asked + float(answer["expires_in"]),
            )
        except (KeyError, ValueError, TypeError) as broken:
            raise SignInFailed("refused", "The authority gave no usable token.") from broken

    def _keep(self, account: Account) -> None:
        _write(self._file, {**_read(self._file), self._key: account})

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        kept_file.private_folder(self._directory)
        lock = os.open(self._directory / "sign-ins.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def _good(account: Account) -> bool:
    return account.expires_at - _EARLY > time.time()


def _read(file: Path) -> dict[str, Account]:
    try:
        return {key: Account(**one) for key, one in json.loads(file.read_text()).items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError) as broken:
        raise UsageError(f"{file} is damaged. Remove it and sign in again.") from broken


def _write(file: Path, accounts: dict[str, Account]) -> None:
    text = json.dumps({key: asdict(account) for key, account in accounts.items()}, indent=2)
    kept_file.replace(file, text.encode() + b"\n")


def _name(token: str) -> str:
    """The name in a token that came straight from the authority; only to be shown."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return str(claims.get("preferred_username") or claims.get("upn") or "")
    except (IndexError, ValueError, AttributeError):
        return ""
