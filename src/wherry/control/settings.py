"""The durations and bounds that the control plane works by, in one place.

Defaults suit real use.  A deployment may override any in `deployment.json` under `settings`; the environment
(`WHERRY_SETTING_LEASE_SECONDS=2`) overrides both, which is how tests make hours pass in seconds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from wherry.control import networks
from wherry.model.errors import UsageError

PREFIX = "WHERRY_SETTING_"
_SWITCH = {"on": True, "true": True, "off": False, "false": False}


@dataclass(frozen=True, slots=True)
class Settings:
    """All in seconds unless the name says otherwise.

    `lease` is how long a lease lasts without renewal, `database_poll` the longest that new work stays unseen by
    a waiting agent when another process made it.  `credential` is the life of a stored access policy, moved on when
    less than `credential_margin` is left; `grant` the same for the expiry in a role assignment's condition;
    `idle_access` is how long both outlive the last lease of a run that goes on.
    `audit_keep_days` is how long records of the audit trail are kept at least.
    `schedule` is how often it is looked for schedules that are due or wait.
    `certificate` is how often it is looked whether the service's own certificate is near its end, or was replaced.
    `further_hosts` are names and addresses, with commas between, by which the control plane is reached besides its
    public URL: a private address, say.  `device_flow_networks` is where others than our agents may ask for a device
    code: see `networks`.
    `outbound_networks` is where storage accounts, vaults and sign-in providers that people name may be: see `outbound`.
    `head_seconds` is how long the head of a request may take to come, `body_seconds` how long a body may, beside what
    it takes at 8 KiB a second.
    `second_factor` demands one of everybody who signs in (who has one is asked for it in any case), `first_password` is
    how long a password that has to be changed is good for that, `register_needs_owner` lets nobody but an Owner of
    mover and group approve an agent.
    `bundle_limit_mib` is how large a support bundle of an agent may be, `bundle_keep_days` how long it is kept.
    """

    lease_seconds: float = 50.0
    heartbeat_seconds: float = 30.0
    offline_seconds: float = 90.0
    long_poll_seconds: float = 25.0
    database_poll_seconds: float = 2.0
    agent_lost_seconds: float = 900.0
    queued_limit_seconds: float = 86400.0
    reap_seconds: float = 5.0
    schedule_seconds: float = 5.0
    credential_seconds: float = 900.0
    credential_margin_seconds: float = 600.0
    grant_seconds: float = 900.0
    idle_access_seconds: float = 15.0
    policy_retry_seconds: float = 15.0
    probe_seconds: float = 40.0
    keep_partitions_seconds: float = 600.0
    head_seconds: float = 20.0
    body_seconds: float = 30.0
    certificate_seconds: float = 3600.0
    losses_limit: int = 12
    segment_limit_mib: int = 16
    audit_keep_days: float = 400.0
    device_flow_networks: str = networks.PRIVATE
    outbound_networks: str = "any"
    further_hosts: str = ""
    first_password_seconds: float = 86400.0
    second_factor: bool = True
    register_needs_owner: bool = False
    bundle_limit_mib: int = 64
    bundle_keep_days: float = 14.0

    @classmethod
    def load(cls, state: Path | None, environment: Mapping[str, str]) -> Settings:
        """The settings of a deployment; `UsageError` names what is not known or not a positive number."""
        made = cls()
        if state is not None and (state / "deployment.json").exists():
            document = json.loads((state / "deployment.json").read_text())
            made = made.override(document.get("settings") or {})
        named = {
            name.removeprefix(PREFIX).lower(): value
            for name, value in environment.items()
            if name.startswith(PREFIX)
        }
        return made.override(named)

    def override(self, values: Mapping[str, Any]) -> Settings:
        """These settings with some changed."""
        known = {one.name: one for one in fields(self)}
        changes: dict[str, Any] = {}
        for name, value in values.items():
            if name not in known:
                raise UsageError(f"Unknown setting '{name}'; known are {', '.join(sorted(known))}.")
            if name in _TEXTS:
                _TEXTS[name](str(value))
                changes[name] = str(value)
                continue
            kind = type(getattr(self, name))
            if kind is bool:
                changes[name] = _switch(name, value)
                continue
            try:
                changes[name] = kind(value)
            except (TypeError, ValueError):
                raise UsageError(f"Setting '{name}' must be a number, not {value!r}.") from None
            if changes[name] <= 0:
                raise UsageError(f"Setting '{name}' must be above zero.")
        return replace(self, **changes)


def hosts_of(told: str) -> list[str]:
    """The names and addresses of a setting."""
    return [word for word in re.split(r"[\s,]+", told) if word]


def _check_hosts(told: str) -> None:
    for host in hosts_of(told):
        if not _HOST.fullmatch(host):
            raise UsageError(f"'{host}' is no name or address of a host.")


_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|[0-9A-Fa-f:]+")
_TEXTS: Mapping[str, Callable[[str], None]] = {
    "device_flow_networks": networks.check,
    "outbound_networks": networks.check,
    "further_hosts": _check_hosts,
}


def _switch(name: str, value: object) -> bool:
    found = _SWITCH.get(str(value).lower())
    if found is None:
        raise UsageError(f"Setting '{name}' must be on or off, not {value!r}.")
    return found
