"""Energy of an inference: what one measured core draws, and published ratios between DLA and GPU."""

from __future__ import annotations

from functools import cache
from importlib import resources

import msgspec

from dlaflow.estimate.answer import Range


class ModeRatio(msgspec.Struct, frozen=True):
    """Inferences per joule, DLA over GPU, in one power mode, over so many models."""

    mode: str
    ratio: float
    half_width: float
    models: int


class Power(msgspec.Struct, frozen=True):
    """Watts of one busy DLA core above idle at a clock in MHz."""

    key: str
    watts: float
    mhz: float
    half_width: float
    source: str


class EnergyFile(msgspec.Struct, frozen=True):
    """All that is known of energy; it holds for `board`."""

    board: str
    source: str
    ratio: tuple[ModeRatio, ...]
    power: Power


def energy_per_image(board: str, key: str, mhz: float, dla_ms: float) -> Range | None:
    """Millijoules of one image that keeps a core busy for `dla_ms`; None where nobody measured the power.

    Power is taken to grow with the clock.
    """
    known = energy_file()
    if (board, key) != (known.board, known.power.key):
        return None
    return Range.around(known.power.watts * mhz / known.power.mhz * dla_ms, known.power.half_width)


def gpu_over_dla(board: str, mode: str) -> Range | None:
    """How many times the DLA's energy the GPU needs for an inference; None where nobody measured it."""
    known = energy_file()
    if board != known.board:
        return None
    for entry in known.ratio:
        if entry.mode == mode:
            return Range.around(entry.ratio, entry.half_width)
    return None


@cache
def energy_file() -> EnergyFile:
    """The shipped file."""
    text = resources.files(__package__).joinpath("energy.toml").read_bytes()
    return msgspec.toml.decode(text, type=EnergyFile)
