"""A support bundle that the control plane asks for: made and brought in a thread of its own, one at a time.

The next heartbeat asks again for what did not arrive; what cannot be made, or is not taken, is told once.  Called by
`daemon` with what each heartbeat's answer says.
"""

from __future__ import annotations

import contextlib
import logging
import threading

from wherry.agent import bundle as bundles
from wherry.agent.log_lines import tell
from wherry.agent.state import AgentState
from wherry.client.agent_protocol import AgentProtocol
from wherry.client.bundle_upload import DAMAGED, BundleUpload
from wherry.client.connection import Unreachable
from wherry.client.interruptible import Interruptible
from wherry.client.proven import IdentityGone
from wherry.model.errors import ApiError, UsageError


class BundleErrand:
    """The errands of one agent, until it is stopped."""

    def __init__(self, state: AgentState) -> None:
        self._state = state
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._line: Interruptible | None = None
        self._over = ""

    def wanted(self, protocol: AgentProtocol) -> None:
        """Begin with the bundle that the last heartbeat's answer asked for, unless one is on its way."""
        bundle = protocol.bundle
        busy = self._thread is not None and self._thread.is_alive()
        if bundle is None or busy or bundle == self._over or self._stopping.is_set():
            return
        identity = protocol.identity
        self._line = Interruptible(identity.ca_file, identity.url, identity.way)
        self._thread = threading.Thread(
            target=self._run, args=(protocol, self._line, bundle), name="support bundle", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """End what is under way; it is begun anew when the agent is."""
        self._stopping.set()
        if self._line is not None:
            self._line.interrupt()
        if self._thread is not None:
            self._thread.join()

    def _run(self, protocol: AgentProtocol, line: Interruptible, bundle: str) -> None:
        tell(logging.INFO, "bundle.begin", "A support bundle is asked for.", bundle=bundle)
        upload = BundleUpload(protocol, line, bundle, self._stopping.wait)
        try:
            made = bundles.collect(self._state)
            arrived = upload.bring(made.path, made.sha256)
        except OSError as trouble:
            self._give_up(
                upload, bundle, f"It cannot be written on the agent's machine: {trouble.strerror or trouble}."
            )
        except UsageError as trouble:
            self._give_up(upload, bundle, f"It cannot be made: {trouble}")
        except ApiError as refused:
            if refused.status == 429 or refused.status >= 500 or refused.code == DAMAGED:
                _not_yet(bundle, refused)
            else:
                self._give_up(upload, bundle, refused.message)
        except (Unreachable, IdentityGone) as trouble:
            _not_yet(bundle, trouble)
        else:
            if arrived:
                tell(
                    logging.INFO,
                    "bundle.done",
                    "The support bundle is brought.",
                    bundle=bundle,
                    size=made.size,
                )
        finally:
            line.close()

    def _give_up(self, upload: BundleUpload, bundle: str, why: str) -> None:
        """What would end as badly again is not tried again; whoever waits for it is told."""
        self._over = bundle
        tell(logging.ERROR, "bundle.failed", f"No support bundle can be brought: {why}", bundle=bundle)
        with contextlib.suppress(ApiError, Unreachable, IdentityGone):
            upload.give_up(why)


def _not_yet(bundle: str, trouble: Exception) -> None:
    tell(logging.WARNING, "bundle.late", f"The support bundle is not brought yet: {trouble}", bundle=bundle)
