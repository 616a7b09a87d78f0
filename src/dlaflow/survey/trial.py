"""One model on all its targets, in a process of its own with bounds of time and memory.

`python -m dlaflow.survey.trial FOLDER` is that process: it reads `job.json` there and adds a line to `rows.jsonl` for
each case. Where it dies, `run_trial` writes the line of the case that it was in, and starts another for the rest.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import socket
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from dlaflow.errors import DlaflowError, EnvironmentLacksError
from dlaflow.fixed_shape import fixed_shapes
from dlaflow.process import Outcome, run_logged
from dlaflow.survey.records import Case, Fixing, OnBoard, Reason, Result, Side, Times
from dlaflow.survey.sources import Source, model_file
from dlaflow.targets.target import Target, resolve_target

if TYPE_CHECKING:
    from dlaflow.estimate.answer import Estimate, Range
    from dlaflow.rewrites.records import FixReport
    from dlaflow.types import Placement

_MIB = 2**20
_NO_MEMORY = re.compile(r"allocate memory|bad_alloc|bad allocation")
"""What torch and onnxruntime say in place of Python's MemoryError."""
_MOST_REASONS = 6
_LONGEST_MESSAGE = 160
_SETTLE = 60.0
"""Seconds over all bounds until a process that does not even hear its alarm is killed."""


@dataclass(frozen=True, slots=True)
class Place:
    """A board in a power mode."""

    board: str
    mode: str


@dataclass(frozen=True, slots=True)
class Job:
    """A trial: a model, its cases with the places to estimate for, and the bounds of each case."""

    source: Source
    cases: list[tuple[Case, list[Place]]]
    allow: str = "exact"
    seconds: float = 600.0
    mebibytes: int = 8192
    begun: list[int] = field(default_factory=list)
    """Cases that an earlier process ended, or ended in."""

    def given_up(self, error: str) -> list[Result]:
        """What is said of all cases when nobody could work on them."""
        return [_result(self, index, status="failed", error=error) for index in range(len(self.cases))]


