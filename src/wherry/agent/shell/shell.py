"""The loop of menus: shows one, takes a number, does what it stands for, and shows it again.

An entry that fails says why and leads back to its menu; Ctrl-C does so too.  Called by `console` and `ssh` sessions.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from wherry.agent.log_lines import tell
from wherry.agent.shell import (
    jobs,
    machine_settings,
    network,
    registration,
    restart,
    restricted,
    support,
    system,
    troubleshooting,
    way_settings,
)
from wherry.agent.shell.here import Here
from wherry.agent.shell.menus import QUIT, Entry, Menu
from wherry.agent.shell.terminal import Interrupted
from wherry.model.errors import CODES, ApiError, RunError, WherryError

ACTIONS: dict[str, Callable[[Here], None]] = {
    "registration": registration.register_or_unregister,
    "show_system": system.show,
    "change_password": system.change_password,
    "show_network": network.show,
    "test_network": network.test,
    "test_network_verbosely": network.test_verbosely,
    "test_endpoint": network.test_single,
    "restricted": restricted.open_shell,
    "restart": restart.restart,
    "host_name": machine_settings.host_name,
    "time_zone": machine_settings.time_zone,
    "time_servers": machine_settings.time_servers,
    "set_control_plane": registration.set_control_plane,
    "addresses": machine_settings.addresses,
    "name_servers": machine_settings.name_servers,
    "proxy": way_settings.proxy,
    "authorities": way_settings.authorities,
    "bundle": support.collect,
    "show_log": troubleshooting.log,
    "smb_trouble": troubleshooting.smb,
    "nfs_trouble": troubleshooting.nfs,
    "service_status": jobs.service_status,
    "job_summary": jobs.summary,
    "job_details": jobs.details,
    "job_copy_logs": jobs.copy_logs,
}


def run(here: Here, menu: str = "main") -> None:
    """Be the shell until somebody leaves it; raises `Closed` when nobody sits there any more."""
    _menu(here, here.menus[menu])


def _menu(here: Here, menu: Menu) -> None:
    _show(here, menu)
    while True:
        try:
            typed = here.terminal.ask(menu.prompt).strip()
        except Interrupted:
            typed = ""
        if typed == "?":
            _explain(here, menu)
            continue
        if typed:
            entry = _chosen(menu, typed)
            if entry is None:
                here.terminal.say(
                    f"Type a number from 1 to {len(menu.entries)}, ? for help, or Enter for the menu."
                )
                continue
            if entry.does == QUIT:
                return
            _do(here, entry)
        _show(here, menu)


def _chosen(menu: Menu, typed: str) -> Entry | None:
    if not (typed.isascii() and typed.isdigit() and len(typed) < 3):
        return None
    number = int(typed)
    return menu.entries[number - 1] if 0 < number <= len(menu.entries) else None


def _do(here: Here, entry: Entry) -> None:
    if entry.does in here.menus:
        _menu(here, here.menus[entry.does])
        return
    tell(logging.INFO, "shell", "An entry of the shell was chosen.", entry=entry.does, by=here.who)
    try:
        ACTIONS[entry.does](here)
    except (Interrupted, KeyboardInterrupt):
        # The latter on the console, where it did not wait for a line but for something else.
        here.terminal.say("\nStopped.")
    except WherryError as trouble:
        here.terminal.say(_told(trouble))
    except OSError as trouble:
        here.terminal.say(f"It does not work on this machine: {trouble.strerror or trouble}.")
    except UnicodeError:
        # What the library says of names that it cannot look up, wherever they come from.
        here.terminal.say("It does not work: there is no host of such a name.")


def _told(trouble: WherryError) -> str:
    """What went wrong, and what to do about it where more is known than the message says."""
    code = trouble.code if isinstance(trouble, ApiError | RunError) else ""
    remedy = CODES[code].remedy if code in CODES else ""
    return "\n".join(filter(None, [f"{code}: {trouble}" if code else str(trouble), remedy]))


def _show(here: Here, menu: Menu) -> None:
    lines = [f"{number}) {_label(here, entry)}" for number, entry in enumerate(menu.entries, 1)]
    here.terminal.say("\n" + "\n".join(lines) + "\n")


def _label(here: Here, entry: Entry) -> str:
    if entry.does == "registration" and here.state.registration() is not None:
        return "Unregister"
    return entry.label


def _explain(here: Here, menu: Menu) -> None:
    for number, entry in enumerate(menu.entries, 1):
        here.terminal.say(f"{number}) {_label(here, entry)}: {entry.help}")
