"""Secrets of a whole migration, searched for in all that it leaves and shows while everything logs at debug level."""

from __future__ import annotations

import base64
import json
import ssl
import tarfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote

import httpx
import pytest
from sqlalchemy import select

from tests.azurite import Azurite
from tests.browser import Browser
from tests.conftest import read
from tests.forms import hidden, recovery_codes_on, secret_on
from tests.site import ENDED, Agent, Job, Site, site
from wherry.agent import bundle
from wherry.control import deployment
from wherry.control.broker import blob
from wherry.control.db.engine import Database
from wherry.control.db.tables_identity import signing_keys
from wherry.control.services import signing
from wherry.control.services.accounts import Account
from wherry.trust import onetime
from wherry.trust.keys import MasterKey

CHOSEN = "canary lone green tree 4711"
FIRST = "canary blue horse 47 battery"
VALUE = "canary-of-the-vault-4711"
CLIENT = "canary-of-the-provider-4711"
VAULT_VERSION = "7.4"
FILES = 20
# The daemon logs from INFO on; here it tells all that it would ever tell.
AT_DEBUG = """
import logging, sys
from wherry.agent import log_lines
configure = log_lines.configure
log_lines.configure = lambda *_, **__: configure(logging.DEBUG)
from wherry.cli.main import main
sys.argv[0] = "wherry"
main()
"""


@dataclass
class Planted:
    """What must be found nowhere, by what it is; `kept` are the files that hold one by design."""

    site: Site
    secrets: dict[str, str] = field(default_factory=dict)
    kept: dict[Path, set[str]] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    processes: set[bytes] = field(default_factory=set)

    def plant(self, name: str, secret: str, *kept: Path) -> str:
        assert len(secret) > 9, name
        self.secrets[name] = secret
        for file in kept:
            self.kept.setdefault(file, set()).add(name)
        return secret

    def found_in(self, data: bytes) -> set[str]:
        return {name for name, secret in self.secrets.items() if any(form in data for form in forms(secret))}

    def http(self, method: str, path: str, **more: Any) -> httpx.Response:
        """A request whose answer is searched too."""
        context = ssl.create_default_context(cafile=self.site.served.ca_file)
        with httpx.Client(base_url=self.site.served.url, verify=context, timeout=30) as client:
            answer = client.request(method, path, **more)
        self.said.append(f"{answer.headers}\n{answer.text}")
        return answer

    def look_at_processes(self) -> None:
        """What anybody on the machine sees of all that runs, and what children are given."""
        agents = [one for one in self.site._agents if one.process is not None]
        pids = {self.site.served.process.pid, *(one.process.pid for one in agents if one.process)}
        pids |= {worker for one in agents for worker in one.workers()}
        for pid in pids:
            self.processes |= {read(Path(f"/proc/{pid}/{what}")) for what in ("cmdline", "environ")}


def forms(secret: str) -> set[bytes]:
    """A secret as it is, and as it may have been written down."""
    raw = secret.encode()
    shapes = {secret, quote(secret, safe=""), json.dumps(secret)[1:-1], raw.hex(), secret.replace(" ", "+")}
    # All of it but what depends on its place in a longer text.
    shapes |= {base64.b64encode(raw).decode().rstrip("=")[:-1]}
    return {one.encode() for one in shapes}


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory, azurite: Azurite) -> Iterator[Planted]:
    folder = tmp_path_factory.mktemp("canaries")
    with site(folder / "site", azurite, log_level="debug") as here:
        made = Planted(here)
        keys_of_the_plane(made)
        person(made)
        program(made)
        tokens(made)
        vault(made)
        migration(made, folder / "root")
        mistakes(made)
        yield made


