"""The types of Microsoft.StorageMover: movers and what lies in them, down to the runs of jobs."""

from __future__ import annotations

from wherry.control.services import agent_view
from wherry.control.services.types import mover_rules as rules
from wherry.control.services.types import mover_values as values
from wherry.control.services.types.addresses import service_url
from wherry.control.services.types.schema import DESCRIPTION, Field, ResourceType, Rules
from wherry.model import drivers, ids
from wherry.model.drivers import DriverFacts
from wherry.model.schedules import DAYS, Frequency

PROVIDER = "Microsoft.StorageMover"
API_VERSIONS = (
    "2026-05-01", "2025-12-01", "2025-08-01", "2025-07-01", "2024-07-01", "2023-10-01", "2023-07-01-preview",
    "2023-03-01", "2022-07-01-preview",
)  # fmt: skip
_MOVER = "storageMovers"

MOVER = ResourceType(PROVIDER, (_MOVER,), (DESCRIPTION,), tracked=True, lower_type=True, slow_delete=True)

PROJECT = ResourceType(PROVIDER, (_MOVER, "projects"), (DESCRIPTION,), lower_type=True, slow_delete=True)

_STORAGE_ACCOUNT = Field(
    "storageAccountResourceId", required=True, fixed=True, caseless=True, check=values.storage_account_id
)


def _secrets(kind: str, *names: str) -> tuple[Field, ...]:
    """Credentials that are named by URIs of secrets."""
    uris = (Field(name, longest=2048, check=values.secret_uri) for name in names)
    return (Field("type", required=True, choices=(kind,)), *uris)


def _driver(*served: DriverFacts) -> Field:
    return Field("credentialDriver", choices=tuple(one.name for one in served))


_BUCKET = (
    Field("region", longest=64, pattern=values.REGION),
    _driver(drivers.S3_USER, drivers.S3_SESSION),
    Field("iamEndpoint", longest=2048, check=service_url),
    Field("stsEndpoint", longest=2048, check=service_url),
    Field("roleArn", longest=2048, pattern=values.ROLE),
    Field("audience", longest=256),
    Field("caCertificate", longest=32768, check=values.certificates),
)

ENDPOINT = ResourceType(
    PROVIDER,
    (_MOVER, "endpoints"),
    (
        Field("endpointType", required=True, fixed=True, choices=values.ENDPOINT_TYPES),
        DESCRIPTION,
        Field("endpointKind", fixed=True, choices=("Source", "Target")),
    ),
    lower_type=True,
    identity=True,
    since={"endpointKind": "2025-12-01", "identity": "2025-07-01"},
    variant_on="endpointType",
    variants={
        "LocalMount": (Field("path", required=True, fixed=True, longest=4096, check=values.absolute_path),),
        "AzureStorageBlobContainer": (
            _STORAGE_ACCOUNT,
            Field("blobContainerName", required=True, fixed=True, check=values.container_name),
        ),
        "NfsMount": (
            Field("host", required=True, fixed=True, pattern=values.HOST),
            Field("nfsVersion", fixed=True, choices=("NFSauto", "NFSv3", "NFSv4", "NFSv4_1")),
            Field("export", required=True, fixed=True, longest=4096),
        ),
        "SmbMount": (
            Field("host", required=True, fixed=True, pattern=values.HOST),
            Field("shareName", required=True, fixed=True, pattern=values.SHARE),
            Field("credentials", "object", fields=_secrets("AzureKeyVaultSmb", "usernameUri", "passwordUri")),
            Field("wherry", "object", fields=(_driver(drivers.SMB_SECRET, drivers.SMB_USER),)),
        ),
        "S3WithHMAC": (
            Field("sourceUri", required=True, fixed=True, longest=2048, check=values.bucket_url),
            Field("sourceType", fixed=True, choices=("MINIO", "IBM", "GCS", "ALIBABA", "DELL_EMC", "OTHER")),
            Field("otherSourceTypeDescription", fixed=True),
            Field(
                "credentials",
                "object",
                fields=_secrets("AzureKeyVaultS3WithHMAC", "accessKeyUri", "secretKeyUri"),
            ),
            Field("wherry", "object", fields=_BUCKET),
        ),
        "AzureStorageSmbFileShare": (
            _STORAGE_ACCOUNT,
            Field("fileShareName", required=True, fixed=True, pattern=values.SHARE),
        ),
        "AzureStorageNfsFileShare": (
            _STORAGE_ACCOUNT,
            Field("fileShareName", required=True, fixed=True, pattern=values.SHARE),
        ),
        "AzureMultiCloudConnector": (
            Field("multiCloudConnectorId", required=True, fixed=True, caseless=True, longest=2048),
            Field("awsS3BucketId", required=True, longest=2048),
        ),
    },
    rules=Rules(release=rules.release_endpoint, view=rules.view_endpoint),
)

_TIME = (
    Field("hour", "integer", required=True, largest=24),
    Field("minute", "integer", check=values.half_hour),
)

