"""Read a sweep from TOML; each mistake in it is one clear line, before any cluster is started."""

from __future__ import annotations

from pathlib import Path

from dlaflow.errors import InputError
from dlaflow.quantize.calibration import CalibrationConfig
from dlaflow.recipe.load import SECTIONS, check_keys, check_sections, read_toml, struct_of
from dlaflow.sweep.schema import ClusterSection, Range, SearchSection, SpaceSection, Sweep
from dlaflow.sweep.space import grid, trial_of, values


def load_sweep(path: str | Path) -> Sweep:
    """Read and check the sweep at `path`. Paths inside it count from the folder where dlaflow was started.

    Raises InputError for a file that cannot be read, is not TOML, has unknown keys, or does not fit together,
    UsageError for unknown boards and calibration methods.
    """
    body, where = read_toml(path, "sweep"), f"sweep {path}"
    check_keys(body, Sweep, "", where)
    check_sections(body, SECTIONS | {"search": SearchSection, "cluster": ClusterSection, "space": SpaceSection}, where)
    space = body.get("space")
    for name in ("width", "samples"):
        check_keys(space.get(name) if isinstance(space, dict) else None, Range, f"[space] {name} ", where)
    sweep = struct_of(body, Sweep, where)
    if sweep.search.kind == "grid" and sweep.search.trials is not None:
        raise InputError("a grid has the trials that it has", expected="no search.trials", received=sweep.search.trials)
    found = values(sweep.space)
    if sweep.search.kind == "grid":
        trials = grid(sweep)
    else:
        # Each value once (of an endless range its ends) finds a wrong one, where combinations may have no end.
        most = max(map(len, found.values()), default=1)
        trials = [
            trial_of(sweep, {name: each[index % len(each)] for name, each in found.items()}) for index in range(most)
        ]
    for trial in trials:
        trial.recipe.target.target()
    for method in (sweep.calibrate.method, *sweep.space.method):
        CalibrationConfig(method)
    return sweep
