"""A sweep as frozen records; `space.py` reads one from TOML. The comments are the file's reference, as a recipe's are.

What all trials share stands in a recipe's own sections (`dlaflow.recipe.schema`); `[space]` holds what differs.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from dlaflow.recipe.schema import (
    CalibrateSection,
    DataSection,
    EstimateSection,
    EvaluateSection,
    ExportSection,
    ReportSection,
    TargetSection,
    TrainSection,
)

_Count = Annotated[int, Meta(ge=1)]
_Positive = Annotated[float, Meta(gt=0)]
MOST = 10_000
"""Values of a range and trials of a grid: at one a minute a week of work, and what is listed is held in memory."""


class SearchSection(msgspec.Struct, frozen=True, kw_only=True):
    """[search]: how the space is searched."""

    kind: Literal["grid", "optuna"] = "grid"  # every combination, or Optuna's search for accuracy and low latency
    trials: _Count | None = None  # with optuna: how many are tried; default: 24
    seed: Annotated[int, Meta(ge=0)] = 0  # makes Optuna's proposals repeatable as far as trials end in the same order


class ClusterSection(msgspec.Struct, frozen=True, kw_only=True):
    """[cluster]: what a trial takes, and how many run."""

    cpus: _Positive = 1.0  # cores of a trial
    gpus: Annotated[float, Meta(ge=0)] = 0.0  # GPUs of its training alone
    retries: Annotated[int, Meta(ge=0)] = 3  # how often a trial whose worker or machine died is tried again
    # How many run at once; default: as many as fit. Optuna learns more from an earlier trial the fewer run beside it.
    parallel: _Count | None = None


class Range(msgspec.Struct, frozen=True, kw_only=True):
    """A range of numbers.

    It stands in place of a list, such as `width = {low = 0.5, high = 2.0, step = 0.5}`.
    """

    low: _Positive  # the first number
    high: _Positive  # the last
    step: _Positive | None = None  # from one to the next; a grid needs it
    log: bool = False  # lets Optuna look on a logarithmic scale; without `step`

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"expected `low` below `high`, received {self.low} and {self.high}")
        if self.log and self.step is not None:
            raise ValueError("expected `step` or `log`, received both")
        if not self.high < math.inf or (self.step is not None and self.high - self.low >= MOST * self.step):
            raise ValueError(f"expected at most {MOST:,} values from `low` to `high`, received more")

    @property
    def numbers(self) -> tuple[float, ...]:
        """The range counted up by its step; without a step its two ends."""
        if self.step is None:
            return (self.low, self.high)
        return tuple(
            self.low + index * self.step for index in range(int((self.high - self.low) / self.step + 1e-9) + 1)
        )


class SpaceSection(msgspec.Struct, frozen=True, kw_only=True):
    """[space]: what to try; what is left out stays as the sections say."""

    model: tuple[str, ...] = ()  # networks of the zoo, `package.module:factory` or ONNX files of your own
    # batch or group: without `model` it picks the network of the walk-through; a factory gets it as an argument.
    norm: tuple[str, ...] = ()
    width: tuple[_Positive, ...] | Range = ()  # handed to the network as an argument: times its channels
    # Each element is the set that an engine may use: ["fp16"] or ["fp16", "int8"].
    precisions: tuple[Annotated[tuple[Literal["fp16", "int8"], ...], Meta(min_length=1)], ...] = ()
    method: tuple[str, ...] = ()  # of the calibration, as `calibrate.method`
    samples: tuple[_Count, ...] | Range = ()  # of the calibration, as `calibrate.samples`
    target: tuple[dict[str, str | int], ...] = ()  # tables with keys of `[target]`, which replace them


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    """The keys above all sections of a sweep.

    The sections below `space` are a recipe's, the same for all trials.
    """

    name: str  # names the folder of the sweep
    search: SearchSection = SearchSection()
    cluster: ClusterSection = ClusterSection()
    space: SpaceSection = SpaceSection()
    target: TargetSection = TargetSection()
    data: DataSection = DataSection()
    train: TrainSection = TrainSection()
    export: ExportSection = ExportSection()
    estimate: EstimateSection = EstimateSection()
    calibrate: CalibrateSection = CalibrateSection()
    evaluate: EvaluateSection = EvaluateSection()
    report: ReportSection = ReportSection()
