"""Which control plane the environment names, and what is said when it names none."""

from __future__ import annotations

from pathlib import Path

import pytest

from wherry.client.profile import Profile, config_directory, https_url
from wherry.model.errors import UsageError


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    ca = tmp_path / "ca.pem"
    ca.write_text("x")
    return {
        "WHERRY_URL": "https://mover.example:8443/",
        "WHERRY_AUTHORITY": "https://mover.example:8443",
        "WHERRY_TENANT_ID": "t",
        "WHERRY_SUBSCRIPTION_ID": "s",
        "WHERRY_CA_FILE": str(ca),
    }


def test_the_five_variables_make_a_profile(environ: dict[str, str], tmp_path: Path) -> None:
    found = Profile.from_environment(environ)

    assert found == Profile(
        "https://mover.example:8443", "https://mover.example:8443", "t", "s", tmp_path / "ca.pem"
    )
    assert found.subscription_path == "/subscriptions/s"


@pytest.mark.parametrize(
    "name", ["WHERRY_URL", "WHERRY_AUTHORITY", "WHERRY_TENANT_ID", "WHERRY_SUBSCRIPTION_ID", "WHERRY_CA_FILE"]
)
def test_a_missing_variable_is_named_with_what_to_do(environ: dict[str, str], name: str) -> None:
    del environ[name]

    with pytest.raises(UsageError, match=f"{name} is not set.*wherry env"):
        Profile.from_environment(environ)


def test_a_file_that_is_not_there_is_named(environ: dict[str, str]) -> None:
    environ["WHERRY_CA_FILE"] = "/nowhere/ca.pem"

    with pytest.raises(UsageError, match="WHERRY_CA_FILE names /nowhere/ca"):
        Profile.from_environment(environ)


@pytest.mark.parametrize(
    "text",
    [
        "http://mover.example",
        "mover.example",
        "https://",
        "https://a/b",
        "https://u@a",
        "https://a:x",
        "https://a?b",
    ],
)
def test_only_https_and_a_host_will_do(text: str) -> None:
    with pytest.raises(UsageError, match="The URL"):
        https_url(text, "The URL")


def test_an_address_with_colons_keeps_its_brackets() -> None:
    assert https_url("https://[::1]:8443/", "The URL") == "https://[::1]:8443"


def test_the_sign_in_is_kept_where_the_system_keeps_such_things() -> None:
    assert config_directory({"WHERRY_CONFIG_DIR": "/a"}) == Path("/a")
    assert config_directory({"XDG_CONFIG_HOME": "/b"}) == Path("/b/wherry")
    assert config_directory({}) == Path("~/.config/wherry").expanduser()
