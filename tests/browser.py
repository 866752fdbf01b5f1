"""A person's browser on the pages of a served control plane: forms are sent as they are found."""

from __future__ import annotations

import time
from pathlib import Path

import httpx

from tests.forms import hidden, recovery_codes_on, secret_on
from wherry.trust import authority, onetime


class Browser(httpx.Client):
    """Keeps cookies as browsers do; trusts the control plane's own authority."""

    def __init__(self, url: str, ca_file: str | Path) -> None:
        super().__init__(base_url=url, verify=authority.client_context(Path(ca_file)))

    def submit(self, page: httpx.Response, path: str, **fields: str) -> httpx.Response:
        """Send the form of a page."""
        return self.post(path, data={**hidden(page.text), **fields})

    def first_sign_in(self, page: httpx.Response, login: str, password: str, chosen: str) -> httpx.Response:
        """From the form for the password to the recovery codes, by way of a new password and an app."""
        page = self.submit(page, "/signin", login=login, password=password)
        page = self.submit(page, "/password", login=login, password=password, new=chosen, again=chosen)
        code = onetime.code(secret_on(page.text), int(time.time() // onetime.STEP))
        page = self.submit(page, "/factor/enrol", code=code)
        assert len(recovery_codes_on(page.text)) == onetime.RECOVERY_CODES
        return page
