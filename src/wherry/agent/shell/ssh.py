"""The shell over SSH: one user, one program, nothing else.

No forwarding, no agent, no X11, no environment, no copying in; of commands only `status --json`, of files only the
support bundles, to be read.  A session is a thread that runs the same shell as the console; the service's own event
loop runs in a thread beside the agent.  Called by `wherry agent run --ssh-listen`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import asyncssh
from asyncssh.misc import SoftEOFReceived

from wherry.agent.admin_password import AdminPassword, Verdict
from wherry.agent.log_lines import tell
from wherry.agent.shell import shell, status, system
from wherry.agent.shell.bundles import ReadOnlyFiles
from wherry.agent.shell.here import Here
from wherry.agent.shell.host_key import fingerprint, host_key
from wherry.agent.shell.menus import MENUS, Menu
from wherry.agent.shell.terminal import Closed, Interrupted
from wherry.agent.state import AgentState
from wherry.model.errors import UsageError
from wherry.model.text import printable

IDLE_SECONDS = 900.0
MOST_SESSIONS = 8
STATUS = "status --json"

_LOGIN_SECONDS = 30.0
_FREE_TRIES = 5
_LONGEST_DELAY = 300.0
_MOST_ADDRESSES = 1000
_STOP_SECONDS = 10.0

T = TypeVar("T")
Session = asyncssh.SSHServerProcess[str]


@dataclass
class Guesses:
    """How long an address has to wait after wrong passwords; longer with each beyond the first few."""

    clock: Callable[[], float] = time.monotonic
    _wrong: dict[str, tuple[int, float]] = field(default_factory=dict)

    def must_wait(self, address: str) -> bool:
        """Whether a password from there is not even looked at now."""
        return self.clock() < self._wrong.get(_site(address), (0, 0.0))[1]

    def note(self, address: str, *, right: bool) -> None:
        """A password was looked at."""
        address = _site(address)
        count = 0 if right else self._wrong.pop(address, (0, 0.0))[0] + 1
        self._wrong.pop(address, None)
        if not count:
            return
        if len(self._wrong) >= _MOST_ADDRESSES:
            self._wrong.pop(next(iter(self._wrong)))
        delay = min(2.0 ** (count - _FREE_TRIES), _LONGEST_DELAY) if count >= _FREE_TRIES else 0.0
        self._wrong[address] = (count, self.clock() + delay)


def _site(address: str) -> str:
    """An address; of IPv6 the network that one customer has, who may use all of its addresses in turn."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if found.version == 6 and found.ipv4_mapped is None:
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)


class SshService:
    """Serves the shell of an agent at one address, from its making until `close`; raises `UsageError`."""

    def __init__(
        self,
        state: AgentState,
        listen: tuple[str, int],
        idle_seconds: float = IDLE_SECONDS,
        menus: Mapping[str, Menu] = MENUS,
    ) -> None:
        self._menus = menus
        self._state = state
        self._idle = idle_seconds
        self._guesses = Guesses()
        self._checking = ThreadPoolExecutor(1, thread_name_prefix="password")
        self._shells: set[asyncio.Event] = set()
        self.connections: set[asyncssh.SSHServerConnection] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ssh", daemon=True)
        AdminPassword(state.directory).begin()
        self._thread.start()
        try:
            self._acceptor = self._await(self._listen(*listen))
        except OSError as trouble:
            self._end()
            raise UsageError(
                f"SSH cannot be served at {listen[0]}:{listen[1]}: {trouble.strerror}."
            ) from trouble

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._acceptor.get_port())

    def close(self) -> None:
        """Hang up on everybody."""
        self._await(self._stop())
        self._end()

    async def _listen(self, host: str, port: int) -> asyncssh.SSHAcceptor:
        return await asyncssh.create_server(
            lambda: _Login(self),
            host,
            port,
            server_host_keys=[host_key(self._state)],
            server_version="xdmsh",
            process_factory=self._serve,
            sftp_factory=self._files,
            allow_scp=False,
            agent_forwarding=False,
            x11_forwarding=False,
            line_editor=True,
            line_history=50,
            login_timeout=_LOGIN_SECONDS,
            keepalive_interval=60,
            reuse_address=True,
        )

    async def _stop(self) -> None:
        self._acceptor.close()
        # Their shells see the end of the line, and end.
        ends = [one.wait_closed() for one in self.connections] + [one.wait() for one in self._shells]
        for one in list(self.connections):
            one.abort()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*ends, self._acceptor.wait_closed()), _STOP_SECONDS)

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_STOP_SECONDS)
        if not self._thread.is_alive():
            self._loop.close()
        self._checking.shutdown(wait=False)

    def _await(self, work: Awaitable[T]) -> T:
        async def awaited() -> T:
            return await work

        return asyncio.run_coroutine_threadsafe(awaited(), self._loop).result()

    async def verdict(self, address: str, user: str, password: str) -> Verdict:
        """What a password from this address opens; one at a time, and later and later after wrong ones."""
        if self._guesses.must_wait(address):
            return Verdict.NOTHING
        known = AdminPassword(self._state.directory)
        found = await self._loop.run_in_executor(
            self._checking, lambda: known.verdict(user, password, network=True)
        )
        self._guesses.note(address, right=found is not Verdict.NOTHING)
        level = logging.WARNING if found is Verdict.NOTHING else logging.INFO
        tell(level, "ssh.login", f"A password opened {found.name.lower()}.", address=address)
        return found

    def _files(self, channel: asyncssh.SSHServerChannel[bytes]) -> asyncssh.SFTPServer:
        verdict = channel.get_connection().get_extra_info("verdict")
        return ReadOnlyFiles(channel, self._state if verdict is Verdict.SHELL else None)

    async def _serve(self, process: Session) -> None:
        """One session: the shell, or the one command that there is."""
        verdict = process.get_extra_info("verdict")
        try:
            if process.command is not None or process.subsystem is not None:
                process.exit(self._command(process, verdict))
            elif len(self._shells) >= MOST_SESSIONS:
                process.stdout.write("Too many sessions are open.\n")
                process.exit(1)
            else:
                await self._in_thread(lambda: self._shell(process, verdict))
                process.exit(0)
        except (OSError, asyncssh.Error):
            process.close()

    async def _in_thread(self, work: Callable[[], None]) -> None:
        """Let a shell run in a thread that keeps nobody from ending."""
        over = asyncio.Event()
        self._shells.add(over)

        def run() -> None:
            try:
                work()
            finally:
                # The loop may be closed by now.
                with contextlib.suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(over.set)

        threading.Thread(target=run, name="shell", daemon=True).start()
        try:
            await over.wait()
        finally:
            self._shells.discard(over)

    def _command(self, process: Session, verdict: Verdict) -> int:
        if process.command == STATUS and verdict is Verdict.SHELL:
            process.stdout.write(json.dumps(status.picture(self._state)) + "\n")
            return 0
        process.stderr.write("Only the shell is served here, and the command: status --json\n")
        return 1

    def _shell(self, process: Session, verdict: Verdict) -> None:
        terminal = SshTerminal(process, self._loop, self._idle)
        here = Here(
            terminal, self._state, who=f"ssh {process.get_extra_info('peername')[0]}", menus=self._menus
        )
        with contextlib.suppress(Closed):
            if verdict is Verdict.CHANGE:
                with _as_closed():
                    system.first_change(here)
            shell.run(here)


