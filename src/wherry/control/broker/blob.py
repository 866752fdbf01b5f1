"""Stored access policies on a real container, and the SAS that names one.

A SAS that names a policy holds neither rights nor an end of its own: taking the policy away ends it at the next
request.  The service keeps at most five policies a container and rewrites the whole list at each change, so whoever
calls `put` and `drop` holds the container's lock (`broker.credentials`).  Policies of others are kept as they are.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from azure.core.exceptions import AzureError, HttpResponseError, ResourceNotFoundError
from azure.storage.blob import AccessPolicy, ContainerClient, generate_container_sas

from wherry.control.broker.port import NoSlot
from wherry.control.services.accounts import Account
from wherry.model.errors import RunError, Unavailable

MOST_POLICIES = 5
API_VERSION = "2024-11-04"
_REFUSED = (401, 403)
_PAUSE = 0.25


def put(account: Account, container: str, policy: str, permissions: str, expires_at: float) -> None:
    """Let `policy` stand on the container, in place of what it was; `NoSlot` when five others stand there."""
    with _client(account, container) as client, _told():
        found = client.get_container_access_policy()
        policies = {one.id: one.access_policy for one in found["signed_identifiers"]}
        if policy not in policies and len(policies) >= MOST_POLICIES:
            raise NoSlot
        # Whole seconds: the service stores no more, and a policy must be found as it was written.
        until = datetime.fromtimestamp(int(expires_at), UTC)
        policies[policy] = AccessPolicy(permission=permissions, expiry=until)
        client.set_container_access_policy(policies, public_access=found["public_access"])


def drop(account: Account, container: str, policy: str) -> None:
    """Take `policy` off the container; nothing happens when it, or the container, is gone."""
    with _client(account, container) as client, _told(gone_is_well=True):
        found = client.get_container_access_policy()
        policies = {one.id: one.access_policy for one in found["signed_identifiers"]}
        if policies.pop(policy, None) is not None:
            client.set_container_access_policy(policies, public_access=found["public_access"])


def names(account: Account, container: str) -> list[str]:
    """The policies that stand on a container; none where there is no container."""
    found: list[str] = []
    with _client(account, container) as client, _told(gone_is_well=True):
        found = [str(one.id) for one in client.get_container_access_policy()["signed_identifiers"]]
    return found


def sign(account: Account, container: str, policy: str) -> str:
    """The SAS of a policy; over TLS only where the back end speaks it."""
    tls = account.endpoint.startswith("https:")
    sas: str = generate_container_sas(
        account.name,
        container,
        account_key=account.key,
        policy_id=policy,
        protocol="https" if tls else None,
    )
    return sas


def works(account: Account, container: str, sas: str) -> bool:
    """Whether the back end lets the holder of a SAS in at this moment; `Unavailable` when it cannot be asked."""
    with _told(), _client(account, container, sas) as client:
        try:
            next(iter(client.list_blob_names(results_per_page=1).by_page()), None)
        except ResourceNotFoundError:
            return False
        except HttpResponseError as refused:
            if refused.status_code in _REFUSED:
                return False
            raise
    return True


def wait_until(account: Account, container: str, sas: str, seconds: float, *, open_: bool) -> bool:
    """Ask until a SAS works, or until it does not; a change of policies takes the service up to 30 seconds."""
    deadline = time.monotonic() + seconds
    while works(account, container, sas) is not open_:
        if time.monotonic() >= deadline:
            return False
        time.sleep(_PAUSE)
    return True


def _client(account: Account, container: str, sas: str | None = None) -> ContainerClient:
    return ContainerClient(
        account.endpoint,
        container,
        credential=sas or {"account_name": account.name, "account_key": account.key},
        api_version=API_VERSION,
        # Whoever calls tries again in its own time; the SDK would wait 15 seconds first.
        retry_total=0,
        connection_timeout=5,
        read_timeout=15,
        # A back end that sends requests elsewhere could reach what only this machine may reach.
        permit_redirects=False,
    )


@contextmanager
def _told(*, gone_is_well: bool = False) -> Iterator[None]:
    """What the back end answers, as what it means for a run."""
    try:
        yield
    except ResourceNotFoundError as gone:
        if not gone_is_well:
            raise RunError("AZSM1022", "The container is not there.") from gone
    except HttpResponseError as told:
        if told.status_code in _REFUSED:
            raise RunError("AZSM1024", "The back end refuses the key of the storage account.") from told
        raise Unavailable(f"the storage account answered {told.status_code}") from told
    except AzureError as trouble:
        raise Unavailable("the storage account cannot be reached") from trouble
