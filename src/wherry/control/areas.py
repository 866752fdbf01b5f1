"""What a control plane consists of: areas of the API and what runs beside them.

A new area adds its `Routes` to `AREAS`.  What has to live as long as the application (wakers, reapers) is a context in
`CONTEXTS`: entered at start in this order, left in the opposite one; it may leave something for its routes in
`plane.parts`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from wherry.control import dispatch, health, housekeeping, metrics, openapi, scheduler
from wherry.control.access import Routes
from wherry.control.agents import bundles, job_status, machine_identity, registration, work
from wherry.control.arm import areas as arm
from wherry.control.directory import factors, groups, objects, programs, users
from wherry.control.directory import providers as sign_in_providers
from wherry.control.identity import device, device_pages, discovery, factor_pages, pages, token
from wherry.control.identity import upstream_pages as upstream
from wherry.control.pages import access as access_page
from wherry.control.pages import agents as agents_page
from wherry.control.pages import bundles as bundles_page
from wherry.control.pages import frame as page_frame
from wherry.control.pages import jobs as jobs_page
from wherry.control.plane import Plane
from wherry.control.vault import api as vault

AREAS: tuple[Routes, ...] = (
    health.routes,
    openapi.routes,
    metrics.routes,
    discovery.routes,
    device.routes,
    token.routes,
    pages.routes,
    factor_pages.routes,
    device_pages.routes,
    page_frame.routes,
    agents_page.routes,
    bundles_page.routes,
    jobs_page.routes,
    access_page.routes,
    users.routes,
    factors.routes,
    groups.routes,
    programs.routes,
    objects.routes,
    sign_in_providers.routes,
    upstream.routes,
    *arm.AREAS,
    vault.routes,
    registration.routes,
    work.routes,
    job_status.routes,
    bundles.routes,
    machine_identity.routes,
)

CONTEXTS: tuple[Callable[[Plane], AbstractAsyncContextManager[None]], ...] = (
    housekeeping.running,
    dispatch.running,
    scheduler.running,
)
