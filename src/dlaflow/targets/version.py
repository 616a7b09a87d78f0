"""Release numbers that compare as numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import total_ordering

from dlaflow.errors import UsageError

_NUMBER = re.compile(r"^\d+(\.\d+){0,3}$")


@total_ordering
@dataclass(frozen=True, slots=True, eq=False)
class Version:
    """A dotted number; missing parts count as zero, so 8.6 equals 8.6.0."""

    parts: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> Version:
        """Read `8.5.2`, `10.3` or `10.3.0.30`.

        Raises UsageError when it is not a dotted number.
        """
        if not _NUMBER.match(text):
            raise UsageError("not a release number", expected="dotted numbers such as 8.5.2", received=repr(text))
        return cls(tuple(int(part) for part in text.split(".")))

    def _padded(self) -> tuple[int, ...]:
        return (*self.parts, 0, 0, 0, 0)[:4]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self._padded() == other._padded()

    def __lt__(self, other: Version) -> bool:
        return self._padded() < other._padded()

    def __hash__(self) -> int:
        return hash(self._padded())

    def __str__(self) -> str:
        return ".".join(map(str, self.parts))


def agree(first: str, second: str) -> bool:
    """Whether two numbers name one release as far as both tell: 10.3.0 and 10.3.0.30 do.

    Raises UsageError when one is not a dotted number.
    """
    one, other = Version.parse(first).parts, Version.parse(second).parts
    return all(left == right for left, right in zip(one, other, strict=False))


def within(version: Version, since: str | None, until: str | None) -> bool:
    """Whether a release lies in a range; both ends belong to it, and `until = "8.6"` takes in every 8.6.x."""
    if since and version < Version.parse(since):
        return False
    if not until:
        return True
    last = Version.parse(until)
    return version.parts[: len(last.parts)] <= last.parts
