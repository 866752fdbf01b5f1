"""The unit of the control plane: what is in it, how it comes and goes, what systemd thinks of it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from wherry.control import install as services
from wherry.control.install import Wanted, install, uninstall
from wherry.model.errors import UsageError
from wherry.model.service_unit import command_line

PROGRAM = Path(sys.executable)
PLAIN = Wanted(PROGRAM, "0.0.0.0:8443")
SYSTEMD = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
WEAKEST = 20
"""The highest exposure that `systemd-analyze security` may find, in tenths."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "image" / "etc").mkdir(parents=True)
    return tmp_path / "image"


def test_the_service_can_do_nothing_but_its_own() -> None:
    told = services.text(PLAIN)
    for line in (
        "DynamicUser=yes",
        "ProtectSystem=strict",
        "StateDirectory=wherry",
        "CapabilityBoundingSet=",
        "Type=notify",
    ):
        assert f"\n{line}\n" in told
    assert "ReadWritePaths" not in told
    key = Path("/etc/wherry/key.cred")
    told = services.text(Wanted(PROGRAM, "[::]:443", "https://m.example", "10.0.0.1,mover", key))
    assert "\nAmbientCapabilities=CAP_NET_BIND_SERVICE\n" in told
    assert "\nLoadCredentialEncrypted=master-key:/etc/wherry/key.cred\n" in told
    assert (
        "--public-url https://m.example --further-hosts 10.0.0.1,mover --master-key credential:master-key\n"
        in told
    )


def test_nothing_in_a_command_is_expanded() -> None:
    assert command_line(["/a b", "50%", "$HOME", 'q"\\']) == '"/a b" 50%% $$HOME "q\\"\\\\"'
    with pytest.raises(UsageError, match="no unit can hold"):
        command_line(["a\nExecStart=/bin/sh"])


def test_it_comes_and_goes_and_comes_once(root: Path) -> None:
    assert list(install(PLAIN, root)) == ["written: /etc/systemd/system/wherry.service"]
    unit = root / services.UNIT
    assert unit.read_text() == services.text(PLAIN)
    assert (root / "etc/systemd/system/multi-user.target.wants/wherry.service").is_symlink()
    assert list(install(PLAIN, root)) == []
    assert list(install(Wanted(PROGRAM, "0.0.0.0:443"), root)) != []
    removed, kept = uninstall(root)
    assert (removed, kept[:22]) == ("removed: /etc/systemd/system/wherry.service", "/var/lib/wherry stays:")
    assert [path for path in root.rglob("*") if not path.is_dir()] == []
    with pytest.raises(UsageError, match="nothing was installed"):
        list(uninstall(root))


def test_what_is_somebody_elses_stays(root: Path, tmp_path: Path) -> None:
    unit = root / services.UNIT
    unit.parent.mkdir(parents=True)
    unit.write_text("[Service]\n")
    for call in (lambda: install(PLAIN, root), lambda: uninstall(root)):
        with pytest.raises(UsageError, match="somebody else"):
            list(call())
    assert unit.read_text() == "[Service]\n"
    with pytest.raises(UsageError, match="no tree of a system"):
        list(install(PLAIN, tmp_path))
    for program, listen in (
        (Path("wherry"), "a:1"),
        (PROGRAM, "8443"),
        (PROGRAM, "a:0"),
        (PROGRAM, "a:99999"),
    ):
        with pytest.raises(UsageError):
            Wanted(program, listen)


@SYSTEMD
def test_systemd_takes_it_and_finds_it_tight(root: Path) -> None:
    list(install(PLAIN, root))
    checked = subprocess.run(
        ["systemd-analyze", "verify", str(root / services.UNIT)], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")
    told = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", str(root / services.UNIT)], capture_output=True, text=True,
        check=True,
    ).stdout  # fmt: skip
    found = re.search(r"exposure level for \S+: (\d+)\.(\d)", told)
    assert found is not None
    assert int(found[1]) * 10 + int(found[2]) <= WEAKEST, told
