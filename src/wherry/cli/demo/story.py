"""What happens in the demo, act by act; everything through the doors that a person uses.

The control plane and the agent are processes of this program, people's requests go through the command line's own
client, approvals through break-glass.  Called by `wherry demo`.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import sys
import sysconfig
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wherry.cli import run_watch
from wherry.cli.demo import proof
from wherry.cli.demo.proof import Container, Tree
from wherry.cli.demo.servers import SIGNALS, WHERRY, BlobServer, Servers
from wherry.cli.demo.stage import Act, Interrupted, Stage
from wherry.cli.exits import Exit
from wherry.cli.live import size
from wherry.cli.output import tell
from wherry.client.login import SignIn
from wherry.client.profile import Profile
from wherry.client.rest import ResourceClient
from wherry.control import breakglass, environment
from wherry.model import names
from wherry.model.errors import UsageError, WherryError
from wherry.model.run import RunStatus
from wherry.trust.authority import fingerprint

GROUP = MOVER = PROJECT = "demo"
AGENT = "demo-agent"
JOB = "everything"
CONTAINER = "target"
LOCATION = {"location": "local"}
# Other programs may write there while the demo runs; and packages are not the standard library.
LEFT_OUT = ("site-packages", "dist-packages", "__pycache__")
_POLL = 0.2


class NotProven(WherryError):
    """The demo came to its end, but what it shows is not what it promised."""


@dataclass
class Demo:
    """What the acts share."""

    folder: Path
    source: Path
    excluded: tuple[str, ...]
    servers: Servers
    stage: Stage
    blob: BlobServer | None = None
    container: Container | None = None
    api: Any = None
    profile: Any = None
    mover: str = ""
    job: str = ""
    policy: str = ""
    answered: int = 0

    @property
    def state(self) -> Path:
        return self.folder / "control-plane"

    @property
    def agent_state(self) -> Path:
        return self.folder / "agent"

    @property
    def target(self) -> Path:
        """The folder that stands for a container where there is no Blob server."""
        return self.folder / "target"


def play(source: Path | None, azurite: Path | None, *, keep: bool) -> int:
    """Play the whole demo; the exit code.  Whatever happens, no process and no file stays."""
    chosen, excluded = _source(source)
    program = azurite.absolute() if azurite else _found("azurite-blob")
    if program is not None and not os.access(program, os.X_OK):
        raise UsageError(f"{program} is no program that can be started.")
    stage = Stage()
    _stop_on_signals(stage)
    folder = Path(tempfile.mkdtemp(prefix="wherry-demo-"))
    demo = Demo(folder, chosen, excluded, Servers(folder), stage)
    try:
        _play(demo, program)
        if keep:
            _stay(demo)
    except Interrupted:
        tell("Interrupted.")
        return Exit.INTERRUPTED
    finally:
        stage.over = True
        _end(demo)
    return Exit.DONE


def _play(demo: Demo, azurite: Path | None) -> None:
    print(f"A migration of {names.escape(os.fsencode(demo.source))}, everything on this machine.")
    if demo.excluded:
        print(f"Left out: {', '.join(demo.excluded)} (other programs may write there meanwhile).")
    _start_blob_server(demo, azurite)
    _start_control_plane(demo)
    _register_agent(demo)
    _define_job(demo)
    _first_run(demo)
    _prove_equal(demo)
    _second_run(demo)
    _prove_ended(demo)
    demo.stage.table()


def _start_blob_server(demo: Demo, azurite: Path | None) -> None:
    with demo.stage.act("Something to migrate, somewhere to migrate to") as act:
        count, total = proof.measure(demo.source, demo.excluded)
        if azurite is None:
            act.say(
                "There is no Blob server (Azurite) on this machine: the target is a local folder instead."
            )
            demo.target.mkdir()
            target = "a folder"
        else:
            demo.blob = demo.servers.blob_server(azurite, total)
            target = f"a Blob server at {demo.blob.endpoint}"
        act.result = f"{_many(count, 'file')}, {size(total)}; {target}"


def _start_control_plane(demo: Demo) -> None:
    with demo.stage.act("A control plane, and its administrator") as act:
        url = demo.servers.control_plane(demo.state)
        demo.profile = Profile.from_environment(environment.variables(demo.state))
        act.say(f"It is ready at {url}, with a certificate authority of its own.")
        sign_in = SignIn(demo.profile, demo.folder / "config")
        account = sign_in.sign_in(lambda code: _approve(demo, act, code.user_code), sleep=_short_sleep)
        demo.api = ResourceClient(demo.profile, sign_in)
        act.result = f"{account.name} is signed in"


def _register_agent(demo: Demo) -> None:
    with demo.stage.act("An agent, registered by device code") as act:
        group = f"{demo.profile.subscription_path}/resourceGroups/{GROUP}"
        demo.api.put(group, LOCATION)
        demo.mover = f"{group}/providers/Microsoft.StorageMover/storageMovers/{MOVER}"
        demo.api.put(demo.mover, LOCATION)
        asked = demo.servers.start(
            "agent register", *WHERRY, "agent", "register", "--state", str(demo.agent_state), "--url", demo.profile.url,
            "--ca-fingerprint", fingerprint(demo.profile.ca_file.read_bytes()), "--name", AGENT,
            "--subscription", demo.profile.subscription, "--group", GROUP, "--mover", MOVER,
        )  # fmt: skip
        _approve(demo, act, asked.wait_for(r"enter the code ([A-Z0-9-]+)")[1])
        asked.wait()
        target = demo.target if demo.blob is None else None
        demo.servers.agent(demo.agent_state, demo.source, target).wait_for(r'"event": "online"')
        act.say(
            f"It may read {demo.source}{f' and write {target}' if target else ''} on its machine, nothing else."
        )
        act.result = f"{AGENT} is at work"


def _define_job(demo: Demo) -> None:
    with demo.stage.act("Project, endpoints and job") as act:
        api, mover = demo.api, demo.mover
        api.put(f"{mover}/projects/{PROJECT}", {"properties": {}})
        place = {"endpointType": "LocalMount", "path": str(demo.source)}
        api.put(f"{mover}/endpoints/source", {"properties": place})
        api.put(f"{mover}/endpoints/target", {"properties": _target(demo)})
        demo.job = f"{mover}/projects/{PROJECT}/jobDefinitions/{JOB}"
        properties: dict[str, Any] = {
            "copyMode": "Additive", "sourceName": "source", "targetName": "target", "agentName": AGENT,
        }  # fmt: skip
        if demo.excluded:
            properties["wherry"] = {"exclude": list(demo.excluded)}
        api.put(demo.job, {"properties": properties})
        act.result = f"{JOB}: source to {'container' if demo.blob else 'folder'}"


def _target(demo: Demo) -> dict[str, Any]:
    if demo.blob is None:
        return {"endpointType": "LocalMount", "path": str(demo.target)}
    accounts = f"{demo.mover.partition('/providers/')[0]}/providers/Microsoft.Storage/storageAccounts"
    account = f"{accounts}/{demo.blob.account}"
    told = {"blobEndpoint": demo.blob.endpoint, "accountKey": demo.blob.key}
    demo.api.put(account, {**LOCATION, "properties": {"wherry": told}})
    demo.api.put(f"{account}/blobServices/default/containers/{CONTAINER}", {"properties": {}})
    demo.container = Container(demo.blob, CONTAINER)
    return {
        "endpointType": "AzureStorageBlobContainer",
        "storageAccountResourceId": account,
        "blobContainerName": CONTAINER,
    }


def _first_run(demo: Demo) -> None:
    with demo.stage.act("The migration") as act:
        told = _run(demo)
        act.result = f"{told['itemsTransferred']:,} items, {size(told['bytesTransferred'])} transferred"


def _second_run(demo: Demo) -> None:
    with demo.stage.act("The same job once more") as act:
        told = _run(demo)
        if told["itemsTransferred"] or told["bytesTransferred"]:
            raise NotProven(
                f"The second run transferred {told['itemsTransferred']} items. Did somebody write into {demo.source}?"
            )
        act.result = f"0 items, 0 B transferred; {told['itemsNoTransferNeeded']:,} are as they were"


def _run(demo: Demo) -> dict[str, Any]:
    """Start the job and watch it to its end, trying its credential meanwhile; what came of it."""
    demo.policy, demo.answered = "", 0

    def each(properties: dict[str, Any]) -> None:
        access = properties.get("wherry") or {}
        demo.policy = access.get("accessPolicy", demo.policy)
        if demo.container and demo.policy and access.get("accessState") == "Open" and demo.answered != 200:
            demo.answered = demo.container.answer_to(demo.policy)

    started = demo.api.post(f"{demo.job}/startJob")["jobRunResourceId"]
    run = run_watch.to_its_end(demo.api, started, title=JOB, each=each, every=_POLL)
    told: dict[str, Any] = run["properties"]
    if told["status"] != RunStatus.SUCCEEDED:
        error = told.get("error") or {}
        raise NotProven(f"The run ended {told['status']}: {error.get('code', '')} {error.get('message', '')}")
    return told


def _prove_equal(demo: Demo) -> None:
    with demo.stage.act("Proof: source and target are equal") as act:
        left = _not_held(demo)
        if left:
            act.say(
                f"{_many(len(left), 'item')} of a kind or name that the target cannot hold: see the copy log."
            )
        source = proof.read_folder(demo.source, demo.excluded).without(left)
        found = demo.container.read() if demo.container else proof.read_folder(demo.target)
        if wrong := source.differences(found):
            raise NotProven(f"Source and target differ: {'; '.join(wrong)}")
        act.result = f"{_counted(found)}; SHA-256, mode and time of each"


def _not_held(demo: Demo) -> set[bytes]:
    run = demo.api.get(demo.job)["properties"]["latestJobRunResourceId"]
    rows = demo.api.list(f"{run}/copyLogs", outcome="Unsupported", **{"$top": "1000"})
    return {names.unescape(row["itemPath"]) for row in rows}


def _counted(tree: Tree) -> str:
    counts = [_many(len(tree.files), "file"), _many(len(tree.folders), "folder")]
    counts += [_many(len(tree.others), "link")] if tree.others else []
    return f"{', '.join(counts)}, {size(tree.size)} compared"


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _prove_ended(demo: Demo) -> None:
    with demo.stage.act("Proof: the access has ended") as act:
        if demo.container is None:
            act.result = "none was needed: the agent's own roots guard a folder"
            return
        access = _closed(demo)
        policy = access["accessPolicy"]
        if demo.answered == 200:
            act.say("While the run went on, the server answered 200 to its credential.")
        status = demo.container.answer_to(policy)
        if access["accessState"] != "Ended" or status != 403 or policy in demo.container.policies():
            raise NotProven(
                f"The access of the run is {access['accessState']}; the server answers {status} to it."
            )
        act.say(f"The policy {policy} is off the container.")
        act.result = "the server answers 403 to the credential of the run"


def _closed(demo: Demo) -> dict[str, Any]:
    """What the control plane tells of the latest run's access once that has ended; it ends right after the run."""
    run = demo.api.get(demo.job)["properties"]["latestJobRunResourceId"]
    for _ in range(300):
        access: dict[str, Any] = demo.api.get(run)["properties"]["wherry"]
        if access["accessState"] == "Ended":
            break
        _short_sleep(_POLL)
    return access


