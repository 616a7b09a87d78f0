"""One model on all its targets, in a process of its own with bounds of time and memory.

That process is forked by `nursery.py`. It adds a line to `rows.jsonl` for each case that it has ended.
"""

from __future__ import annotations

import gc
import re
import resource
import signal
import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from dlaflow.errors import DlaflowError, EnvironmentLacksError
from dlaflow.fixed_shape import fixed_shapes
from dlaflow.survey.records import Case, Fixing, OnBoard, Reason, Result, Side, Times
from dlaflow.survey.sources import Source, model_file
from dlaflow.targets.target import Target, resolve_target
from dlaflow.zoo.public import load

if TYPE_CHECKING:
    from dlaflow.estimate.answer import Estimate, Range
    from dlaflow.rewrites.prove import Known
    from dlaflow.rewrites.records import FixReport
    from dlaflow.types import Placement

ROWS, READY = "rows.jsonl", "model.ready"
"""The lines, and what appears once there is a model."""
_NEEDED = (
    "onnxruntime",
    "dlaflow.api.check",
    "dlaflow.api.gain",
    "dlaflow.estimate.text",
    "dlaflow.report.grouping",
    "dlaflow.rewrites.fix",
)
_ALONE = "standalone"
_MIB = 2**20
_GARBAGE = 50_000
"""Objects between looks for cycles: with Python's 700 a seventh of the time goes into them."""
_NO_MEMORY = re.compile(r"allocate memory|bad_alloc|bad allocation")
"""What torch and onnxruntime say in place of Python's MemoryError."""
_MOST_REASONS = 6
_LONGEST_MESSAGE = 160


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

    def given_up(self, error: str) -> list[Result]:
        """What is said of all cases when nobody could work on them."""
        return [result_of(self, index, status="failed", error=error) for index in range(len(self.cases))]


def prepare(source: Source) -> None:
    """Import what a trial with a model of this source needs."""
    for name in _NEEDED:
        import_module(name)
    if source.public is not None:
        load(source.public.package)


def result_of(job: Job, index: int, **fields: object) -> Result:
    """A line of a case."""
    return msgspec.convert(
        {"model": job.source.model, "case": job.cases[index][0], "allow": job.allow, **fields}, Result
    )


def work(job: Job, folder: Path, begun: Collection[int]) -> None:
    """What the process does: a line for each case that an earlier process did not begin."""
    limit = job.mebibytes * _MIB
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    gc.set_threshold(_GARBAGE)
    proofs: Known = {}
    with (folder / ROWS).open("ab", buffering=0) as rows:
        for index in range(len(job.cases)):
            if index in begun:
                continue
            gc.collect()  # what another case left
            signal.setitimer(signal.ITIMER_REAL, job.seconds)  # nothing answers SIGALRM: it ends a loop in C too
            rows.write(msgspec.json.encode((index, _attempt(job, index, folder, proofs))) + b"\n")


def _attempt(job: Job, index: int, folder: Path, proofs: Known) -> Result:
    began = time.monotonic()
    try:
        result = _surveyed(job, index, folder, proofs)
    except Exception as error:
        if any(isinstance(each, MemoryError) or _NO_MEMORY.search(str(each)) for each in (error, error.__cause__)):
            result = result_of(job, index, status="failed", error=f"it needs more than {job.mebibytes} MiB of memory")
        elif isinstance(error, DlaflowError) and not isinstance(error, EnvironmentLacksError):
            result = result_of(job, index, status="refused", error=str(error))
        else:
            told = isinstance(error, DlaflowError)
            reason = str(error) if told else f"unexpected {type(error).__name__}: {' '.join(str(error).split())[:300]}"
            result = result_of(job, index, status="failed", error=reason)
    return replace(result, seconds=round(time.monotonic() - began, 2))


def _surveyed(job: Job, index: int, folder: Path, proofs: Known) -> Result:
    """A model in a case: checked, fixed and proven once, estimated for each place; and asked for a standalone build."""
    from dlaflow.api.check import predict
    from dlaflow.estimate.latency import estimate
    from dlaflow.placement.check import check_model, network_of
    from dlaflow.rewrites.base import Safety
    from dlaflow.rewrites.fix import fix
    from dlaflow.rewrites.search import FixConfig

    case, places = job.cases[index]
    targets = [_target(case, place.board) for place in places]
    path = model_file(job.source, targets[0], folder)
    (folder / READY).touch()
    found = predict(path, targets[0], digest=False)
    fixed = fix(path, targets[0], FixConfig(allow=Safety(job.allow)), known=proofs)
    alone = [side.summary.standalone_ok for side in (found.placement, fixed.placement)]
    if case.mode != _ALONE:
        alone_there = _target(replace(case, mode=_ALONE), places[0].board)
        alone = [check_model(found.model, alone_there).summary.standalone_ok, False]
        # Where arithmetic stays on the GPU even in a hybrid build, nothing but the DLA is out of reach.
        if fixed.placement.summary.dla_mac_share in (None, 1):
            fully = FixConfig(allow=Safety(job.allow), output_4d=True)
            alone[1] = alone[0] or fix(path, alone_there, fully, known=proofs).placement.summary.standalone_ok
    after = network_of(fixed.draft.model(path), targets[0])
    boards = [
        _on_board(
            estimate(found.network, found.placement, target, place.mode),
            estimate(after, fixed.placement, target, place.mode) if fixed.report.applied else None,
            read_before=fixed.report.read_before,
        )
        for target, place in zip(targets, places, strict=True)
    ]
    return result_of(
        job,
        index,
        status="done",
        inputs=found.placement.model.inputs,
        batch=found.placement.target.batch,
        macs=sum(layer.macs for layer in found.placement.layers),
        before=_side(found.placement, standalone=alone[0]),
        after=_side(fixed.placement, standalone=alone[1]),
        fix=_fixing(fixed.report),
        boards=boards,
    )


def _target(case: Case, board: str) -> Target:
    found = resolve_target(board, case.release, precision=case.precision, batch=case.batch, mode=case.mode)
    return replace(found, shapes=fixed_shapes(case.shape))


def _side(placement: Placement, *, standalone: bool) -> Side:
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
        standalone,
        reasons,
    )


def _fixing(report: FixReport) -> Fixing:
    worst = max(report.proof, key=lambda each: each.used, default=None)
    return Fixing(
        [(each.rewrite, len(each.sites)) for each in report.applied],
        None if worst is None else _short(max(each.relative for each in report.proof)),
        None if worst is None else _short(worst.used),
    )


def _on_board(before: Estimate, after: Estimate | None, *, read_before: bool) -> OnBoard:
    from dlaflow.api.gain import speed_between
    from dlaflow.estimate.text import speed_text

    speed = speed_between(before, after) if after and read_before else None
    slower = speed if speed and speed.slower else None
    return OnBoard(
        before.board,
        before.mode,
        _times(before),
        None if after is None else _times(after),
        _triple(before.gpu_alone),
        list(dict.fromkeys(before.unknown)),
        speed_text(slower) if slower else "",
        bool(slower and slower.clearly),
    )


def _times(found: Estimate) -> Times:
    return Times(_triple(found.latency), _triple(found.throughput), _triple(found.energy_mj))


def _triple(found: Range | None) -> tuple[float, float, float] | None:
    return None if found is None else (_short(found.low), _short(found.value), _short(found.high))


def _short(value: float) -> float:
    """Four digits: more would claim what no estimate knows."""
    return float(f"{value:.4g}")
