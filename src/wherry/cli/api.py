"""`wherry api`: the whole service as an OpenAPI document, without a service."""

from __future__ import annotations

import json


def api() -> None:
    """Print the OpenAPI document of the whole service: what a control plane of this version serves at /openapi.json."""
    from wherry.control import openapi
    from wherry.control.areas import AREAS

    print(json.dumps(openapi.document(one for area in AREAS for one in area.declared), indent=2))
