"""Read a sweep from TOML; each mistake in it is one clear line, before any cluster is started."""

from __future__ import annotations

from pathlib import Path

import msgspec

from dlaflow.errors import InputError
from dlaflow.quantize.calibration import CalibrationConfig
from dlaflow.recipe.load import SECTIONS, check_keys, check_sections, read_toml, struct_of
from dlaflow.sweep.schema import ClusterSection, Range, SearchSection, SpaceSection, Sweep
from dlaflow.sweep.space import DIMENSIONS, Trial, Value, grid, trial_of, values

_OWN: dict[str, type[msgspec.Struct]] = {"search": SearchSection, "cluster": ClusterSection, "space": SpaceSection}


def load_sweep(path: str | Path) -> Sweep:
    """Read and check the sweep at `path`. Paths inside it count from the folder where dlaflow was started.

    Raises InputError for a file that cannot be read, is not TOML, has unknown keys, or does not fit together,
    UsageError for unknown boards and calibration methods.
    """
    body, where = read_toml(path, "sweep"), f"sweep {path}"
    check_keys(body, Sweep, "", where)
    check_sections(body, {**SECTIONS, **_OWN}, where)
    space = body.get("space")
    for name in ("width", "samples"):
        check_keys(space.get(name) if isinstance(space, dict) else None, Range, f"[space] {name} ", where)
    sweep = struct_of(body, Sweep, where)
    _check(sweep)
    return sweep


def _check(sweep: Sweep) -> None:
    for place, count, least in (
        ("search.trials", sweep.search.trials, 1),
        ("search.seed", sweep.search.seed, 0),
        ("cluster.retries", sweep.cluster.retries, 0),
        ("cluster.parallel", sweep.cluster.parallel, 1),
        ("cluster.gpus", sweep.cluster.gpus, 0),
    ):
        if count is not None and count < least:
            raise InputError(f"{place} is too small", expected=f"{least} or more", received=count)
    if sweep.cluster.cpus <= 0:
        raise InputError("cluster.cpus is too small", expected="above 0", received=sweep.cluster.cpus)
    if sweep.search.kind == "grid" and sweep.search.trials is not None:
        raise InputError("a grid has the trials that it has", expected="no search.trials", received=sweep.search.trials)
    for name in ("width", "samples"):
        _check_numbers(name, getattr(sweep.space, name))
    for precisions in sweep.space.precisions:
        if not precisions or len(set(precisions)) < len(precisions):
            raise InputError(
                "space.precisions holds no set", expected='such as ["fp16", "int8"]', received=list(precisions)
            )
    for trial in grid(sweep) if sweep.search.kind == "grid" else _one_value_at_a_time(sweep):
        trial.recipe.target.target()
    for method in (sweep.calibrate.method, *sweep.space.method):
        CalibrationConfig(method)


def _check_numbers(name: str, given: tuple[float, ...] | Range) -> None:
    least = min((given.low, given.high) if isinstance(given, Range) else given, default=1)
    if least <= 0 or (name == "samples" and least < 1):
        raise InputError(f"space.{name} is too small", expected="above 0", received=least)
    if isinstance(given, Range) and given.low > given.high:
        raise InputError(
            f"space.{name} is empty", expected="`low` below `high`", received=f"{given.low} and {given.high}"
        )
    if isinstance(given, Range) and given.log and given.step is not None:
        raise InputError(f"space.{name} cannot have both", expected="`step` or `log`", received="both")


def _one_value_at_a_time(sweep: Sweep) -> list[Trial]:
    """Trials in which each value of the space appears: enough to find a wrong one where combinations have no end."""
    named = {dimension: found for dimension in DIMENSIONS if (found := _ends(sweep.space, dimension))}
    first = {dimension: found[0] for dimension, found in named.items()}
    picks = [first | {dimension: value} for dimension, found in named.items() for value in found] or [first]
    return [trial_of(sweep, picked) for picked in picks]


def _ends(space: SpaceSection, dimension: str) -> tuple[Value, ...]:
    given = getattr(space, dimension)
    if not isinstance(given, Range):
        return values(space, dimension)
    return (round(given.low), round(given.high)) if dimension == "samples" else (given.low, given.high)
