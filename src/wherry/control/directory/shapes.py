"""Objects of the directory as Graph's clients read them."""

from __future__ import annotations

import base64

from sqlalchemy import Connection

from wherry.control.services import groups, principals, programs, users
from wherry.control.services.groups import Group
from wherry.control.services.programs import Credential, Program
from wherry.control.services.resource_store import Json
from wherry.control.services.users import User
from wherry.model.outcomes import iso_time

TYPE = "#microsoft.graph."


def user(one: User) -> Json:
    """A person."""
    return {
        "@odata.type": f"{TYPE}user",
        "id": one.oid,
        "userPrincipalName": one.login,
        "displayName": one.display_name,
        "mail": one.login if "@" in one.login else None,
        "mailNickname": one.login.partition("@")[0],
        "accountEnabled": one.enabled,
        "createdDateTime": iso_time(one.created_at),
        "userType": "Member",
        "passwordProfile": {"forceChangePasswordNextSignIn": one.must_change},
    }


def group(one: Group) -> Json:
    """A group."""
    return {
        "@odata.type": f"{TYPE}group",
        "id": one.oid,
        "displayName": one.name,
        "description": one.description,
        "mailNickname": one.nickname,
        "mailEnabled": False,
        "securityEnabled": True,
        "groupTypes": [],
        "createdDateTime": iso_time(one.created_at),
    }


def application(conn: Connection, one: Program) -> Json:
    """What a program is called and signs in by."""
    return {
        "@odata.type": f"{TYPE}application",
        "id": one.object_id,
        "appId": one.app_id,
        "displayName": one.name,
        "createdDateTime": iso_time(one.created_at),
        "identifierUris": [],
        "signInAudience": "AzureADMyOrg",
        **_credentials(conn, one),
    }


def service_principal(conn: Connection, one: Program) -> Json:
    """What role assignments name of a program."""
    return {
        "@odata.type": f"{TYPE}servicePrincipal",
        "id": one.oid,
        "appId": one.app_id,
        "displayName": one.name,
        "appDisplayName": one.name,
        "accountEnabled": bool(one.enabled),
        "createdDateTime": iso_time(one.created_at),
        "servicePrincipalNames": [one.app_id],
        "servicePrincipalType": "Application",
        "signInAudience": "AzureADMyOrg",
        **_credentials(conn, one),
    }


def anything(conn: Connection, oid: str) -> Json | None:
    """The living principal with this object id, whatever it is; an agent is a managed identity."""
    row = principals.find(conn, oid)
    if row is None:
        return None
    if row.kind == "user":
        found = users.find(conn, row.oid)
        return None if found is None else user(found)
    if row.kind == "group":
        return group(groups.require(conn, row.oid))
    if row.kind == "service":
        return service_principal(conn, programs.require(conn, row.oid))
    return {
        "@odata.type": f"{TYPE}servicePrincipal",
        "id": row.oid,
        "appId": row.client_id,
        "displayName": row.name,
        "accountEnabled": row.enabled,
        "servicePrincipalNames": [row.client_id],
        "servicePrincipalType": "ManagedIdentity",
        "alternativeNames": [row.resource_id],
    }


def secret(one: Credential, text: str | None = None) -> Json:
    """A secret; its text only in the answer that it is made by."""
    return {
        "customKeyIdentifier": None,
        "displayName": one.name,
        "endDateTime": iso_time(one.expires_at),
        "hint": one.hint,
        "keyId": one.key_id,
        "secretText": text,
        "startDateTime": iso_time(one.starts_at),
        "lastUsedDateTime": None if one.used_at is None else iso_time(one.used_at),
    }


def certificate(one: Credential) -> Json:
    """A certificate, by its thumbprint."""
    return {
        "customKeyIdentifier": base64.b64encode(bytes.fromhex(one.hint)).decode(),
        "displayName": one.name,
        "endDateTime": iso_time(one.expires_at),
        "key": None,
        "keyId": one.key_id,
        "startDateTime": iso_time(one.starts_at),
        "type": "AsymmetricX509Cert",
        "usage": "Verify",
        "lastUsedDateTime": None if one.used_at is None else iso_time(one.used_at),
    }


def _credentials(conn: Connection, one: Program) -> Json:
    known = programs.credentials(conn, one.app_id)
    return {
        "passwordCredentials": [secret(each) for each in known if each.kind == "secret"],
        "keyCredentials": [certificate(each) for each in known if each.kind == "certificate"],
    }
