"""What engines cost each other when they run at once: the shipped numbers of `schedule.toml`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from importlib import resources

import msgspec

from dlaflow.estimate.parameters import Fitted
from dlaflow.targets.version import Version


class HandOver(msgspec.Struct, frozen=True):
    """What a tensor costs from one process to another: a fixed wait in ms, and its bytes at a rate in GB/s."""

    ms: float
    gb_s: float
    source: str


class Turns(msgspec.Struct, frozen=True):
    """What processes that take turns on the GPU cost each other: see `Sharing`. `held` is of releases before one."""

    switching: float
    held: float
    held_before: str
    source: str


class BoardPower(msgspec.Struct, frozen=True):
    """Watts of a whole board in a power mode: idle, and what a busy GPU adds to it."""

    board: str
    mode: str
    idle: float
    gpu: float
    half_width: float
    source: str


class ScheduleFile(msgspec.Struct, frozen=True):
    """All of `schedule.toml`. `doubt` is the half width of a slow-down as a share of its logarithm."""

    data: str
    points: int
    doubt: float
    parameters: dict[str, Fitted]
    hand_over: HandOver
    turns: Turns
    power: tuple[BoardPower, ...]


@dataclass(frozen=True, slots=True)
class Sharing:
    """How engines share a GPU and the memory.

    `slice_ms` is how long a visit to the GPU waits for another process that keeps it busy (never longer than that
    process's inference), `turn_ms` what a visit costs the GPU beside its kernels, `crowded_gpu` by which share the GPU
    slows beside one busy DLA core, `switching` the same while another process has work for it. `held` is the share of
    its turns that a process keeps while it waits for its DLA.
    """

    slice_ms: float
    turn_ms: float
    crowded_gpu: float
    switching: float = 0.0
    held: float = 0.0

    def dearer(self, factor: float) -> Sharing:
        """The same with every cost times `factor`."""
        return Sharing(*(getattr(self, one.name) * factor for one in fields(self)))


SHARING_NAMES = ("slice_ms", "turn_ms", "crowded_gpu")


@cache
def schedule_file() -> ScheduleFile:
    """The shipped file."""
    return msgspec.toml.decode(resources.files(__package__).joinpath("schedule.toml").read_bytes(), type=ScheduleFile)


def shipped_sharing(version: Version | None = None) -> Sharing:
    """The fitted medians and the measured costs of turns; those that only some releases have for `version`."""
    known, turns = schedule_file(), schedule_file().turns
    held = turns.held if version is not None and version < Version.parse(turns.held_before) else 0.0
    medians = {name: known.parameters[name].median for name in SHARING_NAMES}
    return Sharing(**medians, switching=turns.switching, held=held)


def power_of(board: str, mode: str) -> BoardPower | None:
    """The watts of a board in a mode; None where nobody measured them."""
    return next((each for each in schedule_file().power if (each.board, each.mode) == (board, mode)), None)