def run_trial(job: Job) -> list[Result]:
    """The results of all cases, whatever becomes of the processes that work on them."""
    node = f"{socket.gethostname()}/{os.getpid()}"
    results: dict[int, Result] = {}
    if job.source.path and not Path(job.source.path).exists():
        return job.given_up(f"{node} does not see {job.source.path}: all machines must share its file system")
    with tempfile.TemporaryDirectory(prefix="dlaflow-survey-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        while len(results) < len(job.cases):
            (folder / "job.json").write_bytes(msgspec.json.encode(replace(job, begun=sorted(results))))
            most = job.seconds * (len(job.cases) - len(results) + 1) + _SETTLE
            outcome = run_logged([sys.executable, "-m", "dlaflow.survey.trial", name], folder / "log", timeout=most)
            before = len(results)
            results |= {index: replace(result, node=node) for index, result in _rows(folder).items()}
            left = [index for index in range(len(job.cases)) if index not in results]
            # The case that it died in; where it died before the first one, that is what all of them would do.
            for index in left[:1] if len(results) > before or (folder / "model.ready").exists() else left:
                error = _last_words(outcome, folder / "log", job)
                results[index] = _result(job, index, status="failed", error=error, node=node)
    return [results[index] for index in sorted(results)]


def _rows(folder: Path) -> dict[int, Result]:
    """The lines that are whole."""
    found: dict[int, Result] = {}
    path = folder / "rows.jsonl"
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            index, result = msgspec.json.decode(line, type=tuple[int, Result])
        except msgspec.DecodeError:
            continue
        found[index] = result
    return found


def _last_words(outcome: Outcome, log: Path, job: Job) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    said = f": {lines[-1][:200]}" if lines else ""
    if outcome.timed_out or outcome.exit_code == -signal.SIGALRM:
        return f"it took longer than {job.seconds:g} s"
    if outcome.exit_code < 0:
        return f"its process was ended by {signal.Signals(-outcome.exit_code).name}{said}"
    return f"its process ended with {outcome.exit_code}{said}"


def _result(job: Job, index: int, **fields: object) -> Result:
    return msgspec.convert(
        {"model": job.source.model, "case": job.cases[index][0], "allow": job.allow, **fields}, Result
    )


def main(folder: Path) -> None:
    """What the process of its own does."""
    job = msgspec.json.decode((folder / "job.json").read_bytes(), type=Job)
    limit = job.mebibytes * _MIB
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with (folder / "rows.jsonl").open("ab", buffering=0) as rows:
        for index in range(len(job.cases)):
            if index in job.begun:
                continue
            signal.setitimer(signal.ITIMER_REAL, job.seconds)  # nothing answers SIGALRM: it ends a loop in C too
            rows.write(msgspec.json.encode((index, _attempt(job, index, folder))) + b"\n")


def _attempt(job: Job, index: int, folder: Path) -> Result:
    began = time.monotonic()
    try:
        result = _surveyed(job, index, folder)
    except Exception as error:
        if any(isinstance(each, MemoryError) or _NO_MEMORY.search(str(each)) for each in (error, error.__cause__)):
            result = _result(job, index, status="failed", error=f"it needs more than {job.mebibytes} MiB of memory")
        elif isinstance(error, DlaflowError) and not isinstance(error, EnvironmentLacksError):
            result = _result(job, index, status="refused", error=str(error))
        else:
            told = isinstance(error, DlaflowError)
            reason = str(error) if told else f"unexpected {type(error).__name__}: {' '.join(str(error).split())[:300]}"
            result = _result(job, index, status="failed", error=reason)
    return replace(result, seconds=round(time.monotonic() - began, 2))


def _surveyed(job: Job, index: int, folder: Path) -> Result:
    """A model in a case: checked, fixed and proven once, estimated for each place."""
    from dlaflow.api.check import predict
    from dlaflow.estimate.latency import estimate
    from dlaflow.placement.check import network_of
    from dlaflow.rewrites.base import Safety
    from dlaflow.rewrites.fix import fix
    from dlaflow.rewrites.search import FixConfig

    case, places = job.cases[index]
    targets = [_target(case, place.board) for place in places]
    path = model_file(job.source, targets[0], folder)
    (folder / "model.ready").touch()
    found = predict(path, targets[0], digest=False)
    fixed = fix(path, targets[0], FixConfig(allow=Safety(job.allow)))
    after = network_of(fixed.draft.model(path), targets[0])
    boards = [
        _on_board(
            estimate(found.network, found.placement, target, place.mode),
            estimate(after, fixed.placement, target, place.mode) if fixed.report.applied else None,
        )
        for target, place in zip(targets, places, strict=True)
    ]
    return _result(
        job,
        index,
        status="done",
        inputs=found.placement.model.inputs,
        batch=found.placement.target.batch,
        macs=sum(layer.macs for layer in found.placement.layers),
        before=_side(found.placement),
        after=_side(fixed.placement),
        fix=_fixing(fixed.report),
        boards=boards,
    )


def _target(case: Case, board: str) -> Target:
    found = resolve_target(board, case.release, precision=case.precision, batch=case.batch, mode=case.mode)
    return replace(found, shapes=fixed_shapes(case.shape))


def _side(placement: Placement) -> Side:
    from dlaflow.report.grouping import group_findings
    from dlaflow.rules.reading import no_engine
    from dlaflow.types import Verdict

    summary = placement.summary
    groups = [group for group in group_findings(placement) if group.verdict is not Verdict.NATIVE]
    reasons = [
        Reason(group.rule, group.verdict.value, group.count, group.first.message[:_LONGEST_MESSAGE])
        for group in groups[:_MOST_REASONS]
    ]
    share = None if summary.dla_mac_share is None else round(summary.dla_mac_share, 4)
    # Rounding must not make a whole of nearly all.
    share = min(share, 0.9999) if share is not None and summary.dla_mac_share != 1 else share
    return Side(
        not no_engine(placement.findings),
        share,
        summary.loadables,
        summary.switches,
        summary.gpu_layers,
        summary.standalone_ok,
        reasons,
    )


def _fixing(report: FixReport) -> Fixing:
    worst = max(report.proof, key=lambda each: each.used, default=None)
    return Fixing(
        [(each.rewrite, len(each.sites)) for each in report.applied],
        None if worst is None else _short(max(each.relative for each in report.proof)),
        None if worst is None else _short(worst.used),
    )


def _on_board(before: Estimate, after: Estimate | None) -> OnBoard:
    return OnBoard(
        before.board,
        before.mode,
        _times(before),
        None if after is None else _times(after),
        _triple(before.gpu_alone),
        list(dict.fromkeys(before.unknown)),
    )


def _times(found: Estimate) -> Times:
    return Times(_triple(found.latency), _triple(found.throughput), _triple(found.energy_mj))


def _triple(found: Range | None) -> tuple[float, float, float] | None:
    return None if found is None else (_short(found.low), _short(found.value), _short(found.high))


def _short(value: float) -> float:
    """Four digits: more would claim what no estimate knows."""
    return float(f"{value:.4g}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
