"""Device codes in the database, and the decisions of people about them.

Codes are stored as hashes: the device's own as SHA-256 (it has 256 bits), the one that people type as an HMAC
with the master key (it has 35).  `trust.device_flow` decides every step; here each step is one transaction of the
caller's.  The consent page and the break-glass socket approve through `approve`, both with the approver's own rights.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from sqlalchemy import Connection, func, insert, select, update

from wherry.control.db.tables_identity import device_codes
from wherry.control.services import enrolments, limits
from wherry.model.errors import ApiError
from wherry.trust import device_flow
from wherry.trust.device_flow import DeviceGrant, FlowError, Outcome
from wherry.trust.enrolment import EnrolmentRequest
from wherry.trust.keys import MasterKey, sha256

MAX_LIVE = 100
STARTS_PER_MINUTE = 60
WRONG_PER_SOURCE = 20
WRONG_ALTOGETHER = 100
WRONG_SECONDS = 600.0


@dataclass(frozen=True, slots=True, repr=False)
class Codes:
    """A new pair of codes: kept by the device, typed by the person."""

    device: str
    user: str


def start(conn: Connection, master: MasterKey, grant: DeviceGrant, now: float) -> Codes | None:
    """Store a new grant; None when its source asks too often or too many codes are alive."""
    live = conn.execute(
        select(func.count())
        .select_from(device_codes)
        .where(device_codes.c.state == "pending", device_codes.c.expires_at > now)
    ).scalar_one()
    allowed = limits.hit(conn, f"device code/{grant.source}", STARTS_PER_MINUTE, 60.0, now)
    if live >= MAX_LIVE or not allowed:
        return None
    codes = Codes(device_flow.new_device_code(), device_flow.new_user_code())
    conn.execute(
        insert(device_codes).values(
            device_hash=sha256(codes.device),
            user_hash=_user_hash(master, codes.user),
            state=grant.state,
            grant=grant.document(),
            source=grant.source,
            created_at=grant.created_at,
            expires_at=grant.expires_at,
        )
    )
    return codes


def poll(
    conn: Connection, code: str, client_id: str, tenant: str, jkt: str | None, now: float, token_id: str
) -> tuple[Outcome, DeviceGrant] | None:
    """The device's poll, one step of the state machine; None for a code that never was."""
    row = conn.execute(select(device_codes).where(device_codes.c.device_hash == sha256(code))).first()
    if row is None:
        return None
    grant = DeviceGrant.from_document(row.grant)
    outcome, after = device_flow.poll(
        grant, client_id=client_id, tenant=tenant, jkt=jkt, now=now, token_id=token_id
    )
    _store(conn, row.device_hash, after)
    return outcome, after


def find(conn: Connection, master: MasterKey, typed: str, now: float) -> DeviceGrant | None:
    """The grant that waits for the code a person typed; None when there is none (any more)."""
    found = _find(conn, master, typed)
    if found is None or found[1].expired(now) or found[1].state != "pending":
        return None
    return found[1]


def is_known(conn: Connection, master: MasterKey, typed: str) -> bool:
    """Whether a person typed a code that there is, whatever became of it."""
    return _find(conn, master, typed) is not None


def guess_allowed(conn: Connection, source: str, now: float) -> bool:
    """Count a wrong code from `source`; False when it or everybody together guess too much."""
    near = limits.hit(conn, f"wrong code/{source}", WRONG_PER_SOURCE, WRONG_SECONDS, now)
    far = limits.hit(conn, "wrong code", WRONG_ALTOGETHER, WRONG_SECONDS, now)
    return near and far


def guesses_left(conn: Connection, source: str, now: float) -> bool:
    """Whether `source` may still try codes, counting nothing."""
    return limits.left(conn, f"wrong code/{source}", WRONG_PER_SOURCE, WRONG_SECONDS, now) and limits.left(
        conn, "wrong code", WRONG_ALTOGETHER, WRONG_SECONDS, now
    )


def approve(
    conn: Connection, master: MasterKey, typed: str, approver: str, now: float, *, owners: bool = False
) -> DeviceGrant:
    """Approve with the rights of `approver` (an oid), who for an enrolment has to be an Owner when `owners` says so.

    An enrolment that the approver has no right to is denied on the spot, so that the device stops waiting; the grant
    that comes back says so (`state`).  400 when there is nothing to decide on.
    """
    device_hash, grant = _pending(conn, master, typed)
    lacking = None
    if grant.details:
        lacking = enrolments.missing_right(
            conn, approver, EnrolmentRequest.parse(grant.details), now, owners=owners
        )
    try:
        step = device_flow.deny if lacking else device_flow.approve
        after = step(grant, approver, now)
    except FlowError as refused:
        raise ApiError(400, "CodeNotPending", str(refused)) from refused
    _store(conn, device_hash, after)
    return after


def deny(conn: Connection, master: MasterKey, typed: str, by: str, now: float) -> DeviceGrant:
    """Deny; 400 when there is nothing to decide on."""
    device_hash, grant = _pending(conn, master, typed)
    try:
        after = device_flow.deny(grant, by, now)
    except FlowError as refused:
        raise ApiError(400, "CodeNotPending", str(refused)) from refused
    _store(conn, device_hash, after)
    return after


def compare(
    conn: Connection, master: MasterKey, typed: str, number: str, now: float
) -> tuple[bool, DeviceGrant]:
    """Whether the number read off the device is right; the third wrong one denies the code."""
    device_hash, grant = _pending(conn, master, typed)
    try:
        right, after = device_flow.compare(grant, number, now)
    except FlowError as refused:
        raise ApiError(400, "CodeNotPending", str(refused)) from refused
    _store(conn, device_hash, after)
    return right, after


def _pending(conn: Connection, master: MasterKey, typed: str) -> tuple[str, DeviceGrant]:
    found = _find(conn, master, typed)
    if found is None:
        raise ApiError(
            404, "CodeNotFound", "No device is waiting for this code. Check it, or start again there."
        )
    return found


def _find(conn: Connection, master: MasterKey, typed: str) -> tuple[str, DeviceGrant] | None:
    code = device_flow.normalize_user_code(typed)
    if code is None:
        return None
    row = conn.execute(
        select(device_codes).where(device_codes.c.user_hash == _user_hash(master, code))
    ).first()
    return (row.device_hash, DeviceGrant.from_document(row.grant)) if row else None


def _store(conn: Connection, device_hash: str, grant: DeviceGrant) -> None:
    conn.execute(
        update(device_codes)
        .where(device_codes.c.device_hash == device_hash)
        .values(state=grant.state, grant=grant.document())
    )


def _user_hash(master: MasterKey, code: str) -> str:
    return hmac.new(master.derive("user code"), code.encode(), "sha256").hexdigest()
