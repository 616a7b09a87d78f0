"""Which trtexec options a release knows, as data (`flags.toml`)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources

import msgspec

from dlaflow.build.release import Version, version_of


@dataclass(frozen=True, slots=True)
class Flag:
    """One option, without its dashes, and the releases that know it.

    `last` is a release or the beginning of one ((10,): every 10.x), empty while the option has not been removed.
    """

    name: str
    first: Version
    last: tuple[int, ...]

    def known_to(self, release: Version) -> bool:
        """Whether trtexec of this release accepts the option."""
        return self.first <= release and (not self.last or release[: len(self.last)] <= self.last)


class _Span(msgspec.Struct):
    first: str
    last: str = ""


class _Table(msgspec.Struct):
    source: str
    flags: dict[str, _Span]


@cache
def known_flags() -> dict[str, Flag]:
    """Every option that dlaflow may write, by name."""
    table = msgspec.toml.decode(resources.files("dlaflow.build").joinpath("flags.toml").read_bytes(), type=_Table)
    return {
        name: Flag(name, version_of(span.first), tuple(map(int, span.last.split("."))) if span.last else ())
        for name, span in table.flags.items()
    }
