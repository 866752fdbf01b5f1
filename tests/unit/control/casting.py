"""Makes the callers of `callers.py`: people, programs and agents in all states, with what they were given before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tests.unit.control import attacked
from tests.unit.control.attacked import Target
from tests.unit.control.callers import AGENT, ARM, GRAPH, VAULT, Caller, Cast
from tests.unit.control.conftest import START, URL, Made
from tests.unit.control.stage import GROUP, MOVER, Stage
from wherry.control.broker import registry
from wherry.control.broker.credentials import Broker
from wherry.control.dispatch import Dispatch
from wherry.control.identity import sessions
from wherry.control.logs import LogStore
from wherry.control.plane import Plane
from wherry.control.services import (
    agent_trust,
    factors,
    identities,
    presence,
    principals,
    programs,
    refresh,
    resource_store,
)
from wherry.control.services.ledger import Holder
from wherry.control.settings import Settings
from wherry.control.wakeups import Wakeups
from wherry.model import ids
from wherry.model.wire import token_to_json
from wherry.trust import clients, onetime, tokens
from wherry.trust.enrolment import AGENT_CLIENT_ID
from wherry.trust.join_state import JoinState
from wherry.trust.keys import PrivateKey
from wherry.trust.principals import AGENT_SCOPE, ENROL_SCOPE, FULL_SCOPE, PROGRAM_SCOPE, Principal
from wherry.trust.roles import CONTRIBUTOR, OWNER, READER, VAULT_SECRETS_OFFICER

NOTHING = "00000000-0000-4000-8000-000000000000"
VAULT_ID = f"{GROUP}/providers/Microsoft.KeyVault/vaults/default"
OTHERS = MOVER.removesuffix("/m") + "/others"
_NAMES = (
    "group", "user", "program", "oid", "member", "id", "identity", "consent", "bundle", "offset", "name",
    "n0", "n1", "n2",
)  # fmt: skip


@contextmanager
def assembled(made: Made, folder: Path) -> Iterator[Cast]:
    """Everybody at a control plane of their own, while the block runs."""
    with attacked.attacked(made, folder) as target:
        target.plane.settings = Settings(long_poll_seconds=0)
        with target.plane.database.transaction() as conn:
            cast = _Casting(target, Stage(conn, START)).cast()
        yield cast


@contextmanager
def at_work(plane: Plane, folder: Path) -> Iterator[None]:
    """What gives out leases, in the event loop of a test."""
    broker = Broker(plane.database, plane.master, plane.settings, plane.clock, registry.of_plane(plane))
    wakeups = Wakeups(plane.database)
    plane.parts[Dispatch] = Dispatch(plane, LogStore(folder / "logs"), broker, wakeups)
    yield
    wakeups.close()


class _Casting:
    def __init__(self, target: Target, stage: Stage) -> None:
        self.target, self.plane, self.stage, self.conn = target, target.plane, stage, stage.conn

    def cast(self) -> Cast:
        for path in (VAULT_ID, OTHERS):
            self.stage.put(path, location="local")
        callers = self.people() | self.agents() | {"program": self.program()}
        job = self.stage.job(agentName="agent")
        run = self.stage.start(job)
        self.stage.admit(run, "agent")
        lease = self.stage.lease(run, "agent").token
        names = dict.fromkeys(_NAMES, NOTHING) | {
            "tenant": self.plane.tenant, "subscription": self.plane.subscription, "provider": "Microsoft.StorageMover",
            "scope:path": f"subscriptions/{self.plane.subscription}", "location": "local", "number": "1",
            "run": run, "partition": str(lease.partition), "epoch": str(lease.epoch), "file": f"1-{'a' * 64}",
            "secret": "nothing", "version": "0" * 32,
        }  # fmt: skip
        fields = {"id": self.stage.agents["agent"].key, "job": job, "name": self.access()}
        theirs = {
            kind: {"id": self.stage.agent(f"of-{kind}").key, "name": self.access()}
            for kind in ("contrib", "owner", "cookie")
        }
        return Cast(self.plane, callers, names, fields, token_to_json(lease), theirs)

    def access(self) -> str:
        """A role assignment to revoke."""
        return self.stage.assign(READER.guid, self.stage.user(), MOVER, "User")

    def people(self) -> dict[str, Caller]:
        """Who signs in, and who shows less than that, or what was given for something else."""
        stage, owner = self.stage, self.person(self.stage.admin)
        gone = stage.user(OWNER.guid, "/")
        disabled = self.person(gone)
        principals.enable(self.conn, gone, enabled=False)
        secrets = stage.user(OWNER.guid, OTHERS)
        stage.assign(VAULT_SECRETS_OFFICER.guid, secrets, VAULT_ID, "User")
        half = sessions.begin(self.conn, stage.user(OWNER.guid, "/"), START, half=True)
        arm, vault = owner.tokens[ARM], owner.tokens[VAULT]
        return {
            "nobody": Caller({}),
            "half": Caller({}, half),
            "disabled": disabled,
            "no-role": self.person(stage.user()),
            "secrets": self.person(secrets),
            "reader": self.person(stage.user(READER.guid, "/")),
            "contrib": self.person(stage.user(CONTRIBUTOR.guid, "/")),
            "owner": owner,
            "cookie": Caller({}, self.person(stage.admin).cookie),
            "audience": Caller({ARM: vault, GRAPH: vault, VAULT: arm, AGENT: arm}),
            "enrol": self.enrolment(),
        }

    def person(self, oid: str) -> Caller:
        """A browser and tokens of somebody who has proven all that has to be."""
        session = refresh.begin(self.conn, oid, clients.AZURE_CLI, START).family
        who = replace(self.principal(oid), session=session, scopes=frozenset({FULL_SCOPE}))
        secret = onetime.new_secret()
        factors.add_app(
            self.conn, self.plane.master, oid, secret, onetime.code(secret, int(START // 30)), START
        )
        cookie = sessions.begin(self.conn, oid, START, factor="totp")
        return Caller(self.for_doors(who), cookie)

    def program(self) -> Caller:
        """A service principal with a secret and without a role."""
        made = programs.appear(self.conn, programs.create(self.conn, "program", START), START)
        credential, _ = programs.add_secret(self.conn, made.app_id, None, START, None)
        who = replace(
            self.principal(str(made.oid)), kind="service", client_id=made.app_id, session=credential.key_id,
            scopes=frozenset({PROGRAM_SCOPE}),
        )  # fmt: skip
        return Caller(self.for_doors(who))

    def enrolment(self) -> Caller:
        """An agent that a person has just approved: its token opens the registration, with its key."""
        key = PrivateKey.for_agent()
        who = replace(
            self.principal(self.stage.admin), scopes=frozenset({ENROL_SCOPE}), client_id=AGENT_CLIENT_ID,
            jkt=key.public.thumbprint, audience=URL,
        )  # fmt: skip
        token = tokens.issue_access(who, self.target.ring, self.plane.issuer, tokens.ENROLMENT)
        return Caller(dict.fromkeys((ARM, GRAPH, VAULT, AGENT), token), key=key)

    def agents(self) -> dict[str, Caller]:
        """Agents of this mover and of another, one that was locked, one that was unregistered."""
        found = {
            "agent": self.agent("agent", MOVER),
            "other": self.agent("other", OTHERS),
            "locked": self.agent("locked", MOVER),
            "gone": self.agent("gone", MOVER),
            "curious": self.agent("curious", OTHERS),
        }
        agent_trust.lock(self.conn, self.stage.agents["locked"].oid, "for this test", START)
        self.stage.agents.pop("locked")
        identities.delete_agent(self.conn, self.stage.agents.pop("gone").oid, START)
        return found

    def agent(self, name: str, mover: str) -> Caller:
        """An agent with its own token, and the one for vaults that it gives to programs of its machine."""
        key, machine = PrivateKey.for_agent(), f"{GROUP}/providers/Microsoft.HybridCompute/machines/{name}"
        made = identities.create_agent(
            self.conn, name=name, machine_id=machine, jwk=key.public.jwk(), now=START
        )
        placed = resource_store.insert(
            self.conn, self.stage.caller, f"{mover}/agents/{name}", "microsoft.storagemover/storagemovers/agents",
            ids.key(mover), properties={"arcResourceId": machine}, state={"agentStatus": "Online"}, link=machine,
        )  # fmt: skip
        presence.begin(self.conn, made.oid, placed.key, {}, START, START + 90)
        self.stage.agents[name] = Holder(made.oid, placed.key, name)
        machine_identity = replace(
            self.principal(made.oid), kind="agent", client_id=made.client_id, resource_id=machine,
            scopes=frozenset({AGENT_SCOPE}), expires_at=int(START) + tokens.AGENT_LIFETIME,
        )  # fmt: skip
        own = replace(
            machine_identity, audience=self.plane.agent_audience, jkt=made.jkt, join=str(JoinState(1))
        )
        bound = tokens.issue_access(own, self.target.ring, self.plane.issuer)
        return Caller(self.for_doors(machine_identity) | {ARM: bound, GRAPH: bound, AGENT: bound}, key=key)

    def principal(self, oid: str) -> Principal:
        """Somebody as tokens tell of them."""
        row = principals.require(self.conn, oid)
        return Principal(
            "user", oid, self.plane.tenant, row.name, client_id=clients.AZURE_CLI, token_id=tokens.new_id(),
            epoch=row.epoch, issued_at=int(START), expires_at=int(START) + 3600,
        )  # fmt: skip

    def for_doors(self, who: Principal) -> dict[str, str]:
        """Its token for each audience; at the doors of agents, the one that opens most elsewhere."""
        audiences = {ARM: URL, GRAPH: self.plane.graph_audience, VAULT: f"{URL}/vault", AGENT: URL}
        return {
            door: tokens.issue_access(replace(who, audience=audience), self.target.ring, self.plane.issuer)
            for door, audience in audiences.items()
        }
