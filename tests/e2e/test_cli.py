"""A whole migration by the command line alone, everything behind it real."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import signal
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.azurite import Azurite
from tests.e2e.shell import CODE, PROGRAM, Shell, until
from tests.talk import on_terminal
from wherry.agent.shell.menus import MENUS, QUIT
from wherry.agent.state import AgentState
from wherry.control import breakglass
from wherry.model.errors import ApiError

PLACES = {"WHERRY_GROUP": "lab", "WHERRY_MOVER": "mover", "WHERRY_PROJECT": "project"}


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """Somebody signed in to a control plane of their own, with a mover, a project and an agent at work."""
    shell = Shell(tmp_path_factory.mktemp("lab"), dict(PLACES))
    data = shell.folder / "data"
    (data / "target").mkdir(parents=True)
    tree(data / "source")
    with shell.serving():
        shell.approved("login", name="login")
        shell.run("group", "create", "--name", "lab")
        shell.run("mover", "create", "--name", "mover")
        shell.run("project", "create", "--name", "project")
        shell.run("endpoint", "create", "--name", "source", "--path", str(data / "source"))
        register(shell, "agent-1")
        places = ("--allow-source", str(data / "source"), "--allow-target", str(data / "target"))
        options = (*places, "--workers", "1")
        with shell.started("agent", "run", "--state", "agent-1", *options, name="agent-1-run") as agent:
            agent.wait_for('"event": "online"')
            yield shell


def tree(folder: Path) -> None:
    for number in range(30):
        (folder / f"folder-{number % 3}").mkdir(parents=True, exist_ok=True)
        (folder / f"folder-{number % 3}" / f"file-{number}").write_bytes(b"x" * number)


def register(shell: Shell, name: str) -> str:
    done = shell.approved(
        "agent", "register", "--state", name, "--url", shell.environment["WHERRY_URL"],
        "--ca", shell.environment["WHERRY_CA_FILE"], "--name", name, name=f"register-{name}",
    )  # fmt: skip
    return done.printed


def content(folder: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def job(shell: Shell, name: str, *, agent: str = "agent-1", source: str = "source") -> Path:
    """A job into a folder of its own."""
    target = shell.folder / "data" / "target" / name
    shell.run("endpoint", "create", "--name", f"{name}-t", "--path", str(target))
    shell.run(
        "job", "create", "--name", name, "--source", source, "--target", f"{name}-t", "--mode", "additive",
        "--agent", agent, "--exclude", "*-29",
    )  # fmt: skip
    return target


def test_from_folder_to_folder(shell: Shell) -> None:
    target = job(shell, "copy")

    first = shell.run("job", "start", "--name", "copy", "--watch").data["properties"]
    second = shell.run("job", "start", "--name", "copy", "--watch").data["properties"]

    expected = content(shell.folder / "data" / "source")
    expected.pop("folder-2/file-29")
    assert content(target) == expected
    assert (first["status"], first["itemsTransferred"], first["itemsExcluded"]) == ("Succeeded", 32, 1)
    assert (second["itemsTransferred"], second["itemsNoTransferNeeded"]) == (0, 32)

    runs = shell.run("run", "list", "--job", "copy", "--query", "[].properties.itemsTransferred", "-o", "tsv")
    assert runs.out == "0\n32\n"
    earlier = shell.run("run", "list", "--job", "copy", "--query", "[1].name", "-o", "tsv").out.strip()
    rows = shell.run("log", "list", "--job", "copy", "--run", earlier, "--outcome", "transferred").data
    assert {row["itemPath"] for row in rows} == set(expected)
    below = shell.run("log", "list", "--job", "copy", "--path", "folder-1/", "--top", "4")
    assert len(below.data) == 4
    assert "--top" in below.err
    exported = shell.run("log", "export", "--job", "copy", "--run", earlier, "--code", "AZSM2001")
    assert [json.loads(line)["itemPath"] for line in exported.out.splitlines()] == ["folder-2/file-29"]
    shell.run("log", "export", "--job", "copy", "--run", earlier, "--file", str(shell.folder / "log.csv"))
    assert (shell.folder / "log.csv").read_text().count("Transferred") == len(rows)
    events = shell.run("run", "events", "--job", "copy", "--query", "[].message", "-o", "tsv").out
    assert "Succeeded." in events
    shown = shell.run("run", "show", "--job", "copy", "-o", "table").out
    assert re.search(r"Status +Succeeded", shown)


def test_from_folder_to_container(shell: Shell, azurite: Azurite) -> None:
    (shell.folder / "key").write_text(azurite.key + "\n")
    made = shell.run(
        "storage", "create", "--name", azurite.account, "--blob-endpoint", azurite.url, "--key-file", "key"
    )
    assert azurite.key not in made.out + made.err
    name = "cli-target"
    shell.run("container", "create", "--account-name", azurite.account, "--name", name)
    shell.run(
        "endpoint",
        "create",
        "--name",
        "cloud",
        "--storage-account",
        azurite.account,
        "--container-name",
        name,
    )
    shell.run(
        "job", "create", "--name", "lift", "--source", "source", "--target", "cloud", "--copy-mode", "Mirror",
        "--agent", "agent-1",
    )  # fmt: skip

    told = shell.run("job", "start", "--name", "lift", "--watch").data["properties"]

    assert told["status"] == "Succeeded"
    source = content(shell.folder / "data" / "source")
    with azurite.service.get_container_client(name) as container:
        blobs = {blob.name: container.download_blob(blob.name).readall() for blob in container.list_blobs()}
    assert blobs == {path: data or b"" for path, data in source.items()}
    access = ("run", "show", "--job", "lift", "--query", "properties.wherry.accessState", "-o", "tsv")
    until(lambda: shell.run(*access).out == "Ended\n")
    assert shell.run("container", "show", "--account-name", azurite.account, "-n", name).data["name"] == name


def test_a_folder_that_the_agent_does_not_allow_fails_the_run(shell: Shell) -> None:
    shell.run("endpoint", "create", "--name", "private", "--path", "/usr")
    job(shell, "denied", source="private")

    ended = shell.run("job", "start", "--name", "denied", "--watch", code=11)

    assert ended.data["properties"]["error"]["code"] == "AZSM1007"
    assert shell.run("run", "watch", "--job", "denied", "-o", "none", code=11).out == ""


def test_a_run_that_nobody_takes_up_can_be_watched_left_and_stopped(shell: Shell) -> None:
    register(shell, "agent-2")
    job(shell, "waiting", agent="agent-2")
    run = shell.run("job", "start", "--name", "waiting").data["jobRunResourceId"].rpartition("/")[2]

    assert "JobAlreadyRunning" in shell.run("job", "start", "--name", "waiting", code=5).err
    assert (
        shell.run("run", "watch", "--job", "waiting", "--no-follow").data["properties"]["status"] == "Queued"
    )
    with shell.started("run", "watch", "--job", "waiting", "--run", run, name="watch") as watching:
        watching.wait_for("Queued")
        assert watching.end(signal.SIGINT) == 130
    assert "The run goes on" in watching.printed
    assert shell.run("run", "show", "--job", "waiting").data["properties"]["status"] == "Queued"
    shell.run("job", "stop", "--name", "waiting")
    stopped = shell.run("run", "watch", "--job", "waiting", code=12)
    assert stopped.data["properties"]["status"] == "Canceled"

    assert "--yes" in shell.run("agent", "unregister", "--state", "agent-2", code=2).err
    shell.run("agent", "unregister", "--state", "agent-2", "--yes")
    assert "agent-2" not in shell.run("agent", "list", "--query", "[].name", "-o", "tsv").out
    assert shell.run("agent", "status", "--state", "agent-2").data["state"] == "not registered"


def test_a_registration_tells_its_steps(shell: Shell) -> None:
    printed = register(shell, "agent-3")

    assert re.findall(r"^\[(\w+)\]", printed, re.MULTILINE) == [
        "trust", "connect", "key", "code", "approved", "registered",
    ]  # fmt: skip
    assert re.search(r"The number that the page asks for is \d\d\.", printed)
    shell.run("agent", "delete", "--name", "agent-3", "--yes")
    assert (
        "already registered"
        in shell.run("agent", "register", "--state", "agent-1", "--name", "other", code=2).err
    )


def test_agents_and_groups(shell: Shell) -> None:
    shell.run("agent", "update", "--name", "agent-1", "--description", "in the lab")
    shell.run("agent-group", "create", "--name", "all", "--agent", "agent-1")

    assert shell.run("agent", "show", "--name", "agent-1").data["properties"]["description"] == "in the lab"
    assert shell.run("agent-group", "list", "--query", "[].properties.agents[]").data == ["agent-1"]
    assert re.search(r"agent-1 +(Online|Executing)", shell.run("agent", "list", "-o", "table").out)
    assert shell.run("agent", "status", "--state", "agent-1").data["daemon"] == "running"
    shell.run("agent-group", "delete", "--name", "all", "--yes")


def test_an_agent_comes_and_goes_by_its_shell(shell: Shell) -> None:
    state = f"{shell.folder}/agent-4"
    ids = shell.environment
    register, leave = entry("main", "registration"), entry("main", QUIT)
    with on_terminal([*PROGRAM, "agent", "shell", "--state", state], shell.environment) as talk:
        talk.type("xdmsh> ", f"{register}\r")
        talk.type("No control plane is set.", "")
        talk.type("xdmsh> ", f"{entry('main', 'network')}\r")
        talk.type("Choice: ", f"{entry('network', 'update_network')}\r")
        talk.type("Choice: ", f"{entry('update_network', 'set_control_plane')}\r")
        talk.type("Control plane", ids["WHERRY_URL"] + "\r")
        talk.type("Fingerprint", fingerprint(Path(ids["WHERRY_CA_FILE"])) + "\r")
        talk.type("is trusted", "")
        talk.type("Choice: ", f"{entry('update_network', QUIT)}\r")
        talk.type("Choice: ", f"{entry('network', QUIT)}\r")
        for stopped in (True, False):
            talk.type("xdmsh> ", f"{register}\r")
            talk.type("Subscription ID", ids["WHERRY_SUBSCRIPTION_ID"] + "\r")
            talk.type("Resource group name", "lab\r")
            talk.type("Storage mover resource name", "mover\r")
            talk.type("Agent name", "agent-4\r")
            talk.type("Private Link Scope", "\r")
            talk.type("Tags", "site = north\r")
            talk.type("QR code", "n\r")
            talk.type("Ctrl-C ends it", "\x03" if stopped else "")
            if stopped:
                talk.wait_for("Stopped.")
                assert AgentState(Path(state)).registration() is None
        breakglass.approve(shell.state, CODE.findall(talk.shown)[-1])
        talk.type("[registered] Registered as ", "")
        talk.type(f"{register}) Unregister", "")
        talk.type("xdmsh> ", f"{register}\r")
        told = shell.run("agent", "show", "--name", "agent-4").data
        assert (told["name"], told["properties"]["wherry"]["tags"]) == ("agent-4", {"site": "north"})
        talk.type("[y/N]", "y\r")
        talk.type("[unregistered]", "")
        talk.type(f"{register}) Register", "")
        talk.type("xdmsh> ", f"{leave}\r")
    assert "agent-4" not in shell.run("agent", "list", "--query", "[].name", "-o", "tsv").out


def entry(menu: str, does: str) -> str:
    """The number of an entry of the shell."""
    return str(1 + next(at for at, one in enumerate(MENUS[menu].entries) if one.does == does))


def fingerprint(certificate: Path) -> str:
    """As `openssl x509 -fingerprint -sha256` shows it."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.read_text())).hexdigest()


