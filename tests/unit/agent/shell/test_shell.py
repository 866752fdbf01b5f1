"""The menus of the admin shell, without any terminal: lines go in, lines come out."""

from __future__ import annotations

import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.unit.agent.shell.script import CTRL_C, Script
from wherry.agent import bundle
from wherry.agent.shell import network, registration, restricted, shell
from wherry.agent.shell.here import Here
from wherry.agent.shell.menus import MENUS, NEWER, QUIT, Menu
from wherry.agent.shell.terminal import Closed
from wherry.agent.state import AgentState
from wherry.client.device_code import DeviceCode
from wherry.model import ids


@pytest.fixture
def state(tmp_path: Path) -> AgentState:
    return AgentState(tmp_path / "agent")


def typed(state: AgentState, *lines: str) -> Script:
    """What a session showed in which these lines were typed."""
    script = Script(lines)
    try:
        shell.run(Here(script, state))
    except Closed:
        script.say("(closed)")
    return script


def number(menu: str, does: str) -> str:
    """What has to be typed in a menu."""
    return str(1 + next(at for at, entry in enumerate(MENUS[menu].entries) if entry.does == does))


def test_the_main_menu_and_the_one_of_the_network_are_the_originals(state: AgentState) -> None:
    shown = typed(state, number("main", "network"), number("network", QUIT), number("main", QUIT)).shown
    assert shown[0] == (
        "\n1) System configuration\n2) Network configuration\n3) Service and job status\n4) Register\n"
        "5) Open restricted shell\n6) Collect support bundle\n7) Restart agent\n8) Exit\n"
    )
    assert shown[1] == "xdmsh> "
    assert shown[2] == (
        "\n1) Show network configuration\n2) Update network configuration\n3) Test network connectivity\n4) Quit\n"
    )
    assert shown[3] == "Choice: "


def test_newer_menus_have_more_tests(state: AgentState) -> None:
    script = Script(["2", "6", "9", "3", "10"])
    shell.run(Here(script, state, menus=NEWER))
    assert "5) Collect support bundle\n" in script.text
    assert "8) Open restricted shell\n9) Troubleshooting\n10) Exit" in script.text
    assert "\n1) SMB Troubleshooting\n" in script.text
    assert (
        "4) Test network connectivity verbosely\n5) Test single endpoint connectivity\n6) Quit" in script.text
    )


@pytest.mark.parametrize("menus", [MENUS, NEWER])
def test_every_entry_leads_to_a_menu_or_an_action(menus: dict[str, Menu]) -> None:
    for menu in menus.values():
        assert menu.entries[-1].does == QUIT
        for entry in menu.entries:
            assert entry.does == QUIT or entry.does in menus or entry.does in shell.ACTIONS
            assert entry.label
            assert entry.help
    used = {entry.does for menu in NEWER.values() for entry in menu.entries}
    assert used - {QUIT} == (set(NEWER) - {"main"}) | set(shell.ACTIONS)


def test_enter_shows_the_menu_again_and_a_question_mark_explains(state: AgentState) -> None:
    shown = typed(state, "", "?", number("main", QUIT)).shown
    menus = [
        text for text in shown if text.startswith("\n1) System configuration\n2) Network configuration\n")
    ]
    assert len(menus) == 2
    assert any(text.startswith("1) System configuration: ") for text in shown)
    assert shown.count("xdmsh> ") == 3


@pytest.mark.parametrize(
    "line", ["0", "99", "-1", "1; sh", "$(id)", "`id`", "\u0661", "exit", "1.0", "!", "/", "1 2"]
)
def test_what_is_no_number_of_the_menu_does_nothing(state: AgentState, line: str) -> None:
    shown = typed(state, line, number("main", QUIT)).shown
    assert any(text.startswith("Type a number from 1 to") for text in shown)


def test_ctrl_c_leads_back_and_the_end_of_the_line_out(state: AgentState) -> None:
    inside = number("main", "system"), number("system", "change_password"), CTRL_C
    shown = typed(state, CTRL_C, *inside, number("system", QUIT), number("main", QUIT)).shown
    assert "\nStopped." in shown
    assert "(closed)" not in shown
    assert typed(state, *inside).shown[-1] == "(closed)"


def test_a_failing_entry_says_why_and_leads_back(state: AgentState) -> None:
    shown = typed(state, number("main", "registration"), number("main", QUIT)).shown
    assert any("No control plane is set" in text for text in shown)
    assert shown[-1] == "xdmsh> "


