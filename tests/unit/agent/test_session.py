"""What becomes of a lease, whatever the engine comes to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wherry.agent.roots import Roots
from wherry.agent.session import Session
from wherry.client.agent_protocol import Credential
from wherry.client.proven import IdentityGone
from wherry.engine.chapters import Stopped
from wherry.engine.lease import LeaseClock, boot_time
from wherry.engine.pool import Pool
from wherry.engine.processes import WorkerDied
from wherry.model.errors import ApiError, LeaseLost, RunError, Unavailable, WherryError
from wherry.model.ledger import Span, Token
from wherry.model.options import JobOptions
from wherry.model.wire import Grant, Place, Renewal, RunOrder
from wherry.stores.port import StoreSpec


class Ledger:
    """A control plane that renews, or does not."""

    def __init__(self, owner: Protocol, remaining: Callable[[], float]) -> None:
        self.owner, self.remaining = owner, remaining

    def renew(self, token: Token, progress: bool) -> Renewal:
        if self.remaining() <= 0:
            raise LeaseLost("no time is left")
        self.owner.renewals.append(progress)
        self.owner.renewed.set()
        if isinstance(self.owner.renewal, Exception):
            raise self.owner.renewal
        return self.owner.renewal

    def credential(self, token: Token) -> Credential:
        return Credential("sig=x")

    def release(self, token: Token, code: str = "", detail: str = "") -> None:
        assert self.remaining() > 0
        self.owner.releases.append((code, detail))
        if self.owner.refusal is not None:
            raise self.owner.refusal


class Protocol:
    def __init__(self) -> None:
        self.renewal: Renewal | Exception = Renewal(60.0)
        self.refusal: Exception | None = None
        self.renewals: list[bool] = []
        self.renewed = threading.Event()
        self.releases: list[tuple[str, str]] = []

    def ledger(self, run: str, remaining: Callable[[], float]) -> Ledger:
        return Ledger(self, remaining)


@pytest.fixture
def protocol() -> Protocol:
    return Protocol()


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    return source, target


@pytest.fixture
def session(protocol: Protocol, folders: tuple[Path, Path], tmp_path: Path) -> Iterator[Session]:
    pool = Pool(0)
    roots = Roots.named([folders[0]], [folders[1]], tmp_path / "agent")
    yield Session(protocol, roots, pool)  # type: ignore[arg-type]
    pool.close()


@pytest.fixture
def grant(folders: tuple[Path, Path]) -> Grant:
    source, target = (Place("LocalMount", str(folder)) for folder in folders)
    return Grant(Token("i", 1, 1, "l"), RunOrder("r", source, target, JobOptions()), Span(), 60.0)


def engine(monkeypatch: pytest.MonkeyPatch, work: Callable[[StoreSpec, StoreSpec, LeaseClock], Any]) -> None:
    """Put `work` in place of the engine."""

    def perform(_: Pool, grant: Any, ledger: Any, source: Any, target: Any, clock: Any) -> None:
        work(source, target, clock)

    monkeypatch.setattr(Pool, "perform", perform)


def raising(error: Exception) -> Callable[..., None]:
    def work(*_: Any) -> None:
        raise error

    return work


def test_finished_work_is_not_released(
    session: Session, protocol: Protocol, grant: Grant, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine(monkeypatch, lambda *_: None)

    assert session.work(grant, boot_time())
    assert protocol.releases == []


@pytest.mark.parametrize(
    ("error", "released", "well"),
    [
        (Stopped(), [("", "")], True),
        (RunError("AZSM1006", "why"), [("AZSM1006", "why")], True),
        (WorkerDied("killed"), [("AZSM1023", "killed")], False),
        (ApiError(400, "x", "what"), [("AZSM1060", "what")], True),
        (LeaseLost("over"), [], True),
        (Unavailable("later"), [("AZSM1023", "later")], False),
        (RunError("AZSM1031", "No route."), [("AZSM1031", "No route.")], False),
        (RunError("AZSM1022", "Gone."), [("AZSM1022", "Gone.")], True),
    ],
)
def test_every_end_is_told_as_what_it_is(
    session: Session,
    protocol: Protocol,
    grant: Grant,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    released: list[tuple[str, str]],
    well: bool,
) -> None:
    engine(monkeypatch, raising(error))

    assert session.work(grant, boot_time()) is well
    assert protocol.releases == released


def test_a_release_that_is_refused_ends_the_lease_all_the_same(
    session: Session, protocol: Protocol, grant: Grant, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine(monkeypatch, raising(Stopped()))
    protocol.refusal = LeaseLost("the run has ended")

    assert session.work(grant, boot_time())


def test_a_code_that_did_not_arrive_ends_no_run(
    session: Session, protocol: Protocol, grant: Grant, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine(monkeypatch, raising(RunError("AZSM1006")))
    protocol.refusal = ApiError(502, "BadGateway", "later")

    assert not session.work(grant, boot_time())


def test_an_identity_that_is_gone_is_passed_on(
    session: Session, grant: Grant, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine(monkeypatch, raising(IdentityGone()))

    with pytest.raises(IdentityGone):
        session.work(grant, boot_time())


def test_a_lease_is_renewed_while_the_engine_works(
    session: Session, protocol: Protocol, grant: Grant, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Renewed after a third of its time, and what is left is enough for a machine that has other things to do.
    protocol.renewal = Renewal(2.4, split=True, stop=True)

    def work(_source: StoreSpec, _target: StoreSpec, clock: LeaseClock) -> None:
        for _ in range(2):
            assert protocol.renewed.wait(10)
            protocol.renewed.clear()
        clock.fence()
        assert clock.split
        assert clock.stop

    engine(monkeypatch, work)
    session.work(replace(grant, ttl=30.0), boot_time() - 9.9)

    assert len(protocol.renewals) >= 2


@pytest.mark.parametrize("refusal", [LeaseLost("another agent has taken over"), IdentityGone()])
def test_a_renewal_that_is_refused_ends_all_writing_at_once(
    session: Session,
    protocol: Protocol,
    grant: Grant,
    monkeypatch: pytest.MonkeyPatch,
    refusal: WherryError,
) -> None:
    protocol.renewal = refusal
    fenced: list[float] = []

    def work(_source: StoreSpec, _target: StoreSpec, clock: LeaseClock) -> None:
        while clock.remaining() > 0:
            time.sleep(0.01)
        fenced.append(clock.remaining())
        clock.fence()

    engine(monkeypatch, work)

    # It is renewed after ten seconds; past those, before the work.
    assert session.work(replace(grant, ttl=30.0), boot_time() - 9.4)
    assert fenced
    assert protocol.releases == []


def test_time_counts_from_before_the_lease_was_asked_for(
    session: Session, protocol: Protocol, grant: Grant, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[float] = []
    engine(monkeypatch, lambda _s, _t, clock: left.append(clock.remaining()))

    session.work(grant, boot_time() - 10)

    assert 49 < left[0] <= 50
    assert protocol.renewals == []


def test_a_lease_that_was_long_waited_for_is_renewed_first(
    session: Session, protocol: Protocol, grant: Grant, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[float] = []
    engine(monkeypatch, lambda _s, _t, clock: left.append(clock.remaining()))

    session.work(replace(grant, ttl=2.0), boot_time() - 25)

    assert 59 < left[0] <= 60
    assert protocol.renewals == [False]
    protocol.renewal = LeaseLost("over")
    assert not session.work(replace(grant, ttl=2.0), boot_time() - 25)
    assert len(left) == 1


def test_stopping_reaches_leases_that_are_held_and_those_to_come(
    session: Session, protocol: Protocol, grant: Grant, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = threading.Event()

    def work(_source: StoreSpec, _target: StoreSpec, clock: LeaseClock) -> None:
        begun.set()
        while not clock.stop:
            time.sleep(0.01)
        raise Stopped

    engine(monkeypatch, work)
    thread = threading.Thread(target=session.work, args=(grant, boot_time()))
    thread.start()
    assert begun.wait(5)
    session.stop()
    thread.join(5)
    session.work(grant, boot_time())

    assert protocol.releases == [("", ""), ("", "")]


def test_a_folder_that_is_not_allowed_is_not_opened(
    session: Session, protocol: Protocol, grant: Grant, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine(monkeypatch, raising(AssertionError("opened")))
    order = replace(grant.order, source=Place("LocalMount", "/usr"))

    session.work(replace(grant, order=order), boot_time())

    ((code, _),) = protocol.releases
    assert code == "AZSM1007"


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_dry_run_makes_no_target(
    session: Session,
    folders: tuple[Path, Path],
    grant: Grant,
    monkeypatch: pytest.MonkeyPatch,
    dry_run: bool,
) -> None:
    seen = []
    engine(monkeypatch, lambda source, target, clock: seen.append((source.create, target.create)))
    order = replace(grant.order, options=JobOptions(dry_run=dry_run))

    assert session.work(replace(grant, order=order), boot_time())

    assert seen == [(False, not dry_run)]


def test_a_container_is_opened_with_its_credential(
    session: Session, grant: Grant, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[StoreSpec] = []
    engine(monkeypatch, lambda _source, target, _clock: opened.append(target))
    order = replace(grant.order, target=Place("AzureStorageBlobContainer", "https://a.example/c", b"sub"))

    session.work(replace(grant, order=order), boot_time())

    (spec,) = opened
    assert (spec.kind, spec.location, spec.subpath, spec.secret) == (
        "blob",
        "https://a.example/c",
        b"sub",
        "sig=x",
    )
    assert "sig=x" not in repr(spec)


@pytest.mark.parametrize(
    ("side", "kind", "code"),
    [
        ("source", "NfsMount", "AZSM1029"),
        ("target", "SmbMount", "AZSM1026"),
        ("source", "AzureStorageBlobContainer", "AZSM1029"),
    ],
)
def test_what_this_agent_cannot_do_is_told(
    session: Session,
    protocol: Protocol,
    grant: Grant,
    monkeypatch: pytest.MonkeyPatch,
    side: str,
    kind: str,
    code: str,
) -> None:
    engine(monkeypatch, raising(AssertionError("opened")))
    order = replace(grant.order, **{side: Place(kind, "x")})  # type: ignore[arg-type]

    session.work(replace(grant, order=order), boot_time())

    assert protocol.releases[0][0] == code


def test_a_lease_that_no_worker_can_take_is_left_to_other_agents(
    session: Session, protocol: Protocol, grant: Grant, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stuck(_: Pool) -> LeaseClock:
        raise RunError("AZSM1060", "64 workers hang.")

    monkeypatch.setattr(Pool, "lease", stuck)

    assert not session.work(grant, boot_time())
    assert protocol.releases == [("", "")]


@pytest.mark.parametrize(
    ("location", "code"),
    [
        ("https://8.8.8.8/c", "AZSM1038"),
        ("https://[2001:4860:4860::8888]/c", "AZSM1038"),
        ("https://10.1.2.3/c", ""),
    ],
)
def test_an_agent_of_a_private_link_scope_sends_nothing_to_public_addresses(
    session: Session,
    grant: Grant,
    protocol: Protocol,
    monkeypatch: pytest.MonkeyPatch,
    location: str,
    code: str,
) -> None:
    opened: list[StoreSpec] = []
    engine(monkeypatch, lambda _source, target, _clock: opened.append(target))
    monkeypatch.setattr(session, "_private", True)
    order = replace(grant.order, target=Place("AzureStorageBlobContainer", location, b"sub"))

    session.work(replace(grant, order=order), boot_time())

    assert [one.location for one in opened] == ([] if code else [location])
    assert [given[0] for given in protocol.releases] == ([code] if code else [])


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "nas.example"]
)
@pytest.mark.parametrize("kind", ["AzureStorageBlobContainer", "S3WithHMAC"])
def test_attack_60_the_port_of_the_identity_endpoint_is_no_target(
    session: Session, grant: Grant, protocol: Protocol, monkeypatch: pytest.MonkeyPatch, host: str, kind: str
) -> None:
    opened: list[StoreSpec] = []
    engine(monkeypatch, lambda _source, target, _clock: opened.append(target))
    monkeypatch.setattr(session, "_identity_port", 40342)
    order = replace(grant.order, target=Place(kind, f"http://{host}:40342/metadata/identity", b""))

    session.work(replace(grant, order=order), boot_time())

    assert not opened
    assert [given[0] for given in protocol.releases] == ["AZSM1022"]
