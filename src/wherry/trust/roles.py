"""Role definitions: those of Azure under their own GUIDs, and the narrower ones of Wherry.

A role is two pairs of lists: `actions − not_actions` for the resource API, `data_actions − not_data_actions` for
the data in storage.  GUIDs never change: assignments refer to them.  Read by `policy` and by the routes of
`Microsoft.Authorization/roleDefinitions`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_CONTAINERS = "Microsoft.Storage/storageAccounts/blobServices/containers"
_BLOBS = f"{_CONTAINERS}/blobs"
_DELEGATION = "Microsoft.Storage/storageAccounts/blobServices/generateUserDelegationKey/action"
_MOVERS = "Microsoft.StorageMover/storageMovers"
_MACHINES = "Microsoft.HybridCompute/machines"


@dataclass(frozen=True, slots=True)
class Role:
    """A role definition.  `custom` tells Wherry's own from Azure's."""

    guid: str
    name: str
    description: str
    actions: tuple[str, ...] = ()
    not_actions: tuple[str, ...] = ()
    data_actions: tuple[str, ...] = ()
    not_data_actions: tuple[str, ...] = ()
    custom: bool = False


OWNER = Role(
    "8e3af657-a8ff-443c-a75c-2fe8c4bcb635",
    "Owner",
    "Grants full access to manage all resources, including the ability to assign roles.",
    actions=("*",),
)
CONTRIBUTOR = Role(
    "b24988ac-6180-42a0-ab88-20f7382dd24c",
    "Contributor",
    "Grants full access to manage all resources, but does not allow you to assign roles.",
    actions=("*",),
    not_actions=(
        "Microsoft.Authorization/*/Delete",
        "Microsoft.Authorization/*/Write",
        "Microsoft.Authorization/elevateAccess/Action",
    ),
)
READER = Role(
    "acdd72a7-3385-48ef-bd42-f606fba81ae7",
    "Reader",
    "View all resources, but does not allow you to make any changes.",
    actions=("*/read",),
)
USER_ACCESS_ADMINISTRATOR = Role(
    "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9",
    "User Access Administrator",
    "Lets you manage user access to resources.",
    actions=("*/read", "Microsoft.Authorization/*"),
)
RBAC_ADMINISTRATOR = Role(
    "f58310d9-a9f6-439a-9e8d-f62e7b41a168",
    "Role Based Access Control Administrator",
    "Manage access to resources by assigning roles.",
    actions=(
        "Microsoft.Authorization/roleAssignments/write",
        "Microsoft.Authorization/roleAssignments/delete",
        "*/read",
    ),
)
BLOB_DATA_OWNER = Role(
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b",
    "Storage Blob Data Owner",
    "Allows for full access to blob containers and data.",
    actions=(f"{_CONTAINERS}/*", _DELEGATION),
    data_actions=(f"{_BLOBS}/*",),
)
BLOB_DATA_CONTRIBUTOR = Role(
    "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
    "Storage Blob Data Contributor",
    "Allows for read, write and delete access to blob containers and data.",
    actions=(f"{_CONTAINERS}/delete", f"{_CONTAINERS}/read", f"{_CONTAINERS}/write", _DELEGATION),
    data_actions=(
        f"{_BLOBS}/delete",
        f"{_BLOBS}/read",
        f"{_BLOBS}/write",
        f"{_BLOBS}/move/action",
        f"{_BLOBS}/add/action",
    ),
)
BLOB_DATA_READER = Role(
    "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1",
    "Storage Blob Data Reader",
    "Allows for read access to blob containers and data.",
    actions=(f"{_CONTAINERS}/read", _DELEGATION),
    data_actions=(f"{_BLOBS}/read",),
)
MACHINE_ONBOARDING = Role(
    "b64e21ea-ac4e-4cdf-9dc9-5b892992bee7",
    "Azure Connected Machine Onboarding",
    "Can onboard connected machines.",
    actions=(f"{_MACHINES}/read", f"{_MACHINES}/write", "Microsoft.HybridCompute/privateLinkScopes/read"),
)
MACHINE_ADMINISTRATOR = Role(
    "cd570a14-e51a-42ad-bac8-bafd67325302",
    "Azure Connected Machine Resource Administrator",
    "Can read, write, delete and re-onboard connected machines.",
    actions=(
        f"{_MACHINES}/read",
        f"{_MACHINES}/write",
        f"{_MACHINES}/delete",
        "Microsoft.HybridCompute/privateLinkScopes/*",
    ),
)
VAULT_SECRETS_USER = Role(
    "4633458b-17de-408a-b874-0445c86b69e6",
    "Key Vault Secrets User",
    "Read secret contents.",
    data_actions=(
        "Microsoft.KeyVault/vaults/secrets/getSecret/action",
        "Microsoft.KeyVault/vaults/secrets/readMetadata/action",
    ),
)

VAULT_SECRETS_OFFICER = Role(
    "b86a8fe4-44ce-4948-aee5-eccb2c155cd7",
    "Key Vault Secrets Officer",
    "Perform any action on the secrets of a key vault, except manage permissions.",
    actions=("Microsoft.KeyVault/vaults/*/read", "Microsoft.KeyVault/vaults/read"),
    data_actions=("Microsoft.KeyVault/vaults/secrets/*",),
)
VAULT_READER = Role(
    "21090545-7ca7-4776-b22c-e363652d74d2",
    "Key Vault Reader",
    "Read metadata of key vaults and its secrets; no values.",
    actions=("Microsoft.KeyVault/vaults/*/read", "Microsoft.KeyVault/vaults/read"),
    data_actions=(
        "Microsoft.KeyVault/vaults/*/read",
        "Microsoft.KeyVault/vaults/secrets/readMetadata/action",
    ),
)

MOVER_OPERATOR = Role(
    "b19531e4-ef92-4f7e-982a-6db89faf74bf",
    "Storage Mover Operator",
    "Sees movers and starts and stops their jobs; changes neither jobs nor endpoints.",
    actions=(
        f"{_MOVERS}/*/read",
        f"{_MOVERS}/read",
        f"{_MOVERS}/projects/jobDefinitions/startJob/action",
        f"{_MOVERS}/projects/jobDefinitions/stopJob/action",
        f"{_MOVERS}/projects/jobDefinitions/reconcileJob/action",
        "Microsoft.Resources/subscriptions/resourceGroups/read",
    ),
    custom=True,
)
AGENT_REGISTRAR = Role(
    "021781f8-b085-4a10-b582-d66fb4faf8f0",
    "Storage Mover Agent Registrar",
    "Registers agents with a mover and their machines with the resource group.",
    actions=(
        f"{_MOVERS}/read",
        f"{_MOVERS}/agents/read",
        f"{_MOVERS}/agents/write",
        f"{_MACHINES}/read",
        f"{_MACHINES}/write",
        "Microsoft.Resources/subscriptions/resourceGroups/read",
    ),
    custom=True,
)
MOVER_AUDITOR = Role(
    "3daf4fdf-822d-49fd-8e60-44245a16d50a",
    "Storage Mover Auditor",
    "Reads movers, runs, copy logs, role assignments and the audit trail; changes nothing.",
    actions=(
        f"{_MOVERS}/read",
        f"{_MOVERS}/*/read",
        "Microsoft.Authorization/*/read",
        "Microsoft.Insights/eventtypes/*/read",
        "Microsoft.Resources/subscriptions/resourceGroups/read",
    ),
    custom=True,
)
METRICS_READER = Role(
    "6c1f0f3b-95a5-4cf4-8a0e-2f6f4b0d9a57",
    "Metrics Reader",
    "Reads metrics, and nothing else: for programs that collect them.",
    actions=("Microsoft.Insights/metrics/read",),
    custom=True,
)
JOB_WRITER = Role(
    "1e6886bb-2bc8-4584-8a5c-277a0af7df1a",
    "Storage Mover Job Writer",
    "Reads and writes data in the target of a run; deletes nothing and manages nothing.",
    data_actions=(f"{_BLOBS}/read", f"{_BLOBS}/write", f"{_BLOBS}/add/action"),
    custom=True,
)
JOB_MIRROR_WRITER = Role(
    "df5de2bf-aab8-4901-a8c5-2ef421756aee",
    "Storage Mover Job Writer with delete",
    "Reads, writes and deletes data in the target of a run that mirrors its source; manages nothing.",
    data_actions=(f"{_BLOBS}/read", f"{_BLOBS}/write", f"{_BLOBS}/add/action", f"{_BLOBS}/delete"),
    custom=True,
)

ROLES: Mapping[str, Role] = {
    role.guid: role
    for role in (
        OWNER,
        CONTRIBUTOR,
        READER,
        USER_ACCESS_ADMINISTRATOR,
        RBAC_ADMINISTRATOR,
        BLOB_DATA_OWNER,
        BLOB_DATA_CONTRIBUTOR,
        BLOB_DATA_READER,
        MACHINE_ONBOARDING,
        MACHINE_ADMINISTRATOR,
        VAULT_SECRETS_USER,
        VAULT_SECRETS_OFFICER,
        VAULT_READER,
        MOVER_OPERATOR,
        AGENT_REGISTRAR,
        MOVER_AUDITOR,
        METRICS_READER,
        JOB_WRITER,
        JOB_MIRROR_WRITER,
    )
}
"""Every role there is, by GUID."""
