"""The public clients that may ask for a device code, by id, with the name that the consent page shows.

Azure's own clients come under their own ids, unmodified.  None of them has a secret: what they get is decided by the
person who signs in, and for agents by the key.
"""

from __future__ import annotations

from collections.abc import Mapping

from wherry.trust.enrolment import AGENT_CLIENT_ID

AZURE_CLI = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
AZURE_POWERSHELL = "1950a258-227b-4e31-a9cf-717495945fc2"
WHERRY_CLI = "3f1f4c1e-8a1d-4d0b-9c55-0a3f0b6d2e71"

NAMES: Mapping[str, str] = {
    AZURE_CLI: "Azure CLI, or a program that uses Azure's libraries",
    AZURE_POWERSHELL: "Azure PowerShell",
    WHERRY_CLI: "wherry, the administrator's client",
    AGENT_CLIENT_ID: "A Wherry agent that wants to be registered",
}
