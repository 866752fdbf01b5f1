"""Secrets that are named by their URI, in Azure Key Vault's shape: `https://HOST/secrets/NAME[/VERSION]`.

An endpoint names secrets instead of holding them.  Who names one must be allowed to read it; of a vault elsewhere the
control plane cannot ask that, so there it takes the right to read every secret of this deployment.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from wherry.model.errors import RunError

READ_SECRET = "Microsoft.KeyVault/vaults/secrets/getSecret/action"  # noqa: S105 - an action
_PATH = re.compile(r"/secrets/([0-9A-Za-z-]{1,127})(?:/([0-9a-f]{32}))?/?")
_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}(:\d{1,5})?|\[[0-9A-Fa-f:]+\](:\d{1,5})?")


@dataclass(frozen=True, slots=True)
class SecretUri:
    """A secret; `host` in lower case with its port, if it names one; without a version the latest."""

    host: str
    name: str
    version: str = ""

    @classmethod
    def parse(cls, text: str) -> SecretUri:
        """The secret of a URI; `RunError` AZSM1024 for what is none."""
        try:
            parts = urlsplit(text)
        except ValueError:
            parts = urlsplit("")
        found = _PATH.fullmatch(parts.path)
        whole = parts.scheme == "https" and not parts.query and not parts.fragment
        if found is None or not whole or not _HOST.fullmatch(parts.netloc):
            raise RunError(
                "AZSM1024", "The URI of a secret is https://VAULT/secrets/NAME, or with /VERSION behind it."
            )
        return cls(parts.netloc.lower(), found[1], found[2] or "")

    @property
    def text(self) -> str:
        """The URI."""
        return f"https://{self.host}/secrets/{self.name}" + (f"/{self.version}" if self.version else "")
