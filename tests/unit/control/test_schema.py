"""The description of resource types: what of a request is kept, and how a misfit is named."""

from __future__ import annotations

from typing import Any

import pytest

from wherry.control.services.types.registry import TYPES, target
from wherry.control.services.types.schema import Field, keep_fixed, merged, read
from wherry.control.services.types.storage import CONTAINER
from wherry.control.services.types.storage_mover import AGENT, ENDPOINT, JOB_DEFINITION
from wherry.model.errors import ApiError

FIELDS = (
    Field("mode", required=True, choices=("Additive", "Mirror")),
    Field("name", required=True, fixed=True, caseless=True),
    Field("note", fixed=True),
    Field("count", "integer", largest=9),
    Field("flag", "boolean", default=True),
    Field(
        "inner",
        "object",
        fields=(Field("days", "list", longest=2, item=Field("day", choices=("Mon", "Tue"))),),
    ),
)
FITS = {"mode": "mirror", "name": "n"}


def test_what_is_kept() -> None:
    told = FITS | {"count": 0, "flag": True, "note": None, "unknown": 1, "inner": {"days": ["MON"], "x": 1}}
    assert read(FIELDS, told, "properties") == {
        "mode": "Mirror",
        "name": "n",
        "count": 0,
        "inner": {"days": ["Mon"]},
    }


@pytest.mark.parametrize(
    ("told", "code", "where"),
    [
        (None, "InvalidProperty", "properties"),
        ({"name": "n"}, "MissingProperty", "properties.mode"),
        (FITS | {"name": ""}, "MissingProperty", "properties.name"),
        (FITS | {"mode": "other"}, "InvalidProperty", "properties.mode"),
        (FITS | {"count": 10}, "InvalidProperty", "properties.count"),
        (FITS | {"count": 1.5}, "InvalidProperty", "properties.count"),
        (FITS | {"count": True}, "InvalidProperty", "properties.count"),
        (FITS | {"flag": "true"}, "InvalidProperty", "properties.flag"),
        (FITS | {"note": "a\0b"}, "InvalidProperty", "properties.note"),
        (FITS | {"inner": []}, "InvalidProperty", "properties.inner"),
        (FITS | {"inner": {"days": "Mon"}}, "InvalidProperty", "properties.inner.days"),
        (FITS | {"inner": {"days": ["Mon", "Sun"]}}, "InvalidProperty", "properties.inner.days[1]"),
        (FITS | {"inner": {"days": ["Mon"] * 3}}, "InvalidProperty", "properties.inner.days"),
    ],
)
def test_what_does_not_fit_is_named(told: Any, code: str, where: str) -> None:
    with pytest.raises(ApiError) as refused:
        read(FIELDS, told, "properties")
    assert (refused.value.status, refused.value.code, refused.value.target) == (400, code, where)


def test_fixed_fields_stay() -> None:
    old = {"mode": "Mirror", "name": "Name", "note": "x"}
    new: dict[str, Any] = {"mode": "Additive", "name": "NAME"}
    keep_fixed(FIELDS, old, new, "properties")
    assert new == {"mode": "Additive", "name": "Name", "note": "x"}
    for changed, stored in ((FITS | {"name": "other"}, old), (FITS | {"note": "added"}, {"name": "n"})):
        with pytest.raises(ApiError) as refused:
            keep_fixed(FIELDS, stored, dict(changed), "properties")
        assert (refused.value.status, refused.value.code) == (409, "PropertyChangeNotAllowed")


def test_merge_patch() -> None:
    old = {"a": 1, "b": {"c": 2, "d": 3}, "e": [1]}
    assert merged(old, {"a": None, "b": {"c": None, "x": 4}, "e": [2], "f": {"g": None}}) == {
        "b": {"d": 3, "x": 4},
        "e": [2],
        "f": {},
    }
    assert old == {"a": 1, "b": {"c": 2, "d": 3}, "e": [1]}


GROUP = "/subscriptions/s/resourceGroups/g"


@pytest.mark.parametrize(
    ("path", "kind", "parent"),
    [
        (f"{GROUP}/providers/microsoft.storagemover/STORAGEMOVERS/m/agents/a", AGENT.key,
         f"{GROUP}/providers/microsoft.storagemover/STORAGEMOVERS/m"),
        (f"{GROUP}/providers/Microsoft.StorageMover/storageMovers/m/projects/p/jobDefinitions/j", JOB_DEFINITION.key,
         f"{GROUP}/providers/Microsoft.StorageMover/storageMovers/m/projects/p"),
        (f"{GROUP}/providers/Microsoft.Storage/storageAccounts/a/blobServices/Default/containers/c", CONTAINER.key,
         f"{GROUP}/providers/Microsoft.Storage/storageAccounts/a"),
        (f"{GROUP}/providers/Microsoft.Storage/storageAccounts/a", "microsoft.storage/storageaccounts", GROUP),
        (GROUP, "microsoft.resources/subscriptions/resourcegroups", None),
    ],
)  # fmt: skip
def test_an_id_tells_type_and_parent(path: str, kind: str, parent: str | None) -> None:
    found = target(path)
    assert (found.type.key, found.parent_id) == (kind, parent)


@pytest.mark.parametrize(
    "path",
    [
        "/subscriptions/s",
        f"{GROUP}/providers/Microsoft.Storage/storageAccounts/a/blobServices/other/containers/c",
        f"{GROUP}/providers/Microsoft.Storage/storageAccounts/a/blobServices/default",
        "/subscriptions/s/providers/Microsoft.StorageMover/storageMovers/m",
        f"{GROUP}/providers/Microsoft.Web/sites/x",
    ],
)
def test_ids_of_nothing_served(path: str) -> None:
    with pytest.raises(ApiError) as refused:
        target(path)
    assert (refused.value.status, refused.value.code) == (404, "InvalidResourceType")


def test_every_type_lies_in_one_that_is_served() -> None:
    for kind in TYPES.values():
        above = "/".join((kind.provider, *kind.parent_kinds)).lower()
        assert not kind.parent_kinds or above in TYPES
    assert set(ENDPOINT.variants) == set(ENDPOINT.fields[0].choices)
