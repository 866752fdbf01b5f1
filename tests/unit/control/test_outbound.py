"""Whom the control plane connects to, whatever a name leads to when it is looked up."""

from __future__ import annotations

import functools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from wherry.control import outbound
from wherry.control.broker import accounts, blob, s3_calls
from wherry.control.broker.allowed import VaultElsewhere
from wherry.control.broker.blob_token import BlobToken
from wherry.control.broker.external_vault import ExternalVaults
from wherry.control.broker.port import Wanted
from wherry.control.identity import upstream_client
from wherry.control.plane import Plane
from wherry.control.services.accounts import Account
from wherry.control.services.secret_uris import SecretUri
from wherry.control.services.upstream import Provider
from wherry.model.errors import ApiError, RunError, Unavailable

KEY = "c2VjcmV0IGtleSBvZiB0aGUgYWNjb3VudA=="
NAME = "back-end.example"
GUID = "11111111-1111-1111-1111-111111111111"
NOWHERE = (
    "169.254.169.254",
    "fe80::1",
    "::ffff:169.254.169.254",
    "100.100.100.200",
    "fd00:ec2::254",
    "0.0.0.0",
)

Ask = Callable[[str], object]
"""Makes a client of the control plane send something to a URL."""


def look_for_container(url: str) -> object:
    return accounts.container_state(Account("id", url, "archive", KEY), "photos")


def list_policies(url: str) -> object:
    return blob.names(Account("id", url, "archive", KEY), "photos")


def list_users(url: str) -> object:
    with s3_calls.told():
        return s3_calls.client("iam", url, "", "id", "secret").list_users()


def read_vault(url: str) -> object:
    place = VaultElsewhere("vault.example", f"{url}/token", "client", Path(__file__))
    return ExternalVaults({"vault.example": place}).read(SecretUri.parse("https://vault.example/secrets/s"))


def ask_entra(url: str) -> object:
    told = {"federation": {"clientId": "c", "authority": url, "tenantId": GUID}, "subject": "s"}
    return BlobToken(lambda *_: "signed").issue(Wanted("id", "run", url, "write", b"", told), 0.0)


CLIENTS: tuple[Ask, ...] = (look_for_container, list_policies, list_users, read_vault, ask_entra)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Azure's client tries once more after some seconds."""
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)


@contextmanager
def leading_to(address: str) -> Iterator[list[str]]:
    """All names lead to one address; answers those that were asked for."""
    asked: list[str] = []
    family = socket.AF_INET6 if ":" in address else socket.AF_INET

    def found(host: str | bytes, port: Any, *_: object, **__: object) -> list[Any]:
        asked.append(host.decode() if isinstance(host, bytes) else host)
        more = (0, 0) if family == socket.AF_INET6 else ()
        return [(family, socket.SOCK_STREAM, 6, "", (address, port or 443, *more))]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", found)
        yield asked


