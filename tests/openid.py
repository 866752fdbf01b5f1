"""Starts a real OpenID provider (oidc-provider, from npm) on a free loopback port, and signs people in there.

`tools/servers.py install` brings the program; `tools/upstream/provider.mjs` is what it does.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import httpx

from wherry.trust import authority

PROGRAM = Path(__file__).resolve().parent.parent / ".cache" / "upstream" / "openid-provider"
CLIENT = "wherry"
SECRET = "a secret: of 100% of tests"


class OpenIdMissing(Exception):
    """The provider is not installed in this checkout."""


@dataclass(frozen=True)
class OpenId:
    """A running provider: how it calls itself, and the authority of its certificate."""

    issuer: str
    ca: str
    ca_file: Path

    def browser(self) -> httpx.Client:
        """Somebody's browser, as the provider sees it."""
        return httpx.Client(verify=authority.client_context(self.ca_file), trust_env=False)

    def signed_in(self, browser: httpx.Client, address: str, **person: str) -> str:
        """Follow `address` and say there who one is, unless that is known; the address that it sends back to."""
        answer = browser.get(address)
        while answer.is_redirect:
            address = urljoin(str(answer.url), answer.headers["location"])
            if not address.startswith(self.issuer):
                return address
            answer = browser.get(address)
            if "<form" in answer.text:
                answer = browser.post(address, data=person)
        raise AssertionError(f"{answer.status_code}: {answer.text}")


@contextmanager
def running_openid(folder: Path, redirect: str) -> Iterator[OpenId]:
    """A provider with one client, whose way back is `redirect`, while the block runs."""
    if not PROGRAM.exists():
        raise OpenIdMissing(
            "The OpenID provider is not installed: run `make test`, or `python tools/servers.py install`"
        )
    ca = authority.create_ca("A provider's authority", time.time())
    server = authority.issue_server(ca, ["127.0.0.1"], time.time())
    told = {
        "cert": server.certificate.decode(), "key": server.key.decode(), "client_id": CLIENT, "client_secret": SECRET,
        "redirect_uris": [redirect],
    }  # fmt: skip
    ca_file = folder / "provider-ca.pem"
    ca_file.write_bytes(ca.certificate)
    with (folder / "provider.log").open("w") as log:
        process = subprocess.Popen(
            [str(PROGRAM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(told) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        assert line, (folder / "provider.log").read_text()
        yield OpenId(json.loads(line)["issuer"], ca.certificate.decode(), ca_file)
    finally:
        # It ends with its standard input.
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
