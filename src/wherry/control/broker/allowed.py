"""What the operator of a control plane allows its broker: `brokers.json` in the state directory.

Nobody can change it over the API: it says which hosts the control plane may send requests with its own identity to, and
which commands it may run.  It holds no secret, only the files that do.

    {"vaults": [{"host": "corp.vault.azure.net", "tokenUrl": "https://…/oauth2/v2.0/token", "clientId": "…",
                 "clientSecretFile": "/…", "scope": "https://vault.azure.net/.default", "caFile": "/…"}],
     "samba": [{"host": "nas1.example.net", "command": ["/usr/bin/ssh", "wherry@nas1", "samba-users"]}]}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from wherry.model.errors import UsageError

FILE = "brokers.json"
_SCOPE = "https://vault.azure.net/.default"
_VAULT = ("host", "tokenUrl", "clientId", "clientSecretFile")


@dataclass(frozen=True, slots=True)
class VaultElsewhere:
    """A vault that is not ours, and who the control plane is there.  `ca_file`: trusted instead of the system's."""

    host: str
    token_url: str
    client_id: str
    secret_file: Path
    scope: str = _SCOPE
    ca_file: str = ""


@dataclass(frozen=True, slots=True)
class Allowed:
    """All of the file; hosts in lower case."""

    vaults: Mapping[str, VaultElsewhere] = field(default_factory=dict)
    samba: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def load(cls, state: Path | None) -> Allowed:
        """What the file allows, nothing without one; `UsageError` when it is malformed."""
        path = None if state is None else state / FILE
        if path is None or not path.exists():
            return cls()
        try:
            told = json.loads(path.read_text())
            vaults = {one.host: one for one in map(_vault, told.get("vaults", []))}
            return cls(vaults, dict(map(_samba, told.get("samba", []))))
        except (ValueError, TypeError, KeyError, AttributeError) as broken:
            raise UsageError(f"{path} is malformed: {broken}") from broken


def _vault(told: Mapping[str, Any]) -> VaultElsewhere:
    host, token_url, client, file = (str(told[name]) for name in _VAULT)
    if urlsplit(token_url).scheme != "https":
        raise ValueError("tokenUrl must begin with https://")
    scope = str(told.get("scope", _SCOPE))
    return VaultElsewhere(host.lower(), token_url, client, Path(file), scope, str(told.get("caFile", "")))


def _samba(told: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    command = told["command"]
    if not isinstance(command, list) or not command or not str(command[0]).startswith("/"):
        raise ValueError("command must be a list whose first word is the absolute path of a program")
    return str(told["host"]).lower(), tuple(str(word) for word in command)