def _approve(demo: Demo, act: Act, code: str) -> None:
    breakglass.approve(demo.state, code)
    act.say(f"The code {code} was approved (break-glass, as in: wherry device approve).")


def _short_sleep(_seconds: float) -> None:
    """Polling for a code that is approved at once needs no long pauses."""
    time.sleep(_POLL)


def _stay(demo: Demo) -> None:
    """Keep all running until Ctrl-C, and say what there is to see."""
    known = environment.text(demo.state)
    more = {
        "WHERRY_CONFIG_DIR": str(demo.folder / "config"),
        "WHERRY_GROUP": GROUP,
        "WHERRY_MOVER": MOVER,
        "WHERRY_PROJECT": PROJECT,
    }
    if _found("wherry") is None:
        more["PATH"] = f"{Path(sys.executable).parent}:$PATH"
    exports = known + "".join(f"export {name}={_quoted(value)}\n" for name, value in more.items())
    print(f"\nEverything goes on. In another terminal:\n\n{exports}")
    print(
        f"wherry job list\nwherry run list --job {JOB}\nwherry run events --job {JOB}\n"
        f"wherry log list --job {JOB} --top 20\nwherry job start --name {JOB} --watch\nwherry agent list\n"
        f"\nLogs and state are in {demo.folder}. Ctrl-C here ends it all and removes them.",
        flush=True,
    )
    with contextlib.suppress(Interrupted):
        signal.pause()


def _quoted(value: str) -> str:
    return f'"{value}"' if "$PATH" in value else shlex.quote(value)


def _end(demo: Demo) -> None:
    demo.servers.end()
    for opened in (demo.container, demo.api):
        if opened is not None:
            opened.close()
    shutil.rmtree(demo.folder, ignore_errors=True)


def _stop_on_signals(stage: Stage) -> None:
    """A terminal that is closed, or a polite kill, ends the demo as Ctrl-C does; once, so that it can tidy up."""

    def stop(*_: object) -> None:
        if not stage.over:
            stage.over = True
            raise Interrupted

    for number in SIGNALS:
        signal.signal(number, stop)


def _source(source: Path | None) -> tuple[Path, tuple[str, ...]]:
    """What to migrate, and what to leave out of it."""
    if source is None:
        return Path(sysconfig.get_path("stdlib")).resolve(), LEFT_OUT
    if not source.is_dir():
        raise UsageError(f"{source} is not a folder.")
    return source.resolve(), ()


def _found(program: str) -> Path | None:
    path = shutil.which(program)
    return Path(path) if path else None
