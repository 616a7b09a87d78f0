"""The table of `--dumpProfile`, with the layer's name first (7.x to 8.5) or last (8.6 on): read by its header."""

from __future__ import annotations

import re

from dlaflow.parse.log import Profile, ProfileRow
from dlaflow.parse.text import number

_TITLE = re.compile(r"=== Profile \((\d+) iterations ?\) ===")


def profile_title(text: str) -> int | None:
    """The number of iterations that a `=== Profile (N iterations ) ===` line tells, or None."""
    match = _TITLE.match(text)
    return int(match.group(1)) if match else None


class TableReader:
    """Reads the rows after the title; `feed` tells whether the line still belonged to the table."""

    def __init__(self, iterations: int) -> None:
        self._iterations = iterations
        self._columns = 0
        self._name_last = False
        self._rows: list[ProfileRow] = []
        self._total: ProfileRow | None = None

    def feed(self, text: str) -> bool:
        """Take in a header or a row."""
        if not self._columns:
            return self._header(text)
        if self._total is not None:
            return False
        row = self._row(text)
        if row is None:
            return False
        if row.name == "Total":
            self._total = row
        else:
            self._rows.append(row)
        return True

    def _header(self, text: str) -> bool:
        words = text.split()
        if "Layer" not in words or not any(word.startswith("Time") for word in words):
            return False
        self._name_last = words[-1] == "Layer"
        self._columns = 4 if any(word.startswith("Median") for word in words) else 3
        return True

    def _row(self, text: str) -> ProfileRow | None:
        columns = self._columns
        if self._name_last:
            parts = text.split(None, columns)
            name, figures = (parts[-1].strip(), parts[:-1]) if len(parts) == columns + 1 else ("", [])
        else:
            parts = text.rsplit(None, columns)
            name, figures = (parts[0].strip(), parts[1:]) if len(parts) == columns + 1 else ("", [])
        values = [value for figure in figures if (value := number(figure.rstrip("%"))) is not None]
        if not name or len(values) != columns:
            return None
        median = values[2] if columns == 4 else None
        return ProfileRow(name, values[0], values[1], median, values[-1])

    def finish(self) -> Profile:
        """The table so far."""
        return Profile(self._iterations, tuple(self._rows), self._total)