@contextmanager
def listening(redirect: str = "", body: bytes = b"") -> Iterator[tuple[str, list[str]]]:
    """A server on this machine, and what it was asked; it sends everybody to `redirect`, or answers `body`."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200 if body else 307 if redirect else 404)
            self.send_header("Location", redirect)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_PUT = do_HEAD = do_GET  # noqa: N815 - as http.server calls them

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=functools.partial(server.serve_forever, 0.01))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", asked
        finally:
            server.shutdown()
            thread.join()


def refused(ask: Ask, url: str) -> None:
    """It ends as with a back end that cannot be reached."""
    if ask is look_for_container:
        assert ask(url) == "Unreachable"
        return
    with pytest.raises(Unavailable):
        ask(url)


@pytest.mark.enable_socket
@pytest.mark.parametrize("ask", CLIENTS)
def test_attack_60_a_name_that_leads_to_where_secrets_are_told_is_not_followed(ask: Ask) -> None:
    with outbound.guarding(outbound.ANY):
        for address in NOWHERE:
            with leading_to(address) as asked:
                refused(ask, f"https://{NAME}")
            # By name, and the guard alone stood between: the name was believed until then.
            assert NAME in asked


@pytest.mark.parametrize("ask", CLIENTS)
def test_attack_60_only_networks_of_the_setting_are_reached(ask: Ask) -> None:
    with listening() as (url, asked):
        with outbound.guarding("10.0.0.0/8, 192.168.0.0/16"):
            refused(ask, url)
        assert not asked
        with outbound.guarding("127.0.0.0/8"), suppress(Exception):
            ask(url)
        assert asked


def test_attack_60_a_name_that_changes_after_it_was_good_is_not_followed() -> None:
    with listening() as (url, asked), outbound.guarding("127.0.0.1"):
        port = url.rpartition(":")[2]
        with leading_to("127.0.0.1"):
            assert look_for_container(f"http://{NAME}:{port}") == "Missing"
        assert len(asked) == 1
        with leading_to("::1"):
            assert look_for_container(f"http://{NAME}:{port}") == "Unreachable"
        assert len(asked) == 1


@pytest.mark.parametrize("ask", CLIENTS)
def test_attack_60_nobody_is_followed_elsewhere(ask: Ask) -> None:
    with listening() as (inner, reached), listening(f"{inner}/secret") as (outer, asked):
        with suppress(Exception):
            ask(outer)
        assert asked
        assert not reached


@pytest.mark.parametrize("ask", [list_policies, list_users, read_vault, ask_entra])
@pytest.mark.parametrize("inner", ["&a9;", "&file;"])
def test_attack_66_xml_that_attacks_its_reader_is_no_answer(ask: Ask, inner: str) -> None:
    powers = "".join(f'<!ENTITY a{at + 1} "{f"&a{at};" * 10}">' for at in range(9))
    told = f'<!DOCTYPE a [<!ENTITY a0 "aaaaaaaaaa">{powers}<!ENTITY file SYSTEM "file:///etc/passwd">]><a>{inner}</a>'
    with listening(body=told.encode()) as (url, asked):
        with pytest.raises((Unavailable, RunError)) as refused:
            ask(url)
        assert asked
    assert "root:" not in str(refused.value)


@pytest.mark.parametrize(("allowed", "reached"), [("10.0.0.0/8", False), ("any", True)])
async def test_attack_60_a_provider_is_looked_at_before_anything_is_sent(
    plane: Plane, monkeypatch: pytest.MonkeyPatch, allowed: str, reached: bool
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        plane.settings = plane.settings.override({"outbound_networks": allowed})
        said: list[bytes] = []
        asking = threading.Thread(target=hang_up, args=(listener, said))
        asking.start()
        with pytest.raises(ApiError) as told:
            await upstream_client.metadata(
                plane, Provider("corp", "Corp", f"https://127.0.0.1:{port}", "client")
            )
        asking.join()
    assert told.value.code == "ProviderUnreachable"
    assert bool(said[0]) is reached


async def test_attack_60_a_connection_to_link_local_ends_before_anything_is_sent() -> None:
    class Stream:
        closed = False

        def get_extra_info(self, _name: str) -> tuple[str, int]:
            return ("169.254.169.254", 443)

        async def aclose(self) -> None:
            self.closed = True

    stream = Stream()
    with pytest.raises(httpx.ConnectError, match="no address of a service"):
        await outbound.watching("any")("connection.connect_tcp.complete", {"return_value": stream})
    assert stream.closed


def hang_up(listener: socket.socket, said: list[bytes]) -> None:
    """Keep what the first caller says first, and end the call."""
    caller, _ = listener.accept()
    with caller:
        said.append(caller.recv(16))


def test_what_is_no_internet_is_let_be(tmp_path: Path) -> None:
    with outbound.guarding("none"), socket.socket(socket.AF_UNIX) as here, pytest.raises(FileNotFoundError):
        here.connect(str(tmp_path / "none"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        socket.create_connection(listener.getsockname()).close()
