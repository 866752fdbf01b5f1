"""The allow/deny function against Azure's rules of evaluation."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.trust import policy, roles
from wherry.trust.policy import Assignment, Facts, decide
from wherry.trust.principals import ENROL_SCOPE, FULL_SCOPE, Principal
from wherry.trust.roles import ROLES, Role

ME = Principal("user", "11111111-0000-4000-8000-00000000000a", "t", "me", frozenset({FULL_SCOPE}))
GROUP = "/subscriptions/S/resourceGroups/rg"
MOVER = f"{GROUP}/providers/Microsoft.StorageMover/storageMovers/m"
BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
READ = "Microsoft.StorageMover/storageMovers/read"
ASSIGN = "Microsoft.Authorization/roleAssignments/write"
NOW = 1_800_000_000.0


def given_roles(*given: Role, scope: str = GROUP, condition: str | None = None) -> Facts:
    return Facts(
        [Assignment(f"a{n}", ME.oid, role.guid, scope, condition) for n, role in enumerate(given)], NOW
    )


def test_nothing_assigned_denies():
    assert not decide(ME, READ, MOVER, given_roles()).allowed


def test_the_assignment_that_allows_is_named():
    decision = decide(ME, READ, MOVER, given_roles(roles.VAULT_SECRETS_USER, roles.READER))
    assert (decision.allowed, decision.assignment_id) == (True, "a1")


@pytest.mark.parametrize(
    ("assigned", "asked", "allowed"),
    [
        (GROUP, MOVER, True),
        (GROUP, GROUP, True),
        (GROUP.upper(), MOVER.lower(), True),
        ("/", MOVER, True),
        (MOVER, GROUP, False),
        ("/subscriptions/S/resourceGroups/rg", "/subscriptions/S/resourceGroups/rg2", False),
        ("/subscriptions/S/resourceGroups/rg2", GROUP, False),
        (MOVER, MOVER + "x/projects/p", False),
        (MOVER, MOVER + "/projects/p", True),
        ("/subscriptions/other", MOVER, False),
    ],
)
def test_scope_is_compared_by_whole_segments_without_case(assigned, asked, allowed):
    assert decide(ME, READ, asked, given_roles(roles.READER, scope=assigned)).allowed is allowed


def test_another_principals_assignment_is_nothing_to_me():
    other = replace(ME, oid="22222222-0000-4000-8000-00000000000b")
    assert not decide(other, READ, MOVER, given_roles(roles.OWNER)).allowed


def test_an_unknown_role_grants_nothing():
    facts = Facts([Assignment("a", ME.oid, "00000000-0000-4000-8000-000000000000", "/")], NOW)
    assert not decide(ME, READ, MOVER, facts).allowed


def test_contributor_may_not_assign_roles_but_may_write():
    facts = given_roles(roles.CONTRIBUTOR)
    assert decide(ME, "Microsoft.StorageMover/storageMovers/write", MOVER, facts).allowed
    assert not decide(ME, ASSIGN, MOVER, facts).allowed
    assert not decide(ME, "microsoft.authorization/ROLEASSIGNMENTS/Delete", MOVER, facts).allowed


def test_not_actions_of_one_role_take_nothing_from_another():
    facts = given_roles(roles.CONTRIBUTOR, roles.USER_ACCESS_ADMINISTRATOR)
    assert decide(ME, ASSIGN, MOVER, facts).allowed


def test_an_owner_reads_no_data_and_a_data_reader_manages_nothing():
    assert not decide(ME, f"{BLOBS}/read", GROUP, given_roles(roles.OWNER), data=True).allowed
    assert decide(ME, f"{BLOBS}/read", GROUP, given_roles(roles.BLOB_DATA_READER), data=True).allowed
    assert not decide(ME, f"{BLOBS}/read", GROUP, given_roles(roles.JOB_WRITER)).allowed


def test_a_job_writer_can_neither_delete_blobs_nor_touch_the_container():
    facts = given_roles(roles.JOB_WRITER)
    assert decide(ME, f"{BLOBS}/write", GROUP, facts, data=True).allowed
    assert not decide(ME, f"{BLOBS}/delete", GROUP, facts, data=True).allowed
    container = "Microsoft.Storage/storageAccounts/blobServices/containers/delete"
    assert not decide(ME, container, GROUP, facts).allowed
    assert not decide(ME, container, GROUP, facts, data=True).allowed
    assert decide(ME, f"{BLOBS}/delete", GROUP, given_roles(roles.JOB_MIRROR_WRITER), data=True).allowed


def test_an_operator_starts_jobs_and_changes_nothing():
    facts = given_roles(roles.MOVER_OPERATOR)
    job = f"{MOVER}/projects/p/jobDefinitions/j"
    start = "Microsoft.StorageMover/storageMovers/projects/jobDefinitions/startJob/action"
    assert decide(ME, start, job, facts).allowed
    for action in ("projects/jobDefinitions/write", "endpoints/write", "agents/write", "delete"):
        assert not decide(ME, f"Microsoft.StorageMover/storageMovers/{action}", job, facts).allowed


@pytest.mark.parametrize(
    "scopes", [frozenset(), frozenset({ENROL_SCOPE}), frozenset({ENROL_SCOPE, FULL_SCOPE})]
)
def test_a_token_for_something_else_opens_nothing(scopes):
    assert not decide(replace(ME, scopes=scopes), READ, MOVER, given_roles(roles.OWNER)).allowed


def test_a_grant_ends_by_its_condition():
    facts = given_roles(roles.READER, condition=policy.expires(NOW + 5))
    assert decide(ME, READ, MOVER, facts).allowed
    assert not decide(ME, READ, MOVER, replace(facts, now=NOW + 5)).allowed


def test_any_assignment_whose_condition_holds_is_enough():
    over = Assignment("over", ME.oid, roles.READER.guid, GROUP, policy.expires(NOW - 1))
    live = Assignment("live", ME.oid, roles.READER.guid, GROUP, policy.expires(NOW + 1))
    assert decide(ME, READ, MOVER, Facts([over, live], NOW)).assignment_id == "live"
    assert "condition" in decide(ME, READ, MOVER, Facts([over], NOW)).reason


@pytest.mark.parametrize(
    "condition",
    [
        "true",
        "@Environment[UtcNow] DateTimeGreaterThan '2020-01-01T00:00:00Z'",
        "@Environment[UtcNow] DateTimeLessThan '9999-99-99T00:00:00Z'",
        "@Environment[UtcNow] DateTimeLessThan '9999-01-01T00:00:00'",
        "(@Environment[UtcNow] DateTimeLessThan '9999-01-01T00:00:00Z'",
        "@Environment[UtcNow] DateTimeLessThan '9999-01-01T00:00:00Z' OR true",
        "@Resource[x] StringEquals 'y'",
    ],
)
def test_unknown_condition_syntax_denies(condition):
    assert policy.expiry(condition) is None
    assert not decide(ME, READ, MOVER, given_roles(roles.OWNER, condition=condition)).allowed


@pytest.mark.parametrize(
    "text", ["@Environment[UtcNow] DateTimeLessThan '2027-01-15T08:00:00Z'",
             " ( @environment[utcnow]  datetimelessthan '2027-01-15T08:00:00.0000000Z' ) "],
)  # fmt: skip
def test_forms_of_the_expiry_that_azure_clients_write(text):
    assert policy.expiry(text) == 1_800_000_000.0


@given(st.integers(0, 4_000_000_000), st.floats(-10, 10))
def test_an_expiry_is_read_as_it_was_written(at, offset):
    condition = policy.expires(at)
    assert policy.expiry(condition) == at
    assert policy.holds(condition, at + offset) is (at + offset < at)


ACTION = st.lists(st.sampled_from(["Microsoft.A", "b", "c", "read", "write"]), min_size=1, max_size=5).map(
    "/".join
)


@given(ACTION, st.data())
def test_a_star_stands_for_anything_between_what_is_around_it(action, data):
    start = data.draw(st.integers(0, len(action)))
    end = data.draw(st.integers(start, len(action)))
    role = Role("g", "n", "", actions=(action[:start] + "*" + action[end:],))
    assert policy.grants(role, action.swapcase())
    assert not policy.grants(replace(role, not_actions=("*",)), action)
    assert not policy.grants(role, action, data=True)


@given(ACTION, ACTION)
def test_an_action_without_star_grants_itself_alone(one, other):
    assert policy.grants(Role("g", "n", "", actions=(one,)), other) is (one.lower() == other.lower())


def test_dots_in_actions_are_dots():
    assert not policy.grants(Role("g", "n", "", actions=("Microsoft.A/read",)), "MicrosoftxA/read")


def test_roles_are_well_formed():
    assert all(guid == role.guid == guid.lower() for guid, role in ROLES.items())
    assert len({role.name for role in ROLES.values()}) == len(ROLES) == 19
    assert ROLES["8e3af657-a8ff-443c-a75c-2fe8c4bcb635"].name == "Owner"
    assert all("delete" not in action.lower() for action in roles.JOB_WRITER.data_actions)
    assert not roles.JOB_WRITER.actions
    assert not roles.JOB_MIRROR_WRITER.actions
