"""Signing in to a served control plane as real clients do, and its start and end as a process."""

from __future__ import annotations

import json
import re
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import DeviceCodeCredential

from tests.browser import Browser
from tests.integration.served import SERVE, Served, serving
from wherry.control import breakglass, deployment
from wherry.model.errors import ApiError, UsageError
from wherry.trust import authority

VERSION = "api-version=2022-12-01"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("plane") / "state", first_start=True) as running:
        yield running


class Person(Browser):
    """The first administrator, who signs in when that is asked for first.

    The password is changed then, and a second factor set up; the session goes on with the next decision.
    """

    def __init__(self, served: Served) -> None:
        super().__init__(served.url, served.ca_file)
        log = served.state.with_suffix(".log").read_text()
        found = re.search(r"user name admin, password (\S+) \(shown this once\)", log)
        assert found is not None
        self.password = found[1]

    def decide(self, code: str, decision: str) -> str:
        page = self.submit(self.get("/device"), "/device", user_code=code)
        if 'name="password"' in page.text:
            page = self.submit(
                self.first_sign_in(page, "admin", self.password, "a lone green tree"), "/device"
            )
        page = self.submit(page, "/device/decide", decision=decision)
        assert page.status_code == 200
        return page.text


@pytest.fixture(scope="module")
def person(served: Served) -> Iterator[Person]:
    with Person(served) as made:
        yield made


def credential(
    served: Served, shown: Callable[[str, str, object], object], **options: object
) -> DeviceCodeCredential:
    usual: dict[str, Any] = {
        "authority": served.env["WHERRY_AUTHORITY"],
        "tenant_id": served.tenant,
        "disable_instance_discovery": True,
        "connection_verify": served.ca_file,
        "prompt_callback": shown,
    }
    return DeviceCodeCredential(**{**usual, **options})


def test_azure_identity_signs_in_by_the_pages_and_refreshes(served, person):
    prompts = []

    def shown(uri: str, code: str, _expires: object) -> None:
        prompts.append(uri)
        assert "Approved" in person.decide(code, "approve")

    with credential(served, shown) as signed:
        token = signed.get_token(f"{served.url}/.default")
        with httpx.Client(verify=authority.client_context(served.ca_file), base_url=served.url) as client:
            answer = client.get(
                f"/subscriptions?{VERSION}", headers={"Authorization": f"Bearer {token.token}"}
            )
            assert [one["subscriptionId"] for one in answer.json()["value"]] == [served.subscription]
        assert signed.get_token(f"{served.url}/.default").token == token.token
        other = signed.get_token("https://vault.azure.net/.default")
        again = signed.get_token("https://management.azure.com/.default")
        assert len({token.token, other.token, again.token}) == 3
        record = signed.authenticate(scopes=[f"{served.url}/.default"])
        assert record.username == "admin"
        assert record.tenant_id == served.tenant
    assert prompts == [f"{served.url}/device"]


def test_the_adfs_alias_needs_no_switch(served):
    with credential(
        served, lambda _uri, code, _expires: breakglass.approve(served.state, code), tenant_id="adfs",
        disable_instance_discovery=False,
    ) as signed:  # fmt: skip
        assert signed.get_token(f"{served.url}/.default").token


def test_the_alias_organizations_needs_no_tenant(served):
    with credential(
        served, lambda _uri, code, _expires: breakglass.approve(served.state, code), tenant_id="organizations"
    ) as signed:
        assert signed.get_token(f"{served.url}/.default").token


def test_a_denied_code(served, person):
    def shown(_uri: str, code: str, _expires: object) -> None:
        assert "Denied" in person.decide(code, "deny")

    with credential(served, shown) as signed, pytest.raises(ClientAuthenticationError, match="AADSTS70017"):
        signed.get_token(f"{served.url}/.default")


def test_an_expired_code(served):
    def shown(_uri: str, _code: str, _expires: object) -> None:
        with sqlite3.connect(served.state / "wherry.db", timeout=30) as database:
            database.execute('UPDATE device_codes SET "grant" = json_set("grant", \'$.expires_at\', 0)')
        database.close()

    with credential(served, shown) as signed, pytest.raises(ClientAuthenticationError, match="AADSTS70019"):
        signed.get_token(f"{served.url}/.default")


def test_break_glass_says_what_it_cannot_approve(served, tmp_path):
    with pytest.raises(ApiError, match="No device is waiting"):
        breakglass.approve(served.state, "BCDF-GHJK")
    with pytest.raises(ApiError, match="No device is waiting"):
        breakglass.approve(served.state, "not a code")
    with pytest.raises(UsageError, match=r"admin\.sock"):
        breakglass.approve(tmp_path, "BCDF-GHJK")


def test_break_glass_survives_garbage_and_is_for_its_owner_only(served):
    path = served.state / breakglass.NAME
    assert path.stat().st_mode & 0o777 == 0o600
    for garbage in (b"\n", b"{}\n", b"[1]\n", b"x" * 10_000 + b"\n", b""):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(garbage)
            client.shutdown(socket.SHUT_WR)
            answer = client.makefile("rb").readline()
        assert not answer or json.loads(answer)["error"]["status"] == 400


def test_agents_can_fetch_the_ca_and_compare_its_fingerprint(served):
    unverified = ssl.create_default_context()
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE
    with httpx.Client(verify=unverified, base_url=served.url) as client:
        fetched = client.get("/ca.pem").content
    assert authority.same_fingerprint(fetched, authority.fingerprint(Path(served.ca_file).read_bytes()))


def test_only_tls_of_today(served):
    port = int(served.url.rpartition(":")[2])
    context = authority.client_context(served.ca_file)
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        context.wrap_socket(plain, server_hostname="127.0.0.1")
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client, pytest.raises(httpx.TransportError):
        client.get("/healthz")


def test_a_second_server_of_the_same_state_is_refused(served):
    second = run(served.state, "127.0.0.1:0")
    assert second.returncode != 0
    assert f"in use by process {served.process.pid}" in second.stderr
    assert second.stdout == ""


def run(state: Path, listen: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SERVE, str(state), listen],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_it_ends_cleanly_and_goes_on_as_the_same(tmp_path):
    state = tmp_path / "state"
    with serving(state, first_start=True) as first:
        port = first.url.rpartition(":")[2]
        token = first.token()
        ends_cleanly(first, signal.SIGTERM)
    with serving(state, f"127.0.0.1:{port}") as second:
        assert second.url == first.url
        assert "password" not in state.with_suffix(".log").read_text()
        context = authority.client_context(second.ca_file)
        with httpx.Client(verify=context, base_url=second.url) as client:
            answer = client.get(f"/tenants?{VERSION}", headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == 200


def test_a_port_that_is_taken(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = run(tmp_path / "state", f"127.0.0.1:{other.getsockname()[1]}")
    assert taken.returncode != 0
    assert "Address already in use" in taken.stderr


def test_ctrl_c_ends_it_cleanly(tmp_path):
    with serving(tmp_path / "state") as served:
        ends_cleanly(served, signal.SIGINT)


def ends_cleanly(served: Served, how: signal.Signals) -> None:
    served.process.send_signal(how)
    assert served.process.wait(20) == 0
    assert not (served.state / breakglass.NAME).exists()


def test_a_newer_state_is_refused(tmp_path):
    state = tmp_path / "state"
    deployment.create_or_open(state).close()
    (state / "version").write_text("2\n")
    refused = run(state, "127.0.0.1:0")
    assert refused.returncode != 0
    assert "newer than this program" in refused.stderr
