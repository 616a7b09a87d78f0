"""Public measurements, read from `measured_perf.json`, and the cases that can be computed from them.

Each point becomes a `Case` or a `Skipped` with the reason; nothing is dropped in silence. Settings that submitters
typed in (`kind`) are not measurements: only their batch sizes are used, as the batch of the run.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import msgspec

from dlaflow.errors import InputError


class Point(msgspec.Struct, frozen=True):
    """One public measurement as it stands in the file. Times in ms, rates in images or queries a second."""

    model: str
    device: str
    accelerator: str
    source: str
    precision: str | None = None
    input_shape: str | None = None
    batch: int | None = None
    sparsity: str | None = None
    power_mode: str | None = None
    qps: float | None = None
    img_per_s: float | None = None
    latency_ms: float | None = None
    trt_version: str | None = None
    note: str | None = None
    kind: str | None = None
    scenario: str | None = None
    params: dict[str, int] | None = None
    dla_layer_count: int | None = None
    gpu_layer_count: int | None = None


_REPOSITORY = re.compile(r"github(?:\.com)?[/ ]+([\w.-]+/[\w.-]+)")
_RELEASE = re.compile(r"_v\d[\d.]*$")


def repository(source: str) -> str:
    """Whose measurement it is: the repository of its source, without its year, else the text before remarks."""
    found = _REPOSITORY.search(source)
    return _RELEASE.sub("", found[1]).lower() if found else source.split(" (")[0]


class Ratio(msgspec.Struct, frozen=True):
    """Inferences per joule on the DLA over those on the GPU, for one model and power mode."""

    model: str
    power_mode: str
    dla_over_gpu_perf_per_watt: float
    sparsity: str = "dense"


class Transition(msgspec.Struct, frozen=True):
    """What handing a tensor over costs: `engine_starts_on` is DLA or GPU; -1 marks the run without a transition."""

    engine_starts_on: str
    output_marked_at_layer: int
    transition_cost_ms: float


class Collection(msgspec.Struct, frozen=True):
    """The file of measurements."""

    points: tuple[Point, ...]
    perf_per_watt_ratio_dla_vs_gpu: tuple[Ratio, ...] = ()
    transition_costs: tuple[Transition, ...] = ()


def read_collection(path: Path) -> Collection:
    """Read the file of measurements.

    Raises InputError when it is absent or has another form.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Collection)
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror}", then="Set DLAFLOW_EVIDENCE to the folder with perf/."
        ) from None
    except msgspec.DecodeError as error:
        raise InputError(f"{path} is not a collection of measurements", received=str(error)) from None


@dataclass(frozen=True, slots=True)
class Skipped:
    """A point that takes no part, and why."""

    index: int
    point: Point
    why: str
