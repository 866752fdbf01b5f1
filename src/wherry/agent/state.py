"""The agent's state directory: its key, whom it belongs to, which control plane it trusts.

    key*.pem and join.json (see `keys`)  registration.json  server.json  ca.pem  way.json  machine-id  *.lock

The directory is 0700 and each file is replaced whole, so that a crash leaves no half of anything.  An agent is
registered exactly when `registration.json` is there.  Called by `register`, `unregister`, `daemon` and the shell.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wherry.agent import way as ways
from wherry.agent.keys import KeptProofs
from wherry.client import kept_file
from wherry.client.proven import AgentIdentity, Kept
from wherry.model.errors import UsageError
from wherry.model.way import DIRECT, Way
from wherry.trust.keys import KeyTrouble, PrivateKey


@dataclass(frozen=True, slots=True)
class Registration:
    """What the control plane answered when it registered this agent."""

    url: str
    mover: str
    agent: str
    agent_id: str
    machine_id: str
    principal_id: str
    client_id: str
    tenant_id: str
    token_endpoint: str
    issuer: str
    heartbeat_seconds: float
    private_link_scope: str = ""

    @property
    def audience(self) -> str:
        """What the agent's tokens are for."""
        return self.issuer.removesuffix(f"/{self.tenant_id}/v2.0") + "/agent"

    def identity(self, ca_file: Path, kept: Kept, way: Way = DIRECT) -> AgentIdentity:
        """What the agent proves itself with, by what is kept."""
        return AgentIdentity(
            url=self.url,
            ca_file=ca_file,
            client_id=self.client_id,
            token_endpoint=self.token_endpoint,
            issuer=self.issuer,
            audience=self.audience,
            kept=kept,
            private=bool(self.private_link_scope),
            way=way,
        )


class InUse(UsageError):
    """Another process does the same in this state directory."""


class AgentState:
    """One agent's state directory, made when it is absent."""

    def __init__(self, directory: Path) -> None:
        self.directory = kept_file.private_folder(directory.absolute())

    def key(self) -> PrivateKey:
        """The agent's key, made at the first call ever."""
        path = self.directory / "key.pem"
        if not path.exists():
            kept_file.create(path, PrivateKey.for_agent().pem())
        try:
            if path.stat().st_mode & 0o077:
                raise UsageError(f"{path} may be read by others. Unregister this agent and register it anew.")
            return PrivateKey.from_pem(path.read_bytes())
        except (OSError, KeyTrouble) as broken:
            raise UsageError(
                f"{path} cannot be read: {broken} Unregister this agent, register anew."
            ) from broken

    def registration(self) -> Registration | None:
        """The registration, None while there is none."""
        found = self._document("registration.json")
        try:
            return None if found is None else Registration(**found)
        except TypeError as broken:
            raise self._damaged("registration.json") from broken

    @property
    def kept(self) -> KeptProofs:
        """The agent's keys and its join state."""
        return KeptProofs(self.directory, self.key)

    def identity(self) -> AgentIdentity | None:
        """What the agent proves itself with; None while it is not registered."""
        known = self.registration()
        return None if known is None else known.identity(self.ca_file, self.kept, self.way())

    def keep_registration(self, registration: Registration) -> None:
        """Make this agent a registered one."""
        self._write("registration.json", asdict(registration))

    def forget(self) -> None:
        """Wipe the identity: from now on this is an unregistered agent, with a new key when it needs one.

        The control plane that it trusts stays known.
        """
        kept_file.remove(self.directory / "registration.json")
        self.kept.forget()

    @property
    def ca_file(self) -> Path:
        """The only certificate authority that the agent trusts; not there before `trust_server`."""
        return self.directory / "ca.pem"

    @property
    def server(self) -> str | None:
        """The URL of the control plane that this agent was told to trust."""
        found = self._document("server.json")
        return str(found["url"]) if found and "url" in found else None

    def way(self) -> Way:
        """How this agent gets out.  One with a private link scope takes no proxy, which might lead anywhere."""
        known, kept = self.registration(), ways.read(self.directory)
        return kept.directly() if known is not None and known.private_link_scope else kept

    def keep_way(self, way: Way) -> None:
        """Get out by this way from now on; an agent at work begins anew with it."""
        ways.keep(self.directory, way)

    def trust_server(self, url: str, certificate: bytes) -> None:
        """Pin a control plane: where it is, and the authority that signs its certificate."""
        kept_file.replace(self.ca_file, certificate)
        self._write("server.json", {"url": url})

    def machine_id(self) -> str:
        """A number for this machine where its firmware tells none; made once."""
        path = self.directory / "machine-id"
        if not path.exists():
            kept_file.create(path, f"{uuid.uuid4()}\n".encode())
        return path.read_text().strip()

    @contextlib.contextmanager
    def alone(self, what: str) -> Iterator[None]:
        """Be the only process that does `what` here; raises `InUse` at once when there is one."""
        lock = os.open(self.directory / f"{what}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(lock, 32).decode(errors="replace").strip() or "unknown"
                raise InUse(
                    f"Process {holder} already uses {self.directory} to {what}. Stop it, or choose another directory."
                ) from None
            # On a full disk the lock holds all the same; only its holder has no name then.
            with contextlib.suppress(OSError):
                os.ftruncate(lock, 0)
                os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(lock)

    def holder(self, what: str) -> int | None:
        """The process that does `what` here at this moment, None when there is none."""
        try:
            with self.alone(what):
                return None
        except InUse:
            written = (self.directory / f"{what}.lock").read_text().strip()
            return int(written) if written.isdigit() else None

    def _document(self, name: str) -> dict[str, Any] | None:
        try:
            found = json.loads((self.directory / name).read_text())
        except FileNotFoundError:
            return None
        except ValueError as broken:
            raise self._damaged(name) from broken
        if not isinstance(found, dict):
            raise self._damaged(name)
        return found

    def _write(self, name: str, document: Mapping[str, object]) -> None:
        kept_file.replace(self.directory / name, json.dumps(document, indent=2).encode() + b"\n")

    def _damaged(self, name: str) -> UsageError:
        return UsageError(f"{self.directory / name} is damaged. Unregister this agent and register it anew.")


def default_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """The system's place for an agent's state: of the machine for root, else of the user."""
    if os.geteuid() == 0:
        return Path("/var/lib/wherry-agent")
    home = environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path("~/.local/state").expanduser()) / "wherry" / "agent"
