"""A look at an SMB server by the installed `smbclient`: its shares, or a folder of one.

User and password are in a file that only the agent may read and that is gone afterwards: neither is ever on a command
line or in an environment.  The client gets a configuration of its own and one fixed command.  Called by the restricted
shell.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from wherry.agent import installed
from wherry.client import kept_file
from wherry.model.errors import UsageError

SECONDS = 30.0
_PACKAGE = "smbclient"
_SHARE = re.compile(r"[^\x00-\x1f\"/\\\[\]:|<>+=;,*?-][^\x00-\x1f\"/\\\[\]:|<>+=;,*?]{0,79}")
_CONFIGURATION = b"[global]\nclient min protocol = SMB2\nclient max protocol = SMB3\ndisable netbios = yes\n"
_STATUS = re.compile(r"NT_STATUS_[A-Z_]+")
_REMEDIES = {
    "NT_STATUS_LOGON_FAILURE": "Check the user and the password.",
    "NT_STATUS_ACCOUNT_LOCKED_OUT": "The account is locked: its owner has to unlock it.",
    "NT_STATUS_ACCESS_DENIED": "This user may not: see the rights of the share and of the folder.",
    "NT_STATUS_BAD_NETWORK_NAME": "There is no such share: list the shares of the server.",
    "NT_STATUS_OBJECT_NAME_NOT_FOUND": "There is no such folder.",
    "NT_STATUS_OBJECT_PATH_NOT_FOUND": "There is no such folder.",
    "NT_STATUS_CONNECTION_REFUSED": "No SMB is served there: check name, port and firewall.",
    "NT_STATUS_HOST_UNREACHABLE": "Check the network, and the firewall between here and there.",
    "NT_STATUS_IO_TIMEOUT": "Let the firewall pass TCP 445 to it from here.",
    "NT_STATUS_NOT_FOUND": "Check the name, and the DNS servers of this machine.",
    "NT_STATUS_INVALID_NETWORK_RESPONSE": "It may speak SMB 1 only, which is not used.",
}


@dataclass(frozen=True, slots=True)
class Login:
    r"""Who looks; a user of `DOMAIN\user` is of that domain.  Without a user: a guest."""

    user: str = ""
    password: str = field(default="", repr=False)

    def file(self) -> bytes:
        """The content of a file of credentials, as `smbclient` and `mount` read it; raises `UsageError`."""
        if any(not text.isprintable() for text in (self.user, self.password)):
            raise UsageError("A user or password with control characters cannot be used here.")
        if self.password != self.password.strip():
            raise UsageError("A password that begins or ends with a space cannot be used here.")
        domain, _, user = self.user.rpartition("\\")
        lines = [f"username={user}", f"password={self.password}", *([f"domain={domain}"] if domain else [])]
        return ("\n".join(lines) + "\n").encode()


def share_name(text: str) -> str:
    """`text` as the name of a share; raises `UsageError`."""
    if not _SHARE.fullmatch(text):
        raise UsageError("That is no name of a share.")
    return text


def shares(host: str, login: Login, port: int = 445) -> list[str]:
    """Lines of shares with kind, name and comment; raises `UsageError` when they are not told."""
    told = _run(["-L", f"//{host}", "--grepable"], login, port)
    found = [line.split("|", 2) for line in told.splitlines() if line.count("|") >= 2]
    if not found:
        raise UsageError("The server tells this user no shares.")
    return [f"{kind:<10}{name:<30}{comment}".rstrip() for kind, name, comment in found]


def folder(host: str, share: str, path: str, login: Login, port: int = 445) -> list[str]:
    """Lines of the entries of a folder of a share, as the client shows them; raises `UsageError`."""
    if not path.isprintable() or path.startswith("-"):
        raise UsageError("That is no path of a folder.")
    words = [f"//{host}/{share_name(share)}"]
    words += ["--directory", path] if path else []
    # The one command; the path above is an argument, never a part of it.
    return _run([*words, "--command", "ls"], login, port).rstrip().splitlines()


def _run(words: list[str], login: Login, port: int) -> str:
    program = installed.place("smbclient", _PACKAGE)
    with _files(login) as (configuration, secret):
        command = [program, f"--configfile={configuration}", f"--port={port}", "--debuglevel=0"]
        command += [f"--authentication-file={secret}"] if login.user else ["--no-pass"]
        said = installed.run([*command, *words], SECONDS)
    status = _STATUS.search(said.text)
    if said.code != 0 or status is not None:
        remedy = _REMEDIES.get(status[0], "") if status else ""
        raise UsageError(f"{said.last_line or 'smbclient failed without a word.'} {remedy}".strip())
    return said.text


@contextmanager
def _files(login: Login) -> Iterator[tuple[Path, Path]]:
    with tempfile.TemporaryDirectory(prefix="wherry-smb-") as name:
        configuration, secret = Path(name) / "smb.conf", Path(name) / "login"
        configuration.write_bytes(_CONFIGURATION)
        kept_file.create(secret, login.file())
        yield configuration, secret
