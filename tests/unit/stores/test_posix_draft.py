"""Who may write a large file: one thread where the file system lets only one in, else several."""

from __future__ import annotations

from pathlib import Path

import pytest

from wherry.model.entry import Entry
from wherry.stores import posix_draft
from wherry.stores.port import Content, StoreSpec
from wherry.stores.posix import PosixStore

EXT4, NFS = 0xEF53, 0x6969


class Distant:
    """A file that is nobody's descriptor."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry

    def read_at(self, offset: int, size: int) -> bytes:
        return b"x"[offset : offset + size]

    def fileno(self) -> None:
        return None

    def entry(self) -> Entry:
        return self._entry

    def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize(
    ("file_system", "distant", "alone"), [(EXT4, False, True), (NFS, False, False), (EXT4, True, False)]
)
def test_writers_of_one_file_wait_for_each_other_on_file_systems_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file_system: int, distant: bool, alone: bool
) -> None:
    monkeypatch.setattr(posix_draft, "file_system_type", lambda _: file_system)
    (tmp_path / "source").mkdir()
    (tmp_path / "target").mkdir()
    (tmp_path / "source" / "file").write_bytes(b"x")
    source = PosixStore(StoreSpec("posix", str(tmp_path / "source")))
    target = PosixStore(StoreSpec("posix", str(tmp_path / "target")))
    reader = source.open(b"file")
    entry = reader.entry()
    draft = target.draft(b"file", Content(Distant(entry) if distant else reader, entry), entry, None)

    assert draft.alone is alone

    draft.discard()
    reader.close()
    source.close()
    target.close()
