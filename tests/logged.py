"""The log of a copy as rows."""

from __future__ import annotations

from wherry.model.outcomes import Row, rows_of


class LoggedRows(list[Row]):
    """Takes what `engine.copy.copy` logs."""

    def take(self, lines: bytes) -> None:
        """Keep the rows of these lines."""
        self.extend(rows_of(lines))