def test_roles(shell: Shell) -> None:
    agent = json.loads((shell.folder / "agent-1" / "registration.json").read_text())["principal_id"]
    to_agent = ("--assignee", agent, "-g", "lab")
    nobody = ("--assignee", "22222222-2222-2222-2222-222222222222", "-g", "lab")
    made = shell.run("role", "assign", "--role", "storage mover operator", *to_agent).data

    listed = {one["name"]: one["roleDefinitionName"] for one in shell.run("role", "list", *to_agent).data}
    assert listed[made["name"]] == "Storage Mover Operator"
    shell.run("role", "unassign", "--name", made["name"], "-g", "lab", "--yes")
    assert made["name"] not in shell.run("role", "list", *to_agent, "--query", "[].name").data
    assert "role list" in shell.run("role", "unassign", "--name", made["name"], "--yes", code=2).err
    assert "role definitions" in shell.run("role", "assign", "--role", "x", *to_agent, code=2).err
    assert "PrincipalNotFound" in shell.run("role", "assign", "--role", "reader", *nobody, code=1).err


def test_a_job_is_changed(shell: Shell) -> None:
    job(shell, "changed")

    shell.run("job", "update", "--name", "changed", "--max-delete", "5", "--description", "less")

    told = shell.run("job", "show", "--name", "changed").data["properties"]
    assert told["wherry"] == {"exclude": ["*-29"], "maxDelete": 5}
    assert (told["copyMode"], told["description"]) == ("Additive", "less")
    shell.run("job", "delete", "--name", "changed", "--yes")
    assert "ResourceNotFound" in shell.run("job", "show", "--name", "changed", code=3).err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("mover", "show", "--name", "missing"), 3, "ResourceNotFound: "),
        (("run", "show", "--job", "missing"), 3, "ResourceNotFound: "),
        (("mover", "show", "--name", "a/b"), 2, "no name of a resource"),
        (("project", "create", "--name", "-bad-"), 1, "InvalidResourceName"),
        (("endpoint", "create", "--name", "x"), 2, "--path"),
        (("endpoint", "create", "--name", "x", "--path", "not/absolute"), 1, "properties.path"),
        (("job", "create", "--name", "x", "--source", "source", "--target", "none", "--mode", "mirror"), 1,
         "EndpointNotFound"),
        (("job", "create", "--name", "x", "--source", "source", "--target", "none"), 2, "--copy-mode"),
        (("project", "delete", "--name", "project"), 2, "--yes"),
        (("device", "approve", "WRONG", "--state", "plane"), 3, "CodeNotFound"),
        (("device", "approve", "WRONG", "--state", "nowhere"), 2, "nowhere"),
        (("env", "--state", "nowhere"), 2, "nowhere"),
        (("serve", "--state", "plane", "--listen", "127.0.0.1:0"), 2, "in use by process"),
        (("serve", "--state", "other", "--listen", "nonsense"), 2, "HOST:PORT"),
        (("storage", "create", "--name", "acc", "--blob-endpoint", "https://x"), 2, "--key-file"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(shell: Shell, arguments: tuple[str, ...], code: int, said: str) -> None:
    answer = shell.run(*arguments, code=code)

    assert answer.out == ""
    assert said in answer.err


def test_the_programs_are_processes_too(shell: Shell) -> None:
    told = shell.process("mover", "show", "--name", "mover")

    assert told.data["name"] == "mover"
    assert shell.process("mover", "show", "--name", "missing", code=3).out == ""


def test_nobody_is_signed_in(shell: Shell) -> None:
    answer = shell.run("mover", "list", code=4, WHERRY_CONFIG_DIR=str(shell.folder / "nobody"))

    assert answer.err == "You are not signed in. Run: wherry login\n"


def test_no_answer_is_said_to_be_none(shell: Shell) -> None:
    answer = shell.run("login", code=20, WHERRY_AUTHORITY="https://127.0.0.1:9")

    assert "127.0.0.1:9 cannot be reached" in answer.err


def test_requests_are_told_without_secrets(shell: Shell) -> None:
    answer = shell.run("mover", "list", "--debug")

    assert "GET https://127.0.0.1" in answer.err
    assert "Bearer" not in answer.err
    assert "eyJ" not in answer.err


def test_a_code_is_approved_by_a_command(shell: Shell) -> None:
    with shell.started("login", name="second-login") as asking:
        code = asking.wait_for("enter the code ([A-Z0-9-]+)")[1]
        told = shell.run("device", "approve", code, "--state", "plane").data
        assert asking.process.wait(60) == 0
    assert told["state"] == "approved"
    with pytest.raises(ApiError):
        breakglass.approve(shell.state, code)


def test_the_variables_are_for_a_shell(shell: Shell) -> None:
    told = shell.run("env", "--state", "plane")

    assert f"export WHERRY_URL={shell.environment['WHERRY_URL']}\n" in told.out
    assert all(line.startswith("export WHERRY_") for line in told.out.splitlines())
    assert re.search(r"--ca-fingerprint [0-9a-f]{64}\n", told.err)


def commands_of(page: str) -> list[str]:
    """The commands of a how-to."""
    text = (Path(__file__).parents[2] / "docs" / "how-to" / page).read_text()
    return "".join(re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)).splitlines()


