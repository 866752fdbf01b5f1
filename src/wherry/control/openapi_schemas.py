"""Schemas of the OpenAPI document: resources from the fields that their requests are checked with, and errors.

Requests are told as they are checked (`services.types.schema`); of answers only what each resource has, since an answer
may hold more than a request.  Called by `openapi`.
"""

from __future__ import annotations

from typing import Any

from wherry.control.services.types import registry
from wherry.control.services.types.schema import Field, ResourceType

Json = dict[str, Any]

_TEXT: Json = {"type": "string"}
_TAGS: Json = {"type": "object", "additionalProperties": _TEXT}
_DETAIL: Json = {
    "type": "object",
    "required": ["code", "message"],
    "properties": {"code": _TEXT, "message": _TEXT, "target": _TEXT},
}
_ERRORS: Json = {
    "Error": {"type": "object", "required": ["error"], "properties": {"error": _DETAIL}},
    "TokenError": {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {"anyOf": [_TEXT, _DETAIL]},
            "error_description": _TEXT,
            "error_codes": {"type": "array", "items": {"type": "integer"}},
        },
    },
}


def reference(kind: ResourceType, form: str = "") -> Json:
    """Refers to the schema of a type: as shown, or its `Request`, `Update` or `List`."""
    return {"$ref": f"#/components/schemas/{_name(kind)}{form}"}


def all_of_them() -> Json:
    """Every schema, by name."""
    found = dict(_ERRORS)
    for kind in registry.TYPES.values():
        name = _name(kind)
        found[name] = _shown(kind)
        found[f"{name}List"] = {
            "type": "object",
            "required": ["value"],
            "properties": {
                "value": {"type": "array", "items": reference(kind)},
                "nextLink": {"type": "string", "format": "uri"},
            },
        }
        found[f"{name}Request"] = _request(kind, _properties(kind), required=True)
        # A merge patch: each field may be left out, and null takes it away.
        found[f"{name}Update"] = _request(kind, {"type": "object"}, required=False)
    return found


def _name(kind: ResourceType) -> str:
    return kind.full.replace("Microsoft.", "").replace("/", "_")


def _shown(kind: ResourceType) -> Json:
    has: Json = {
        "id": _TEXT,
        "name": _TEXT,
        "type": _TEXT,
        "etag": _TEXT,
        "properties": {"type": "object"},
        "systemData": {"type": "object"},
    }
    if kind.tracked:
        has |= {"location": _TEXT, "tags": _TAGS}
    return {"type": "object", "required": ["id", "name", "type"], "properties": has}


def _request(kind: ResourceType, properties: Json, *, required: bool) -> Json:
    has: Json = {"properties": properties}
    if kind.tracked:
        has |= {"location": _TEXT, "tags": _TAGS}
    if kind.identity:
        has["identity"] = {"type": "object", "properties": {"type": _TEXT}}
    schema: Json = {"type": "object", "properties": has}
    if required and kind.tracked:
        schema["required"] = ["location"]
    return schema


def _properties(kind: ResourceType) -> Json:
    """The properties of a request, with the further fields of each variant that is served."""
    schema = _object(kind.fields)
    served = list(kind.variants.items())
    if served:
        schema["anyOf"] = [_variant(kind.variant_on, name, fields) for name, fields in served]
    return schema


def _variant(on: str, name: str, fields: tuple[Field, ...]) -> Json:
    schema = _object(fields)
    schema["properties"] = {on: {"const": name}} | schema.get("properties", {})
    return schema | {"title": name}


def _object(fields: tuple[Field, ...]) -> Json:
    required = [one.name for one in fields if one.required]
    schema: Json = {"type": "object", "properties": {one.name: _field(one) for one in fields}}
    return schema | ({"required": required} if required else {})


def _field(one: Field) -> Json:
    schema: Json = {"type": "array" if one.kind == "list" else one.kind}
    if one.kind == "string":
        schema |= {"enum": list(one.choices)} if one.choices else {"maxLength": one.longest}
        if one.pattern is not None:
            schema["pattern"] = f"^(?:{one.pattern.pattern})$"
        if one.required and not one.choices:
            schema["minLength"] = 1
    elif one.kind == "integer":
        schema |= {"minimum": one.smallest, "maximum": one.largest}
    elif one.kind == "object" and one.fields:
        schema |= _object(one.fields)
    elif one.kind == "list" and one.item is not None:
        schema |= {"items": _field(one.item), "maxItems": one.longest}
    if one.fixed:
        schema["description"] = "Fixed when the resource is made."
    return schema
