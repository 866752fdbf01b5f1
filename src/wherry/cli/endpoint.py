"""`wherry endpoint`: where a job reads and writes."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from wherry.cli.connected import Session, described, session
from wherry.cli.options import Description, Group, Mover, NoWait, Yes, name_option
from wherry.cli.output import answers, confirm
from wherry.model.errors import UsageError

app = typer.Typer(no_args_is_help=True, help="Endpoints: where a job reads and writes.")


class Kind(StrEnum):
    """What an endpoint may be used as."""

    SOURCE = "Source"
    TARGET = "Target"


Name = Annotated[str, name_option("--endpoint-name", what="endpoint")]
COLUMNS = (
    ("Name", "name"),
    ("Type", "properties.endpointType"),
    ("Kind", "properties.endpointKind"),
    ("Path", "properties.path"),
    ("Container", "properties.blobContainerName"),
    ("Bucket", "properties.sourceUri"),
    ("Description", "properties.description"),
)


@app.command()
@answers(COLUMNS)
def create(
    name: Name,
    group: Group = None,
    mover: Mover = None,
    path: Annotated[
        str | None,
        typer.Option(metavar="DIR", show_default=False, help="A folder on the agent's machine (LocalMount)."),
    ] = None,
    storage_account_id: Annotated[
        str | None,
        typer.Option(
            "--storage-account-id",
            "--storage-account",
            metavar="ID",
            show_default=False,
            help="Storage account of a Blob container: its id, or its name in the same group.",
        ),
    ] = None,
    container: Annotated[
        str | None,
        typer.Option(
            "--container-name", "--container", metavar="NAME", show_default=False, help="Blob container."
        ),
    ] = None,
    bucket_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            show_default=False,
            help="A bucket of S3, such as https://s3.example.net/bucket/folder.",
        ),
    ] = None,
    access_key_uri: Annotated[
        str | None,
        typer.Option(
            metavar="URI", show_default=False, help="Secret that holds the id of a key for its users."
        ),
    ] = None,
    secret_key_uri: Annotated[
        str | None, typer.Option(metavar="URI", show_default=False, help="Secret that holds that key.")
    ] = None,
    region: Annotated[
        str | None, typer.Option(metavar="NAME", show_default=False, help="Region of the bucket.")
    ] = None,
    iam_endpoint: Annotated[
        str | None,
        typer.Option(
            metavar="URL", show_default=False, help="Where its users are managed, if not where the bucket is."
        ),
    ] = None,
    ca_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help="Certificate (PEM) that the bucket's service is trusted by, where it is not a public authority's.",
        ),
    ] = None,
    role_arn: Annotated[
        str | None,
        typer.Option(
            metavar="ARN",
            show_default=False,
            help="Instead of a key: a role that trusts our issuer. Unproven here.",
        ),
    ] = None,
    kind: Annotated[
        Kind | None,
        typer.Option(
            case_sensitive=False, show_default=False, help="What it may be used as; by default both."
        ),
    ] = None,
    description: Description = None,
) -> Any:
    """Make an endpoint: a folder (--path), a Blob container (--storage-account-id with --container-name), a bucket.

    A bucket (--bucket-url) needs a key that may manage its users, as two secrets of a vault, or a role (--role-arn).
    """
    with session(group, mover) as here:
        if bucket_url is not None:
            if path is not None or storage_account_id is not None or container is not None:
                raise UsageError("An endpoint is one place: a folder, a container or a bucket.")
            told = _bucket(bucket_url, access_key_uri, secret_key_uri, role_arn)
            told["wherry"] |= described(
                None, region=region, iamEndpoint=iam_endpoint, caCertificate=ca_file and _text_of(ca_file)
            )
        else:
            told = _place(here, path, storage_account_id, container)
        properties = described(description, endpointKind=kind and kind.value, **told)
        return here.api.put(here.at.of_mover("endpoints", name), {"properties": properties})


@app.command("list")
@answers(COLUMNS)
def list_(group: Group = None, mover: Mover = None) -> Any:
    """The endpoints of a mover."""
    with session(group, mover) as here:
        return here.every(here.at.of_mover("endpoints"))


@app.command()
@answers(COLUMNS)
def show(name: Name, group: Group = None, mover: Mover = None) -> Any:
    """One endpoint."""
    with session(group, mover) as here:
        return here.api.get(here.at.of_mover("endpoints", name))


@app.command()
def delete(
    name: Name, group: Group = None, mover: Mover = None, yes: Yes = False, no_wait: NoWait = False
) -> None:
    """Delete an endpoint; what lies there is not touched."""
    confirm(f"Delete the endpoint {name}?", yes=yes)
    with session(group, mover) as here:
        here.api.delete(here.at.of_mover("endpoints", name), wait=not no_wait)


def _place(here: Session, path: str | None, account: str | None, container: str | None) -> dict[str, Any]:
    if path is not None and account is None and container is None:
        return {"endpointType": "LocalMount", "path": path}
    if path is None and account is not None and container is not None:
        return {
            "endpointType": "AzureStorageBlobContainer",
            "storageAccountResourceId": here.at.account(account),
            "blobContainerName": container,
        }
    raise UsageError(
        "Give --path for a folder, both --storage-account-id and --container-name for a container, or --bucket-url."
    )


def _bucket(url: str, identity: str | None, secret: str | None, role: str | None) -> dict[str, Any]:
    told: dict[str, Any] = {"endpointType": "S3WithHMAC", "sourceUri": url, "wherry": {}}
    if role is not None and identity is None and secret is None:
        return told | {"wherry": {"credentialDriver": "s3-session", "roleArn": role}}
    if role is None and identity is not None and secret is not None:
        uris = {"accessKeyUri": identity, "secretKeyUri": secret}
        return told | {"credentials": {"type": "AzureKeyVaultS3WithHMAC", **uris}}
    raise UsageError("A bucket needs both --access-key-uri and --secret-key-uri, or --role-arn.")


def _text_of(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as trouble:
        raise UsageError(f"{file} cannot be read as text.") from trouble
