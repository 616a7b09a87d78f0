"""estimate: an ONNX model and a target → latency, throughput and energy with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dlaflow.api.check import Prediction, predict
from dlaflow.api.keywords import File, keywords
from dlaflow.errors import InputError
from dlaflow.files import record_json, sha256_of
from dlaflow.targets.options import TargetOptions
from dlaflow.types import Placement

if TYPE_CHECKING:
    from dlaflow.api.estimate_table import EstimateTable
    from dlaflow.estimate.answer import Estimate
    from dlaflow.estimate.learn import Learned, Sample
    from dlaflow.parse.log import LogRun
    from dlaflow.report.notebook import ShownEstimate
    from dlaflow.targets.target import Target

SCHEMA = "dlaflow.estimate/1"
TABLE_SCHEMA = "dlaflow.estimates/1"


@dataclass(frozen=True, kw_only=True)
class EstimateOptions:
    """How to estimate."""

    power_mode: str | None = None
    """The power mode of the board, such as MAXN, 30W or 15W. Default: MAXN, clocks locked."""
    learn: Sequence[File] = ()
    """Your own measurements of this model on this board: trtexec logs, --exportProfile files or dlaflow's measurements.
    They refit this board's parameters, which are stored apart from the shipped ones."""


@dataclass(frozen=True, slots=True)
class Estimated:
    """An estimate with the placement that it is for, and what was learned from the user's own measurements."""

    placement: Placement
    estimate: Estimate
    learned: Learned | None = None


def estimate_model(model: Path, target: Target, options: EstimateOptions) -> Estimated:
    """Predict the placement and estimate how long it takes.

    Raises UsageError and InputError as `check` does, and InputError for measurements that cannot be used.
    """
    found = predict(model, target)
    learned = None
    if options.learn:
        from dlaflow.estimate.learn import learn

        samples = read_samples([Path(path) for path in options.learn], target, found.placement.target.batch)
        learned = learn(found.network, found.placement, target, options.power_mode, samples)
    return Estimated(found.placement, estimate_of(found, target, options.power_mode, fixed=True), learned)


def estimate_of(found: Prediction, target: Target, power_mode: str | None = None, *, fixed: bool = False) -> Estimate:
    """How long a predicted placement takes; with `fixed` also how long after what `dlaflow fix` would do, and
    with layers left on the GPU.

    Raises UsageError for a power mode that the board does not have.
    """
    from dlaflow.estimate.latency import estimate as run_estimate

    estimated = run_estimate(found.network, found.placement, target, power_mode, moves=fixed)
    if not fixed:
        return estimated
    from dlaflow.api.gain import with_gain

    return with_gain(estimated, found.placement, found.model, target, power_mode)


def estimate_json(found: Estimate, model: str) -> bytes:
    """The file of `--json`: the estimate field by field, and its totals as measurements."""
    return record_json(SCHEMA, {"model": model, "estimate": found, "measurements": found.measurements()})


def estimates_json(found: EstimateTable, model: str) -> bytes:
    """The file of `--json` beside `--against`: each row's release and estimate, and the choices that do not exist."""
    return record_json(TABLE_SCHEMA, {"model": model, "rows": found.rows, "left_out": found.left_out})


def read_samples(paths: Sequence[Path], target: Target, batch: int) -> list[Sample]:
    """The times in the user's files, of a model that was built for `target` with `batch`.

    Raises InputError for a file without a time of a whole inference, and for a log that says it is of another target.
    """
    samples: list[Sample] = []
    for path in paths:
        found = _samples_of(path, target, batch)
        if not found:
            raise InputError(
                f"{path} holds no time of a whole inference",
                expected="a trtexec log with a performance summary, an --exportProfile file, or dlaflow's measurements",
                received="none of them",
            )
        samples += found
    return samples


def _samples_of(path: Path, target: Target, batch: int) -> list[Sample]:
    from dlaflow.estimate.learn import Sample
    from dlaflow.parse.detect import Kind, detect
    from dlaflow.parse.exports import parse_profile
    from dlaflow.parse.trtexec import parse_log

    kind = detect(path)
    digest = sha256_of(path)[:12]
    found: list[Sample] = []
    if kind is Kind.PROFILE:
        for profile in parse_profile(path).profiles:
            total = sum(row.average_ms for row in profile.rows)
            inside = sum(row.average_ms for row in profile.rows if "ForeignNode" in row.name)
            found.append(Sample(path.stem, digest, total, inside or None))
    elif kind in (Kind.TRTEXEC_LOG, Kind.TENSORRT_LOG):
        for run in parse_log(path).runs:
            times = run.performance.gpu_compute if run.performance else None
            time = (times.median or times.mean) if times else None
            if time:
                _check_target(path, run, target, batch)
                found.append(Sample(path.stem, digest, time))
    elif path.suffix == ".json":
        from dlaflow.report.json import read_measurements

        found = [
            Sample(path.stem, digest, row.value)
            for row in read_measurements(path)
            if (row.quantity, row.unit) == ("latency", "ms")
        ]
    return found


def _check_target(path: Path, run: LogRun, target: Target, batch: int) -> None:
    """Raise InputError for a run of another board, precision or batch, or of the GPU alone: learning is lasting."""
    from dlaflow.observed.target import Contradiction, contradictions

    found = [each for each in contradictions(run, target.info(batch)) if each.what != "TensorRT"]
    core = next((option.value for option in run.options if option.key == "DLACore"), "unsaid")
    if not core.strip():
        found.insert(0, Contradiction("device", "a DLA core", "the GPU alone"))
    if found:
        first = found[0]
        raise InputError(
            f"{path} measured another {first.what} than the estimate is for",
            expected=first.expected,
            received=first.received,
        )


@dataclass(frozen=True, kw_only=True)
class EstimateArguments(EstimateOptions, TargetOptions):
    """The arguments of `estimate`."""

    model: File = field(kw_only=False)
    """The ONNX file."""


@keywords(EstimateArguments)
def estimate(given: EstimateArguments) -> ShownEstimate:
    """Estimate latency, throughput and energy before there is a board: 80% intervals, and `unknown` without data.

    Returns a `dlaflow.estimate.answer.Estimate`. Raises UsageError and InputError as `check` does.
    """
    from dlaflow.report.notebook import ShownEstimate, show

    return show(ShownEstimate, estimate_model(Path(given.model), given.target(), given).estimate)
