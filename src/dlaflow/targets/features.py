"""What a release can do, read from features.toml: the one place that knows since when."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Literal

import msgspec

from dlaflow.targets.version import Version, spelled_range, within
from dlaflow.types import Confidence


class Feature(msgspec.Struct, frozen=True):
    """One fact and the releases that it holds for. `value` is yes, no or uncertain, or what the fact is about."""

    id: str
    confidence: Confidence
    source: str
    value: str | int = "yes"
    since: str | None = None
    until: str | None = None
    of: str = "TensorRT"
    note: str = ""

    @property
    def releases(self) -> str:
        """Such as `TensorRT 8.4 to 10.3`."""
        return spelled_range(self.since, self.until, self.of)


class TrtexecOption(msgspec.Struct, frozen=True):
    """One option of trtexec: the releases that know it, and what it takes (see features.toml)."""

    since: str
    until: str | None = None
    takes: Literal["text", "file", "files", "tensors", "elsewhere"] = "text"

    @property
    def releases(self) -> str:
        """Such as `6.0.1 to 10`, or `8.4 on`."""
        return f"{self.since} to {self.until}" if self.until else f"{self.since} on"

    def known_to(self, version: Version) -> bool:
        """Whether trtexec of this release accepts the option."""
        return within(version, self.since, self.until)


class IOName(msgspec.Struct, frozen=True):
    """A type or a layout of trtexec's I/O formats: since when it is known, and to `--safe` with a DLA core."""

    since: str
    safe: str | None = None


class _Trtexec(msgspec.Struct):
    source: str
    options: dict[str, TrtexecOption]
    layouts: dict[str, IOName]
    types: dict[str, IOName]


class _File(msgspec.Struct):
    feature: tuple[Feature, ...]
    trtexec: _Trtexec


@cache
def _file() -> _File:
    text = resources.files(__package__).joinpath("features.toml").read_bytes()
    return msgspec.toml.decode(text, type=_File)


def features() -> tuple[Feature, ...]:
    """All features, in the order of features.toml."""
    return _file().feature


def trtexec_options() -> dict[str, TrtexecOption]:
    """Every option of trtexec that dlaflow may write, by its name without the dashes."""
    return _file().trtexec.options


def io_layouts(version: Version, *, safe: bool = False) -> list[str]:
    """The layouts that trtexec of a release knows; with `safe` those that `--safe` takes on a DLA core."""
    known = _file().trtexec.layouts.items()
    return [name for name, one in known if (since := one.safe if safe else one.since) and version.since(since)]


def io_types(version: Version) -> list[str]:
    """The types that trtexec of a release knows before a layout."""
    return [name for name, one in _file().trtexec.types.items() if version.since(one.since)]


def trtexec_source() -> str:
    """Where the options of trtexec were read."""
    return _file().trtexec.source


@cache
def find_feature(id: str, version: Version) -> Feature | None:
    """The entry of an id that holds for a release; None where none does.

    Raises KeyError for an id that features.toml does not have: a mistake in the code.
    """
    known = [feature for feature in features() if feature.id == id]
    if not known:
        raise KeyError(id)
    return next((feature for feature in known if within(version, feature.since, feature.until)), None)


def has(id: str, version: Version | str) -> bool:
    """Whether a release has a feature for sure: neither `no` nor `uncertain`."""
    found = find_feature(id, Version.parse(version) if isinstance(version, str) else version)
    return found is not None and found.value not in ("no", "uncertain")
