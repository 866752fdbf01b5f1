"""Containers on real Blob back ends, reached with the account's own key.

The only operations that the service does with such a key itself: look for a container, and make one that is
missing.  Called in worker threads by the routes of containers; nothing here deletes anything.
"""

from __future__ import annotations

from typing import Literal

from azure.core.exceptions import AzureError, HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import ContainerClient

from wherry.control.services.accounts import Account
from wherry.model.errors import ApiError

State = Literal["Available", "Missing", "Refused", "Unreachable"]

_REFUSED = (401, 403)


def ensure_container(account: Account, container: str) -> bool:
    """Make the container unless it is there; True when it was made.  409 that says what is wrong with the back end."""
    with _client(account, container) as client:
        try:
            if client.exists():
                return False
            client.create_container()
        except ResourceExistsError as told:
            # Another request made it meanwhile, or its old namesake is still being deleted.
            if getattr(told, "error_code", "") != "ContainerAlreadyExists":
                raise _trouble(account, told) from told
            return False
        except AzureError as told:
            raise _trouble(account, told) from told
    return True


def container_state(account: Account, container: str) -> State:
    """Whether the container is there, as the back end tells now."""
    with _client(account, container) as client:
        try:
            client.get_container_properties()
        except ResourceNotFoundError:
            return "Missing"
        except HttpResponseError as told:
            return "Refused" if told.status_code in _REFUSED else "Unreachable"
        except AzureError:
            return "Unreachable"
    return "Available"


def _client(account: Account, container: str) -> ContainerClient:
    return ContainerClient(
        account.endpoint,
        container,
        credential={"account_name": account.name, "account_key": account.key},
        # Once more and soon, for somebody waits for the answer; the SDK would wait 15 seconds first.
        retry_total=1,
        initial_backoff=1,
        random_jitter_range=0,
        connection_timeout=5,
        read_timeout=15,
        # A back end that sends requests elsewhere could reach what only this machine may reach.
        permit_redirects=False,
    )


def _trouble(account: Account, told: AzureError) -> ApiError:
    if isinstance(told, HttpResponseError) and told.status_code in _REFUSED:
        message = (
            f"The back end {account.endpoint} refuses the key of account '{account.name}'. Register it anew."
        )
        return ApiError(409, "StorageAccountKeyRefused", message)
    if isinstance(told, HttpResponseError) and told.status_code is not None:
        return ApiError(
            409, "StorageAccountError", f"The back end {account.endpoint} answered {told.status_code}."
        )
    return ApiError(409, "StorageAccountUnreachable", f"The back end {account.endpoint} cannot be reached.")
