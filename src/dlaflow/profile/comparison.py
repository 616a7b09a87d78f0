"""What a comparison of runs says, as records: numbers and settings side by side, and layers on another device."""

from __future__ import annotations

from dataclasses import dataclass

from dlaflow.parse.log import Outcome
from dlaflow.types import Device


@dataclass(frozen=True, slots=True)
class ComparisonRow:
    """A quantity over all runs. `ratios` are to the first run; None where a run does not tell."""

    quantity: str
    unit: str
    values: tuple[float | None, ...]
    ratios: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class SettingRow:
    """What the runs were built for, where that is not the same; empty where a run does not tell."""

    setting: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Moved:
    """A layer that both runs name, on another device each. `why` is what is said of it where it is on the GPU."""

    layer: str
    kind: str
    before: Device
    after: Device
    why: str


@dataclass(frozen=True, slots=True)
class NamedAlone:
    """A layer that only one run names, with its device there; `why` as of `Moved`."""

    layer: str
    kind: str
    device: Device
    why: str


@dataclass(frozen=True, slots=True)
class Change:
    """What is other in `after` than in `before`.

    `factor` is how many times as fast it is, `cause` says in words why (empty when nothing explains it). `shared`
    layers are named by both, of the `known` of the run that names fewer; `same_network` is false when hardly any is,
    and None when one of them names none. `only_before` and `only_after` are named by one run alone; where the other is
    not `whole`, they may lie inside one of its loadables.
    """

    before: str
    after: str
    factor: float | None
    cause: str
    shared: int
    known: int
    same_network: bool | None
    moved: tuple[Moved, ...]
    only_before: tuple[NamedAlone, ...]
    only_after: tuple[NamedAlone, ...]
    whole_before: bool
    whole_after: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """The runs by name, with how each ended; what they were built for; their numbers; the first against each other.

    `doubts` say what is uncertain about the reading of a run.
    """

    names: tuple[str, ...]
    outcomes: tuple[Outcome | None, ...]
    settings: tuple[SettingRow, ...]
    rows: tuple[ComparisonRow, ...]
    changes: tuple[Change, ...]
    doubts: tuple[str, ...] = ()

    @property
    def factor(self) -> float | None:
        """How many times as fast the last is as the first."""
        return self.changes[-1].factor

    @property
    def cause(self) -> str:
        """Why the first and the last differ."""
        return self.changes[-1].cause
