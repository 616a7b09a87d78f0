"""Clocks and rates of a board in a power mode, with how each is known; None where nobody published a figure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources

import msgspec

from dlaflow.errors import unknown_name
from dlaflow.estimate.gpu import GpuHardware
from dlaflow.targets.board import Board, Figure, PowerMode
from dlaflow.targets.version import Version

FULL_MODE = "MAXN"
SUPER_MODE = "MAXN_SUPER"

GPU_GENERATION = {"T194": "volta", "T234": "ampere"}
"""SoC → GPU generation."""


_MODE = re.compile(r"MAXN_SUPER|MAXN|\d+W")


class _Mode(msgspec.Struct, frozen=True):
    board: str
    name: str
    status: str
    dla_mhz: float | None = None
    dram_share: float = 1.0
    gpu_share: float = 1.0
    gpu_clock: float = 1.0
    cpu_share: float = 1.0
    since: str | None = None
    before: str | None = None


_REFERENCE_GB_S = {"T194": 136.5, "T234": 204.8}
"""The memory rate of the boards that most points come from."""


class _File(msgspec.Struct):
    mode: tuple[_Mode, ...]


@dataclass(frozen=True, slots=True)
class Clocks:
    """What a power mode gives. `dram_share` is relative to the full-size board of the generation.

    `note` tells how the DLA clock is known, `sure` is false where it follows from other figures; `dla_mhz` and `gpu`
    are None when nobody published them.
    """

    mode: str
    dla_mhz: float | None
    dram_share: float
    gpu: GpuHardware | None
    gpu_generation: str | None
    note: str
    cpu_share: float = 1.0
    sure: bool = True


def clocks_of(board: Board, tensorrt: Version, mode: str | None = None) -> Clocks:
    """The clocks of `board` in power mode `mode` (default MAXN, the full clocks).

    Raises UsageError for a mode that the board does not have.
    """
    name = mode or FULL_MODE
    known = power_modes(board)
    if name not in known:
        raise unknown_name("power mode", name, known)
    extra = _extra(board.id, name, tensorrt)
    listed = next((entry for entry in board.power_mode if entry.name == name), None)
    dla = extra.dla_mhz if extra else None
    note = extra.status if extra else ""
    if dla is None and listed and listed.dla_clock_mhz:
        dla, note = listed.dla_clock_mhz.value, f"{listed.dla_clock_mhz.status}: {listed.dla_clock_mhz.source}"
    scaled = dla is None and name == SUPER_MODE
    if dla is None and name in (FULL_MODE, SUPER_MODE) and board.dla.clock_mhz_max:
        dla, note = board.dla.clock_mhz_max.value, f"{board.dla.clock_mhz_max.status}: {board.dla.clock_mhz_max.source}"
    if scaled and dla is not None:
        note = f"that of {FULL_MODE}, as nobody published what {SUPER_MODE} raises it to"
    return Clocks(
        mode=name,
        dla_mhz=dla,
        dram_share=(extra.dram_share if extra else 1.0) * _memory_share(board),
        gpu=_gpu(board, name, listed, extra),
        gpu_generation=GPU_GENERATION.get(board.soc),
        note=note or "nobody published the DLA clock of this mode",
        cpu_share=extra.cpu_share if extra else 1.0,
        sure=not scaled and not note.startswith("inferred"),
    )


def _memory_share(board: Board) -> float:
    """The share of the reference board's memory rate that one DLA core gets; it draws a part only, hence the root."""
    reference, own = _REFERENCE_GB_S.get(board.soc), board.memory.dram_gb_s
    if reference is None or own is None:
        return 1.0
    return float(min(1.0, own.value / reference) ** 0.5)


def power_modes(board: Board) -> tuple[str, ...]:
    """The names of a board's power modes, MAXN first. The lists of boards.toml carry remarks beside the names."""
    words = " ".join((*board.power_modes, *(entry.name for entry in board.power_mode)))
    return tuple(dict.fromkeys([FULL_MODE, *_MODE.findall(words)]))


def _gpu(board: Board, mode: str, listed: PowerMode | None, extra: _Mode | None) -> GpuHardware | None:
    """The GPU's rates; None when the board's are unknown, or the mode is not the full one and its share is unknown."""
    full = board.gpu.int8_tops_dense or board.gpu.int8_tops or _half(board.gpu.int8_tops_sparse)
    memory, processors = board.memory.dram_gb_s, board.gpu.sm
    if full is None or memory is None or processors is None:
        return None
    tops = full.value
    if listed and listed.gpu_int8_sparse_tops and listed.name != FULL_MODE:
        tops = listed.gpu_int8_sparse_tops.value / 2
    elif extra:
        tops *= extra.gpu_share
    elif listed is None and mode not in (FULL_MODE, SUPER_MODE):
        return None
    if extra is None:
        return GpuHardware(tops, processors.value, memory.value)
    awake = min(1.0, tops / full.value / extra.gpu_clock) if extra.gpu_clock < 1 else 1.0
    return GpuHardware(
        tops, processors.value * awake, memory.value * extra.dram_share, extra.gpu_clock, extra.cpu_share
    )


def _half(figure: Figure | None) -> Figure | None:
    return None if figure is None else Figure(figure.value / 2, figure.status, figure.source)


def _extra(board: str, name: str, tensorrt: Version) -> _Mode | None:
    def holds(mode: _Mode) -> bool:
        begun = mode.since is None or tensorrt >= Version.parse(mode.since)
        return begun and (mode.before is None or tensorrt < Version.parse(mode.before))

    return next((mode for mode in _modes() if (mode.board, mode.name) == (board, name) and holds(mode)), None)


@cache
def _modes() -> tuple[_Mode, ...]:
    text = resources.files(__package__).joinpath("power_modes.toml").read_bytes()
    return msgspec.toml.decode(text, type=_File).mode
