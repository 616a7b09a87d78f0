"""Run a recipe in a folder: lock it, plan, do the steps, and hand back the record of the run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dlaflow.errors import InputError
from dlaflow.progress import Progress, silent
from dlaflow.recipe.data import RunData
from dlaflow.recipe.engine import Listener, StepDone, run_steps
from dlaflow.recipe.lock import locked
from dlaflow.recipe.schema import Recipe
from dlaflow.recipe.state import forget
from dlaflow.recipe.work import TRAINING_KEY
from dlaflow.report.json import read_run
from dlaflow.report.records import RunRecord


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Where to run. `resume` keeps the steps that are done; without it the run starts over.

    `announce` is told what a user must not miss; `listener` hears of each step that ends; `wait` is how many seconds to
    wait for another run to leave the folder.
    """

    folder: Path
    resume: bool = False
    announce: Callable[[str], None] = lambda text: None
    listener: Listener | None = None
    wait: float = 0.0


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """A finished run. `record` and `report` are None when the recipe has no report step."""

    folder: Path
    done: list[StepDone]
    record: RunRecord | None
    report: Path | None


def run_recipe(recipe: Recipe, options: RunOptions, progress: Progress = silent) -> RunOutcome:
    """Run `recipe` and return how it ended.

    Raises InputError for a folder that holds something else or in which another run works, UsageError for an unknown
    board, and whatever a step raises; the steps before it stay finished and `resume` goes on from them.
    """
    from dlaflow.recipe.plan import Planner
    from dlaflow.targets.target import resolve_target

    wanted = recipe.target
    target = resolve_target(
        wanted.board,
        wanted.jetpack,
        precision=wanted.precision,
        batch=wanted.batch,
        mode=wanted.mode,
        tensorrt=wanted.tensorrt,
    )
    refuse_foreign_folder(options.folder)
    with locked(options.folder, options.wait):
        if not options.resume:
            _start_over(options)
        data = RunData(recipe.data, progress, options.announce)
        done = run_steps(
            Planner(recipe, target, options.folder, data).steps(),
            options.folder,
            resume=options.resume,
            progress=progress,
            listener=options.listener,
        )
        if "report" not in recipe.steps:
            return RunOutcome(options.folder, done, None, None)
        record = read_run(options.folder / "run.json")
        return RunOutcome(options.folder, done, record, options.folder / recipe.report.file)


def _start_over(options: RunOptions) -> None:
    """Forget what an earlier run finished, and where a training of it stood."""
    for key in options.folder.glob(f"*/{TRAINING_KEY}"):
        key.unlink(missing_ok=True)
    if dropped := forget(options.folder):
        options.announce(f"Starting over in {options.folder}; --resume would have kept {dropped} finished steps.")


def refuse_foreign_folder(folder: Path) -> None:
    """A folder of the user's that happens to have that name is not ours to write into."""
    if folder.is_file():
        raise InputError(f"{folder} is a file", expected="a folder for the run", then="Choose another with --out.")
    if folder.is_dir() and not (folder / ".lock").exists() and any(folder.iterdir()):
        raise InputError(
            f"{folder} holds something else",
            expected="an empty folder or that of an earlier run",
            received=", ".join(sorted(path.name for path in folder.iterdir())[:3]),
            then="Choose another with --out.",
        )
