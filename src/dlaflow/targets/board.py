"""The boards: modules with an SoC, their DLA cores, GPU and memory, each figure with how it is known."""

from __future__ import annotations

from functools import cache
from importlib import resources

import msgspec

from dlaflow.errors import unknown_name


class Figure(msgspec.Struct, frozen=True):
    """A number of a data sheet: `status` is sourced, recalled, inferred or unknown."""

    value: float
    status: str
    source: str


class DlaFigures(msgspec.Struct, frozen=True):
    """One DLA core. Clocks in MHz, operations in TOPS and TFLOPS a core, `cbuf_bytes` the convolution buffer."""

    clock_mhz_max: Figure | None = None
    int8_tops_dense_each: Figure | None = None
    int8_tops_sparse_each: Figure | None = None
    fp16_tflops_each: Figure | None = None
    int8_macs_per_clock: Figure | None = None
    fp16_macs_per_clock: Figure | None = None
    cbuf_bytes: Figure | None = None


class GpuFigures(msgspec.Struct, frozen=True):
    """The GPU of the module."""

    sm: Figure | None = None
    cuda_cores: Figure | None = None
    tensor_cores: Figure | None = None
    clock_mhz: Figure | None = None
    int8_tops: Figure | None = None
    int8_tops_sparse: Figure | None = None
    int8_tops_dense: Figure | None = None
    fp16_tflops: Figure | None = None


class MemoryFigures(msgspec.Struct, frozen=True):
    """Shared DRAM: bandwidth in GB/s and the memory clock in MHz."""

    dram_gb_s: Figure | None = None
    emc_mhz: Figure | None = None


class PowerMode(msgspec.Struct, frozen=True):
    """What a power mode does to the DLA."""

    name: str
    dla_clock_mhz: Figure | None = None
    dla2x_int8_sparse_tops: Figure | None = None
    gpu_int8_sparse_tops: Figure | None = None


class Board(msgspec.Struct, frozen=True):
    """A module. `dla_version` is v1 (Xavier) or v2 (Orin), None without a DLA."""

    id: str
    name: str
    soc: str
    dla_cores: int
    aliases: tuple[str, ...] = ()
    dla_version: str | None = None
    power_modes: tuple[str, ...] = ()
    note: str = ""
    dla: DlaFigures = DlaFigures()
    gpu: GpuFigures = GpuFigures()
    memory: MemoryFigures = MemoryFigures()
    power_mode: tuple[PowerMode, ...] = ()


@cache
def boards() -> tuple[Board, ...]:
    """All boards, in the order of boards.toml."""
    text = resources.files(__package__).joinpath("boards.toml").read_bytes()
    return msgspec.toml.decode(text, type=dict[str, tuple[Board, ...]])["board"]


def find_board(name: str) -> Board:
    """The board of an id or alias, whatever its case.

    Raises UsageError that names the nearest board.
    """
    wanted = name.strip().lower().replace("_", "-").replace(" ", "-")
    for board in boards():
        if wanted == board.id or wanted in board.aliases:
            return board
    aliases = [alias for board in boards() for alias in board.aliases]
    raise unknown_name("board", name, [board.id for board in boards()], aliases)
