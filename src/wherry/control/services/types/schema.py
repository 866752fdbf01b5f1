"""What a resource type is: one declarative description, from which requests are checked and answers are made.

`Field` describes a property, `ResourceType` a type with its fields, names and special rules.  `read` checks what a
client sent and keeps only what it may set: unknown and read-only fields are ignored, null counts as absent.  A
field that does not fit is a 400 whose `target` names it.  Pure; called by `services.resources`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from wherry.model import ids
from wherry.model.errors import ApiError

Json = dict[str, Any]
Kind = Literal["string", "integer", "boolean", "object", "list"]
Check = Callable[[Any, str], Any]
"""Takes a value and its target, gives the value to keep; raises what `invalid` makes."""

DESCRIPTION_LENGTH = 1024
INT32 = 2**31 - 1

_PYTHON: Mapping[Kind, type] = {
    "string": str,
    "integer": int,
    "boolean": bool,
    "object": dict,
    "list": list,
}


@dataclass(frozen=True, slots=True)
class Field:
    """One property.  `fixed` is set at creation and stays; `default` is accepted and left out of answers.

    `fields` are those of an object (none: any object), `item` describes the elements of a list.
    """

    name: str
    kind: Kind = "string"
    required: bool = False
    fixed: bool = False
    caseless: bool = False
    choices: tuple[str, ...] = ()
    pattern: re.Pattern[str] | None = None
    longest: int = DESCRIPTION_LENGTH
    smallest: int = 0
    largest: int = INT32
    default: Any = None
    fields: tuple[Field, ...] = ()
    item: Field | None = None
    check: Check | None = None


DESCRIPTION = Field("description")


def invalid(target: str, message: str, code: str = "InvalidProperty") -> ApiError:
    """The 400 of a field that does not fit."""
    return ApiError(400, code, f"{message} (property '{target}')", target)


def read(fields: tuple[Field, ...], data: Any, where: str) -> Json:
    """What `data` sets of `fields`, checked; `where` is the path of `data` in the request."""
    if not isinstance(data, dict):
        raise invalid(where, "An object is expected.")
    kept: Json = {}
    for one in fields:
        target = f"{where}.{one.name}"
        value = data.get(one.name)
        if value is None:
            if one.required:
                raise invalid(target, "A value is required.", "MissingProperty")
            continue
        value = _value(one, value, target)
        if value != one.default:
            kept[one.name] = value
    return kept


def merged(old: Json, patch: Any) -> Any:
    """`old` after a JSON merge patch (RFC 7396): null removes, objects merge, everything else replaces."""
    if not isinstance(patch, dict):
        return patch
    new = dict(old)
    for name, value in patch.items():
        if value is None:
            new.pop(name, None)
        else:
            inner = new.get(name)
            new[name] = merged(inner if isinstance(inner, dict) else {}, value)
    return new


def _value(one: Field, value: Any, target: str) -> Any:
    if not _is(one.kind, value):
        raise invalid(target, f"A value of type {one.kind} is expected.")
    if one.kind == "string":
        value = _text(one, value, target)
    elif one.kind == "integer" and not one.smallest <= value <= one.largest:
        raise invalid(target, f"A number from {one.smallest} to {one.largest} is expected.")
    elif one.kind == "object" and one.fields:
        value = read(one.fields, value, target)
    elif one.kind == "list" and one.item is not None:
        if len(value) > one.longest:
            raise invalid(target, f"At most {one.longest} elements are allowed.")
        value = [_value(one.item, element, f"{target}[{at}]") for at, element in enumerate(value)]
    return value if one.check is None else one.check(value, target)


def _is(kind: Kind, value: Any) -> bool:
    return isinstance(value, _PYTHON[kind]) and not (kind == "integer" and isinstance(value, bool))


def _text(one: Field, value: str, target: str) -> str:
    if one.choices:
        for choice in one.choices:
            if choice.lower() == value.lower():
                return choice
        raise invalid(target, f"One of {', '.join(one.choices)} is expected.")
    if len(value) > one.longest:
        raise invalid(target, f"At most {one.longest} characters are allowed.")
    if "\0" in value:
        raise invalid(target, "The character NUL is not allowed.")
    if one.required and not value:
        raise invalid(target, "A value is required.", "MissingProperty")
    if one.pattern is not None and not one.pattern.fullmatch(value):
        raise invalid(target, f"The value does not fit the pattern {one.pattern.pattern}.")
    return value


def keep_fixed(fields: tuple[Field, ...], old: Mapping[str, Any], new: Json, where: str) -> None:
    """Carry fixed fields of `old` into `new`; a 409 when `new` has another value for one."""
    for one in fields:
        if not one.fixed or one.name not in old:
            if one.fixed and one.name in new:
                raise _frozen(f"{where}.{one.name}")
            continue
        given = new.get(one.name, old[one.name])
        if given != old[one.name] and not (one.caseless and _same(given, old[one.name])):
            raise _frozen(f"{where}.{one.name}")
        new[one.name] = old[one.name]


def _same(one: Any, other: Any) -> bool:
    return isinstance(one, str) and isinstance(other, str) and one.lower() == other.lower()


def _frozen(target: str) -> ApiError:
    message = (
        f"The property '{target}' is fixed when the resource is made. Delete the resource and make it anew."
    )
    return ApiError(409, "PropertyChangeNotAllowed", message, target)


def unchecked(*_: Any) -> None:
    """The rule of a type that has no rule of its own."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What is special about a type, besides its fields; each is called inside the transaction.

    `prepare(conn, draft)` before a resource is written: looks at other resources, sets server state, or refuses.
    `settle(conn, draft, resource)` after it is written: what follows from it elsewhere; may still refuse.
    `release(conn, resource, caller, root)` before it is deleted, by itself or with `root`, which it lies in: refuses
    or clears up.
    `view(conn, resource, properties)` adds to the properties of an answer what is computed.
    """

    prepare: Callable[..., None] = unchecked
    settle: Callable[..., None] = unchecked
    release: Callable[..., None] = unchecked
    view: Callable[..., None] = unchecked


@dataclass(frozen=True, slots=True)
class ResourceType:
    """One type.  `path` are its type segments; a segment `kind=name` is no resource but a fixed part of the id.

    `variants` maps the values of the field `variant_on` to the further fields of each.  Deletes of a type with
    `slow_delete` answer 202 and are polled; `identity` tells types whose requests may carry one.  `since` are the
    fields that a later api-version brought (`types.versions`).
    """

    provider: str
    path: tuple[str, ...]
    fields: tuple[Field, ...] = ()
    shown_as: str = ""
    name: re.Pattern[str] = ids.NAME
    tracked: bool = False
    lower_type: bool = False
    slow_delete: bool = False
    identity: bool = False
    verbs: frozenset[str] = frozenset({"put", "get", "patch", "delete", "list"})
    variant_on: str = ""
    variants: Mapping[str, tuple[Field, ...]] = field(default_factory=dict)
    since: Mapping[str, str] = field(default_factory=dict)
    provisioning: bool = True
    rules: Rules = Rules()

    @property
    def kinds(self) -> tuple[str, ...]:
        """The type segments without the names of fixed parts."""
        return tuple(part.partition("=")[0] for part in self.path)

    @property
    def full(self) -> str:
        """The full type, as `Microsoft.StorageMover/storageMovers/agents`."""
        return "/".join((self.provider, *self.kinds))

    @property
    def key(self) -> str:
        """The full type in lower case."""
        return self.full.lower()

    @property
    def shown(self) -> str:
        """The type as answers tell it."""
        return self.shown_as or (self.key if self.lower_type else self.full)

    @property
    def parent_kinds(self) -> tuple[str, ...]:
        """The type segments of the resource that it lies in; none for one that lies in a group."""
        parts = list(self.path[:-1])
        while parts and "=" in parts[-1]:
            parts.pop()
        return tuple(part.partition("=")[0] for part in parts)

    def action(self, verb: str) -> str:
        """The action of a role that allows `verb`: read, write or delete."""
        return f"{self.full}/{verb}"

    def fields_of(self, data: Any) -> tuple[Field, ...]:
        """All fields of a resource with these properties; picks the variant."""
        if not self.variant_on:
            return self.fields
        told = data.get(self.variant_on) if isinstance(data, dict) else None
        target = f"properties.{self.variant_on}"
        if told is None:
            raise invalid(target, "A value is required.", "MissingProperty")
        for name, fields in self.variants.items():
            if isinstance(told, str) and name.lower() == told.lower():
                return self.fields + fields
        raise invalid(target, f"One of {', '.join(self.variants)} is expected.")