_RECURRENCE = (
    Field("days", "list", required=True, longest=7, item=Field("day", choices=DAYS)),
    Field("startTime", "object", required=True, fields=_TIME),
    Field("endTime", "object", required=True, fields=_TIME),
    Field("limitInMbps", "integer", required=True),
)

AGENT = ResourceType(
    PROVIDER,
    (_MOVER, "agents"),
    (
        DESCRIPTION,
        Field("arcResourceId", required=True, fixed=True, caseless=True, check=values.machine_id),
        Field("arcVmUuid", required=True, fixed=True, caseless=True, pattern=ids.GUID),
        Field(
            "uploadLimitSchedule",
            "object",
            fields=(
                Field(
                    "weeklyRecurrences",
                    "list",
                    longest=336,
                    item=Field("recurrence", "object", fields=_RECURRENCE),
                ),
            ),
            check=values.week,
        ),
        Field("wherry", "object", fields=(Field("timeZone", longest=64, check=values.time_zone),)),
    ),
    name=ids.AGENT_NAME,
    since={"timeZone": "2024-07-01", "uploadLimitSchedule": "2024-07-01"},
    lower_type=True,
    slow_delete=True,
    rules=Rules(prepare=rules.prepare_agent, release=rules.release_agent, view=agent_view.view),
)

AGENT_GROUP = ResourceType(
    PROVIDER,
    (_MOVER, "agentGroups"),
    (DESCRIPTION, Field("agents", "list", required=True, longest=1000, item=Field("agent", longest=64))),
    lower_type=True,
    rules=Rules(prepare=rules.prepare_group, release=rules.release_group),
)

_SCHEDULE = (
    Field("frequency", choices=tuple(Frequency)),
    Field("isActive", "boolean"),
    Field("executionTime", "object", fields=_TIME),
    Field("startDate", check=values.date_time),
    Field("endDate", check=values.date_time),
    Field("daysOfWeek", "list", longest=7, item=Field("day", choices=DAYS)),
    Field("daysOfMonth", "list", longest=31, item=Field("day", "integer", smallest=1, largest=31)),
    Field("cronExpression", longest=256),
    Field("repeatInterval", longest=16, check=values.repeat_interval),
)

JOB_DEFINITION = ResourceType(
    PROVIDER,
    (_MOVER, "projects", "jobDefinitions"),
    (
        DESCRIPTION,
        Field(
            "jobType",
            choices=("OnPremToCloud", "CloudToCloud", "OnPremToCloudAgentLess"),
            default="OnPremToCloud",
        ),
        Field("copyMode", required=True, choices=("Additive", "Mirror")),
        Field("sourceName", required=True, fixed=True, caseless=True),
        Field("sourceSubpath", fixed=True, longest=4096, check=values.subpath),
        Field("targetName", required=True, fixed=True, caseless=True),
        Field("targetSubpath", fixed=True, longest=4096, check=values.subpath),
        Field("agentName"),
        Field(
            "dataIntegrityValidation",
            choices=("None", "SaveFileMD5", "SaveVerifyFileMD5"),
            default="None",
        ),
        Field("preservePermissions", "boolean", default=True),
        Field("schedule", "object", fields=_SCHEDULE),
        Field("connections", "list", longest=64, item=Field("connection", longest=2048)),
        Field("syncMode"),
        Field("moverSyncedUntil", check=values.date_time),
        Field("wherry", "object", check=values.job_options),
    ),
    lower_type=True,
    since={
        "jobType": "2025-07-01",
        "connections": "2025-08-01",
        "dataIntegrityValidation": "2025-08-01",
        "schedule": "2025-12-01",
        "preservePermissions": "2025-12-01",
        "schedule.repeatInterval": "2026-05-01",
        "syncMode": "2026-05-01",
        "moverSyncedUntil": "2026-05-01",
    },
    rules=Rules(
        prepare=rules.prepare_job, settle=rules.settle_job, release=rules.release_job, view=rules.view_job
    ),
)

JOB_RUN = ResourceType(
    PROVIDER,
    (_MOVER, "projects", "jobDefinitions", "jobRuns"),
    lower_type=True,
    since={"triggerType": "2025-12-01", "scheduledExecutionTime": "2025-12-01", "warnings": "2025-12-01"},
    verbs=frozenset(),
)

CONNECTION = ResourceType(
    PROVIDER,
    (_MOVER, "connections"),
    (
        DESCRIPTION,
        Field("privateLinkServiceId", required=True, longest=2048, check=values.private_link_service),
        Field("jobList", "list", longest=1000, item=Field("job", longest=2048)),
    ),
    lower_type=True,
    slow_delete=True,
    verbs=frozenset({"put", "get", "delete", "list"}),
    rules=Rules(prepare=rules.prepare_connection, release=rules.release_connection),
)

TYPES = (MOVER, PROJECT, ENDPOINT, AGENT, AGENT_GROUP, CONNECTION, JOB_DEFINITION, JOB_RUN)
