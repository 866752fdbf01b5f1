"""The credential broker: from a run with a live grant to what its back end enforces, and back to nothing.

`open` has the run's driver let it in, `credential` hands out what the agent needs, `extend` moves the end on while
leases live, `withdraw` ends it when the run has ended and makes sure that it is refused, `sweep` ends what no books
know.  One change of a place at a time: within a process by a lock in memory, between processes by one in the
database.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import ParamSpec, TypeVar

import anyio.to_thread
from sqlalchemy import Connection

from wherry.control.broker.port import Driver, Issued, Material, NoSlot, Wanted
from wherry.control.db.engine import Database
from wherry.control.services import credentials, grants, run_state
from wherry.control.services.credentials import LIVE, STANDING, Credential
from wherry.control.services.run_sides import Opening
from wherry.control.settings import Settings
from wherry.model.errors import ApiError, RunError, Unavailable
from wherry.trust.keys import MasterKey

log = logging.getLogger("wherry.control")

P = ParamSpec("P")
T = TypeVar("T")

_LOCK_SECONDS = 120.0
_LOCK_POLL = 0.2
_THREADS = 8


class Broker:
    """Credentials of all runs.  One a process; lives in one event loop."""

    def __init__(
        self, database: Database, master: MasterKey, settings: Settings, clock: Callable[[], float],
        drivers: Mapping[str, Driver],
    ) -> None:  # fmt: skip
        self._database = database
        self._master = master
        self._settings = settings
        self._clock = clock
        self._drivers = drivers
        self._threads = anyio.CapacityLimiter(_THREADS)
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._owner = secrets.token_hex(8)
        self._unswept: dict[tuple[str, str], Opening] | None = None
        self._sweep_after = self._sweep_until = 0.0
        # What carries it was made by whoever had this master key: nothing else is ever taken off unasked.
        self._mark = f"wherry-{master.derive('access policies').hex()[:8]}-"

    async def open(self, run: str) -> None:
        """Let a run into its target.

        `NoSlot` when the back end has no room, `RunError` when the target is not there or the run may not be let in,
        `Unavailable` when the back end cannot be asked.
        """
        known = await self._database.read(credentials.of_run, run)
        enough = self._clock() + self._settings.credential_margin_seconds
        if known is not None and known.state == LIVE and known.expires_at > enough:
            return
        known = await self._database.write(self._begin, run)
        async with self._turn(known.wanted.place):
            try:
                await self._stand(known)
            except NoSlot:
                await self._database.write(credentials.abandon, known.id)
                raise

    async def credential(self, run: str, oid: str) -> tuple[Material, float]:
        """What an agent with a live grant is given, and until when it is good; AZSM1024 for one without."""
        needed = await self._database.read(self._check_grant, run, oid)
        if not needed:
            return Material(), 0.0
        await self.open(run)
        found = await self._database.read(credentials.of_run, run)
        if found is None or found.state != LIVE:
            raise RunError("AZSM1024", "The access of this run has been withdrawn.")
        return found.material(self._master), found.expires_at

    async def extend(self) -> int:
        """Move the end of credentials on whose runs are worked on; answers how many."""
        margin = self._settings.credential_margin_seconds
        due = await self._database.read(credentials.due_extensions, self._clock(), margin)
        return sum(await asyncio.gather(*(self._try_extend(one) for one in due)))

    async def withdraw(self) -> int:
        """End the credentials of ended runs; answers how many the back ends acknowledged."""
        if await self._database.read(credentials.any_left):
            await self._database.write(credentials.reconcile)
        before = self._clock() - self._settings.policy_retry_seconds
        due = await self._database.read(credentials.due_withdrawals, before)
        # All at once: a back end that does not answer must not keep the others open.
        return sum(await asyncio.gather(*(self._try_withdraw(one) for one in due)))

    async def sweep(self) -> int:
        """End what we made and no books know: what a database that was restored has forgotten.

        Once a process; places that cannot be asked are asked again, as long as what stands there has not expired.
        """
        now, gone = self._clock(), 0
        if self._unswept is None:
            found = await self._database.read(credentials.openings)
            self._unswept = {(one.driver, one.place): one for one in found}
            self._sweep_until = now + self._settings.credential_seconds
        if now < self._sweep_after or now > self._sweep_until:
            return 0
        self._sweep_after = now + self._settings.policy_retry_seconds
        for key, opening in list(self._unswept.items()):
            try:
                gone += await self._sweep(opening)
            except (RunError, Unavailable) as trouble:
                log.warning("a place is not swept", extra={"place": opening.place, "reason": str(trouble)})
                continue
            except ApiError:
                # What it takes to ask there is registered no more.
                gone += 0
            del self._unswept[key]
        return gone

    async def _try_extend(self, known: Credential) -> bool:
        try:
            async with self._turn(known.wanted.place):
                await self._stand(known)
        except (RunError, Unavailable, ApiError) as trouble:
            about = {"credential": known.id, "reason": str(trouble)}
            log.warning("a credential cannot be extended", extra=about)
            return False
        return True

    async def _try_withdraw(self, known: Credential) -> bool:
        try:
            await self._withdraw(known)
        except (RunError, Unavailable, ApiError) as trouble:
            log.warning("a withdrawal is pending", extra={"credential": known.id, "reason": str(trouble)})
            await self._database.write(credentials.tried, known.id, self._clock())
            return False
        return True

    async def _sweep(self, opening: Opening) -> int:
        driver = self._driver(opening.driver)
        async with self._turn(opening.place):
            # First what stands, then the books: each row is written before what it stands for.
            stands = await self._in_thread(driver.names, opening.told)
            ours = [name for name in stands if name.startswith(self._mark)]
            stray = await self._database.read(credentials.unknown, ours) if ours else []
            for name in stray:
                wanted = Wanted(name, "", opening.place, "write", b"", opening.told)
                await self._in_thread(driver.withdraw, wanted, Material())
                await self._database.write(credentials.taken_off, name, opening.place, self._clock())
        return len(stray)

    def _begin(self, conn: Connection, run_id: str) -> Credential:
        run = run_state.load(conn, run_id)
        if run is None or run.ended:
            raise RunError("AZSM1024", "The run has ended.")
        until = self._clock() + self._settings.credential_seconds
        return credentials.open_for(conn, run, until, self._mark)

    def _check_grant(self, conn: Connection, run_id: str, oid: str) -> bool:
        """Whether a credential is needed at all; AZSM1024 unless the agent's assignments allow what the run does."""
        run = run_state.load(conn, run_id)
        if run is None or run.ended:
            raise RunError("AZSM1024", "The run has ended.")
        if not grants.holds(conn, oid, grants.role_for(run.mirror), run.scope, self._clock()):
            raise RunError("AZSM1024", "No role assignment of the agent allows it at this moment.")
        return run.opening is not None

    async def _stand(self, known: Credential) -> None:
        """Have the driver make a credential, or move it on; it is this one's turn."""
        current = await self._database.read(credentials.of_run, known.wanted.run)
        if current is None or current.id != known.id or current.state not in STANDING:
            raise RunError("AZSM1024", "The access of this run has been withdrawn.")
        until = float(int(self._clock() + self._settings.credential_seconds))
        driver = self._driver(current.driver)
        if current.state == LIVE:
            call = partial(driver.renew, current.wanted, current.material(self._master), until)
        else:
            call = partial(driver.issue, current.wanted, until)
        issued = await self._in_thread(call)
        await self._database.write(self._write_down, known.id, issued)

    def _write_down(self, conn: Connection, credential: str, issued: Issued) -> None:
        sealed = credentials.seal(self._master, credential, issued.material)
        credentials.stands(conn, credential, issued.expires_at, self._clock(), sealed)

    async def _withdraw(self, known: Credential) -> None:
        driver = self._driver(known.driver)
        try:
            async with self._turn(known.wanted.place):
                await self._in_thread(driver.withdraw, known.wanted, known.material(self._master))
        except ApiError:
            # What the driver needs for it is registered no more: the credential has ended by its own expiry, or will.
            if self._clock() <= known.expires_at:
                raise
        await self._database.write(credentials.withdrawn, known.id, self._clock())

    def _driver(self, name: str) -> Driver:
        found = self._drivers.get(name)
        if found is None:
            raise RunError("AZSM1024", f"This control plane has no driver '{name}' for credentials.")
        return found

    @asynccontextmanager
    async def _turn(self, url: str) -> AsyncIterator[None]:
        """Nobody else changes this place meanwhile."""
        place = url.lower()
        async with self._turns[place]:
            while not await self._lock(place):  # noqa: ASYNC110 - another process holds it
                await asyncio.sleep(_LOCK_POLL)
            try:
                yield
            finally:
                await self._database.write(credentials.unlock, place, self._owner)

    async def _lock(self, place: str) -> bool:
        return await self._database.write(credentials.lock, place, self._owner, self._clock(), _LOCK_SECONDS)

    async def _in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        call = partial(function, *args, **kwargs)
        return await anyio.to_thread.run_sync(call, limiter=self._threads)
