"""`dlaflow run`: a recipe → its steps → the report."""

from __future__ import annotations

import shlex
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import msgspec
from cyclopts import Parameter

from dlaflow.api.claims import Claim, Use, Written, claims_of, path_in, refuse_overwriting
from dlaflow.cli import terminal
from dlaflow.cli.options import InputTexts, OutFolder, Reaching, Shape, group
from dlaflow.errors import UsageError
from dlaflow.files import write_atomic
from dlaflow.progress import Progress, silent
from dlaflow.recipe.boards.records import FleetOptions
from dlaflow.recipe.engine import StepDone
from dlaflow.recipe.files import BUILD_LINE
from dlaflow.recipe.load import check_recipe, load_recipe, recipe_of
from dlaflow.recipe.own import OwnModel, only_model, own_recipe, run_name
from dlaflow.recipe.run import RunOptions, RunOutcome, run_recipe
from dlaflow.recipe.schema import CalibrateSection, DataName, DataSection, Recipe
from dlaflow.remote.board import Patience
from dlaflow.remote.inventory import BoardsFailedError, UserCallbacks, boards_of
from dlaflow.report.boards_text import board_table, of_run
from dlaflow.report.json import run_json
from dlaflow.report.text import run_table, table_notes
from dlaflow.report.verdict import headline
from dlaflow.targets.options import TargetOptions
from dlaflow.visible import visible

if TYPE_CHECKING:
    from rich.console import Console


@group
@dataclass(frozen=True, kw_only=True)
class Overrides:
    """What to change of the recipe, or to write into that of an ONNX file."""

    board: str | None = None
    """The board, such as agx-orin-64gb, orin-nx-16gb or xavier-nx-8gb (`dlaflow boards` lists them)."""
    jetpack: str | None = None
    """The JetPack (5.1.1) or DRIVE OS (drive-6.0.9.0) release. Default: the newest of the board with a usable DLA."""
    tensorrt: str | None = None
    """The TensorRT version itself, such as 8.5.2, in place of --jetpack."""
    precision: Literal["fp16", "int8"] | None = None
    """Default for an ONNX file: int8 where images or the file itself give the scales, else fp16."""
    batch: int | None = None
    """The batch to build for. Default: the model's own; where it is open, that of --shape, else 1."""
    mode: Literal["hybrid", "standalone"] | None = None
    """hybrid (the GPU may help) or standalone (everything in DLA loadables)."""
    shape: Shape = ()
    data: InputTexts = ()
    """The images: cifar10, digits (auto: the first, where it can be had, else the second), or your own: a folder
    (sub-folders are classes), a video, a .npy/.npz file; NAME=SOURCE for each of several inputs."""
    resize: str | None = None
    """Folder only: length of the shorter side before a centred cut (256), or an exact size (224x224)."""
    mean: str | None = None
    """Mean of each channel of pixels in 0..1, such as 0.485,0.456,0.406; of several inputs "LEFT=0.5;RIGHT=0.4"."""
    std: str | None = None
    """Standard deviation of each channel, such as 0.229,0.224,0.225; of several inputs as --mean."""
    layout: Literal["nchw", "nhwc"] | None = None
    """The layout of the model's input (default: what its shape says). Arrays are taken as they are."""
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
    recipe: Path | None = None,
    /,
    *,
    out: OutFolder | None = None,
    resume: bool = False,
    change: Overrides = Overrides(),
    boards: OnBoards = OnBoards(),
    messages: Messages = Messages(),
) -> None:
    """Do it all for one ONNX file, or run a recipe: check, fix, calibrate, evaluate, estimate, build line, report.

    For MODEL.onnx a recipe is made, run and left behind in the folder of the run, for edits. A recipe may train and
    export too, and with --on it builds and measures on boards.

    Each step is remembered when it is finished, so a run that was interrupted (even killed) goes on with --resume. A
    step is done again only when its options, its inputs or the code that does it changed.

    A recipe is a program: `model = "package.module:factory@k=v"` imports that module and calls that function, so run
    only recipes that you trust. The module lies beside the recipe, in the current folder or in an installed package,
    never in Python's own library, and defines the function, which returns a torch.nn.Module. A function of an
    installed package is called only if that package needs torch (timm does, torch itself gives classes alone).

    Examples:

        dlaflow run model.onnx --board orin-nx-16gb

        dlaflow run model.onnx --board orin-nx-16gb --data images/ --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225

        dlaflow run examples/walkthrough.toml --data digits --epochs 1 --out runs/quick

        dlaflow run examples/walkthrough.toml --on jetson@orin --resume

    Parameters
    ----------
    recipe
        The ONNX file, or the recipe, a TOML file. Without one: the only ONNX file of the current folder.
    out
        The folder of the run. Default: runs/NAME, with the name of the recipe or of the ONNX file.
    resume
        Keep what an earlier run in that folder finished; without it the run starts over.
    """
    given = recipe or _offered()
    text = None
    if given.suffix.lower() == ".onnx":
        folder = out or Path("runs") / run_name(given)
        text = _made(given, change, folder)
        wanted = recipe_of(text, f"recipe for {given}")
    else:
        wanted = _changed(load_recipe(given), change)
    read = [Claim("onnx", Path(variant.onnx), Use.READ) for variant in wanted.variant if variant.onnx]
    read += [Claim("data", path_in(source), Use.READ) for source in wanted.data.source]
    refuse_overwriting([*read, *claims_of({}, {"": messages})])
    console, errors = terminal.console(), terminal.console(stderr=True)

    def announce(text: str) -> None:
        errors.print(terminal.styled(("! ", "bold yellow"), text))

    finished: list[StepDone] = []

    def listen(done: StepDone) -> None:
        finished.append(done)
        if not messages.quiet:
            _print_step(done, console)

    fleet = _fleet(boards)
    options = RunOptions(out or Path("runs") / wanted.name, resume, announce, listen, fleet=fleet, recipe=text)
    with (
        terminal.telling_what_stays(options.folder, finished, "--resume", quiet=messages.quiet),
        _progress(shared=fleet is not None, quiet=messages.quiet or not errors.is_terminal) as progress,
    ):
        outcome = run_recipe(wanted, options, progress)
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


