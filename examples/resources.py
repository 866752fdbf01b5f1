"""Everything that a migration is described by, made and read with Azure's own client, unmodified.

    eval "$(wherry env --state DIR)"
    pip install azure-identity azure-mgmt-storagemover azure-mgmt-resource
    python examples/resources.py            # prints a code: approve it in the browser, or on the control plane's
                                            # host with `wherry device approve CODE --state DIR`

Nothing in here is special to Wherry but the endpoint type `LocalMount` (a folder on the agent's machine) and the key
`wherry` of the job.  It makes a resource group of its own and deletes it at the end; nothing is copied: no agent is
registered.
"""

from __future__ import annotations

import os
import uuid
from typing import Any

from azure.core.exceptions import HttpResponseError
from azure.identity import DeviceCodeCredential
from azure.mgmt.resource.resources import ResourceManagementClient
from azure.mgmt.storagemover import StorageMoverMgmtClient

GROUP = f"example-{uuid.uuid4().hex[:8]}"


def main() -> None:
    """Make, list, change and delete one of each."""
    url, subscription = os.environ["WHERRY_URL"], os.environ["WHERRY_SUBSCRIPTION_ID"]
    trust = os.environ["WHERRY_CA_FILE"]
    credential = DeviceCodeCredential(
        authority=os.environ["WHERRY_AUTHORITY"],
        tenant_id=os.environ["WHERRY_TENANT_ID"],
        disable_instance_discovery=True,
        connection_verify=trust,
    )
    options: dict[str, Any] = {
        "base_url": url,
        "credential_scopes": [f"{url}/.default"],
        "connection_verify": trust,
    }
    with (
        ResourceManagementClient(credential, subscription, **options) as groups,
        StorageMoverMgmtClient(credential, subscription, **options) as movers,
    ):
        groups.resource_groups.create_or_update(GROUP, {"location": "local"})
        try:
            describe(movers, subscription)
        finally:
            groups.resource_groups.begin_delete(GROUP).result()
    print("deleted", GROUP)


def describe(movers: StorageMoverMgmtClient, subscription: str) -> None:
    """A mover with two endpoints, an agent, a project and a job."""
    mover: Any = {
        "location": "local",
        "tags": {"purpose": "example"},
        "properties": {"description": "An example"},
    }
    shown("mover", movers.storage_movers.create_or_update(GROUP, "mover", mover))

    source: Any = {
        "properties": {"endpointType": "LocalMount", "path": "/srv/photos", "endpointKind": "Source"}
    }
    shown("endpoint", movers.endpoints.create_or_update(GROUP, "mover", "photos", source))
    providers = f"/subscriptions/{subscription}/resourceGroups/{GROUP}/providers"
    target: Any = {
        "properties": {
            "endpointType": "AzureStorageBlobContainer",
            "storageAccountResourceId": f"{providers}/Microsoft.Storage/storageAccounts/archive",
            "blobContainerName": "photos",
        }
    }
    shown("endpoint", movers.endpoints.create_or_update(GROUP, "mover", "archive", target))

    # A placeholder: it gets work only after `wherry agent register` on its machine.
    machine = f"{providers}/Microsoft.HybridCompute/machines/nas"
    agent: Any = {"properties": {"arcResourceId": machine, "arcVmUuid": str(uuid.uuid4())}}
    shown("agent", movers.agents.create_or_update(GROUP, "mover", "nas", agent))

    shown("project", movers.projects.create_or_update(GROUP, "mover", "move-out", {}))
    job: Any = {
        "properties": {
            "copyMode": "Additive",
            "sourceName": "photos",
            "sourceSubpath": "2024",
            "targetName": "archive",
            "agentName": "nas",
            # What only Wherry knows lies under one key.
            "wherry": {"exclude": ["*.tmp", ".cache"]},
        }
    }
    shown("job", movers.job_definitions.create_or_update(GROUP, "mover", "move-out", "photos-2024", job))
    changed: Any = {"properties": {"copyMode": "Mirror", "description": "Also delete what is gone"}}
    shown("job", movers.job_definitions.update(GROUP, "mover", "move-out", "photos-2024", changed))

    for kind, listed in (
        ("movers", movers.storage_movers.list(GROUP)),
        ("endpoints", movers.endpoints.list(GROUP, "mover")),
        ("agents", movers.agents.list(GROUP, "mover")),
        ("jobs", movers.job_definitions.list(GROUP, "mover", "move-out")),
        ("runs", movers.job_runs.list(GROUP, "mover", "move-out", "photos-2024")),
    ):
        print(f"{kind:10} {', '.join(str(one.name) for one in listed) or '-'}")

    try:
        movers.endpoints.create_or_update(
            GROUP, "mover", "bad", {"properties": {"endpointType": "LocalMount", "path": "../etc"}}
        )
    except HttpResponseError as refused:
        print(f"{'refused':10} {refused.status_code} {refused.error.code if refused.error else ''}")
    movers.endpoints.begin_delete(GROUP, "mover", "archive").result()
    movers.storage_movers.begin_delete(GROUP, "mover").result()


def shown(kind: str, made: Any) -> None:
    """One line of what the service answered."""
    properties = made.as_dict()["properties"]
    told = {name: value for name, value in properties.items() if not name.endswith("ResourceId")}
    print(f"{kind:10} {made.name}: {told}")


if __name__ == "__main__":
    main()
