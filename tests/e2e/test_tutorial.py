"""What the tutorial shows works: its commands are run as they stand, in one shell, codes being approved meanwhile."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.azurite import Azurite
from tests.e2e.shell import CODE, Shell
from tests.integration.served import holding
from wherry.control import breakglass
from wherry.model.errors import WherryError

TUTORIAL = Path(__file__).resolve().parents[2] / "docs" / "tutorial" / "first-migration.md"
BLOCK = re.compile(r"^```sh[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
DONE = "@@ block ended with"
LIMIT = 90.0


class Reader:
    """Somebody who types what the tutorial says, and waits for each block as a person would."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._log = shell.folder / "reader.log"
        with self._log.open("wb") as out:
            self._bash = subprocess.Popen(
                ["bash"], stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT, cwd=shell.folder,
                env=shell.environment, text=True, start_new_session=True,
            )  # fmt: skip
        self._blocks = 0

    @property
    def printed(self) -> str:
        return self._log.read_text(errors="replace")

    def type(self, block: str) -> str:
        """Run a block to its end; what it printed."""
        assert self._bash.stdin is not None
        self._blocks += 1
        begun = len(self.printed)
        # As in a terminal, but the first command that fails ends it all.
        self._bash.stdin.write(f"set -e\n{block}\nset +e\necho '{DONE}' {self._blocks}\n")
        self._bash.stdin.flush()
        wanted = [f"{DONE} {self._blocks}\n"]
        if "wherry serve" in block:
            wanted.append('"ready": true')
        if "wherry agent run" in block:
            wanted.append('"event": "online"')
        deadline = time.monotonic() + LIMIT
        while not all(word in self.printed[begun:] for word in wanted):
            assert self._bash.poll() is None, f"{block} failed: {self.printed[begun:]}"
            assert time.monotonic() < deadline, f"{block} does not end: {self.printed[begun:]}"
            time.sleep(0.05)
        return self.printed[begun:]

    @contextmanager
    def approving(self) -> Iterator[None]:
        """Approve every code that is shown while the block runs."""
        over = threading.Event()
        known: set[str] = set()

        def approve() -> None:
            while not over.wait(0.1):
                for code in set(CODE.findall(self.printed)) - known:
                    known.add(code)
                    breakglass.approve(self._shell.state, code)

        thread = threading.Thread(target=approve)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def close(self) -> None:
        assert self._bash.stdin is not None
        self._bash.stdin.close()
        try:
            self._bash.wait(LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(self._bash.pid, 9)
            self._bash.wait()


@pytest.mark.timeout(300)
def test_the_first_migration_works_as_it_is_told(tmp_path: Path, azurite: Azurite) -> None:
    shell = Shell(tmp_path, {"BLOB_ACCOUNT": azurite.account, "BLOB_ENDPOINT": azurite.url})
    (tmp_path / "account.key").write_text(azurite.key)
    reader = Reader(shell)
    try:
        with holding() as port, reader.approving():
            blocks = [block.replace("8443", str(port)) for block in BLOCK.findall(TUTORIAL.read_text())]
            printed = "".join(reader.type(block) for block in blocks)
    finally:
        reader.close()

    assert printed.count("Succeeded") >= 2
    assert '"accessPolicy"' in printed
    assert re.search(r"^0$", printed, re.MULTILINE)
    photos, archive, second = (tmp_path / "data" / name for name in ("photos", "archive", "second"))
    picture = (photos / "2024" / "summer.jpg").read_bytes()
    assert (archive / "2024" / "summer.jpg").read_bytes() == picture
    assert (second / "2024" / "summer.jpg").read_bytes() == picture
    with azurite.service.get_container_client("photos") as container:
        assert container.download_blob("2024/summer.jpg").readall() == picture
    with pytest.raises(WherryError):
        breakglass.approve(shell.state, "ABCD-EFGH")
