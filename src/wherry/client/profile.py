"""Which control plane a client talks to: the five variables that `wherry env` prints.

Pure reading of an environment; nothing is contacted.  Called by the command line, the demo and tests.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from wherry.model.errors import UsageError

_ADVICE = 'Set it, or run eval "$(wherry env --state DIR)" on the machine of the control plane.'


@dataclass(frozen=True, slots=True)
class Profile:
    """A deployment as a client sees it.

    `url` is that of the resource API, `authority` that of the sign-in, both without a path; `ca_file` the
    only certificate authority that is trusted.
    """

    url: str
    authority: str
    tenant: str
    subscription: str
    ca_file: Path

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Profile:
        """The profile that the environment names.  `UsageError` says which variable is missing or wrong."""
        return cls(
            https_url(_required(environ, "WHERRY_URL"), "WHERRY_URL"),
            https_url(_required(environ, "WHERRY_AUTHORITY"), "WHERRY_AUTHORITY"),
            _required(environ, "WHERRY_TENANT_ID"),
            _required(environ, "WHERRY_SUBSCRIPTION_ID"),
            _file(_required(environ, "WHERRY_CA_FILE"), "WHERRY_CA_FILE"),
        )

    @property
    def subscription_path(self) -> str:
        return f"/subscriptions/{self.subscription}"


def config_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """Where a person's sign-in is kept: `WHERRY_CONFIG_DIR`, else `wherry` in the XDG configuration home."""
    if environ.get("WHERRY_CONFIG_DIR"):
        return Path(environ["WHERRY_CONFIG_DIR"]).expanduser()
    home = environ.get("XDG_CONFIG_HOME")
    return (Path(home) if home else Path("~/.config").expanduser()) / "wherry"


def https_url(text: str, name: str) -> str:
    """`text` as `https://host[:port]`; `UsageError` that calls it `name` when it is anything else."""
    try:
        parts = urlsplit(text)
        port = f":{parts.port}" if parts.port else ""
    except ValueError as broken:
        raise UsageError(f"{name} is not a URL: {text!r}.") from broken
    if parts.scheme != "https":
        raise UsageError(
            f"{name} must begin with https:// (it is {text!r}); there is no switch to do without TLS."
        )
    if not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment or parts.username:
        raise UsageError(f"{name} must be https://HOST[:PORT] and nothing more (it is {text!r}).")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"https://{host}{port}"


def _required(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name, "").strip()
    if not value:
        raise UsageError(f"{name} is not set. {_ADVICE}")
    return value


def _file(text: str, name: str) -> Path:
    path = Path(text).expanduser()
    if not path.is_file():
        raise UsageError(f"{name} names {path}, which is not a file. {_ADVICE}")
    return path
