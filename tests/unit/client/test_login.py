"""A person's sign-in: the code, the file that keeps it, tokens that rotate."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.tls_server import DROP, TENANT, Answer, Authority, Request, TlsServer
from wherry.client.connection import Unreachable
from wherry.client.device_code import DeviceCode, SignInFailed
from wherry.client.login import CLIENT_ID, NotSignedIn, SignIn
from wherry.client.profile import Profile
from wherry.model.errors import ApiError, UsageError

CODE = {
    "user_code": "ABCD-EFGH",
    "device_code": "device-secret",
    "verification_uri": "https://mover.example/device",
    "expires_in": 600,
    "interval": 1,
    "message": "Open the page.",
}
# preferred_username in the middle part.
ID_TOKEN = "e30.eyJwcmVmZXJyZWRfdXNlcm5hbWUiOiJhZG1pbiJ9.x"


def pending(error: str = "authorization_pending") -> Answer:
    return Answer(400, {"error": error, "error_description": "AADSTS7: Wait. Trace ID: 1 x"})


class Tokens:
    """A token endpoint: every refresh token is good once."""

    def __init__(self, server: TlsServer, *polls: Answer, lifetime: float = 3600) -> None:
        self.polls = list(polls)
        self.lifetime = lifetime
        self.good: set[str] = set()
        self.count = 0
        self.lock = threading.Lock()
        server.on("POST", f"/{TENANT}/oauth2/v2.0/devicecode", Answer(200, CODE))
        server.on("POST", f"/{TENANT}/oauth2/v2.0/token", self.answer)

    def answer(self, request: Request) -> Answer:
        with self.lock:
            if request.form["grant_type"] == "refresh_token":
                if request.form["refresh_token"] not in self.good:
                    return Answer(400, {"error": "invalid_grant", "error_description": "reused"})
                self.good.clear()
            elif self.polls:
                return self.polls.pop(0)
            self.count += 1
            self.good.add(f"refresh-{self.count}")
            return Answer(
                200,
                {
                    "access_token": f"access-{self.count}",
                    "refresh_token": f"refresh-{self.count}",
                    "id_token": ID_TOKEN,
                    "expires_in": self.lifetime,
                    "token_type": "Bearer",
                },
            )


@pytest.fixture
def sign_in(profile: Profile, authority: Authority, tmp_path: Path) -> SignIn:
    return SignIn(profile, tmp_path / "config")


def test_a_person_signs_in_and_stays_so(server: TlsServer, sign_in: SignIn, tmp_path: Path) -> None:
    Tokens(server, pending(), pending("slow_down"), DROP, pending())
    shown: list[DeviceCode] = []
    waits: list[float] = []

    account = sign_in.sign_in(shown.append, waits.append)

    assert account.name == "admin"
    assert (shown[0].user_code, shown[0].url) == ("ABCD-EFGH", "https://mover.example/device")
    assert "device-secret" not in repr(shown)
    assert waits[:3] == [1.0, 1.0, 6.0]
    assert SignIn(sign_in.profile, tmp_path / "config").token() == "access-1"
    asked = server.seen(".*/devicecode")[0].form
    assert asked["client_id"] == CLIENT_ID
    assert "offline_access" in asked["scope"]


def test_the_file_is_for_its_owner_only(server: TlsServer, sign_in: SignIn, tmp_path: Path) -> None:
    Tokens(server)

    sign_in.sign_in(lambda _: None, lambda _: None)

    folder = tmp_path / "config"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert "access-1" not in repr(sign_in.account())


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("authorization_declined", "denied"),
        ("expired_token", "expired"),
        ("bad_verification_code", "refused"),
    ],
)
def test_a_sign_in_that_fails_says_why(server: TlsServer, sign_in: SignIn, error: str, reason: str) -> None:
    Tokens(server, pending(error))

    with pytest.raises(SignInFailed) as caught:
        sign_in.sign_in(lambda _: None, lambda _: None)

    assert caught.value.reason == reason
    assert "Trace ID" not in str(caught.value)
    assert sign_in.account() is None


def test_a_code_that_nobody_enters_expires(
    server: TlsServer, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    Tokens(server, *[pending()] * 100)
    server.on("POST", f"/{TENANT}/oauth2/v2.0/devicecode", Answer(200, {**CODE, "expires_in": 0}))

    with pytest.raises(SignInFailed, match="expired before anybody approved it"):
        sign_in.sign_in(lambda _: None, lambda _: None)


def test_an_old_token_is_refreshed_and_the_new_one_kept(server: TlsServer, sign_in: SignIn) -> None:
    tokens = Tokens(server, lifetime=60)
    sign_in.sign_in(lambda _: None, lambda _: None)

    tokens.lifetime = 3600
    assert sign_in.token() == "access-2"
    assert sign_in.token() == "access-2"
    assert sign_in.token(fresh=True) == "access-3"


def test_processes_that_refresh_at_once_use_each_token_once(
    server: TlsServer, sign_in: SignIn, tmp_path: Path
) -> None:
    tokens = Tokens(server, lifetime=60)
    sign_in.sign_in(lambda _: None, lambda _: None)
    tokens.lifetime = 3600

    with ThreadPoolExecutor(6) as threads:
        others = [SignIn(sign_in.profile, tmp_path / "config") for _ in range(6)]
        found = set(threads.map(lambda one: one.token(), others))

    assert found == {"access-2"}


def test_a_sign_in_that_is_over_says_so(server: TlsServer, sign_in: SignIn) -> None:
    tokens = Tokens(server, lifetime=60)
    sign_in.sign_in(lambda _: None, lambda _: None)
    tokens.good.clear()

    with pytest.raises(NotSignedIn, match=r"over\. Run: wherry login"):
        sign_in.token()


def test_trouble_of_the_authority_is_no_end_of_the_sign_in(server: TlsServer, sign_in: SignIn) -> None:
    Tokens(server, lifetime=60)
    sign_in.sign_in(lambda _: None, lambda _: None)

    server.on("POST", f"/{TENANT}/oauth2/v2.0/token", Answer(500))
    with pytest.raises(ApiError):
        sign_in.token()
    server.on("POST", f"/{TENANT}/oauth2/v2.0/token", DROP)
    with pytest.raises(Unreachable):
        sign_in.token()
    assert sign_in.account() is not None


def test_without_a_sign_in_the_way_to_one_is_told(sign_in: SignIn) -> None:
    with pytest.raises(NotSignedIn, match="Run: wherry login"):
        sign_in.token()


def test_signing_out_forgets(server: TlsServer, sign_in: SignIn) -> None:
    Tokens(server)
    sign_in.sign_in(lambda _: None, lambda _: None)

    assert sign_in.sign_out()
    assert not sign_in.sign_out()
    assert sign_in.account() is None


def test_a_damaged_file_is_named(sign_in: SignIn, tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "sign-ins.json").write_text("{")

    with pytest.raises(UsageError, match="is damaged"):
        sign_in.token()


def test_an_authority_that_is_none_is_told(server: TlsServer, sign_in: SignIn) -> None:
    server.on("GET", ".*/openid-configuration", Answer(200, {"hello": "world"}))

    with pytest.raises(SignInFailed, match="is no control plane"):
        sign_in.sign_in(lambda _: None, lambda _: time.sleep(0))
