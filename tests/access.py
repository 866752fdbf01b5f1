"""What a run's agents may do in a container, seen from outside: its access policies and the SAS that names one."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from azure.core.exceptions import HttpResponseError
from azure.storage.blob import AccessPolicy, ContainerClient, generate_container_sas

if TYPE_CHECKING:
    from tests.site import Job

FOREIGN = "somebody-elses"


def policies(container: ContainerClient) -> set[str]:
    """The stored access policies of a container."""
    return {one.id for one in container.get_container_access_policy()["signed_identifiers"]}


def add_foreign(container: ContainerClient) -> None:
    """Let a policy of somebody else stand on the container."""
    policy = AccessPolicy("r", expiry=datetime(2099, 1, 1, tzinfo=UTC))
    container.set_container_access_policy({FOREIGN: policy})


@dataclass(frozen=True)
class Access:
    """What the agents of a run got; `sas` is theirs, for it holds nothing but the name of the policy."""

    job: Job
    container: ContainerClient
    policy: str
    sas: str = field(repr=False)

    @classmethod
    def of(cls, job: Job, container: ContainerClient) -> Access:
        """The access of a run as soon as it stands and the server lets it in."""
        run = job.await_run(
            lambda run: run["wherry"]["accessState"] == "Open" and "accessPolicy" in run["wherry"]
        )
        policy = run["wherry"]["accessPolicy"]
        sas = generate_container_sas(
            str(container.account_name), container.container_name,
            account_key=container.credential.account_key, policy_id=policy,
        )  # fmt: skip
        found = cls(job, container, policy, sas)
        assert policy in policies(container)
        assert found.works()
        return found

    def works(self) -> bool:
        """Whether the server itself lets the holder of the SAS in; only a 403 is a no."""
        url = str(self.container.url).rpartition("/")[0]
        with ContainerClient(
            url, self.container.container_name, credential=self.sas, retry_total=0
        ) as client:
            try:
                next(iter(client.list_blob_names(results_per_page=1)), None)
            except HttpResponseError as refused:
                if refused.status_code != 403:
                    raise
                return False
        return True

    def assert_ended(self) -> None:
        """Nothing of it is left: no policy, no assignment, and the SAS that worked is refused."""
        run = self.job.run
        assert run["wherry"]["accessState"] == "Ended", run
        assert "roleAssignments" not in run["wherry"]
        assert self.policy not in policies(self.container)
        assert not self.works()