def test_each_command_of_the_how_to_of_schedules_works(shell: Shell) -> None:
    job(shell, "backup")
    printed = {line: shell.run(*shlex.split(line)[1:]) for line in commands_of("schedules.md")}
    assert "Europe/Berlin" in printed["wherry job schedule show --name backup --output table"].out
    enabled = printed["wherry job schedule enable --name backup"].data
    assert enabled["schedule"]["isActive"]
    assert len(enabled["next"]) == 5
    assert "agent-1" in printed["wherry job consent list --name backup --output table"].out
    changed = printed[
        "wherry job schedule set --name backup --weekly Saturday --at 22:30 --on-overlap skip"
    ].data
    assert changed["schedule"] == {
        "frequency": "Weekly", "daysOfWeek": ["Saturday"], "executionTime": {"hour": 22, "minute": 30},
        "isActive": True,
    }  # fmt: skip
    assert shell.run("job", "consent", "list", "--name", "backup").data == []
    gone = shell.run("job", "schedule", "show", "--name", "backup", code=2)
    assert "has no schedule" in gone.err


def test_each_command_of_the_how_to_of_access_works(shell: Shell) -> None:
    job(shell, "backup")
    known: dict[str, str] = {}
    printed: dict[str, str] = {}
    for line in commands_of("access.md"):
        taken = re.fullmatch(r"(\w+)=\$\((.*)\)", line)
        command = taken[2] if taken else line
        words = shlex.split(re.sub(r"\$(\w+)", lambda found: known[found[1]], command))
        printed[line] = shell.run(*words[1:]).out
        if taken:
            known[taken[1]] = printed[line].strip()
    assert set(known) == {"target", "consent", "assignment"}
    assert "agent-1" in printed["wherry job consent list --name backup --output table"]
    assert "admin" in printed['wherry access who --target "$target" --output table']
    assert printed['wherry access who --target "$target"'].strip() == "[]"
    assert shell.run("job", "consent", "list", "--name", "backup").data == []