@contextlib.contextmanager
def served(state: AgentState, listen: tuple[str, int], menus: Mapping[str, Menu] = MENUS) -> Iterator[None]:
    """Serve the shell of an agent while the block runs; raises `UsageError`."""
    service = SshService(state, listen, menus=menus)
    told = {"host": listen[0], "port": service.port, "hostKey": fingerprint(state)}
    tell(logging.INFO, "ssh.ready", "The admin shell is served: ssh -l admin.", **told)
    try:
        yield
    finally:
        service.close()


class _Login(asyncssh.SSHServer):
    """Who may come in."""

    def __init__(self, service: SshService) -> None:
        self._service = service
        self._connection: Any = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._service.connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        self._service.connections.discard(self._connection)

    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    async def validate_password(self, username: str, password: str) -> bool:
        address = str(self._connection.get_extra_info("peername")[0])
        verdict = await self._service.verdict(address, username, password)
        self._connection.set_extra_info(verdict=verdict)
        return verdict is not Verdict.NOTHING


class SshTerminal:
    """A `Terminal` over a session, for the thread that runs its shell."""

    def __init__(self, process: Session, loop: asyncio.AbstractEventLoop, idle_seconds: float) -> None:
        self._process = process
        self._loop = loop
        self._idle = idle_seconds

    @property
    def width(self) -> int:
        """Columns; 80 for clients that do not tell."""
        return int(self._process.get_terminal_size()[0]) or 80

    def say(self, text: str) -> None:
        self._await(self._write(printable(text) + "\n"))

    def ask(self, prompt: str, *, secret: bool = False) -> str:
        try:
            return self._await(self._answer(prompt, secret=secret))
        except TimeoutError:
            self._await(self._write("\nNothing was typed for long: goodbye.\n"))
            raise Closed from None

    def rest(self, seconds: float) -> None:
        """Wait, and listen for Ctrl-C; lines that are typed meanwhile are for nobody."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            with contextlib.suppress(TimeoutError):
                self._await(asyncio.wait_for(self._read(), left))

    async def _answer(self, prompt: str, *, secret: bool) -> str:
        # With a terminal the channel has a line editor, of which the library's types do not tell.
        editor: Any = self._process.channel
        hidden = secret and self._process.get_terminal_type()
        if hidden:
            # Before anybody can see the prompt and type.  The editor keeps no line that it did not show.
            editor.set_echo(False)
        try:
            await self._write(prompt)
            return await asyncio.wait_for(self._read(), self._idle)
        finally:
            if hidden:
                editor.set_echo(True)
                self._process.stdout.write("\n")

    async def _read(self) -> str:
        while True:
            try:
                line = await self._process.stdin.readline()
            except asyncssh.TerminalSizeChanged:
                continue
            except (asyncssh.BreakReceived, asyncssh.SignalReceived):
                raise Interrupted from None
            except SoftEOFReceived:
                raise Closed from None
            if not line:
                raise Closed
            return line.rstrip("\r\n")

    async def _write(self, text: str) -> None:
        self._process.stdout.write(text)
        await self._process.stdout.drain()

    def _await(self, work: Awaitable[T]) -> T:
        async def awaited() -> T:
            try:
                return await work
            except (asyncssh.Error, OSError) as gone:
                if isinstance(gone, TimeoutError):
                    raise
                raise Closed from gone

        try:
            found: Future[T] = asyncio.run_coroutine_threadsafe(awaited(), self._loop)
        except RuntimeError as stopped:
            raise Closed from stopped
        return found.result()


@contextlib.contextmanager
def _as_closed() -> Iterator[None]:
    """Ctrl-C in the first dialogue ends the session: there is no menu to go back to."""
    try:
        yield
    except Interrupted as pressed:
        raise Closed from pressed