def test_the_password_is_asked_for_twice_and_weak_ones_are_refused(state: AgentState) -> None:
    good = "carry the boat over 7"
    change = number("main", "system"), number("system", "change_password")
    script = typed(state, *change, "admin", "admin", good, "other", good, good)
    assert "A password has 12 to 1024 characters." in script.shown
    assert "These were two different ones." in script.shown
    assert "The password is changed." in script.shown
    assert script.secrets == ["admin", "admin", good, "other", good, good]
    assert not Here(script, state).password.is_default
    assert good not in script.text


def test_where_the_control_plane_is_makes_sense_or_is_asked_again(state: AgentState) -> None:
    update = (
        number("main", "network"),
        number("network", "update_network"),
        number("update_network", "set_control_plane"),
    )
    shown = typed(state, *update, "http://plane", "https://127.0.0.1:9", "ff", "gg" * 32, "00" * 32).shown
    assert "An address begins with https://." in shown
    assert shown.count("A SHA-256 fingerprint has 64 hexadecimal digits.") == 2
    assert state.server is None


def test_a_registration_begins_with_a_test_of_the_way(state: AgentState) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    state.trust_server(f"https://127.0.0.1:{port}", b"no certificate")
    shown = typed(state, number("main", "registration"), number("main", QUIT)).text
    assert f"FAIL  control plane https://127.0.0.1:{port}" in shown
    assert "Let the firewall pass TCP" in shown
    assert "Subscription ID" not in shown


def test_the_tests_of_the_network_say_what_to_mend(state: AgentState) -> None:
    network, quit_ = number("main", "network"), str(len(NEWER["network"].entries))
    with socket.create_server(("127.0.0.1", 0)) as held:
        address = f"127.0.0.1:{held.getsockname()[1]}"
    lines = [network, "3", "4", "5", "ftp://x", address, "y", quit_, str(len(NEWER["main"].entries))]
    state.trust_server(f"https://{address}", b"no certificate")
    script = Script(lines)
    shell.run(Here(script, state, menus=NEWER))
    assert script.text.count("FAIL  control plane") == 2
    assert "FAIL  vault" in script.text
    assert "That is no address" in script.text
    assert "The way to 127.0.0.1 port" in script.text
    assert "Mend the first one that failed" in script.text


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("help", "nslookup NAME"),
        ("nslookup localhost", "127.0.0.1"),
        ("nslookup", "It is: nslookup NAME"),
        ("nslookup a b", "It is: nslookup NAME"),
        ("nslookup $(id)", "That is no name of a host"),
        ("nslookup -x", "That is no name of a host"),
        ("ping ;id", "That is no name of a host"),
        ("traceroute 127.0.0.1 70000", "A port is a number"),
        ("traceroute 127.0.0.1 1", "   1  127.0.0.1"),
        ("curl file:///etc/passwd", "That is no address"),
        ("curl -o /etc/passwd http://127.0.0.1", "It is: curl [-I|-G] URL"),
        ("curl -K x", "It is: curl [-I|-G] URL"),
        ("curl http://169.254.169.254/", "is asked nothing"),
        ("help curl", "a redirect not followed"),
        ("help id", "There is no such command"),
        ("showmount -e $(id)", "That is no name of a host"),
        ("showmount localhost", "It is: showmount -e HOST"),
        ("mount -a", "It is: mount HOST:/EXPORT"),
        ("mount `id`:/x", "It is: mount HOST:/EXPORT"),
        ("umount /", "It is: umount"),
        ("smbclient -N //h", "That is no name of a host"),
        ("smbclient h|id", "That is no name of a host"),
        ("PATH=/tmp smbclient", "There is no such command"),
        ("LD_PRELOAD=x ping localhost", "There is no such command"),
        ("help | less", "It is: help [COMMAND]"),
        ("ping localhost; id", "It is: ping HOST"),
        ("ping localhost\nid", "It is: ping HOST"),
        ("id", "There is no such command"),
        ("/bin/sh", "There is no such command"),
        ("`id`", "There is no such command"),
        ("$SHELL", "There is no such command"),
        ("!id", "There is no such command"),
        ("exit 1", "It is: exit"),
    ],
)
def test_attack_45_the_restricted_shell_knows_a_few_words_only(
    state: AgentState, line: str, said: str
) -> None:
    shown = typed(state, number("main", "restricted"), line, "", CTRL_C, "exit", number("main", QUIT))
    assert said in shown.text
    assert "uid=" not in shown.text
    assert shown.shown[-1] == "xdmsh> "


