"""Words of the restricted shell about shares: exports of NFS, shares of SMB, and whether they can be mounted here."""

from __future__ import annotations

import re

from wherry.agent import onc_rpc, smb_client, trial_mount
from wherry.agent.shell.here import Here
from wherry.agent.smb_client import Login
from wherry.model import hosts, names
from wherry.model.errors import UsageError

_HOST = rf"(\[[0-9A-Fa-f:.%]{{2,60}}\]|{hosts.NAME})"
_SERVER = re.compile(rf"{_HOST}(?::([0-9]{{1,5}}))?")
_EXPORT = re.compile(rf"{_HOST}:(/[^\x00-\x20\x7f]{{0,1000}})")
_SHARE = re.compile(rf"//({hosts.NAME})/([^/]{{1,80}})")


def host_name(text: str) -> str:
    """`text` as the name of a host or an address; raises `UsageError`."""
    if not hosts.is_host(text):
        raise UsageError("That is no name of a host and no address.")
    return text


def is_export(path: str) -> bool:
    """Whether it can be the path of an export."""
    return _EXPORT.fullmatch(f"h:{path}") is not None


def showmount(here: Here, option: str, host: str) -> None:
    """What an NFS server exports."""
    if option != "-e":
        raise UsageError("It is: showmount -e HOST")
    found = onc_rpc.exports(host_name(host))
    for export in found:
        to = ", ".join(names.escape(one) for one in export.to) or "everybody"
        here.terminal.say(f"{names.escape(export.path):<40}{to}")
    if not found:
        here.terminal.say("It exports nothing.")


def mount(here: Here, source: str) -> None:
    """Try a mount."""
    if _EXPORT.fullmatch(source):
        trial_mount.check_possible(trial_mount.NFS)
        _listed(here, trial_mount.look(here.state, trial_mount.NFS, source))
        return
    share = _SHARE.fullmatch(source)
    if share is None:
        raise UsageError("It is: mount HOST:/EXPORT for NFS, or mount //HOST/SHARE for SMB")
    smb_client.share_name(share[2])
    trial_mount.check_possible(trial_mount.SMB)
    _listed(here, trial_mount.look(here.state, trial_mount.SMB, source, login(here)))


def umount(here: Here) -> None:
    """Unmount what trials have left."""
    left = trial_mount.end_all(here.state)
    here.terminal.say(f"Unmounted: {len(left)}." if left else "Nothing is mounted by a trial.")


def smbclient(here: Here, server: str, share: str = "", *folder: str) -> None:
    """The shares of a server, or a folder of one."""
    found = _SERVER.fullmatch(server)
    port = int(found[2] or 445) if found else 0
    if found is None or not 0 < port < 1 << 16:
        raise UsageError("That is no name of a host and no address.")
    path = " ".join(folder)
    if share:
        smb_client.share_name(share)
        lines = smb_client.folder(found[1], share, path, login(here), port)
    else:
        lines = smb_client.shares(found[1], login(here), port)
    for line in lines:
        here.terminal.say(line)


def login(here: Here) -> Login:
    """Who is to be shown to a server; asks for it."""
    user = here.terminal.ask("User (Enter for a guest): ").strip()
    return Login(user, here.terminal.ask("Password: ", secret=True)) if user else Login()


def _listed(here: Here, entries: list[str]) -> None:
    here.terminal.say("It can be mounted. In it:" if entries else "It can be mounted, and is empty.")
    for name in entries:
        here.terminal.say(f"  {name}")
    here.terminal.say("It is unmounted again.")
