"""Run a recipe in a folder: lock it, plan, do the steps, and hand back the record of the run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dlaflow.errors import DlaflowError, InputError
from dlaflow.progress import Progress, silent
from dlaflow.recipe.boards.records import NO_BOARDS, FleetOptions
from dlaflow.recipe.data import RunData
from dlaflow.recipe.engine import Listener, Step, StepDone, forget, remove_leftovers, run_steps
from dlaflow.recipe.lock import locked
from dlaflow.recipe.own import leave_recipe
from dlaflow.recipe.results import NO_REMARKS, Remarks
from dlaflow.recipe.schema import Recipe
from dlaflow.recipe.work import TRAINING_KEY
from dlaflow.report.json import read_run
from dlaflow.report.records import RunRecord

if TYPE_CHECKING:
    from dlaflow.recipe.boards.fleet import Fleet


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Where to run. `resume` keeps the steps that are done; without it the run starts over.

    `announce` is called with what a user must not miss, `listener` with each step that ends; `wait` is how many seconds
    to wait for another run to leave the folder; `fleet` are the boards that do the steps of [remote]; `recipe` is the
    text of a recipe that was made for this run and stays in its folder.
    """

    folder: Path
    resume: bool = False
    announce: Callable[[str], None] = lambda text: None
    listener: Listener | None = None
    wait: float = 0.0
    fleet: FleetOptions | None = None
    recipe: str | None = None


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """A finished run. `record` and `report` are None when the recipe has no report step.

    `failed` are the errors of boards, whose numbers the report lacks; `sent` the bytes that went to each board,
    `recipe` the file that was made for it.
    """

    folder: Path
    done: list[StepDone]
    record: RunRecord | None
    report: Path | None
    failed: dict[str, DlaflowError] = field(default_factory=dict)
    sent: dict[str, int] = field(default_factory=dict)
    recipe: Path | None = None


def run_recipe(recipe: Recipe, options: RunOptions, progress: Progress = silent) -> RunOutcome:
    """Run `recipe` and return how it ended.

    Raises InputError for a folder that holds something else or in which another run works, UsageError for an unknown
    board, and whatever a step raises; the steps before it stay finished and `resume` goes on from them.
    """
    from dlaflow.recipe.plan import Planner

    target = recipe.target.target()
    refuse_foreign_folder(options.folder)
    with locked(options.folder, options.wait), _fleet(options, progress) as fleet:
        recipe_file = leave_recipe(options.recipe, options.folder) if options.recipe is not None else None
        if not options.resume and (dropped := start_over(options.folder)):
            options.announce(f"Starting over in {options.folder}; --resume would have kept {dropped} finished steps.")
        remove_leftovers(options.folder)
        planner = Planner(
            recipe, target, options.folder, RunData(recipe.data, progress, options.announce, target.shapes)
        )

        def do(steps: Iterable[Step]) -> list[StepDone]:
            return run_steps(steps, options.folder, resume=options.resume, progress=progress, listener=options.listener)

        done = do(planner.steps(half=fleet is not None and fleet.wants_half(target)))
        on_boards, remarks = NO_BOARDS, NO_REMARKS
        if fleet is not None:
            remarks = Remarks(fleet.notices(target), fleet.about())
            for notice in remarks.notices:
                options.announce(notice)
            on_boards = fleet.work(planner, options.folder, resume=options.resume, listener=options.listener)
            done += on_boards.done
        if "report" not in recipe.steps:
            return RunOutcome(options.folder, done, None, None, on_boards.failed, on_boards.sent, recipe_file)
        done += do([planner.report(on_boards.whole, remarks)])
        record = read_run(options.folder / "run.json")
        report = options.folder / recipe.report.file
        return RunOutcome(options.folder, done, record, report, on_boards.failed, on_boards.sent, recipe_file)


def _fleet(options: RunOptions, progress: Progress) -> AbstractContextManager[Fleet | None]:
    """The boards, met before the first step; None without any."""
    if options.fleet is None:
        return nullcontext()
    from dlaflow.recipe.boards.fleet import connected

    return connected(options.fleet, progress)


def start_over(folder: Path) -> int:
    """Forget what an earlier run finished, and where a training of it stood; returns how many steps that were."""
    for key in folder.glob(f"*/{TRAINING_KEY}"):
        key.unlink(missing_ok=True)
    return forget(folder)


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
