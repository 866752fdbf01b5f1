"""Data on standard output in each form; nothing in it reaches a terminal unescaped."""

from __future__ import annotations

import json

import pytest

from wherry.cli import agent
from wherry.cli.output import Ended, Format, answers, confirm, show, tell
from wherry.model.errors import UsageError

COLUMNS = (("Name", "name"), ("Place", "properties.place"), ("Numbers", "properties.numbers"))
ITEMS = [
    {"name": "one", "properties": {"place": "here", "numbers": [1, 2]}, "etag": "x"},
    {"name": "two", "properties": {"place": None}},
]


def shown(capsys: pytest.CaptureFixture[str], *told: object) -> str:
    capsys.readouterr()
    show(*told)  # type: ignore[arg-type]
    return str(capsys.readouterr().out)


def test_without_a_terminal_it_is_the_object_unmodified(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(shown(capsys, ITEMS, COLUMNS)) == ITEMS


def test_the_person_may_choose_another_default(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHERRY_OUTPUT", "none")
    assert shown(capsys, ITEMS, COLUMNS) == ""

    monkeypatch.setenv("WHERRY_OUTPUT", "xml")
    with pytest.raises(UsageError, match="table, json, jsonc, tsv, none"):
        show(ITEMS)


def test_a_table_has_the_columns_of_the_noun(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line.split() for line in shown(capsys, ITEMS, COLUMNS, Format.TABLE).splitlines()]

    assert lines == [["Name", "Place", "Numbers"], ["one", "here", "1,", "2"], ["two"]]


def test_one_thing_is_shown_downwards_and_without_what_is_empty(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line.split() for line in shown(capsys, ITEMS[1], COLUMNS, Format.TABLE).splitlines()]

    assert lines == [["Name", "two"]]


def test_a_table_without_columns_takes_what_is_plain(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line.split() for line in shown(capsys, ITEMS, (), Format.TABLE).splitlines()]

    assert lines == [["name", "etag"], ["one", "x"], ["two"]]


def test_agents_are_shown_with_how_their_identity_stands(capsys: pytest.CaptureFixture[str]) -> None:
    agents = [
        {
            "name": state.lower(),
            "properties": {"agentStatus": status, "wherry": {"identity": state}},
        }
        for state, status in (
            ("Active", "Online"),
            ("Locked", "RequiresAttention"),
            ("Expired", "RequiresAttention"),
        )
    ]
    lines = [line.split() for line in shown(capsys, agents, agent.COLUMNS, Format.TABLE).splitlines()]
    assert lines[0][:3] == ["Name", "Status", "Identity"]
    assert [line[2] for line in lines[1:]] == ["Active", "Locked", "Expired"]
    assert ["Identity", "Locked"] in [
        line.split() for line in shown(capsys, agents[1], agent.COLUMNS, Format.TABLE).splitlines()
    ]


def test_nothing_found_is_no_data(capsys: pytest.CaptureFixture[str]) -> None:
    show([], COLUMNS, Format.TABLE)

    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "Nothing found.\n")


def test_tsv_has_a_line_an_item(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, ITEMS, COLUMNS, Format.TSV, "[].[name, properties.place]") == "one\there\ntwo\t\n"
    assert shown(capsys, ITEMS, COLUMNS, Format.TSV, "[].name") == "one\ntwo\n"
    assert shown(capsys, "a\tb\nc", (), Format.TSV) == "a\\tb\\nc\n"


def test_colours_change_no_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(shown(capsys, ITEMS, COLUMNS, Format.JSONC)) == ITEMS


def test_a_query_selects(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(shown(capsys, ITEMS, COLUMNS, Format.JSON, "[?name=='two'].name | [0]")) == "two"


@pytest.mark.parametrize("query", ["[", "join(',', [0].properties.place.none)"])
def test_a_query_that_does_not_work_is_a_usage_error(query: str) -> None:
    with pytest.raises(UsageError, match="--query"):
        show(ITEMS, COLUMNS, Format.JSON, query)


@pytest.mark.parametrize("form", [Format.TABLE, Format.TSV, Format.JSON, Format.JSONC])
def test_attack_59_a_terminal_is_not_steered_by_data(
    form: Format, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = [{"name": "\x1b]0;owned\x07\x9b2J\u202e [bold]x[/bold]", "properties": {"place": "a\nb"}}]

    printed = shown(capsys, hostile, COLUMNS, form)

    assert not set("\x1b\x07\x9b\u202e") & set(printed)
    # What looks like markup of our own tables is data too.
    assert "[bold]x[/bold]" in printed


def test_attack_59_messages_are_made_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    tell("\x1b[31mred")

    assert capsys.readouterr().err == "\\x1b[31mred\n"


def test_nothing_is_lost_without_a_terminal_to_ask_on() -> None:
    with pytest.raises(UsageError, match="--yes"):
        confirm("Delete it?", yes=False)
    confirm("Delete it?", yes=True)


def test_a_broken_query_is_refused_before_anything_is_done() -> None:
    done: list[str] = []

    @answers()
    def command() -> None:
        done.append("something")

    with pytest.raises(UsageError):
        command(output=None, query="[")
    assert done == []


def test_an_answer_may_end_the_program_with_a_code(capsys: pytest.CaptureFixture[str]) -> None:
    import typer

    @answers()
    def command() -> Ended:
        return Ended({"status": "Failed"}, 11)

    with pytest.raises(typer.Exit) as ended:
        command(output=Format.TSV, query=None)
    assert ended.value.exit_code == 11
    assert capsys.readouterr().out == "Failed\n"
