"""What engines cost each other when they run at once: the shipped numbers of `schedule.toml`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources

import msgspec

from dlaflow.estimate.parameters import Fitted


class HandOver(msgspec.Struct, frozen=True):
    """What a tensor costs from one process to another: a fixed wait in ms, and its bytes at a rate in GB/s."""

    ms: float
    gb_s: float
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
    power: tuple[BoardPower, ...]


@dataclass(frozen=True, slots=True)
class Sharing:
    """How engines share a GPU and the memory.

    `slice_ms` is how long a visit to the GPU waits for another process that keeps it busy (never longer than that
    process's inference), `turn_ms` what a visit costs the GPU beside its kernels, `crowded_gpu` by which share the GPU
    slows beside one busy DLA core.
    """

    slice_ms: float
    turn_ms: float
    crowded_gpu: float


SHARING_NAMES = ("slice_ms", "turn_ms", "crowded_gpu")


@cache
def schedule_file() -> ScheduleFile:
    """The shipped file."""
    return msgspec.toml.decode(resources.files(__package__).joinpath("schedule.toml").read_bytes(), type=ScheduleFile)


def shipped_sharing() -> Sharing:
    """The fitted medians."""
    return Sharing(**{name: schedule_file().parameters[name].median for name in SHARING_NAMES})


def power_of(board: str, mode: str) -> BoardPower | None:
    """The watts of a board in a mode; None where nobody measured them."""
    return next((each for each in schedule_file().power if (each.board, each.mode) == (board, mode)), None)
