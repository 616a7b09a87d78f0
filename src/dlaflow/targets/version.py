"""TensorRT's and JetPack's release numbers: the one reader of version texts, and ranges of releases."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, total_ordering

from dlaflow.errors import UsageError

_SPELLING = re.compile(r"^(\d+(?:\.\d+){0,3})(?:\.?(?:a|b|rc|post|dev)\d.*|[+~-].*)?$")


@total_ordering
@dataclass(frozen=True, slots=True, eq=False)
class Version:
    """A dotted number; missing parts count as zero, so 8.6 equals 8.6.0."""

    parts: tuple[int, ...]

    @staticmethod
    @cache
    def parse(text: str) -> Version:
        """Read `8.5.2`, `10.3` or `10.3.0.30`; a package's suffix (`8.5.2-1+cuda11.4`, `10.0.0b6`) is dropped.

        Raises UsageError for anything else.
        """
        found = _SPELLING.match(text.strip())
        if found is None:
            raise UsageError("not a release number", expected="a release such as 8.5.2", received=repr(text))
        return Version(tuple(int(part) for part in found.group(1).split(".")))

    @property
    def release(self) -> Version:
        """Major, minor and patch alone: not everything that names a release tells its build number."""
        return Version(self._padded()[:3])

    def since(self, first: str) -> bool:
        """Whether this is the release `first` or a later one."""
        return self >= Version.parse(first)

    def before(self, first: str) -> bool:
        """Whether this comes before the release `first`."""
        return self < Version.parse(first)

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


def spelled_range(since: str | None, until: str | None, product: str = "TensorRT") -> str:
    """A range in words, such as `TensorRT 8.4 to 10.3`."""
    if since and until:
        return f"{product} {since} to {until}" if since != until else f"{product} {since}"
    if since:
        return f"{product} {since} and later"
    return f"{product} up to {until}" if until else f"every {product}"
