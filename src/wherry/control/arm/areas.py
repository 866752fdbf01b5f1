"""The areas of the resource API, in the order in which their routes are tried."""

from __future__ import annotations

from wherry.control.access import Routes
from wherry.control.arm import (
    access_questions,
    agent_bundles,
    audit_trail,
    authorization,
    consents,
    endpoints,
    hybrid_compute,
    key_vault,
    private_links,
    run_logs,
    run_metrics,
    storage,
    storage_mover,
    subscriptions,
)

AREAS: tuple[Routes, ...] = (
    subscriptions.routes,
    run_logs.routes,
    agent_bundles.routes,
    run_metrics.routes,
    storage_mover.routes,
    consents.routes,
    endpoints.routes,
    private_links.routes,
    hybrid_compute.routes,
    storage.routes,
    key_vault.routes,
    authorization.routes,
    access_questions.routes,
    audit_trail.routes,
)
