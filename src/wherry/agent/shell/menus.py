"""The menus as data: their words, numbers and what each entry does.

The words of the main menu and of the network menu are the original's, so that its documents hold.  `does` names a menu
or an action of `shell.ACTIONS`; a label that depends on how the agent stands is worked out there.
"""

from __future__ import annotations

from dataclasses import dataclass

MAIN_PROMPT = "xdmsh> "
PROMPT = "Choice: "
QUIT = "quit"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a menu."""

    label: str
    does: str
    help: str


@dataclass(frozen=True, slots=True)
class Menu:
    """A numbered list, and the prompt below it."""

    entries: tuple[Entry, ...]
    prompt: str = PROMPT


_BACK = Entry("Quit", QUIT, "Go back to the main menu.")
_MAIN = Menu(
    (
        Entry("System configuration", "system", "This machine, and the password of its admin."),
        Entry(
            "Network configuration", "network", "Addresses, the control plane, and tests of the way to it."
        ),
        Entry("Service and job status", "status", "Whether the agent runs, and what became of its jobs."),
        Entry("Register", "registration", "Make this agent one of a storage mover, or end that."),
        Entry(
            "Open restricted shell", "restricted", "A few commands to look at the network and at shares with."
        ),
        Entry(
            "Collect support bundle", "bundle", "Logs and state of this machine in one file, without secrets."
        ),
        Entry("Restart agent", "restart", "Let the agent begin anew; its work goes on afterwards."),
        Entry("Exit", QUIT, "End this session; the agent runs on."),
    ),
    MAIN_PROMPT,
)
_SYSTEM = Menu(
    (
        Entry(
            "Show system configuration",
            "show_system",
            "Name, version, hardware, time, key of the SSH service.",
        ),
        Entry("Change password", "change_password", "The password of the user admin."),
        Entry("Change timezone", "time_zone", "The time zone of this machine."),
        Entry("Change time servers", "time_servers", "Who tells this machine the time."),
        Entry("Change host name", "host_name", "The name of this machine."),
        _BACK,
    )
)
_NETWORK = (
    Entry("Show network configuration", "show_network", "This machine's addresses, and the control plane."),
    Entry(
        "Update network configuration",
        "update_network",
        "The control plane, addresses, DNS, the proxy and authorities; tried before they are kept.",
    ),
    Entry("Test network connectivity", "test_network", "Whether all that the agent needs can be reached."),
)
_MORE_NETWORK = (
    Entry("Test network connectivity verbosely", "test_network_verbosely", "The same, with every step."),
    Entry(
        "Test single endpoint connectivity", "test_endpoint", "An endpoint of your choice, and the way to it."
    ),
)
_UPDATE = Menu(
    (
        Entry("Control plane", "set_control_plane", "Which control plane this agent trusts."),
        Entry("Addresses", "addresses", "DHCP, or addresses and a gateway of your own."),
        Entry("DNS servers", "name_servers", "Who resolves names for this machine."),
        Entry("Proxy", "proxy", "What the agent goes by to the control plane and to stores."),
        Entry("Certificate authorities", "authorities", "Whose certificates the agent trusts besides."),
        Entry("Quit", QUIT, "Go back to the network menu."),
    )
)
_STATUS = Menu(
    (
        Entry("Service status", "service_status", "Whether the agent runs, is registered and is heard."),
        Entry("Job summary", "job_summary", "The runs that are this agent's, the latest first."),
        Entry("Job details", "job_details", "One run, by jobDefinition:jobRun."),
        Entry("Job copy logs", "job_copy_logs", "What became of each item of a run."),
        _BACK,
    )
)

_TROUBLESHOOTING = Menu(
    (
        Entry("SMB Troubleshooting", "smb_trouble", "Every step of the way to a share, kept for the bundle."),
        Entry("NFS Troubleshooting", "nfs_trouble", "The same for an export."),
        _BACK,
    )
)
_NAMED = {entry.does: entry for entry in _MAIN.entries}
_NEWER_MAIN = Menu(
    (
        *_MAIN.entries[:4],
        _NAMED["bundle"],
        _NAMED["restart"],
        Entry("Show agent log", "show_log", "The last lines of what the agent has written."),
        _NAMED["restricted"],
        Entry("Troubleshooting", "troubleshooting", "What is wrong with a source, step by step."),
        _NAMED[QUIT],
    ),
    MAIN_PROMPT,
)

MENUS: dict[str, Menu] = {
    "main": _MAIN,
    "system": _SYSTEM,
    "network": Menu((*_NETWORK, _BACK)),
    "update_network": _UPDATE,
    "status": _STATUS,
}
NEWER: dict[str, Menu] = {
    **MENUS,
    "main": _NEWER_MAIN,
    "network": Menu((*_NETWORK, *_MORE_NETWORK, _BACK)),
    "troubleshooting": _TROUBLESHOOTING,
}
"""As newer versions of the original have them."""
