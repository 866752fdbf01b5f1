"""Whether the control plane answers, as all threads of an agent see it; logged when it changes, not each attempt."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from wherry.agent.log_lines import tell
from wherry.engine.lease import boot_time
from wherry.model.errors import ApiError

LAPSED = {"identity_locked": "AZSM0011", "identity_expired": "AZSM0012"}
"""An agent in one of these states waits: for being registered again, or for its end."""


@dataclass
class Reach:
    """`away`: it did not answer when it was asked last.  `returned` is called with the seconds that it was silent."""

    returned: Callable[[float], None]
    away: bool = False
    _since: float = 0.0

    def note(self, trouble: Exception | None) -> bool:
        """What came of asking it; whether that is news."""
        if trouble is not None and not self.away:
            self._since = boot_time()
            code = trouble.code if isinstance(trouble, ApiError) else ""
            if code in LAPSED:
                tell(logging.ERROR, code.replace("_", "."), str(trouble), code=LAPSED[code])
            else:
                tell(logging.WARNING, "unreachable", str(trouble))
        before, self.away = self.away, trouble is not None
        if before and not self.away:
            tell(logging.INFO, "reachable", "The control plane answers again.")
            self.returned(boot_time() - self._since)
        return before is not self.away
