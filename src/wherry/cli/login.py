"""`wherry login` and `wherry logout`: a person's sign-in by device code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wherry.cli import defaults
from wherry.cli.output import answers, tell

if TYPE_CHECKING:
    from wherry.client.device_code import DeviceCode


@answers((("User", "user"), ("Subscription", "subscription"), ("Tenant", "tenant"), ("URL", "url")))
def login() -> Any:
    """Sign in: shows a code that is entered on a page of the control plane."""
    from wherry.client.login import SignIn

    profile = defaults.profile()
    account = SignIn(profile).sign_in(_show)
    defaults.keep_profile(profile)
    tell("Signed in.")
    return {
        "user": account.name,
        "subscription": profile.subscription,
        "tenant": profile.tenant,
        "url": profile.url,
    }


def logout() -> None:
    """Forget the sign-in on this machine."""
    from wherry.client.login import SignIn

    tell("Signed out." if SignIn(defaults.profile()).sign_out() else "You were not signed in.")


def _show(code: DeviceCode) -> None:
    tell(f"Open {code.url} in a browser, sign in and enter the code {code.user_code}.")
    if code.match:
        tell(f"The number that the page asks for is {code.match}.")
    tell(f"Waiting; the code is good for {int(code.lifetime // 60)} minutes.")
