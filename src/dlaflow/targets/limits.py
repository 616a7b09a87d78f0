"""Bounds of the DLA by release and generation, read from limits.toml."""

from __future__ import annotations

from functools import cache
from importlib import resources

import msgspec

from dlaflow.targets.version import Version, spelled_range, within
from dlaflow.types import Confidence


class Limit(msgspec.Struct, frozen=True):
    """One bound. `min` and `max` are inclusive; `values` are further numbers and `names` words that are allowed."""

    id: str
    confidence: Confidence
    source: str
    min: int | None = None
    max: int | None = None
    values: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    since: str | None = None
    until: str | None = None
    dla: tuple[str, ...] = ("v1", "v2")

    def allows(self, *numbers: int) -> bool:
        """Whether every number lies in the range or among the values."""
        return all(self._in_range(number) or number in self.values for number in numbers)

    def _in_range(self, number: int) -> bool:
        if self.min is None and self.max is None:
            return False
        return (self.min is None or number >= self.min) and (self.max is None or number <= self.max)

    @property
    def text(self) -> str:
        """The bound in words, such as `1..32` or `3, 5, 7, 9`."""
        parts: list[str] = []
        if self.min is not None and self.max is not None:
            parts.append(str(self.min) if self.min == self.max else f"{self.min}..{self.max}")
        elif self.max is not None:
            parts.append(f"at most {self.max}")
        elif self.min is not None:
            parts.append(f"at least {self.min}")
        parts += [str(value) for value in self.values]
        parts += self.names
        return ", ".join(parts) or "yes"

    @property
    def releases(self) -> str:
        """The releases that the bound holds for, such as `TensorRT 8.4 to 10.3`."""
        return spelled_range(self.since, self.until)


@cache
def limits() -> tuple[Limit, ...]:
    """All bounds, in the order of limits.toml."""
    text = resources.files(__package__).joinpath("limits.toml").read_bytes()
    return msgspec.toml.decode(text, type=dict[str, tuple[Limit, ...]])["limit"]


@cache
def find_limit(id: str, version: Version, dla: str) -> Limit | None:
    """The bound of that id for a release and a generation; None where nothing is said.

    Raises KeyError for an id that limits.toml does not have: a mistake of the author of a rule.
    """
    known = [limit for limit in limits() if limit.id == id]
    if not known:
        raise KeyError(id)
    for limit in known:
        if dla in limit.dla and within(version, limit.since, limit.until):
            return limit
    return None
