"""A sweep as frozen records; `load.py` reads one from TOML. The comments are the file's reference.

What all trials share stands in a recipe's own sections (`dlaflow.recipe.schema`); `[space]` holds what differs.
"""

from __future__ import annotations

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


class SearchSection(msgspec.Struct, frozen=True, kw_only=True):
    """[search]: `grid` tries every combination; `optuna` looks for high accuracy and low latency in `trials` of them.

    `seed` makes the proposals of Optuna repeatable as far as trials end in the same order.
    """

    kind: Literal["grid", "optuna"] = "grid"
    trials: _Count | None = None
    seed: Annotated[int, Meta(ge=0)] = 0


class ClusterSection(msgspec.Struct, frozen=True, kw_only=True):
    """[cluster]: cores and GPUs that a trial takes (GPUs for its training alone).

    `retries` is how often a trial whose worker or machine died is tried again, `parallel` how many run at once
    (default: as many as fit; Optuna learns more from an earlier trial the fewer run beside it).
    """

    cpus: _Positive = 1.0
    gpus: Annotated[float, Meta(ge=0)] = 0.0
    retries: Annotated[int, Meta(ge=0)] = 3
    parallel: _Count | None = None


class Range(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers from `low` to `high`. A grid needs the `step`; `log` lets Optuna look on a logarithmic scale."""

    low: _Positive
    high: _Positive
    step: _Positive | None = None
    log: bool = False

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"expected `low` below `high`, received {self.low} and {self.high}")
        if self.log and self.step is not None:
            raise ValueError("expected `step` or `log`, received both")

    @property
    def numbers(self) -> tuple[float, ...]:
        """The range counted up by its step; without a step its two ends."""
        if self.step is None:
            return (self.low, self.high)
        return tuple(
            self.low + index * self.step for index in range(int((self.high - self.low) / self.step + 1e-9) + 1)
        )


class SpaceSection(msgspec.Struct, frozen=True, kw_only=True):
    """[space]: lists of what to try; what is left out stays as the sections say.

    `model` are networks of the zoo, `package.module:factory` or ONNX files of your own; without it `norm` (batch,
    group) picks the network of the walk-through. With a factory, `norm` and `width` are handed to it as arguments.
    `method` and `samples` are of the calibration. An element of `precisions` is the set that the engine may use:
    ["fp16"] or ["fp16", "int8"]. `target` are tables with keys of [target].
    """

    model: tuple[str, ...] = ()
    norm: tuple[str, ...] = ()
    width: tuple[_Positive, ...] | Range = ()
    precisions: tuple[Annotated[tuple[Literal["fp16", "int8"], ...], Meta(min_length=1)], ...] = ()
    method: tuple[str, ...] = ()
    samples: tuple[_Count, ...] | Range = ()
    target: tuple[dict[str, str | int], ...] = ()


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    """A whole sweep. The sections below `space` are a recipe's, the same for all trials."""

    name: str
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
