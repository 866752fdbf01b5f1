"""`wherry service-principal`: programs that sign in by themselves, and what they sign in by."""

from __future__ import annotations

import base64
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from wherry.cli.connected import Session, session
from wherry.cli.options import Yes
from wherry.cli.output import answers, confirm
from wherry.cli.place import segment
from wherry.model import ids
from wherry.model.errors import UsageError

app = typer.Typer(no_args_is_help=True, help="Programs that sign in by themselves.")
credential = typer.Typer(no_args_is_help=True, help="Secrets and certificates of a program.")
app.add_typer(credential, name="credential")

Name = Annotated[
    str,
    typer.Option(
        "--name",
        "-n",
        metavar="NAME",
        show_default=False,
        help="Name of the program, its client id or object id.",
    ),
]
Days = Annotated[int, typer.Option(min=1, max=731, help="How long a secret is good for, in days.")]
CertificateFile = Annotated[
    Path | None,
    typer.Option(
        "--certificate", metavar="FILE", show_default=False,
        help="A certificate (PEM) in place of a secret; its private key stays with the program.",
    ),
]  # fmt: skip
COLUMNS = (
    ("Name", "displayName"),
    ("Client id", "appId"),
    ("Object id", "id"),
    ("Enabled", "accountEnabled"),
    ("Secret", "secretText"),
)
CREDENTIAL_COLUMNS = (
    ("Id", "keyId"),
    ("Kind", "kind"),
    ("Name", "displayName"),
    ("Hint", "hint"),
    ("Begins", "startDateTime"),
    ("Ends", "endDateTime"),
    ("Last used", "lastUsedDateTime"),
    ("Secret", "secretText"),
)
_GRAPH = "/graph/v1.0"
_PRINCIPALS = f"{_GRAPH}/servicePrincipals"
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


@app.command()
@answers(COLUMNS)
def create(name: Name, certificate: CertificateFile = None, days: Days = 180) -> Any:
    """Make a program that can sign in: with a secret, which is shown this once, or with a certificate."""
    key = None if certificate is None else _read(certificate)
    with session() as here:
        made = here.api.post(f"{_GRAPH}/applications", {"displayName": name})
        found = here.api.post(_PRINCIPALS, {"appId": made["appId"]})
        if key is not None:
            here.api.patch(f"{_PRINCIPALS}/{found['id']}", {"keyCredentials": [key]})
            return found
        added = _add_secret(here, str(found["id"]), "", days)
        return {**found, "secretText": added["secretText"]}


@app.command("list")
@answers(COLUMNS[:-1])
def list_() -> Any:
    """All programs."""
    with session() as here:
        return here.every(_PRINCIPALS)


@app.command()
@answers(COLUMNS[:-1])
def show(name: Name) -> Any:
    """One program."""
    with session() as here:
        return _find(here, name)


@app.command()
def delete(name: Name, yes: Yes = False) -> None:
    """Delete a program with its credentials, tokens, memberships and role assignments, at once."""
    confirm(f"Delete the program {name}?", yes=yes)
    with session() as here:
        here.api.delete(f"{_GRAPH}/applications/{_find(here, name)['appId']}")


@app.command()
def disable(name: Name) -> None:
    """Keep a program out and end its tokens, at once."""
    with session() as here:
        here.api.patch(f"{_PRINCIPALS}/{_find(here, name)['id']}", {"accountEnabled": False})


@app.command()
def enable(name: Name) -> None:
    """Let a program in again."""
    with session() as here:
        here.api.patch(f"{_PRINCIPALS}/{_find(here, name)['id']}", {"accountEnabled": True})


@credential.command("add")
@answers(CREDENTIAL_COLUMNS)
def add_credential(
    name: Name,
    certificate: CertificateFile = None,
    days: Days = 180,
    display_name: Annotated[
        str, typer.Option(metavar="TEXT", show_default=False, help="What it is for.")
    ] = "",
) -> Any:
    """Add a secret, which is shown this once, or a certificate; those that are there stay good."""
    key = None if certificate is None else _read(certificate, display_name)
    with session() as here:
        found = _find(here, name)
        if key is None:
            return {**_add_secret(here, str(found["id"]), display_name, days), "kind": "secret"}
        known = found["keyCredentials"]
        path = f"{_PRINCIPALS}/{found['id']}"
        here.api.patch(path, {"keyCredentials": [*known, key]})
        before = {one["keyId"] for one in known}
        new = [one for one in here.api.get(path)["keyCredentials"] if one["keyId"] not in before]
        return {**new[0], "kind": "certificate"}


@credential.command("list")
@answers(CREDENTIAL_COLUMNS[:-1])
def list_credentials(name: Name) -> Any:
    """The credentials of a program, without secrets."""
    with session() as here:
        return _credentials(_find(here, name))


@credential.command("delete")
def delete_credential(
    name: Name,
    key_id: Annotated[
        str, typer.Option("--id", metavar="ID", show_default=False, help="Id of the credential.")
    ],
    yes: Yes = False,
) -> None:
    """Remove a credential, and end the tokens that came by it, at once."""
    confirm(f"Remove the credential {key_id} of {name}?", yes=yes)
    with session() as here:
        found = _find(here, name)
        path = f"{_PRINCIPALS}/{found['id']}"
        kinds = {one["keyId"]: one["kind"] for one in _credentials(found)}
        if key_id not in kinds:
            raise UsageError(
                f"{name} has no credential {key_id}. See: wherry service-principal credential list."
            )
        if kinds[key_id] == "secret":
            here.api.post(f"{path}/removePassword", {"keyId": key_id})
        else:
            left = [one for one in found["keyCredentials"] if one["keyId"] != key_id]
            here.api.patch(path, {"keyCredentials": left})


def _find(here: Session, name: str) -> Any:
    if ids.GUID.match(name):
        return here.api.get(f"{_PRINCIPALS}/{segment(name)}")
    quoted = name.replace("'", "''")
    found = here.every(_PRINCIPALS, **{"$filter": f"displayName eq '{quoted}'"})
    if len(found) > 1:
        raise UsageError(f"There are {len(found)} programs '{name}': name one by its client id.")
    if not found:
        raise UsageError(f"There is no program '{name}'. See: wherry service-principal list.")
    return found[0]


def _credentials(found: Any) -> list[Any]:
    return [
        *({**one, "kind": "secret"} for one in found["passwordCredentials"]),
        *({**one, "kind": "certificate"} for one in found["keyCredentials"]),
    ]


def _add_secret(here: Session, oid: str, display_name: str, days: int) -> Any:
    ends = datetime.now(UTC) + timedelta(days=days)
    told = {"endDateTime": f"{ends:%Y-%m-%dT%H:%M:%SZ}"} | (
        {"displayName": display_name} if display_name else {}
    )
    return here.api.post(f"{_PRINCIPALS}/{oid}/addPassword", {"passwordCredential": told})


def _read(file: Path, display_name: str = "") -> dict[str, str]:
    """The first certificate in a file, which may hold a private key too: that is not sent anywhere."""
    text = file.read_text()
    begin, end = text.find(_BEGIN), text.find(_END)
    try:
        der = ssl.PEM_cert_to_DER_cert(text[begin : end + len(_END)])
    except ValueError as broken:
        raise UsageError(f"{file} holds no certificate in PEM.") from broken
    told = {"type": "AsymmetricX509Cert", "usage": "Verify", "key": base64.b64encode(der).decode()}
    return told | ({"displayName": display_name} if display_name else {})
