"""`dlaflow run`: a recipe → its steps → the report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from cyclopts import Parameter

from dlaflow.cli import terminal
from dlaflow.files import write_atomic
from dlaflow.progress import Task, silent
from dlaflow.recipe.engine import StepDone
from dlaflow.recipe.load import check_recipe, load_recipe
from dlaflow.recipe.run import RunOptions, RunOutcome, run_recipe
from dlaflow.recipe.schema import Recipe
from dlaflow.report.json import run_json
from dlaflow.report.text import run_table, table_notes
from dlaflow.report.verdict import headline

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import TaskID


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Overrides:
    """What to change of the recipe."""

    data: Literal["auto", "cifar10", "digits"] | None = None
    """The images: auto takes CIFAR-10 where it can be had, else the built-in digits."""
    data_dir: Path | None = None
    """Where CIFAR-10 is, or is downloaded to: its archive or folder. Default: $DLAFLOW_DATA, else data/cifar10."""
    epochs: int | None = None
    """Passes over the training images, for each model."""
    samples: int | None = None
    """Images for the calibration."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Talk:
    """What to say."""

    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"], negative="")] = False
    """Print nothing but errors."""
    json: Path | None = None
    """Also write the record of the run to this file."""


def run(
    recipe: Path,
    /,
    *,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    resume: Annotated[bool, Parameter(negative="")] = False,
    change: Overrides | None = None,
    talk: Talk | None = None,
) -> None:
    """Run a recipe: train, export, check, calibrate, evaluate, report.

    Each step is remembered when it is finished, so a run that was interrupted (even killed) goes on with --resume. A
    step is done again only when its options, its inputs or the code that does it changed.

    Examples:

        dlaflow run examples/walkthrough.toml

        dlaflow run examples/walkthrough.toml --data digits --epochs 1 --out runs/quick

        dlaflow run examples/walkthrough.toml --resume

    Parameters
    ----------
    recipe
        The recipe, a TOML file.
    out
        The folder of the run. Default: runs/NAME, with the recipe's name.
    resume
        Keep what an earlier run in that folder finished; without it the run starts over.
    """
    change, talk = change or Overrides(), talk or Talk()
    wanted = _changed(load_recipe(recipe), change)
    console, errors = terminal.console(), terminal.console(stderr=True)

    def announce(text: str) -> None:
        errors.print(f"[bold yellow]![/] {text}" if errors.is_terminal else f"! {text}", markup=errors.is_terminal)

    def listen(done: StepDone) -> None:
        if not talk.quiet:
            _print_step(done, console)

    options = RunOptions(out or Path("runs") / wanted.name, resume, announce, listen)
    try:
        outcome = run_recipe(wanted, options, _passing_bar if errors.is_terminal and not talk.quiet else silent)
    except KeyboardInterrupt:
        if not talk.quiet:
            errors.print(f"Interrupted. What is finished stays in {options.folder}; --resume goes on.", markup=False)
        raise
    if talk.json is not None and outcome.record is not None:
        write_atomic(talk.json, run_json(outcome.record))
    if not talk.quiet:
        _print_outcome(outcome, console)


def _changed(recipe: Recipe, change: Overrides) -> Recipe:
    """The recipe with the options of the command line in place of its own."""
    replace = msgspec.structs.replace
    if change.data is not None:
        recipe = replace(recipe, data=replace(recipe.data, name=change.data))
    if change.data_dir is not None:
        recipe = replace(recipe, data=replace(recipe.data, dir=str(change.data_dir)))
    if change.epochs is not None:
        recipe = replace(recipe, train=replace(recipe.train, epochs=change.epochs))
    if change.samples is not None:
        recipe = replace(recipe, calibrate=replace(recipe.calibrate, samples=change.samples))
    check_recipe(recipe)
    return recipe


def _print_step(done: StepDone, console: Console) -> None:
    from rich.text import Text

    seconds = "kept" if done.kept else f"{done.state.seconds:.1f} s"
    line = Text.assemble(
        ("✓ ", "green"),
        f"{done.step.kind:<12}",
        f"{done.step.subject:<18} ",
        done.state.result,
        (f"  {seconds}", "dim"),
    )
    console.print(line)


def _print_outcome(outcome: RunOutcome, console: Console) -> None:
    from rich.text import Text

    if outcome.record is None:
        return
    console.print()
    console.print(Text(headline(outcome.record), "bold"))
    console.print(run_table(outcome.record))
    for note in table_notes(outcome.record):
        console.print(Text(note, "dim"))
    console.print(Text(f"Report: {outcome.report}"), soft_wrap=True)


class _PassingTask:
    def __init__(self, bars: Bars, task: TaskID) -> None:
        self._bars = bars
        self._task = task

    def advance(self, amount: float = 1) -> None:
        self._bars.advance(self._task, amount)

    def describe(self, text: str) -> None:
        self._bars.update(self._task, state=text)


@contextmanager
def _passing_bar(title: str, total: float | None, unit: str = "") -> Iterator[Task]:
    """A bar that goes away when its work is done: the line of the step takes its place."""
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("  {task.description}"),
        BarColumn(bar_width=28),
        TextColumn("{task.percentage:>3.0f}%" if total else ""),
        TimeRemainingColumn(compact=True),
        TextColumn("[dim]{task.fields[state]}"),
    )
    with Bars(*columns, console=terminal.console(stderr=True), transient=True) as bars:
        yield _PassingTask(bars, bars.add_task(title, total=total, state=""))
