"""Networks as a setting names them, and what follows from them for device codes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.control import flows
from wherry.control import networks
from wherry.control.settings import Settings
from wherry.model.errors import UsageError
from wherry.trust import clients


@pytest.mark.parametrize(
    ("told", "address", "inside"),
    [
        ("private", "127.0.0.1", True),
        ("private", "10.1.2.3", True),
        ("private", "::1", True),
        ("private", "fe80::1%eth0", True),
        ("private", "::ffff:192.168.1.1", True),
        ("private", "::ffff:8.8.8.8", False),
        ("private", "8.8.8.8", False),
        ("private", "", False),
        ("none", "127.0.0.1", False),
        ("any", "8.8.8.8", True),
        ("10.0.0.0/8, 8.8.8.0/24", "8.8.8.8", True),
        ("10.0.0.0/8 2001:db8::/32", "2001:db8::5", True),
        ("10.0.0.0/8", "2001:db8::5", False),
    ],
)
def test_an_address_is_in_a_network_or_not(told: str, address: str, inside: bool) -> None:
    networks.check(told)
    assert networks.contains(told, address) is inside


def test_a_setting_that_names_no_network_is_refused() -> None:
    with pytest.raises(UsageError, match="'somewhere' is no network"):
        Settings().override({"device_flow_networks": "private somewhere"})
    assert Settings().override({"device_flow_networks": "none"}).device_flow_networks == "none"


async def test_people_get_device_codes_nearby_only_and_elsewhere_the_answer_names_the_setting(client, plane):
    assert "user_code" in await flows.device_code(client)
    plane.settings = replace(plane.settings, device_flow_networks="10.0.0.0/8")
    form = {"client_id": clients.AZURE_CLI, "scope": flows.SCOPE}
    refused = await client.post("/organizations/oauth2/v2.0/devicecode", data=form)
    assert (refused.status_code, refused.json()["error"]) == (403, "access_denied")
    assert "wherry serve --device-flow-networks" in refused.json()["error_description"]
    agent = flows.Agent(client, plane, "/subscriptions/s/resourceGroups/g/providers/Microsoft.StorageMover/"
                        "storageMovers/m")  # fmt: skip
    assert "user_code" in (await agent.ask()).json()
