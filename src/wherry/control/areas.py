"""The areas of the API, each a `Routes`: what `create_app` serves.  A new area is added here and nowhere else."""

from __future__ import annotations

from wherry.control import health
from wherry.control.access import Routes

AREAS: tuple[Routes, ...] = (health.routes,)
