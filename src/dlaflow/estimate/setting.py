"""What stays the same for all questions about one target: clocks, parameters, conditions, how wide the range is."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dlaflow.estimate.clocks import Clocks, clocks_of
from dlaflow.estimate.dla import Conditions
from dlaflow.estimate.parameters import DlaSet, GpuSet, dla_set, gpu_set
from dlaflow.estimate.split import GpuModel
from dlaflow.targets.target import Target
from dlaflow.targets.version import Version

MEASURED_BOARDS = frozenset(
    {"agx-orin-64gb", "agx-orin-32gb", "drive-orin", "orin-nx-16gb", "agx-xavier-32gb", "xavier-nx-8gb"}
)
"""Boards with points of their own behind the parameters; the others are scaled by clocks and rates."""
SCALED = 1.5
"""Intervals of scaled boards are wider by this factor."""
UNSURE = 1.25
"""Those of a mode whose DLA clock follows from other figures are wider by this one."""
_SHARED_PASSES_SINCE = Version.parse("8.5")


@dataclass(frozen=True, slots=True)
class Setting:
    """Everything that stays the same for all questions about one target."""

    target: Target
    clocks: Clocks
    dla: DlaSet
    gpu: GpuModel | None
    gpu_source: GpuSet | None
    conditions: Conditions
    widening: float


def setting_of(target: Target, mode: str | None, *, typed: bool = False) -> Setting:
    """The setting of a target in a power mode (default MAXN); `typed` networks have the other precision beside.

    Raises UsageError for a power mode that the board does not have.
    """
    clocks = clocks_of(target.board, target.version, mode)
    dla = dla_set(target.dla or "v2", target.precision, target.board.id)
    return Setting(
        target=target,
        clocks=clocks,
        dla=_with_other(dla, target) if typed else dla,
        gpu=gpu_model(clocks),
        gpu_source=gpu_set(clocks.gpu_generation) if clocks.gpu_generation else None,
        conditions=conditions_of(target, clocks),
        widening=(1.0 if target.board.id in MEASURED_BOARDS else SCALED) * (1.0 if clocks.sure else UNSURE),
    )


def conditions_of(target: Target, clocks: Clocks) -> Conditions:
    """What a run on one core of the target is like."""
    return Conditions(
        dla_mhz=clocks.dla_mhz or 0.0,
        dram_scale=clocks.dram_share,
        host_scale=clocks.cpu_share,
        native_io=target.mode == "standalone",
        shared_passes=target.version >= _SHARED_PASSES_SINCE,
    )


def gpu_model(clocks: Clocks) -> GpuModel | None:
    """The GPU beside the DLA; None when its rates are not published."""
    if clocks.gpu is None or clocks.gpu_generation is None:
        return None
    return GpuModel(gpu_set(clocks.gpu_generation).parameters, clocks.gpu)


def _with_other(found: DlaSet, target: Target) -> DlaSet:
    """The set with the other precision beside it, for layers whose types ask for that."""
    other = dla_set(found.engine.generation, "fp16" if target.precision == "int8" else "int8", target.board.id)
    return replace(found, engine=replace(found.engine, beside=other.engine))
