"""One lease from its grant to its end: roots, credential, engine, renewals, release.

The lease's time counts from before it was asked for, on a clock that goes on while the machine sleeps; a thread
renews it every third of its time, and the engine's processes see the same deadline.  Whatever happens, the lease
ends here: done, given back with or without a code, or lost.  Called by `daemon`.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from wherry.agent.delivery import Delivery
from wherry.agent.log_lines import tell
from wherry.agent.roots import Roots, Side, check_apart
from wherry.client import private_addresses
from wherry.client.agent_protocol import AgentProtocol, LeasedLedger
from wherry.client.connection import Unreachable
from wherry.client.proven import IdentityGone
from wherry.engine.chapters import Stopped
from wherry.engine.lease import LeaseClock, boot_time
from wherry.engine.pool import Pool
from wherry.engine.processes import WorkerDied
from wherry.model.errors import (
    CODES,
    SUCCESS,
    UNREACHED,
    ApiError,
    LeaseLost,
    RunError,
    StoreError,
    UsageError,
)
from wherry.model.way import DIRECT, Way
from wherry.model.wire import Grant, Place
from wherry.stores.port import StoreSpec

LOCAL = "LocalMount"
BLOB = "AzureStorageBlobContainer"
BUCKET = "S3WithHMAC"

_LOST = "AZSM1023"
_FAILED = "AZSM1060"
_UNSUPPORTED = {"source": "AZSM1029", "target": "AZSM1026"}
_RELEASE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Release:
    """Why a lease is given back: without a code for others to go on."""

    code: str = ""
    detail: str = ""


class Session:
    """The work of one agent on its leases, for as many threads as it holds leases.

    `private`: at private addresses only.  `identity_port`: where this machine's identity endpoint is, 0 for none.
    `way`: how stores of other machines are reached.  `delivery` keeps what cannot be told; without one it is lost.
    """

    def __init__(
        self,
        protocol: AgentProtocol,
        roots: Roots,
        pool: Pool,
        *,
        private: bool = False,
        identity_port: int = 0,
        way: Way = DIRECT,
        delivery: Delivery | None = None,
    ) -> None:
        self._protocol = protocol
        self._delivery = delivery
        self._private = private
        self._way = way
        self._identity_port = identity_port
        self._roots = roots
        self._pool = pool
        self._lock = threading.Lock()
        self._held: set[LeaseClock] = set()
        self._stopping = False

    def stop(self) -> None:
        """Make every lease, held or to come, end after what is under way."""
        with self._lock:
            self._stopping = True
            for clock in self._held:
                clock.ask_to_stop()

    def work(self, grant: Grant, asked_at: float) -> bool:
        """Work a lease off; `asked_at` is `boot_time` from before it was asked for.

        False when the same work may come again and end as badly, so that it should not be asked for at once.  A code
        that has ended its run delays no other run.  Raises `IdentityGone`.
        """
        about = {"run": grant.order.run, "partition": grant.token.partition, "epoch": grant.token.epoch}
        tell(logging.INFO, "lease.begin", "A lease begins.", **about)
        try:
            clock = self._pool.lease()
        except RunError as stuck:
            # Another agent may go on with it.
            tell(logging.ERROR, "lease.refused", str(stuck), **about)
            self._give_back(grant, Release(), about)
            return False
        try:
            asked_at = self._enter(grant, clock, asked_at)
            with self._holding(clock), self._renewing(grant, clock, asked_at):
                release = self._perform(grant, clock, about)
        except (RunError, ApiError) as lost:
            tell(logging.WARNING, "lease.lost", str(lost), **about)
            return False
        finally:
            self._pool.give_back(clock)
        if release is None:
            return True
        told = self._give_back(grant, release, about)
        ends = CODES[release.code or SUCCESS].disposition == "fail_run" and release.code not in UNREACHED
        return not release.code or (told and ends)

    def _enter(self, grant: Grant, clock: LeaseClock, asked_at: float) -> float:
        """Start the clock.  A lease that was long waited for is renewed at once: its time counts from the asking."""
        ttl = grant.ttl
        if boot_time() - asked_at > ttl / 3:
            asked_at = boot_time()
            until = asked_at + ttl
            ledger = self._protocol.ledger(grant.order.run, lambda: until - boot_time())
            ttl = ledger.renew(grant.token, progress=False).ttl
        clock.extend(asked_at, ttl)
        return asked_at

    @contextlib.contextmanager
    def _holding(self, clock: LeaseClock) -> Iterator[None]:
        with self._lock:
            self._held.add(clock)
            if self._stopping:
                clock.ask_to_stop()
        try:
            yield
        finally:
            with self._lock:
                self._held.discard(clock)

    def _perform(self, grant: Grant, clock: LeaseClock, about: dict[str, Any]) -> Release | None:
        """Let the engine work; None when nothing is left to give back."""
        ledger = self._protocol.ledger(grant.order.run, clock.remaining)
        try:
            kept = self._delivery.ledger(grant.order.run, clock) if self._delivery else ledger
            self._pool.perform(grant, kept, *self._specs(grant, ledger), clock)
        except LeaseLost as lost:
            tell(logging.WARNING, "lease.lost", str(lost), **about)
            return None
        except Stopped:
            return Release()
        except RunError as trouble:
            return Release(trouble.code, trouble.detail)
        except (WorkerDied, StoreError) as trouble:
            return Release(_LOST, str(trouble))
        except (ApiError, UsageError) as trouble:
            return Release(_FAILED, str(trouble))
        tell(logging.INFO, "lease.done", "The lease's work is done.", **about)
        return None

    def _specs(self, grant: Grant, ledger: LeasedLedger) -> tuple[StoreSpec, StoreSpec]:
        order = grant.order
        source = self._spec(order.source, "source", grant, ledger)
        target = self._spec(order.target, "target", grant, ledger)
        if order.options.dry_run:
            # Not even its root is made, nor anything tidied up there.
            target = replace(target, create=False)
        if order.source.kind == order.target.kind == LOCAL:
            check_apart(source, target)
        return source, target

    def _spec(self, place: Place, side: Side, grant: Grant, ledger: LeasedLedger) -> StoreSpec:
        if place.kind == LOCAL:
            return self._roots.spec(place, side)
        self._check_not_ours(place)
        self._check_private(place)
        if place.kind == BLOB and side == "target":
            secret = ledger.credential(grant.token).secret
            return StoreSpec(
                "blob", place.location, place.subpath, secret=secret, private=self._private, way=self._way
            )
        if place.kind == BUCKET and side == "target":
            key = ledger.credential(grant.token)
            opened = StoreSpec("s3", place.location, place.subpath, secret=key.secret, private=self._private)
            return replace(opened, identity=key.identity, region=key.region, ca_pem=key.ca, way=self._way)
        raise RunError(_UNSUPPORTED[side], f"It is {place.kind}.")

    def _check_not_ours(self, place: Place) -> None:
        """The port of the identity endpoint is no target, on no host: any name may lead to this machine."""
        try:
            port = urlsplit(place.location).port
        except ValueError as broken:
            raise RunError("AZSM1022", "It is no address of a service.") from broken
        if port is not None and port == self._identity_port:
            raise RunError("AZSM1022", f"Port {port} is that of the agent's own identity endpoint.")

    def _check_private(self, place: Place) -> None:
        """An agent of a private link scope sends data to private addresses only, too."""
        if not self._private:
            return
        try:
            public = private_addresses.public_address_of(place.location)
        except OSError as trouble:
            raise RunError("AZSM1031", str(trouble)) from trouble
        if public is not None:
            raise RunError("AZSM1038", f"{public} is public.")

    @contextlib.contextmanager
    def _renewing(self, grant: Grant, clock: LeaseClock, asked_at: float) -> Iterator[None]:
        over = threading.Event()
        thread = threading.Thread(
            target=self._renew, args=(grant, clock, asked_at, over), name="renewal", daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _renew(self, grant: Grant, clock: LeaseClock, asked_at: float, over: threading.Event) -> None:
        """Renew every third of the lease's time until it is `over`; losing it ends all writing at once."""
        ledger = self._protocol.ledger(grant.order.run, lambda: 0.0 if over.is_set() else clock.remaining())
        ttl = grant.ttl
        while not over.wait(max(0.0, asked_at + ttl / 3 - boot_time())):
            asked_at = boot_time()
            try:
                renewal = ledger.renew(grant.token, clock.moved())
            except LeaseLost as lost:
                if not over.is_set():
                    clock.revoke()
                    tell(logging.WARNING, "lease.lost", str(lost), run=grant.order.run)
                return
            except (RunError, ApiError, IdentityGone) as refused:
                clock.revoke()
                tell(logging.ERROR, "lease.refused", str(refused), run=grant.order.run)
                return
            ttl = renewal.ttl
            clock.renewed(asked_at, renewal)

    def _give_back(self, grant: Grant, release: Release, about: dict[str, Any]) -> bool:
        """Release the lease; whether the control plane has taken it back."""
        level = logging.WARNING if release.code else logging.INFO
        tell(
            level,
            "lease.release",
            "A lease is given back.",
            code=release.code,
            detail=release.detail,
            **about,
        )
        if self._delivery is not None:
            # Once it is given back nothing counts that was done under it.
            self._delivery.deliver()
        # The lease's own time may be over here already; the control plane knows whether it still counts.
        until = time.monotonic() + _RELEASE_SECONDS
        ledger = self._protocol.ledger(grant.order.run, lambda: until - time.monotonic())
        try:
            ledger.release(grant.token, release.code, release.detail)
        except (RunError, ApiError, Unreachable) as trouble:
            why = f"It could not be given back: {trouble}"
            tell(logging.WARNING, "lease.release", why, code=release.code, detail=release.detail, **about)
            return False
        return True
