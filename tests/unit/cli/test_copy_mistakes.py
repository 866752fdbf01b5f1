"""What a newcomer does wrong, and that each sentence says what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wherry.cli.exits import Exit
from wherry.cli.main import call


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_bytes(b"x")
    os.mkfifo(tmp_path / "source" / "pipe")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(capfd: pytest.CaptureFixture[str], *words: str, code: int) -> str:
    assert call(["copy", *words, "--workers", "0"]) == code
    return capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("", "target"), "has a variable no value?"),
        (("source", ""), "has a variable no value?"),
        (("source/file", "target"), "is a file: give the folder that it is in"),
        (("source", "target", "--bandwidth", "fast"), "Option --bandwidth: "),
        (("source", "target", "--newer-than", "soon"), "Option --newer-than: "),
        (("source", "target", "--state", "absent/state"), "absent/state: its folder does not exist."),
    ],
)
def test_what_makes_no_sense_is_said_in_the_words_of_the_command(place, capfd, words, sentence):
    assert sentence in said(capfd, *words, code=Exit.USAGE)
    assert sorted(os.listdir(place)) == ["source"]


def test_a_report_that_cannot_be_written_has_the_name_that_was_given(place, capfd):
    assert said(capfd, "source", "target", "--report", "absent/r.json", code=Exit.ERROR).startswith(
        "absent/r.json: "
    )


def test_where_to_see_which_items_are_not_copied_is_told(place, capfd):
    assert "--log FILE" in said(capfd, "source", "target", code=Exit.DONE)
    assert "--log FILE" not in said(capfd, "source", "target", "--log", "log.jsonl", code=Exit.DONE)
    (place / "source" / "pipe").unlink()
    assert "--log FILE" not in said(capfd, "source", "target", code=Exit.DONE)


def test_a_finished_state_does_not_keep_later_files_from_being_copied(place, capfd):
    said(capfd, "source", "target", "--state", "state", code=Exit.DONE)
    (place / "source" / "new").write_bytes(b"y")

    said(capfd, "source", "target", "--state", "state", code=Exit.DONE)

    assert (place / "target" / "new").read_bytes() == b"y"


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_whoever_closes_a_standard_stream_gets_a_copy_all_the_same(place, closed):
    done = subprocess.run(
        [sys.executable, "-m", "wherry.cli.main", "copy", "source", "target", "--workers", "1"],
        preexec_fn=lambda: os.close(closed), capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == Exit.DONE, done
    assert "Traceback" not in done.stderr
    assert (place / "target" / "file").read_bytes() == b"x"
    assert sorted(os.listdir(place / "target")) == ["file"]
