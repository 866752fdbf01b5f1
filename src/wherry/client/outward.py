"""What a way out means to `httpx` and to TLS.  Called by the modules here that open connections, and by the agent."""

from __future__ import annotations

import ssl
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from wherry.model.way import Way
from wherry.trust.authority import client_context


def context_for(ca_file: Path, way: Way) -> ssl.SSLContext:
    """TLS that trusts the authority in `ca_file` and those of the way; raises `OSError` and `ssl.SSLError`."""
    context = client_context(ca_file)
    if way.ca_pem:
        context.load_verify_locations(cadata=way.ca_pem)
    return context


def proxy_for(url: str, way: Way) -> httpx.Proxy | None:
    """The proxy on the way to the host of a URL."""
    proxy = way.proxy_to(urlsplit(url).hostname or "")
    if proxy is None:
        return None
    return httpx.Proxy(proxy.url, auth=(proxy.user, proxy.password) if proxy.user else None)