def keys_of_the_plane(planted: Planted) -> None:
    state = planted.site.served.state
    text = (state / "master.key").read_text().strip()
    planted.plant("master key", text, state / "master.key")
    planted.plant("key of the server", lines_of(state / "tls" / "server.key"), state / "tls" / "server.key")
    database = Database(f"sqlite:///{state / 'wherry.db'}")
    with database.snapshot() as conn:
        master = MasterKey.from_text(text)
        for number, row in enumerate(conn.execute(select(signing_keys)).all()):
            pem = master.unseal(row.sealed, signing.context(row.kid)).decode()
            planted.plant(f"signing key {number}", pem.splitlines()[1])
    database.close()


def lines_of(pem: Path) -> str:
    """A line of a private key."""
    return next(line for line in pem.read_text().splitlines()[1:] if len(line) > 40)


def person(planted: Planted) -> None:
    """Somebody signs in for the first time, with a second factor."""
    planted.plant("first password", FIRST)
    planted.plant("password", CHOSEN)
    profile = {"password": FIRST, "forceChangePasswordNextSignIn": True}
    told = {
        "userPrincipalName": "alice",
        "displayName": "Alice",
        "accountEnabled": True,
        "passwordProfile": profile,
    }
    bearer = {"authorization": f"Bearer {planted.site.served.token()}"}
    assert planted.http("POST", "/graph/v1.0/users", json=told, headers=bearer).status_code == 201
    served = planted.site.served
    with Browser(served.url, served.ca_file) as browser:
        page = browser.submit(browser.get("/signin"), "/signin", login="alice", password=FIRST)
        page = browser.submit(page, "/password", login="alice", password=FIRST, new=CHOSEN, again=CHOSEN)
        secret = secret_on(page.text)
        planted.plant("secret of the app", base64.b32encode(secret).decode().rstrip("="))
        page = browser.submit(
            page, "/factor/enrol", code=onetime.code(secret, int(time.time() // onetime.STEP))
        )
        for number, code in enumerate(recovery_codes_on(page.text)):
            planted.plant(f"recovery code {number}", code)
        for name, value in browser.cookies.items():
            planted.plant(f"cookie {name}", value)
        planted.plant("form token", hidden(browser.get("/factors").text)["form_token"])


def program(planted: Planted) -> None:
    bearer = {"authorization": f"Bearer {planted.site.served.token()}"}
    made = planted.http(
        "POST", "/graph/v1.0/applications", json={"displayName": "nightly"}, headers=bearer
    ).json()
    path = f"/graph/v1.0/applications/{made['id']}/addPassword"
    secret = planted.http("POST", path, json={"passwordCredential": {}}, headers=bearer).json()["secretText"]
    # Shown there, this once.
    planted.said.pop()
    planted.plant("secret of the program", secret)
    planted.http("POST", "/graph/v1.0/servicePrincipals", json={"appId": made["appId"]}, headers=bearer)
    form = {"grant_type": "client_credentials", "client_id": made["appId"], "client_secret": secret,
            "scope": f"{planted.site.served.url}/.default"}  # fmt: skip
    answer = planted.http("POST", f"/{planted.site.served.tenant}/oauth2/v2.0/token", data=form)
    planted.said.pop()
    planted.plant("token of the program", signature(answer.json()["access_token"]))


def signature(token: str) -> str:
    """What makes a token good; its head and claims are told in many places."""
    return token.rpartition(".")[2]


def tokens(planted: Planted) -> None:
    """Of the administrator: in the folder of the client, which is for that."""
    planted.plant("access token", signature(planted.site.served.token()))
    config = planted.site.folder / "config"
    for file in (one for one in config.rglob("*") if one.is_file()):
        for number, word in enumerate(
            strings(json.loads(file.read_text()) if file.suffix == ".json" else "")
        ):
            if word.count(".") == 2 or len(word) in range(40, 80):
                secret = signature(word) if word.count(".") == 2 else word
                if secret not in planted.site.served.env.values():
                    planted.plant(f"{file.name} {number}", secret, file)


def strings(document: Any) -> Iterator[str]:
    if isinstance(document, str):
        yield document
    elif isinstance(document, dict | list):
        for one in document.values() if isinstance(document, dict) else document:
            yield from strings(one)


def vault(planted: Planted) -> None:
    admin, served = planted.site.admin, planted.site.served
    path = f"{admin.group}/providers/Microsoft.KeyVault/vaults/default"
    told = {"location": "local", "properties": {"tenantId": served.tenant, "enableRbacAuthorization": True}}
    admin.api.put(path, told)
    officer = "b86a8fe4-44ce-4948-aee5-eccb2c155cd7"
    role = f"{planted.site.admin.profile.subscription_path}/providers/Microsoft.Authorization/roleDefinitions/{officer}"
    me = planted.http("GET", "/graph/v1.0/me", headers={"authorization": f"Bearer {served.token()}"}).json()[
        "id"
    ]
    assigned = f"{path}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}"
    admin.api.put(assigned, {"properties": {"roleDefinitionId": role, "principalId": me}})
    token = served.credential.get_token(f"{served.url}/vault/.default").token
    planted.plant("token for the vault", signature(token))
    headers, version = {"authorization": f"Bearer {token}"}, {"api-version": VAULT_VERSION}
    planted.plant("secret in the vault", VALUE)
    put = planted.http("PUT", "/secrets/nas", json={"value": VALUE}, headers=headers, params=version)
    assert put.status_code == 200, put.text
    # It repeats the value to who has set it, as Azure's does.
    planted.said.pop()
    for path in ("/secrets", "/secrets/nas/versions", "/deletedsecrets"):
        assert planted.http("GET", path, headers=headers, params=version).status_code == 200


def migration(planted: Planted, root: Path) -> None:
    """An agent that tells everything copies into a container."""
    here = planted.site
    source = root / "source"
    source.mkdir(parents=True)
    for number in range(FILES):
        (source / f"file-{number}").write_bytes(b"x" * 100)
    made = here.agent()
    made.program = ("-c", AT_DEBUG)
    planted.plant(
        "key of the agent", lines_of(made.state.directory / "key.pem"), made.state.directory / "key.pem"
    )
    planted.plant("key of the account", here.azurite.key)
    container = here.azurite.container()
    made.start(root, workers=1)
    job = here.job(source, container, made)
    job.start()
    while job.run["status"] not in ENDED:
        planted.look_at_processes()
    run = job.end()
    assert run["status"] == "Succeeded", here.traces()
    account = Account("id", here.azurite.url, here.azurite.account, here.azurite.key)
    sas = blob.sign(account, container.container_name, run["wherry"]["credential"])
    planted.plant("signature of the SAS", parse_qs(sas)["sig"][0])
    answers(planted, job, made)
    made.stop()


def answers(planted: Planted, job: Job, agent: Agent) -> None:
    """All that the API tells of it to who may see everything."""
    api, here = planted.site.admin.api, planted.site
    for path in (here.account(), job.path, job.run_path, f"{here.mover}/agents/{agent.name}"):
        planted.said.append(json.dumps(api.get(path)))
    for path in (f"{here.mover}/endpoints", f"{job.run_path}/copyLogs", f"{job.run_path}/events"):
        planted.said.append(json.dumps(list(api.list(path))))
    bearer = {"authorization": f"Bearer {here.served.token()}"}
    for path in ("users", "applications", "servicePrincipals", "groups"):
        planted.http("GET", f"/graph/v1.0/{path}", headers=bearer)


def mistakes(planted: Planted) -> None:
    """Secrets where they do not belong: what is said to that repeats none."""
    served, secrets = planted.site.served, planted.secrets
    token = f"/{served.tenant}/oauth2/v2.0/token"
    bearer = {"authorization": f"Bearer {served.token()}"}
    form = {"grant_type": "client_credentials", "client_id": str(uuid.uuid4()), "scope": "x",
            "client_secret": secrets["secret of the program"]}  # fmt: skip
    assert planted.http("POST", token, data=form).status_code in (400, 401)
    refresh = {"grant_type": "refresh_token", "client_id": "x", "refresh_token": VALUE}
    assert planted.http("POST", token, data=refresh).status_code in (400, 401)
    assert (
        planted.http("GET", "/graph/v1.0/me", headers={"authorization": f"Bearer {VALUE}"}).status_code == 401
    )
    account = f"{planted.site.admin.group}/providers/Microsoft.Storage/storageAccounts/other"
    for told in ({"blobEndpoint": "no", "accountKey": planted.site.azurite.key},
                 {"blobEndpoint": "https://a.example", "accountKey": f"{VALUE}!"},
                 {"blobEndpoint": "https://a.example", "accountKey": {"x": VALUE}}):  # fmt: skip
        answer = planted.http(
            "PUT", account, json={"location": "x", "properties": {"wherry": told}}, headers=bearer,
            params={"api-version": "2025-08-01"},
        )  # fmt: skip
        assert answer.status_code == 400
    user = {"userPrincipalName": "bob", "displayName": "Bob", "passwordProfile": {"password": CHOSEN, "x": 1, "y": []},
            "accountEnabled": CHOSEN}  # fmt: skip
    assert planted.http("POST", "/graph/v1.0/users", json=user, headers=bearer).status_code == 400
    assert planted.http("POST", "/signin", data={"login": CHOSEN, "password": CHOSEN}).status_code == 403


def test_attack_65_planted_secrets_would_be_found(planted: Planted) -> None:
    assert len(planted.secrets) > 25
    for name, secret in planted.secrets.items():
        assert planted.found_in(f'x "{secret}" y'.encode()) >= {name}
    for file, names in planted.kept.items():
        assert planted.found_in(file.read_bytes()) >= names, file


def test_attack_65_no_secret_is_in_a_log_at_debug_level(planted: Planted) -> None:
    logs = [planted.site.served.state.with_suffix(".log"), *(one.log for one in planted.site._agents)]
    for log in logs:
        assert planted.found_in(log.read_bytes()) == set(), log
        assert b'"info"' in log.read_bytes(), log


def test_attack_65_no_secret_is_in_clear_in_any_file_but_those_that_are_for_it(planted: Planted) -> None:
    """The database with what SQLite writes beside it, segments, heads, states of agents and of the client."""
    seen = 0
    for file in planted.site.folder.rglob("*"):
        if file.is_file() and not file.is_socket():
            seen += 1
            assert planted.found_in(file.read_bytes()) - planted.kept.get(file, set()) == set(), file
    assert seen > 15
    assert (planted.site.served.state / "wherry.db-wal").exists()
    assert deployment.describe(planted.site.served.state).tenant


def test_attack_65_no_secret_is_in_a_support_bundle(planted: Planted) -> None:
    for agent in planted.site._agents:
        with tarfile.open(bundle.collect(agent.state).path) as archive:
            held = {name: archive.extractfile(name) for name in archive.getnames()}
            files = {name.partition("/")[2]: file.read() for name, file in held.items() if file is not None}
        assert {"own/health.json", "root/registration.json", "var/log/agent.log", "misc/top.txt"} <= set(
            files
        )
        assert b'"lease.begin"' in files["var/log/agent.log"]
        for name, content in files.items():
            assert planted.found_in(content) == set(), name


def test_attack_65_no_secret_is_in_the_audit_trail(planted: Planted) -> None:
    bearer = {"authorization": f"Bearer {planted.site.served.token()}"}
    path = "/providers/Microsoft.Insights/eventtypes/audit/export"
    told = planted.http("GET", path, headers=bearer, params={"api-version": "2015-04-01"})
    assert (told.status_code, "wherry/credential-" in told.text) == (200, True)
    assert "canary" not in told.text
    assert planted.found_in(told.content) == set()


def test_attack_65_no_secret_is_in_an_answer(planted: Planted) -> None:
    assert len(planted.said) > 20
    for said in planted.said:
        assert planted.found_in(said.encode()) == set(), said


def test_attack_65_no_secret_is_in_command_lines_and_environments(planted: Planted) -> None:
    assert len(planted.processes) > 4
    for one in planted.processes:
        assert planted.found_in(one) == set()
