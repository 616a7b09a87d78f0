"""`dlaflow run`: a recipe → its steps → the report."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec
from cyclopts import Parameter

from dlaflow.api.claims import Claim, Use, Written, claims_of, refuse_overwriting
from dlaflow.cli import terminal
from dlaflow.cli.options import OutFolder, Reaching, group
from dlaflow.files import write_atomic
from dlaflow.progress import Progress, silent
from dlaflow.recipe.boards.records import FleetOptions
from dlaflow.recipe.engine import StepDone
from dlaflow.recipe.load import check_recipe, load_recipe
from dlaflow.recipe.run import RunOptions, RunOutcome, run_recipe
from dlaflow.recipe.schema import Recipe
from dlaflow.remote.board import Patience
from dlaflow.remote.inventory import BoardsFailedError, UserCallbacks, boards_of
from dlaflow.report.boards_text import board_table, of_run
from dlaflow.report.json import run_json
from dlaflow.report.text import run_table, table_notes
from dlaflow.report.verdict import headline

if TYPE_CHECKING:
    from rich.console import Console


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
class Messages:
    """What to say."""

    quiet: terminal.Quiet = False
    json: Written | None = None
    """Also write the record of the run to this file."""


@group
@dataclass(frozen=True, kw_only=True)
class OnBoards(Reaching):
    """Where the board's steps are done."""

    on: str | None = None
    """A board, [USER@]HOST[:PORT], or an inventory BOARDS.toml: build, profile, evaluate and bench there ([remote])."""


def run(
    recipe: Path,
    /,
    *,
    out: OutFolder | None = None,
    resume: bool = False,
    change: Overrides = Overrides(),
    boards: OnBoards = OnBoards(),
    messages: Messages = Messages(),
) -> None:
    """Run a recipe: train, export, check, calibrate, evaluate, report; with --on also build and measure on boards.

    Each step is remembered when it is finished, so a run that was interrupted (even killed) goes on with --resume. A
    step is done again only when its options, its inputs or the code that does it changed.

    A recipe is a program: `model = "package.module:factory@k=v"` imports that module and calls that function, so run
    only recipes that you trust. The module lies beside the recipe, in the current folder or in an installed package,
    never in Python's own library, and defines the function, which returns a torch.nn.Module. A function of an
    installed package is called only if that package needs torch (timm does, torch itself gives classes alone).

    Examples:

        dlaflow run examples/walkthrough.toml

        dlaflow run examples/walkthrough.toml --data digits --epochs 1 --out runs/quick

        dlaflow run examples/walkthrough.toml --resume

        dlaflow run examples/walkthrough.toml --on jetson@orin --resume

    Parameters
    ----------
    recipe
        The recipe, a TOML file.
    out
        The folder of the run. Default: runs/NAME, with the recipe's name.
    resume
        Keep what an earlier run in that folder finished; without it the run starts over.
    """
    wanted = _changed(load_recipe(recipe), change)
    read = [Claim("onnx", Path(variant.onnx), Use.READ) for variant in wanted.variant if variant.onnx]
    refuse_overwriting([*read, *claims_of({}, {"": messages})])
    console, errors = terminal.console(), terminal.console(stderr=True)

    def announce(text: str) -> None:
        errors.print(terminal.styled(("! ", "bold yellow"), text))

    def listen(done: StepDone) -> None:
        if not messages.quiet:
            _print_step(done, console)

    fleet = _fleet(boards)
    options = RunOptions(out or Path("runs") / wanted.name, resume, announce, listen, fleet=fleet)
    try:
        with _progress(shared=fleet is not None, quiet=messages.quiet or not errors.is_terminal) as progress:
            outcome = run_recipe(wanted, options, progress)
    except KeyboardInterrupt:
        if not messages.quiet:
            errors.print(f"Interrupted. What is finished stays in {options.folder}; --resume goes on.", markup=False)
        raise
    if messages.json is not None and outcome.record is not None:
        write_atomic(messages.json, run_json(outcome.record))
    if not messages.quiet:
        _print_outcome(outcome, console)
    _raise_failed(outcome)


def _fleet(boards: OnBoards) -> FleetOptions | None:
    if boards.on is None:
        return None
    from dlaflow.cli.remote_options import ask_to_stop, tell

    patience = Patience(reconnect=boards.reconnect, busy=boards.wait)
    return FleetOptions(boards_of(boards.on, boards.ssh_config), patience, UserCallbacks(ask_to_stop, tell))


def _progress(*, shared: bool, quiet: bool) -> AbstractContextManager[Progress]:
    """Bars that pass one by one; `shared`: one display for the boards, which work side by side."""
    if quiet:
        return nullcontext(silent)
    return terminal.shared_bars() if shared else nullcontext(terminal.passing_bar)


def _raise_failed(outcome: RunOutcome) -> None:
    """The boards that failed, once the results of the others are printed."""
    if not outcome.failed:
        return
    if len(outcome.sent) == 1:
        raise next(iter(outcome.failed.values()))
    terminal.say(*(f"{name}: {error}" for name, error in outcome.failed.items()), stderr=True)
    raise BoardsFailedError(
        f"{len(outcome.failed)} of {len(outcome.sent)} boards failed: {', '.join(outcome.failed)}",
        then="The others are done; --resume does what is left.",
    )


def _changed(recipe: Recipe, change: Overrides) -> Recipe:
    """The recipe with the options of the command line in place of its own."""
    folder = None if change.data_dir is None else str(change.data_dir)
    for section, key, value in (
        ("data", "name", change.data),
        ("data", "dir", folder),
        ("train", "epochs", change.epochs),
        ("calibrate", "samples", change.samples),
    ):
        if value is not None:
            changed = msgspec.structs.replace(getattr(recipe, section), **{key: value})
            recipe = msgspec.structs.replace(recipe, **{section: changed})
    check_recipe(recipe)
    return recipe


def _print_step(done: StepDone, console: Console) -> None:
    seconds = "kept" if done.kept else f"{done.state.seconds:.1f} s"
    line = terminal.styled(
        ("✓ ", "green"),
        f"{done.step.kind:<12}",
        f"{done.step.subject:<18} ",
        done.state.result,
        (f"  {seconds}", "dim"),
    )
    console.print(line)


def _print_outcome(outcome: RunOutcome, console: Console) -> None:
    if outcome.record is not None:
        console.print()
        console.print(terminal.styled((headline(outcome.record), "bold")))
        console.print(run_table(outcome.record))
        for note in table_notes(outcome.record):
            console.print(terminal.styled((note, "dim")))
        if whole := [name for name in outcome.sent if name not in outcome.failed]:
            console.print(board_table(of_run(outcome.record, whole), "On the boards; ±: 95% interval"))
        console.print(f"Report: {outcome.report}", soft_wrap=True)
    for name, sent in outcome.sent.items():
        console.print(terminal.styled((f"Sent to {name}: {sent / 1e6:.3f} MB", "dim")))