@pytest.mark.parametrize("name", ["a..b", "a" * 64, "fe80::1%a..b"])
@pytest.mark.parametrize(
    "line",
    [
        "nslookup {}",
        "ping {}",
        "traceroute {}",
        "showmount -e {}",
        "smbclient {}",
        "mount {}:/data",
        "mount //{}/s",
        "curl https://{}/",
        "curl https://[{}]/",
    ],
)
def test_what_is_no_name_of_a_host_ends_no_session(state: AgentState, line: str, name: str) -> None:
    shown = typed(
        state, number("main", "restricted"), line.format(name), "help exit", "exit", number("main", QUIT)
    ).shown
    assert f"{'exit':<40}leave" in shown
    assert any(one.startswith(("That is no", "It is: mount")) for one in shown)


@pytest.mark.parametrize("where", [shell.ACTIONS, restricted.COMMANDS], ids=["an entry", "a word"])
def test_a_name_that_a_lookup_chokes_on_ends_no_session(
    state: AgentState, monkeypatch: pytest.MonkeyPatch, where: dict[str, object]
) -> None:
    def look_up(*_: object) -> None:
        "a..b".encode("idna")

    if where is shell.ACTIONS:
        monkeypatch.setitem(where, "restart", look_up)
        lines = [number("main", "restart"), number("main", QUIT)]
    else:
        monkeypatch.setitem(where, "ping", restricted.Command("", "", range(2), look_up))
        lines = [number("main", "restricted"), "ping x", "exit", number("main", QUIT)]
    shown = typed(state, *lines)
    assert "It does not work: there is no host of such a name." in shown.shown
    assert shown.shown[-1] == "xdmsh> "


def test_ctrl_c_on_the_console_ends_a_command_and_not_the_restricted_shell(
    state: AgentState, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pressed(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(restricted, "ping", pressed)
    shown = typed(state, number("main", "restricted"), "ping localhost", "help exit", "exit").shown
    at = shown.index("\nStopped.")
    assert shown[at + 1 : at + 4] == ["restricted> ", f"{'exit':<40}leave", "restricted> "]


def test_a_bundle_is_made_when_it_is_agreed_to_what_stays_out(state: AgentState) -> None:
    choose = number("main", "bundle")
    shown = typed(state, choose, "n", choose, "y", number("main", QUIT)).text
    (made,) = bundle.folder(state).glob("*.tar.gz")
    assert shown.count("Left out are:") == 2
    assert f"Made {made.name}: {made.stat().st_size} bytes" in shown


def test_an_agent_that_does_not_run_cannot_be_started_anew(state: AgentState) -> None:
    assert "The agent does not run." in typed(state, number("main", "restart"), number("main", QUIT)).text


def test_the_questions_of_a_registration(state: AgentState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "before_registration", lambda _: None)
    state.trust_server("https://127.0.0.1:9", b"no certificate")
    wrong = "no guid", "/subscriptions/1/resourceGroups/g"
    mover = ids.mover_id("6f6c1b7c-0d28-4a1f-a0f3-0b7b7d3c2f55", "g", "m")
    tags = "site", "a/b=1", "site=north, owner = me"
    shown = typed(
        state, number("main", "registration"), *wrong, mover, "-", "agent", "scope", "", *tags
    ).shown
    assert "A subscription ID is a GUID, as `wherry env` prints it." in shown
    assert "This is not the resource ID of a storage mover." in shown
    assert "This is not a valid agent name." in shown
    assert "This is not the resource ID of a private link scope." in shown
    assert "'site' is no tag: NAME=VALUE is expected." in shown
    assert any(text.startswith("'a/b' is no name of a tag") for text in shown)
    assert "[trust] https://127.0.0.1:9 was trusted before." in shown
    assert not any(text.startswith("Resource group name") for text in shown)
    assert state.registration() is None


def test_each_minute_it_is_said_how_long_a_code_is_good_for(
    state: AgentState, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(registration, "time", SimpleNamespace(monotonic=lambda: now))
    script = Script([])
    waiting = registration._Waiting(Here(script, state))
    waiting.for_(DeviceCode("ABCD-EFGH", "https://plane/device", "", "", 5.0, 900.0, now + 900, "secret"))
    for seconds in (5.0, 54.0, 1.0, 5.0, 55.0):
        now += seconds
        waiting(0.0)
    said = [text for text in script.shown if "ABCD-EFGH" in text]
    assert said == [f"The code ABCD-EFGH is good for {minutes} more minutes." for minutes in (14, 13)]