def _offered() -> Path:
    """The only ONNX file here, once the user agrees; nobody is asked where there is no terminal.

    Raises UsageError.
    """
    found = only_model(Path())
    if found is None:
        raise UsageError(
            "there is nothing to run", expected="MODEL.onnx or RECIPE.toml, or one ONNX file in this folder"
        )
    command = f"dlaflow run {shlex.quote(str(found))}"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError("there is nothing to run", expected="MODEL.onnx or RECIPE.toml", then=f"Try: {command}")
    sys.stderr.write(visible(f"{command} [Y/n] "))
    sys.stderr.flush()
    typed = sys.stdin.readline()  # nothing at all, not even a line: Ctrl-D
    if not typed or typed.strip().lower() not in {"", "y", "yes"}:
        raise UsageError("nothing was run", expected="MODEL.onnx or RECIPE.toml", received="no")
    return found


def _made(model: Path, change: Overrides, folder: Path) -> str:
    """The recipe for one ONNX file."""
    if change.epochs is not None:
        raise UsageError("--epochs is for recipes that train", received=f"--epochs with {model}")
    named = {"board": change.board} if change.board else {}
    options = TargetOptions(
        **named,
        jetpack=change.jetpack,
        tensorrt=change.tensorrt,
        precision=change.precision or "int8",
        batch=change.batch,
        shape=change.shape,
        mode=change.mode or "hybrid",
    )
    data = _data(DataSection(), change) if change.data else None
    samples = change.samples if change.samples is not None else CalibrateSection().samples
    return own_recipe(OwnModel(model, options.target(), change.precision, data, samples), folder)


def _data(section: DataSection, change: Overrides) -> DataSection:
    """The images that the options name in place of those of a recipe."""
    if len(change.data) == 1 and (name := change.data[0]) in get_args(DataName):
        section = msgspec.structs.replace(section, name=name, source=())
    elif change.data:
        for source in change.data:
            if not path_in(source).exists() and source not in get_args(DataName):
                names = ", ".join(get_args(DataName))
                expected = f"{names}, a folder, a video, or a .npy/.npz file"
                raise UsageError(
                    f"--data {source} does not exist", expected=expected, received="no such file or folder"
                )
        section = msgspec.structs.replace(section, source=change.data)
    folder = None if change.data_dir is None else str(change.data_dir)
    given = {"dir": folder} | {key: getattr(change, key) for key in ("resize", "mean", "std", "layout")}
    return msgspec.structs.replace(section, **{key: value for key, value in given.items() if value is not None})


def _changed(recipe: Recipe, change: Overrides) -> Recipe:
    """The recipe with the options of the command line in place of its own."""
    target = {key: getattr(change, key) for key in ("board", "jetpack", "tensorrt", "precision", "batch", "mode")}
    target = {key: value for key, value in target.items() if value is not None}
    if "jetpack" in target or "tensorrt" in target:
        target = {"jetpack": None, "tensorrt": None} | target
    if change.shape:
        target["shape"] = change.shape
    if target:  # what was not set stays unset: the fingerprint of the report sees the difference
        recipe = msgspec.structs.replace(recipe, target=replace(recipe.target, **target))
    recipe = msgspec.structs.replace(recipe, data=_data(recipe.data, change))
    for section, key, value in (("train", "epochs", change.epochs), ("calibrate", "samples", change.samples)):
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
    if lines := [done.step.outputs[0] for done in outcome.done if done.step.outputs[0].name == BUILD_LINE]:
        terminal.say(f"On the board: {lines[-1].read_text(encoding='utf-8').rstrip()}")
    if outcome.recipe is not None:
        console.print(f"Recipe: {outcome.recipe}, for edits", markup=False, soft_wrap=True)
    for name, sent in outcome.sent.items():
        console.print(terminal.styled((f"Sent to {name}: {sent / 1e6:.3f} MB", "dim")))
