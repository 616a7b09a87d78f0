"""The committed facts of real builds (tests/placement/builds), and cases as scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from graphs.catalogue import BUILDS, CASES, Case

from dlaflow.graph.load import load_model
from dlaflow.observed.score import Score, score
from dlaflow.observed.shared import SharedBuild, read_shared
from dlaflow.placement.check import check_model
from dlaflow.targets.target import Target, resolve_target
from dlaflow.types import Placement


def file_of(case: Case) -> Path:
    """The facts of a case: named as the record or the log is, without what follows the last dot of a log's name."""
    name = case.record.removesuffix(".gz")
    for suffix in (".log", ".sqlite", ".json"):
        name = name.removesuffix(suffix)
    return BUILDS / f"{name}.json"


def facts(case: Case) -> SharedBuild:
    """What is known of the build."""
    return read_shared(file_of(case))


def contributed() -> tuple[Case, ...]:
    """Files that bring their graph along and are in no list: dropped into the folder, they are cases."""
    known = {file_of(case) for case in CASES}
    return tuple(_dropped_in(path) for path in sorted(BUILDS.glob("*.json")) if path not in known)


def _dropped_in(path: Path) -> Case:
    found = read_shared(path)
    return Case(
        path.name,
        f"shared-{path.stem}",
        read_shared(path).save_graph,
        found.board,
        found.tensorrt,
        found.precision,
        found.batch,
        found.mode,
    )


def target(case: Case) -> Target:
    """The target of a case."""
    return resolve_target(
        case.board, None, precision=case.precision, batch=case.batch, mode=case.mode, tensorrt=case.tensorrt
    )


def predicted(case: Case, model: Path) -> Placement:
    """The prediction for the case's target, with the shapes of the build."""
    return check_model(load_model(model), replace(target(case), shapes=facts(case).target().shapes))


def run(case: Case, model: Path) -> tuple[Score, Placement]:
    """Predict and compare."""
    told, placement = facts(case), predicted(case, model)
    return score(placement, told.build(placement, case.record)), placement
