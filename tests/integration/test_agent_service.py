"""The agent as a service of its machine: what the real process tells systemd, and an identity endpoint beside it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from wherry.agent.identity_endpoint import PATH, IdentityOptions, environment
from wherry.agent.identity_tokens import TokenSocket, asked_at
from wherry.client.connection import Unreachable
from wherry.client.proven import IdentityGone
from wherry.model.errors import ApiError, UsageError

WHERRY = (sys.executable, "-m", "wherry.cli.main", "agent")
VAULT = "https://vault.azure.net"


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(str(tmp_path / "notify"))
        line.settimeout(60)
        yield line


@contextmanager
def service(tmp_path: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    told = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([*WHERRY, *words], env=told, stdin=subprocess.DEVNULL, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def heard(listener: socket.socket, what: str) -> str:
    """The next message that holds `what`."""
    while what not in (message := listener.recv(4096).decode()):
        pass
    return message


def test_the_real_agent_tells_systemd_how_it_stands(listener, tmp_path):
    with service(tmp_path, "run", "--state", str(tmp_path / "agent")) as process:
        heard(listener, "READY=1")
        heard(listener, "STATUS=It waits to be registered.")
        heard(listener, "WATCHDOG=1")
        heard(listener, "WATCHDOG=1")
        # To begin anew is not to end.
        process.send_signal(signal.SIGUSR1)
        assert "STOPPING" not in heard(listener, "READY=1")
        process.send_signal(signal.SIGTERM)
        heard(listener, "STOPPING=1")
        assert process.wait(60) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sets a machine")
def test_so_does_the_service_of_root(listener, tmp_path):
    (tmp_path / "machine").mkdir()
    places = ("--socket", str(tmp_path / "helper.sock"), "--root", str(tmp_path / "machine"))
    with service(tmp_path, "helper", "--agent-user", "nobody", *places) as process:
        heard(listener, "READY=1")
        assert (tmp_path / "helper.sock").is_socket()
        process.terminate()
        assert process.wait(60) == 0


def issued(resource: str) -> dict[str, Any]:
    if resource == "gone":
        raise IdentityGone
    if resource == "away":
        raise Unreachable("No answer.")
    if resource == "refused":
        raise ApiError(403, "forbidden", "Not this one.")
    return {"access_token": f"token for {resource}", "expires_in": "600"}


def options(tmp_path: Path, *more: str) -> IdentityOptions:
    return IdentityOptions(40342, (VAULT, *more), socket=tmp_path / "tokens.sock", user="nobody")


def test_an_endpoint_of_its_own_gets_tokens_from_the_agent(listener, tmp_path):
    words = ("identity-endpoint", "0", "--socket", str(tmp_path / "tokens.sock"))
    folders = ("--directory", str(tmp_path), "--folder", str(tmp_path / "challenges"))
    with service(tmp_path, *words, *folders) as process:
        heard(listener, "READY=1")
        port = int(environment(tmp_path)["IMDS_ENDPOINT"].rpartition(":")[2])
        assert ask(port)[0] == 503
        with closing(TokenSocket(options(tmp_path), issued)):
            status, told = ask(port)
        assert (status, told["access_token"]) == (200, f"token for {VAULT}")
        process.terminate()
        heard(listener, "STOPPING=1")
        assert process.wait(60) == 0
    assert list((tmp_path / "challenges").iterdir()) == []


def ask(port: int) -> tuple[int, dict[str, Any]]:
    """What a program of this machine gets, after it has proven that it can read a file."""
    headers = {"Metadata": "true"}
    for _ in range(2):
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as line:
            line.request("GET", f"{PATH}?api-version=2020-06-01&resource={VAULT}", headers=headers)
            answer = line.getresponse()
            told = json.loads(answer.read())
            challenge = answer.headers.get("WWW-Authenticate", "").removeprefix("Basic realm=")
        if challenge:
            headers["Authorization"] = f"Basic {Path(challenge).read_text()}"
    return answer.status, told


def test_what_the_agent_is_told_comes_out_at_the_endpoint(tmp_path):
    issue = asked_at(tmp_path / "tokens.sock")
    with pytest.raises(Unreachable, match="does not run"):
        issue(VAULT)
    with closing(TokenSocket(options(tmp_path, "gone", "away", "refused"), issued)):
        for resource, status in (("gone", 403), ("away", 503), ("refused", 403)):
            with pytest.raises(ApiError) as refused:
                issue(resource)
            assert refused.value.status == status
        # The endpoint is not asked what may be given.
        with pytest.raises(ApiError) as other:
            issue("https://management.azure.com")
        assert other.value.code == "invalid_resource"
    assert not (tmp_path / "tokens.sock").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
def test_attack_36_nobody_but_the_endpoint_is_given_tokens(tmp_path):
    asking = (
        "import contextlib, os, socket, sys\n"
        "os.setuid(int(sys.argv[2]))\n"
        "line = socket.socket(socket.AF_UNIX)\n"
        "line.connect(sys.argv[1])\n"
        "with contextlib.suppress(BrokenPipeError):\n"  # Who is refused is answered before they ask.
        '    line.sendall(b\'{"resource": "https://vault.azure.net"}\\n\')\n'
        "print(line.makefile().readline())\n"
    )
    # The others come in by a folder that they are in already.
    tmp_path.chmod(0o755)
    with closing(TokenSocket(options(tmp_path), issued)):
        answers = {
            uid: json.loads(
                subprocess.run(
                    [sys.executable, "-c", asking, "tokens.sock", str(uid)],
                    capture_output=True, check=True, cwd=tmp_path,
                ).stdout
            )
            for uid in (65534, 1)
        }  # fmt: skip
    assert "token" in answers[65534]
    assert answers[1]["error"]["code"] == "forbidden"


def test_a_socket_that_cannot_be_made_is_named(tmp_path):
    with pytest.raises(UsageError, match="cannot be made"):
        TokenSocket(IdentityOptions(1, socket=tmp_path / "no" / "tokens.sock"), issued)
