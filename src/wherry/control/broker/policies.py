"""The credential broker for Blob: from a run with a live grant to a SAS, and back to nothing.

`open` puts the run's policy on its container, `credential` hands out the SAS, `extend` moves the policy's end on while
leases live, `withdraw` takes it off when the run has ended and makes sure that the SAS is refused.  One change of a
container at a time: within a process by a lock in memory, between processes by one in the database.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import ParamSpec, TypeVar

import anyio.to_thread
from sqlalchemy import Connection

from wherry.control.broker import blob
from wherry.control.db.engine import Database
from wherry.control.services import access_policies, accounts, grants, run_state
from wherry.control.services.access_policies import LIVE, OPENING, Policy
from wherry.control.services.accounts import Account
from wherry.control.settings import Settings
from wherry.model.errors import ApiError, RunError, Unavailable
from wherry.trust.keys import MasterKey

log = logging.getLogger("wherry.control")

P = ParamSpec("P")
T = TypeVar("T")

_LOCK_SECONDS = 120.0
_LOCK_POLL = 0.2
_THREADS = 8


@dataclass(frozen=True, slots=True)
class Secret:
    """A credential for the data plane: `text` is empty where none is needed."""

    text: str = field(default="", repr=False)
    expires_at: float = 0.0


class PolicyBroker:
    """Stored access policies of all runs.  One a process; lives in one event loop."""

    def __init__(
        self, database: Database, master: MasterKey, settings: Settings, clock: Callable[[], float]
    ) -> None:
        self._database = database
        self._master = master
        self._settings = settings
        self._clock = clock
        self._threads = anyio.CapacityLimiter(_THREADS)
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._owner = secrets.token_hex(8)
        self._unswept: set[tuple[str, str]] | None = None
        self._sweep_after = self._sweep_until = 0.0
        # What carries it was made by whoever had this master key: nothing else is ever taken off unasked.
        self._mark = f"wherry-{master.derive('access policies').hex()[:8]}-"

    async def open(self, run: str) -> None:
        """Let the policy of a run stand on its container.

        `NoSlot` when five others stand there, `RunError` when the container is not there or the run may not be let in,
        `Unavailable` when the back end cannot be asked.
        """
        policy = await self._database.read(access_policies.of_run, run)
        enough = self._clock() + self._settings.credential_margin_seconds
        if policy is not None and policy.state == LIVE and policy.expires_at > enough:
            return
        policy = await self._database.write(self._begin, run)
        account = await self._account(policy)
        async with self._turn(policy.url):
            try:
                await self._stand(policy, account)
            except blob.NoSlot:
                await self._database.write(access_policies.abandon, policy.id)
                raise

    async def credential(self, run: str, oid: str) -> Secret:
        """The SAS of a run for an agent with a live grant; AZSM1024 for one without."""
        needed = await self._database.read(self._check_grant, run, oid)
        if not needed:
            return Secret()
        await self.open(run)
        policy = await self._database.read(access_policies.of_run, run)
        if policy is None or policy.state != LIVE:
            raise RunError("AZSM1024", "The access of this run has been withdrawn.")
        account = await self._account(policy)
        return Secret(blob.sign(account, policy.container, policy.id), policy.expires_at)

    async def extend(self) -> int:
        """Move the end of policies on whose runs are worked on; answers how many."""
        margin = self._settings.credential_margin_seconds
        due = await self._database.read(access_policies.due_extensions, self._clock(), margin)
        moved = 0
        for policy in due:
            try:
                async with self._turn(policy.url):
                    await self._stand(policy, await self._account(policy))
                moved += 1
            except (RunError, Unavailable, ApiError) as trouble:
                log.warning(
                    "a policy cannot be extended", extra={"policy": policy.id, "reason": str(trouble)}
                )
        return moved

    async def withdraw(self) -> int:
        """Take the policies of ended runs off; answers how many the back ends acknowledged."""
        if await self._database.read(access_policies.any_left):
            await self._database.write(access_policies.reconcile)
        before = self._clock() - self._settings.policy_retry_seconds
        done = 0
        for policy in await self._database.read(access_policies.due_withdrawals, before):
            try:
                await self._withdraw(policy)
                done += 1
            except (RunError, Unavailable, ApiError) as trouble:
                log.warning("a withdrawal is pending", extra={"policy": policy.id, "reason": str(trouble)})
                await self._database.write(access_policies.tried, policy.id, self._clock())
        return done

    async def sweep(self) -> int:
        """Take off what we made and no books know: what a database that was restored has forgotten.

        Once a process; places that cannot be asked are asked again, as long as what stands there has not expired.
        """
        now, gone = self._clock(), 0
        if self._unswept is None:
            self._unswept = set(await self._database.read(access_policies.containers))
            self._sweep_until = now + self._settings.credential_seconds
        if now < self._sweep_after or now > self._sweep_until:
            return 0
        self._sweep_after = now + self._settings.policy_retry_seconds
        for place in set(self._unswept):
            try:
                gone += await self._sweep(*place)
            except (RunError, Unavailable) as trouble:
                log.warning("a container is not swept", extra={"place": place[1], "reason": str(trouble)})
                continue
            self._unswept.discard(place)
        return gone

    async def _sweep(self, account_key: str, container: str) -> int:
        try:
            account = await self._database.read(accounts.load, self._master, account_key)
        except ApiError:
            return 0
        url = f"{account.endpoint}/{container}".lower()
        async with self._turn(url):
            # First what stands, then the books: each row is written before its policy.
            stands = await self._in_thread(blob.names, account, container)
            ours = [name for name in stands if name.startswith(self._mark)]
            stray = await self._database.read(access_policies.unknown, ours) if ours else []
            for name in stray:
                await self._in_thread(blob.drop, account, container, name)
                await self._database.write(access_policies.taken_off, name, url, self._clock())
        return len(stray)

    def _begin(self, conn: Connection, run_id: str) -> Policy:
        run = run_state.load(conn, run_id)
        if run is None or run.ended:
            raise RunError("AZSM1024", "The run has ended.")
        return access_policies.open_for(
            conn, run, self._clock() + self._settings.credential_seconds, self._mark
        )

    def _check_grant(self, conn: Connection, run_id: str, oid: str) -> bool:
        """Whether a credential is needed at all; AZSM1024 unless the agent's assignments allow what the run does."""
        run = run_state.load(conn, run_id)
        if run is None or run.ended:
            raise RunError("AZSM1024", "The run has ended.")
        if not grants.holds(conn, oid, grants.role_for(run.mirror), run.scope, self._clock()):
            raise RunError("AZSM1024", "No role assignment of the agent allows it at this moment.")
        return run.account_key is not None

    async def _stand(self, policy: Policy, account: Account) -> None:
        """Put a policy on its container and see that it works; the container's lock is held."""
        current = await self._database.read(access_policies.of_run, policy.run)
        if current is None or current.id != policy.id or current.state not in (OPENING, LIVE):
            raise RunError("AZSM1024", "The access of this run has been withdrawn.")
        until = float(int(self._clock() + self._settings.credential_seconds))
        await self._in_thread(blob.put, account, policy.container, policy.id, policy.permissions, until)
        sas = blob.sign(account, policy.container, policy.id)
        limit = self._settings.probe_seconds
        if not await self._in_thread(
            partial(blob.wait_until, open_=True), account, policy.container, sas, limit
        ):
            raise Unavailable("the storage account does not let the new policy in yet")
        await self._database.write(access_policies.stands, policy.id, until, self._clock())

    async def _withdraw(self, policy: Policy) -> None:
        try:
            account = await self._account(policy)
        except ApiError:
            # The registration is gone, and its key with it: the policy ends by its own expiry.
            if self._clock() > policy.expires_at:
                await self._database.write(access_policies.withdrawn, policy.id, self._clock())
                return
            raise
        async with self._turn(policy.url):
            await self._in_thread(blob.drop, account, policy.container, policy.id)
        sas = blob.sign(account, policy.container, policy.id)
        limit = self._settings.probe_seconds
        if not await self._in_thread(
            partial(blob.wait_until, open_=False), account, policy.container, sas, limit
        ):
            raise Unavailable("the storage account still lets the withdrawn policy in")
        await self._database.write(access_policies.withdrawn, policy.id, self._clock())

    async def _account(self, policy: Policy) -> Account:
        """The back end that the policy stands on, by the name and address that it had then."""
        now = await self._database.read(accounts.load, self._master, policy.account_key)
        return Account(now.id, policy.endpoint, policy.account, now.key)

    @asynccontextmanager
    async def _turn(self, url: str) -> AsyncIterator[None]:
        """Nobody else changes this container meanwhile."""
        async with self._turns[url]:
            while not await self._lock(url):  # noqa: ASYNC110 - another process holds it
                await asyncio.sleep(_LOCK_POLL)
            try:
                yield
            finally:
                await self._database.write(access_policies.unlock, url, self._owner)

    async def _lock(self, url: str) -> bool:
        return await self._database.write(
            access_policies.lock, url, self._owner, self._clock(), _LOCK_SECONDS
        )

    async def _in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        call = partial(function, *args, **kwargs)
        return await anyio.to_thread.run_sync(call, limiter=self._threads)
