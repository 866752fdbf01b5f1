"""The units of an agent's services: what is in them, how they come and go, what systemd thinks of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from wherry.agent import challenges, units
from wherry.agent.install import Place, contents, install, uninstall
from wherry.agent.units import AGENT, CONSOLE, HELPER, IDENTITY, Identity, Wanted
from wherry.model.errors import UsageError

PROGRAM = Path(sys.executable)
ALL = Wanted(
    PROGRAM,
    (Path("/srv/data"),),
    (Path("/srv/50% \"off\"/$HOME"),),
    "0.0.0.0:22",
    identity=Identity(40342, ("https://vault.azure.net",)),
    consoles=("tty1", "ttyS0"),
)  # fmt: skip
WEAKEST = {AGENT: 25, HELPER: 40, IDENTITY: 15, CONSOLE: 20}
"""The highest exposure that `systemd-analyze security` may find, in tenths."""

SYSTEMD = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
SYSUSERS = pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="needs systemd-sysusers")


def settings(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals:
            found.setdefault(name, []).append(value)
    return found


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "image" / "etc").mkdir(parents=True)
    return Place(tmp_path / "image")


def test_the_agent_may_write_and_own_only_where_it_is_allowed_to():
    reading = settings(units.files(Wanted(PROGRAM, (Path("/srv/data"),)))[AGENT])
    writing = settings(units.files(ALL)[AGENT])

    assert reading["DynamicUser"] == ["yes"]
    assert reading["ProtectSystem"] == ["strict"]
    assert reading["AmbientCapabilities"] == ["CAP_NET_BIND_SERVICE CAP_DAC_READ_SEARCH"]
    assert reading["CapabilityBoundingSet"] == reading["AmbientCapabilities"]
    assert "ReadWritePaths" not in reading
    assert set(writing["AmbientCapabilities"][0].split()) == {
        "CAP_NET_BIND_SERVICE", "CAP_DAC_READ_SEARCH", "CAP_CHOWN", "CAP_FOWNER", "CAP_DAC_OVERRIDE",
    }  # fmt: skip
    assert writing["ReadWritePaths"] == ['"-/srv/50%% \\"off\\"/$HOME"']
    assert '--allow-target "/srv/50%% \\"off\\"/$$HOME"' in writing["ExecStart"][0]


def test_the_endpoint_and_the_consoles_can_do_nothing_but_their_own():
    for name in (IDENTITY, CONSOLE):
        found = settings(units.files(ALL)[name])
        assert found["CapabilityBoundingSet"] == found["AmbientCapabilities"] == [""]
        assert found["DynamicUser"] == ["yes"]
    assert settings(units.files(ALL)[IDENTITY])["User"] != settings(units.files(ALL)[AGENT])["User"]
    assert set(units.files(Wanted(PROGRAM, helper=False))) == {AGENT}


@pytest.mark.parametrize("console", ["tty1; reboot", "pts/0", "../tty1", ""])
def test_only_terminals_of_the_machine_become_consoles(console):
    with pytest.raises(UsageError, match="no terminal"):
        Wanted(PROGRAM, consoles=(console,))


def test_paths_are_whole_and_of_one_line():
    with pytest.raises(UsageError, match="whole paths"):
        Wanted(PROGRAM, (Path("data"),))
    with pytest.raises(UsageError, match="no unit can hold"):
        units.files(Wanted(PROGRAM, (Path("/srv/a\nExecStartPre=/bin/x"),)))


@SYSUSERS
def test_they_come_into_an_image_once_and_go_without_a_trace(place: Place) -> None:
    before = tree(place.root)
    first = list(install(place, ALL))
    found = tree(place.root)
    assert "etc/systemd/system/multi-user.target.wants/wherry-console@ttyS0.service" in found
    assert os.readlink(place.root / "etc/systemd/system/serial-getty@ttyS0.service") == "/dev/null"
    assert len(first) == len(contents(ALL))
    assert list(install(place, ALL)) == []
    assert tree(place.root) == found

    fewer = list(install(place, Wanted(PROGRAM, consoles=("tty1",))))
    assert f"stopped: {IDENTITY}" in fewer
    assert f"removed: /etc/systemd/system/{IDENTITY}" in fewer
    assert "etc/systemd/system/serial-getty@ttyS0.service" not in tree(place.root)
    assert "etc/systemd/system/getty@tty1.service" in tree(place.root)

    assert "unregister the agent first" in list(uninstall(place))[-1]
    left = {
        name for name in tree(place.root) - before if not name.endswith((".wants", "system", "systemd", ".d"))
    }
    # The group of those who may have tokens stays: people were put into it.
    assert left <= {"etc/group", "etc/gshadow", "etc/.pwd.lock"}
    assert len(list(uninstall(place))) == 1


def tree(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def test_a_file_of_somebody_else_is_left_alone(place: Place) -> None:
    getty = place.root / "etc/systemd/system/getty@tty1.service"
    getty.parent.mkdir(parents=True)
    getty.write_text("[Unit]\n")
    with pytest.raises(UsageError, match="in the way"):
        list(install(place, Wanted(PROGRAM, consoles=("tty1",))))
    assert getty.read_text() == "[Unit]\n"


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no tree of a system"):
        list(install(Place(tmp_path), Wanted(PROGRAM)))
    real = Path.is_dir
    monkeypatch.setattr(Path, "is_dir", lambda self: str(self) != "/run/systemd/system" and real(self))
    with pytest.raises(UsageError, match="not run by systemd"):
        list(install(Place(), Wanted(PROGRAM)))
    monkeypatch.setattr(Path, "is_dir", lambda self: str(self) == "/run/systemd/system" or real(self))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UsageError, match="Only root"):
        list(uninstall(Place()))
    monkeypatch.setattr(challenges, "ARC", Path("/image/himds"))
    (tmp_path / "etc").mkdir()
    (tmp_path / "image").mkdir()
    (tmp_path / "image" / "himds").touch()
    with pytest.raises(UsageError, match="Azure Arc"):
        list(install(Place(tmp_path), ALL))


@SYSTEMD
def test_systemd_takes_them_and_finds_them_hardened(tmp_path: Path) -> None:
    paths = []
    for name, text in units.files(ALL).items():
        paths.append(tmp_path / name.replace("@", "@tty1"))
        paths[-1].write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, paths)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, ours(done.stderr, tmp_path)) == (0, [])
    for path in paths:
        worst = WEAKEST[path.name.replace("@tty1", "@")]
        done = subprocess.run(
            ["systemd-analyze", "security", "--offline=yes", "--no-pager", f"--threshold={worst}", str(path)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-200:]


def ours(said: str, folder: Path) -> list[str]:
    """What is said of our units; those of the system are read too."""
    return [line for line in said.splitlines() if str(folder) in line or "wherry" in line]
