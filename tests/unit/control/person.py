"""Somebody with a browser, a password, and an authenticator app or a security key."""

from __future__ import annotations

from collections.abc import Callable

import httpx

from tests.authenticator import Authenticator
from tests.forms import hidden, options_on, recovery_codes_on, secret_on
from wherry.trust import onetime


class Person:
    """Goes from page to page; `now` tells the time to the app."""

    def __init__(
        self, client: httpx.AsyncClient, now: Callable[[], float], login: str, password: str
    ) -> None:
        self.client = client
        self.now = now
        self.login = login
        self.password = password
        self.secret = b""
        self.codes: list[str] = []

    async def sign_in(self) -> httpx.Response:
        """The answer to name and password, in a browser that knows nothing."""
        self.client.cookies.clear()
        return await self.send(
            await self.client.get("/signin"), "/signin", login=self.login, password=self.password
        )

    async def send(self, page: httpx.Response, path: str, **fields: str) -> httpx.Response:
        """Send the form of a page."""
        return await self.client.post(path, data={**hidden(page.text), **fields})

    async def enrol(self, page: httpx.Response) -> httpx.Response:
        """Set up an authenticator app on the page that offers it; the answer shows recovery codes, the first time."""
        self.secret = secret_on(page.text)
        return self._kept(await self.send(page, "/factor/enrol", code=self.code()))

    async def enrol_key(self, page: httpx.Response, key: Authenticator) -> httpx.Response:
        """Make a passkey on that page."""
        return self._kept(
            await self.send(page, "/factor/enrol", credential=key.create(options_on(page.text)))
        )

    def code(self, steps: int = 0) -> str:
        """What the app shows, some steps from now."""
        return onetime.code(self.secret, int(self.now() // onetime.STEP) + steps)

    def wrong(self, count: int = 1) -> list[str]:
        """Codes that the app does not show, nor did or will in a minute."""
        near = {self.code(steps) for steps in range(-2, 3)}
        return [typed for number in range(count + len(near)) if (typed := f"{number:06}") not in near][:count]

    async def prove(self, page: httpx.Response, code: str | None = None) -> httpx.Response:
        """Type a code on the page that asks for a second factor."""
        return await self.send(page, "/factor", code=self.code() if code is None else code)

    def _kept(self, page: httpx.Response) -> httpx.Response:
        self.codes = recovery_codes_on(page.text) or self.codes
        return page
