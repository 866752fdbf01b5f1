"""The agent as a process: waits for its registration, tells that it is alive, takes leases and works them off.

One thread sends heartbeats, one thread a lease asks for work and does it; the main thread watches over them, over
signals and over the registration.  A thread that fails unexpectedly ends the process: whoever started it starts it
anew, and what it held is found again by the next holder.  Called by `wherry agent run`.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from wherry.agent import capabilities, facts, keys, log_lines
from wherry.agent.bandwidth import Bandwidth
from wherry.agent.bundle_errand import BundleErrand
from wherry.agent.delivery import Delivery, delivering
from wherry.agent.identity_endpoint import IdentityOptions
from wherry.agent.identity_tokens import served
from wherry.agent.log_lines import tell
from wherry.agent.register import trust
from wherry.agent.roots import Roots
from wherry.agent.session import Session
from wherry.agent.state import AgentState, InUse, Registration
from wherry.agent.supervisor import EXIT_UPGRADE
from wherry.agent.systemd import Systemd
from wherry.agent.upgrade import Upgrades
from wherry.agent.version_notice import VersionNotice
from wherry.client import kept_file
from wherry.client.agent_protocol import AgentProtocol
from wherry.client.connection import Unreachable, pause
from wherry.client.interruptible import Interruptible
from wherry.client.profile import https_url
from wherry.client.proven import AgentIdentity, IdentityGone
from wherry.engine.lease import boot_time
from wherry.engine.pool import Pool
from wherry.model.errors import ApiError, UsageError
from wherry.model.way import Way
from wherry.model.wire import HEARTBEAT_SECONDS, LONG_POLL_SECONDS

EXIT_STOPPED = 0
EXIT_IDENTITY_GONE = 4
EXIT_RESTART = 76
"""It is to begin anew with the same command line: whoever called is to see to that."""

_WATCH_SECONDS = 1.0
_LONGEST_PAUSE = 30.0


def _no_shell(_state: AgentState) -> AbstractContextManager[None]:
    return contextlib.nullcontext()


@dataclass(frozen=True, slots=True)
class Options:
    """What the owner of the machine says: `wherry agent run`'s own options.

    `url` with a file or fingerprint tells an agent that is not registered which control plane to trust; the roots
    are the only folders of this machine that jobs may touch.  `workers` None: one process a processor.  `upgrades`:
    whose programs the agent may become; None for nobody's.  `admin_shell` serves it while
    the agent runs, registered or not, at `ssh_port`.  `systemd` is told how the agent stands.
    """

    url: str | None = None
    ca_file: Path | None = None
    ca_fingerprint: str | None = None
    allow_source: tuple[Path, ...] = ()
    allow_target: tuple[Path, ...] = ()
    leases: int | None = None
    workers: int | None = None
    poll_seconds: float = LONG_POLL_SECONDS
    identity: IdentityOptions | None = None
    upgrades: Upgrades | None = None
    admin_shell: Callable[[AgentState], AbstractContextManager[None]] = _no_shell
    ssh_port: int = 0
    systemd: Systemd = field(default_factory=Systemd)


def run(state: AgentState, options: Options, stopping: threading.Event | None = None) -> int:
    """Be the agent of `state` until SIGTERM (or `stopping`); the exit code of the process.

    Raises `UsageError` when another process is this agent, or for options that make no sense.
    """
    log_lines.configure()
    roots = Roots.named(options.allow_source, options.allow_target, state.directory)
    stopping, restarting = stopping or threading.Event(), threading.Event()
    with contextlib.ExitStack() as stack:
        stack.enter_context(state.alone("run"))
        kept_file.sweep(state.directory)
        stack.enter_context(log_lines.kept_in(state.directory))
        ports = (options.ssh_port, options.identity.port if options.identity else 0)
        capabilities.preflight(state.directory, bool(roots.sources), bool(roots.targets), ports)
        stack.enter_context(options.admin_shell(state))
        if threading.current_thread() is threading.main_thread():
            restarting = _stop_on_signals(stopping)
        options.systemd.ready("It begins.")
        if options.url is not None:
            _meet(state, options.url, options, stopping)
        while not stopping.is_set():
            registration = _await_registration(state, options.systemd, stopping)
            if registration is None:
                continue
            service = Service(state, registration, options, roots, stopping)
            if not service.run():
                return EXIT_IDENTITY_GONE
            if service.makes_room:
                return EXIT_UPGRADE
        if not restarting.is_set():
            options.systemd.stopping()
    tell(logging.INFO, "stopped", "The agent has stopped.")
    return EXIT_RESTART if restarting.is_set() else EXIT_STOPPED


def _stop_on_signals(stopping: threading.Event) -> threading.Event:
    """Stop at SIGTERM, SIGINT and SIGUSR1; what is answered is set by the last, which asks for a new beginning."""
    restarting = threading.Event()

    def stop(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGUSR1:
            restarting.set()
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, stop)
    return restarting


def _meet(state: AgentState, url: str, options: Options, stopping: threading.Event) -> None:
    """Pin the control plane, as soon as it can be reached."""
    known = state.registration()
    if known is not None:
        if known.url != https_url(url, "The URL"):
            raise UsageError(
                f"This agent is registered with {known.url}. Unregister it first, or leave --url away."
            )
        return
    attempt = 0
    while not stopping.is_set():
        try:
            trust(state, url, options.ca_file, options.ca_fingerprint)
        except Unreachable as trouble:
            attempt += 1
            tell(logging.WARNING, "unreachable", str(trouble))
            options.systemd.feed()
            stopping.wait(pause(attempt, _LONGEST_PAUSE))
        else:
            return


def _await_registration(
    state: AgentState, systemd: Systemd, stopping: threading.Event
) -> Registration | None:
    """The registration, as soon as there is one; None when the agent is to stop."""
    told = False
    while not stopping.is_set():
        found = state.registration()
        if found is not None:
            return found
        if not told:
            tell(
                logging.INFO,
                "unregistered",
                "This agent is not registered. It waits; register it with: wherry agent register.",
            )
            systemd.status("It waits to be registered.")
            told = True
        systemd.feed()
        stopping.wait(_WATCH_SECONDS)
    return None


@dataclass
class Service:
    """A registered agent at work, from one registration to its end."""

    state: AgentState
    registration: Registration
    options: Options
    roots: Roots
    stopping: threading.Event
    _over: threading.Event = field(default_factory=threading.Event)
    _gone: threading.Event = field(default_factory=threading.Event)
    _heard: threading.Event = field(default_factory=threading.Event)
    _versions: VersionNotice = field(init=False)
    _errand: BundleErrand = field(init=False)
    makes_room: bool = False
    """Whether another program waits to be started in place of this one."""

    def __post_init__(self) -> None:
        self._versions = VersionNotice(self.state.directory)
        self._errand = BundleErrand(self.state)

    def run(self) -> bool:
        """Work until `stopping` or until the registration is another one; False when the identity is gone."""
        identity = self.state.identity()
        if identity is None:
            return True
        protocol = AgentProtocol(identity)
        try:
            with (
                served(self.options.identity, protocol.identity_token, self.state.directory) as port,
                delivering(protocol, self.state.directory, self.registration.principal_id) as delivery,
            ):
                self._work(identity, delivery, port)
        finally:
            protocol.close()
        return not self._forget_if_gone()

    def _work(self, identity: AgentIdentity, delivery: Delivery, identity_port: int) -> None:
        """Heartbeats and leases, until it is over; raises what ended a thread."""
        protocol = delivery.protocol
        pool = Pool(self.options.workers, governed=True)
        bandwidth = Bandwidth(pool.govern, facts.time_zone(), time.time)
        leases = self.options.leases or max(1, pool.workers)
        lines = [Interruptible(identity.ca_file, identity.url, identity.way) for _ in range(leases + 1)]
        session = Session(
            protocol,
            self.roots,
            pool,
            private=identity.private,
            identity_port=identity_port,
            way=identity.way,
            delivery=delivery,
        )
        tell(logging.INFO, "online", f"At work as {self.registration.agent_id}.", url=self.registration.url)
        self.options.systemd.status(f"At work as {self.registration.agent}.")
        with ThreadPoolExecutor(len(lines), thread_name_prefix="agent") as threads:
            futures = [threads.submit(self._guarded, self._beat, delivery, lines[0], bandwidth)]
            futures += [
                threads.submit(self._guarded, self._serve, delivery, session, line) for line in lines[1:]
            ]
            try:
                self._watch(futures, identity.way, bandwidth)
            finally:
                self.options.systemd.at_rest()
                self._over.set()
                self._heard.set()
                self._errand.stop()
                session.stop()
                for line in lines:
                    line.interrupt()
                for future in futures:
                    future.exception()
                # Before the threads that started its processes end: the kernel ends processes with those.
                pool.close()
        for line in lines:
            line.close()
        for future in futures:
            future.result()

    def _watch(self, futures: Iterable[Future[None]], way: Way, bandwidth: Bandwidth) -> None:
        """Until it is time to stop: told to, a thread has ended, or registration or way out are other ones."""
        while not self.stopping.wait(_WATCH_SECONDS):
            self.options.systemd.feed()
            bandwidth.apply()
            if any(future.done() for future in futures):
                return
            if self.state.registration() != self.registration:
                tell(logging.WARNING, "unregistered", "The registration was removed on this machine.")
                return
            if self.state.way() != way:
                tell(logging.INFO, "way", "Proxy or authorities are other ones: all connections begin anew.")
                return

    def _guarded(self, work: Callable[..., None], *args: object) -> None:
        try:
            work(*args)
        except IdentityGone:
            self._gone.set()

    def _beat(self, delivery: Delivery, line: Interruptible, bandwidth: Bandwidth) -> None:
        """Tell the control plane again and again that the agent is alive."""
        protocol = delivery.protocol
        interval, attempt = HEARTBEAT_SECONDS, 0
        while not self._over.is_set():
            self.options.systemd.turned()
            try:
                interval = protocol.heartbeat({**self._facts(), "uploadLimit": bandwidth.applied}, line)
                self._versions.heard(protocol.notice)
            except (Unreachable, ApiError) as trouble:
                if self._over.is_set():
                    return
                attempt += 1
                self._note_reach(trouble, delivery)
                self._over.wait(min(interval, pause(attempt, _LONGEST_PAUSE)))
            else:
                attempt = 0
                bandwidth.told(protocol.upload_limit)
                self._heard.set()
                self._note_reach(None, delivery)
                self._change_key(protocol)
                self._errand.wanted(protocol)
                if self._upgraded(protocol):
                    return
                self._over.wait(interval)

    def _serve(self, delivery: Delivery, session: Session, line: Interruptible) -> None:
        """Ask for leases and work them off, one after the other.

        Not before it is known how much may be sent, nor before all is told that was done.
        """
        self._heard.wait()
        attempt = 0
        while not self._over.is_set():
            if not delivery.deliver():
                attempt += 1
                self._over.wait(pause(attempt, _LONGEST_PAUSE))
                continue
            asked_at = boot_time()
            try:
                grant = delivery.protocol.take(self.options.poll_seconds, line)
            except (Unreachable, ApiError, UsageError) as trouble:
                if not self._over.is_set():
                    attempt += 1
                    self._note_reach(trouble, delivery)
                    self._over.wait(pause(attempt, _LONGEST_PAUSE))
                continue
            if grant is None:
                attempt = 0
                # A control plane that answers at once, because it is about to stop, is not asked in a tight loop.
                if boot_time() - asked_at < _WATCH_SECONDS:
                    self._over.wait(_WATCH_SECONDS)
            elif session.work(grant, asked_at):
                attempt = 0
            else:
                attempt += 1
                self._over.wait(pause(attempt, _LONGEST_PAUSE))

    def _change_key(self, protocol: AgentProtocol) -> None:
        """Change the key when the control plane asks for it, or go on with a change that was cut short."""
        kept = self.state.kept
        if not protocol.key_is_due and not kept.changed:
            return
        try:
            keys.change(protocol, kept)
        except (Unreachable, ApiError, OSError) as trouble:
            # The next heartbeat tries again; the old key is good for two weeks more.
            tell(logging.WARNING, "key.change", f"The key is not changed yet: {trouble}")
        else:
            tell(logging.INFO, "key.change", "The agent has a new key.")

    def _facts(self) -> dict[str, Any]:
        told = facts.heartbeat(self.registration.url, self.state)
        failed = self.options.upgrades.told() if self.options.upgrades else None
        return {**told, "upgrade": failed} if failed else told

    def _upgraded(self, protocol: AgentProtocol) -> bool:
        """Take the program that the last heartbeat's answer offered; True when this one is to make room for it."""
        upgrades = self.options.upgrades
        if upgrades is None:
            return False
        upgrades.passed()
        if protocol.offered is not None:
            self.makes_room = upgrades.take(protocol.offered, protocol.package)
        return self.makes_room

    def _note_reach(self, trouble: Exception | None, delivery: Delivery) -> None:
        """Tell those who watch when the control plane is lost and when it is found again."""
        if isinstance(trouble, ApiError) and self._versions.refused(trouble):
            trouble = None
        if delivery.reach.note(trouble):
            self.options.systemd.status(str(trouble or f"At work as {self.registration.agent}."))

    def _forget_if_gone(self) -> bool:
        """Wipe the identity when the control plane has deleted it.

        It also deletes the old one of an agent that is being registered again: that is waited for.
        """
        while self._gone.is_set() and not self.stopping.is_set():
            try:
                with self.state.alone("register"):
                    return self._forget()
            except InUse:
                self.stopping.wait(_WATCH_SECONDS)
        return False

    def _forget(self) -> bool:
        if self.state.registration() != self.registration:
            return False
        self.state.forget()
        tell(
            logging.ERROR,
            "identity.gone",
            "The control plane has removed this agent's identity; its key is wiped. "
            "Register it anew with: wherry agent register.",
            code="AZSM0010",
        )
        return True
