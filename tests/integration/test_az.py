"""`az` itself, unmodified: people and programs sign in, and the directory answers. Only where there is an `az` named.

It is hundreds of megabytes, so nothing here installs it:
WHERRY_AZ=/path/to/az python -m pytest tests/integration/test_az.py
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.browser import Browser
from tests.e2e.shell import Shell

AZ = os.environ.get("WHERRY_AZ", "")

pytestmark = pytest.mark.skipif(not AZ, reason="WHERRY_AZ names no az")


@dataclass
class Az:
    """`az` with a configuration of its own, in a cloud that is ours."""

    folder: Path
    shell: Shell
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        own = {
            "AZURE_CONFIG_DIR": str(self.folder / "az"),
            "AZURE_CORE_INSTANCE_DISCOVERY": "false",
            "AZURE_CORE_COLLECT_TELEMETRY": "false",
            "AZURE_CORE_LOGIN_EXPERIENCE_V2": "off",
            "REQUESTS_CA_BUNDLE": self.shell.environment["WHERRY_CA_FILE"],
        }
        self.environment = {**os.environ, **own}
        self.run(
            "cloud",
            "register",
            "-n",
            "ours",
            "--endpoint-resource-manager",
            self.shell.environment["WHERRY_URL"],
        )
        self.run("cloud", "set", "-n", "ours")

    def run(self, *arguments: str) -> Any:
        done = subprocess.run(
            [AZ, *arguments, "-o", "json"], env=self.environment, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, check=False, timeout=100,
        )  # fmt: skip
        assert done.returncode == 0, f"{arguments[:3]}: {done.stderr}"
        return json.loads(done.stdout) if done.stdout.strip() else None

    def login(self, *arguments: str) -> Any:
        tenant = self.shell.environment["WHERRY_TENANT_ID"]
        return self.run("login", "--service-principal", "--tenant", tenant, *arguments)


@pytest.fixture(scope="module")
def az(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Az]:
    shell = Shell(tmp_path_factory.mktemp("lab"))
    with shell.serving():
        shell.approved("login", name="login")
        yield Az(tmp_path_factory.mktemp("az"), shell)


@pytest.mark.timeout(300)
def test_a_program_signs_in_and_looks_after_the_directory(az: Az) -> None:
    made = az.shell.run("service-principal", "create", "--name", "deployer").data
    az.shell.run("role", "assign", "--role", "Owner", "--scope", "/", "--assignee", made["id"])
    (account,) = az.login("--username", made["appId"], "--password", made["secretText"])
    assert account["user"] == {"name": made["appId"], "type": "servicePrincipal"}
    scope = f"/subscriptions/{account['id']}/resourceGroups/lab"
    az.run("group", "create", "-n", "lab", "-l", "local")
    user = az.run(
        "ad", "user", "create", "--display-name", "Alice", "--user-principal-name", "alice@example.org",
        "--password", "blue horse 47 battery",
    )  # fmt: skip
    given = az.run(
        "role",
        "assignment",
        "create",
        "--assignee",
        "alice@example.org",
        "--role",
        "Reader",
        "--scope",
        scope,
    )
    assert given["principalId"] == user["id"]
    listed = az.run("role", "assignment", "list", "--scope", scope)
    assert [one["principalName"] for one in listed] == ["alice@example.org"]
    group = az.run("ad", "group", "create", "--display-name", "ops", "--mail-nickname", "ops")
    az.run("ad", "group", "member", "add", "--group", "ops", "--member-id", user["id"])
    assert az.run("ad", "group", "member", "check", "--group", "ops", "--member-id", user["id"]) == {
        "value": True
    }
    other = az.run("ad", "sp", "create-for-rbac", "-n", "nightly", "--role", "Contributor", "--scopes", scope)
    az.run("ad", "sp", "credential", "reset", "--id", other["appId"], "--append")
    assert len(az.run("ad", "sp", "credential", "list", "--id", other["appId"])) == 2
    az.run("ad", "group", "delete", "--group", group["id"])
    az.run("ad", "sp", "delete", "--id", other["appId"])
    az.run("ad", "user", "delete", "--id", user["id"])
    assert az.run("role", "assignment", "list", "--scope", scope) == []


@pytest.mark.timeout(300)
def test_a_person_signs_in_by_device_code_and_proves_more_than_a_password(az: Az, tmp_path: Path) -> None:
    known, first = az.shell.environment, tmp_path / "first"
    first.write_text("blue horse 47 battery\n")
    made = az.shell.run("user", "create", "--name", "carol", "--password-file", str(first)).data
    az.shell.run("role", "assign", "--role", "Reader", "--assignee", made["id"])
    login = subprocess.Popen(
        [AZ, "login", "--use-device-code", "-o", "json"], env=az.environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with login, Browser(known["WHERRY_URL"], known["WHERRY_CA_FILE"]) as browser:
        assert login.stderr is not None
        code = next(
            found[1] for line in login.stderr if (found := re.search(r"enter the code ([A-Z-]+)", line))
        )
        page = browser.submit(browser.get("/device"), "/device", user_code=code)
        page = browser.first_sign_in(page, "carol", "blue horse 47 battery", "a lone green tree")
        page = browser.submit(page, "/device")
        assert "Approved" in browser.submit(page, "/device/decide", decision="approve").text
        out, err = login.communicate(timeout=100)
    assert login.returncode == 0, err
    (account,) = json.loads(out)
    assert account["user"] == {"name": "carol", "type": "user"}
    assert az.run("group", "list") is not None


@pytest.mark.timeout(300)
def test_a_certificate_signs_in(az: Az, tmp_path: Path) -> None:
    file = tmp_path / "program.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=program",
         "-keyout", file, "-out", tmp_path / "certificate.pem"], check=True, capture_output=True,
    )  # fmt: skip
    with file.open("ab") as both:
        both.write((tmp_path / "certificate.pem").read_bytes())
    made = az.shell.run("service-principal", "create", "--name", "certified", "--certificate", str(file)).data
    az.shell.run("role", "assign", "--role", "Reader", "--assignee", made["id"])
    az.login("--username", made["appId"], "--certificate", str(file))
    assert az.run("group", "list") is not None
