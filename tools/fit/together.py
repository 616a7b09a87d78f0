"""Fit what engines cost each other when they run at once, and write src/dlaflow/estimate/schedule.toml.

    python -m tools.fit.together [--points FILE.csv] [--dry-run]

Reads docs/schedule_points.csv: of each public run of several engines what each took alone and together. Alone times are
the measured ones, so that the contention is fitted and nothing else. Prints each point as the fit says it, and as a fit
without its whole source says it; from the latter comes the interval (`doubt`). Takes seconds.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from math import log
from pathlib import Path

import numpy as np

from dlaflow.estimate.dla import Array
from dlaflow.estimate.parameters import Fitted, dla_set
from dlaflow.estimate.schedule_flow import SHARING_NAMES, ScheduleFile, Sharing, Stream, flows, schedule_file
from dlaflow.estimate.solve import Prior, Solution, solve
from dlaflow.files import write_atomic

_ROOT = Path(__file__).resolve().parent.parent.parent
_TARGET = _ROOT / "src" / "dlaflow" / "estimate" / "schedule.toml"
PRIORS = (
    Prior(
        "slice_ms", 1.0, 0.5, "a visit waits 0.6 to 1 ms whatever the rival's inference takes (facts, three sources)"
    ),
    Prior("turn_ms", 0.1, 0.7, "the GPU loses 0.46 to 0.59 ms to an inference of four visits that uses 0.19 ms of it"),
    Prior(
        "crowded_gpu", 0.03, 0.7, "GPU compute 1.4% longer beside one core (ResNet-50), 4% less STREAM a core (branes)"
    ),
)


@dataclass(frozen=True, slots=True)
class Run:
    """One public run of several engines: its streams, and the ms of an inference of each together (None: not told)."""

    source: str
    scenario: str
    streams: tuple[Stream, ...]
    together: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Told:
    """One engine of a run: alone, together as measured, as fitted, and as a fit without its source says."""

    run: Run
    index: int
    measured: float
    fitted: float
    held_out: float


def read_runs(path: Path) -> list[Run]:
    """The runs of a file of points, in its order."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = []
    for (source, scenario), group in groupby(rows, key=lambda row: (row["source"], row["scenario"])):
        members = list(group)
        found.append(
            Run(source, scenario, tuple(map(_stream, members)), tuple(_number(row["together_ms"]) for row in members))
        )
    return found


def _stream(row: dict[str, str]) -> Stream:
    alone = float(row["alone_ms"])
    crowded = alone * float(row["crowded"])
    inner = int(row["inner"])
    meeting = dla_set("v2", "int8").engine.parameters.meeting
    return Stream(row["core"], alone, crowded, float(row["gpu_ms"]), int(row["visits"]), inner, meeting)


def _number(text: str) -> float | None:
    return float(text) if text else None


def predicted(run: Run, sharing: Sharing) -> list[float]:
    """The ms of an inference of each engine of a run; those of the GPU with what visitors take of it."""
    return [1e3 / flow.rate for flow in flows(run.streams, sharing)]


def fit(runs: Sequence[Run]) -> Solution:
    """The constants of these runs. Each source weighs the same, however many engines it tells of."""
    told = [(run, index) for run in runs for index, time in enumerate(run.together) if time is not None]
    counts = {source: sum(run.source == source for run, _ in told) for source in {run.source for run, _ in told}}
    measured = np.asarray([run.together[index] for run, index in told], dtype=np.float64)
    weights = np.asarray([3.0 / counts[run.source] ** 0.5 for run, _ in told])

    def predict(values: Array) -> Array:
        sharing = Sharing(*map(float, values))
        times = {id(run): predicted(run, sharing) for run in runs}
        return np.asarray([times[id(run)][index] for run, index in told])

    return solve(predict, measured, weights, PRIORS)


def told_of(runs: Sequence[Run], sharing: Sharing) -> list[Told]:
    """Each engine that a time together is told of."""
    found = []
    for source in dict.fromkeys(run.source for run in runs):
        without = Sharing(*map(float, fit([run for run in runs if run.source != source]).values))
        for run in (run for run in runs if run.source == source):
            fitted, held = predicted(run, sharing), predicted(run, without)
            for index, time in enumerate(run.together):
                if time is not None:
                    found.append(Told(run, index, time, fitted[index], held[index]))
    return found


def doubt_of(told: Sequence[Told]) -> float:
    """The 80% quantile of held-out errors as a share of the slow-down, all on the logarithm."""
    shares = []
    for one in told:
        slower = log(one.measured / one.run.streams[one.index].alone_ms)
        shares.append(
            abs(log(one.held_out / one.measured)) / max(slower, log(one.held_out) - log(one.measured) + slower)
        )
    return float(np.quantile(shares, 0.8))


def written(found: Solution, doubt: float, runs: Sequence[Run], before: ScheduleFile) -> str:
    """The file: what was fitted, and the facts of `before` as they are."""
    numbers = {
        prior.name: Fitted(float(value), float(sd), prior.median, prior.sd, prior.why)
        for prior, value, sd in zip(PRIORS, found.values, found.sds, strict=True)
    }
    points = sum(time is not None for run in runs for time in run.together)
    head = _TARGET.read_text().split("data = ", 1)[0]
    tail = "\n[hand_over]" + _TARGET.read_text().split("\n[hand_over]", 1)[1]
    comment = _TARGET.read_text().split("\n[hand_over]", 1)[0].rsplit("\n\n", 1)[1]
    lines = [
        f'{head}data = "{before.data}"',
        f"points = {points}",
        f"doubt = {doubt:.3f}  # half width of the 80% interval of a slow-down, as a share of its logarithm",
        "",
        "[parameters]",
        *(
            f"{name:<11} = {{ median = {one.median:.4g}, log_sd = {one.log_sd:.4g}, prior = {one.prior:g}, "
            f'prior_log_sd = {one.prior_log_sd:g}, why = "{one.why}" }}'
            for name, one in numbers.items()
        ),
        "",
        comment,
    ]
    return "\n".join(lines) + tail


def main() -> None:
    """Fit, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=Path, default=_ROOT / "docs" / "schedule_points.csv")
    parser.add_argument("--dry-run", action="store_true", help="print, write nothing")
    options = parser.parse_args()
    runs = read_runs(options.points)
    found = fit(runs)
    for name, value, sd in zip(SHARING_NAMES, found.values, found.sds, strict=True):
        print(f"{name:<12} {value:.4g}  x/ {np.exp(sd):.2f}")
    told = told_of(runs, Sharing(*map(float, found.values)))
    for one in told:
        stream = one.run.streams[one.index]
        print(
            f"{one.run.source[:24]:<25}{one.run.scenario:<20}{stream.core:<7}{stream.alone_ms:>7.2f}{one.measured:>8.2f}"
            f"{one.fitted:>8.2f} {one.fitted / one.measured - 1:>+5.0%}{one.held_out:>8.2f} "
            f"{one.held_out / one.measured - 1:>+5.0%}"
        )
    doubt = doubt_of(told)
    print(f"doubt {doubt:.3f}")
    if not options.dry_run:
        write_atomic(_TARGET, written(found, doubt, runs, schedule_file()))


if __name__ == "__main__":
    main()
