"""`dlaflow sweep`: a file with a space of choices → trials on a Ray cluster → the front."""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import Parameter

from dlaflow.api.claims import Written
from dlaflow.cli import terminal
from dlaflow.cli.options import OutFolder
from dlaflow.errors import EXIT_DONE, EXIT_USAGE, UsageError
from dlaflow.files import write_atomic
from dlaflow.report.units import count
from dlaflow.sweep.records import SweepRecord, TrialRecord, sweep_json
from dlaflow.sweep.run import SweepOptions, run_sweep
from dlaflow.sweep.space import load_sweep
from dlaflow.zoo.models import check_name

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Place:
    """Where to run."""

    address: str | None = None
    """HOST:PORT of a Ray cluster that runs and that this machine belongs to, or auto. Default: start one here."""
    cores: int | None = None
    """Cores of the cluster that is started here. Default: all."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Messages:
    """What to say."""

    quiet: terminal.Quiet = False
    json: Written | None = None
    """Also write the record of the sweep to this file (schema dlaflow.sweep/1)."""


def sweep(
    file: Path,
    /,
    *,
    out: OutFolder | None = None,
    resume: bool = False,
    where: Place = Place(),
    messages: Messages = Messages(),
) -> int:
    """Sweep over networks, widths, normalization, calibration, precisions and targets; report accuracy against latency.

    Each trial is a recipe with a folder of its own. Trials with the same training share it. A trial whose worker or
    machine dies is tried again and goes on where it stood; a sweep that was interrupted (even killed) goes on with
    --resume. On several machines the folder must lie on a file system that all of them see. Ends with 2 when a trial
    failed, after the report of the others.

    Like a recipe, a sweep is a program: networks of one's own among its models are Python code that it runs
    (`dlaflow run --help` tells where that may lie). Run only sweeps that you trust.

    Examples:

        dlaflow sweep examples/sweep.toml

        dlaflow sweep examples/sweep.toml --resume --json sweep.json

        dlaflow sweep examples/sweep.toml --address 10.0.0.1:6379 --out /shared/sweeps/first

    Parameters
    ----------
    file
        The sweep, a TOML file.
    out
        The folder of the sweep. Default: runs/NAME, with the sweep's name.
    resume
        Keep the trials that an earlier sweep in that folder finished; without it the sweep starts over.
    """
    wanted = load_sweep(file)
    for model in wanted.space.model:
        if not model.endswith(".onnx"):
            check_name(model)
    check_cores(where.cores, where.address)
    console, errors = terminal.console(), terminal.console(stderr=True)
    console.file = sys.stdout  # for good: see below

    def announce(text: str) -> None:
        errors.print(f"! {text}", markup=False)

    finished: list[TrialRecord] = []

    def listen(trial: TrialRecord, kept: bool) -> None:
        finished.append(trial)
        if not messages.quiet:
            _print_trial(trial, kept, console)

    options = SweepOptions(out or Path("runs") / wanted.name, resume, where.address, where.cores, announce, listen)
    with (
        terminal.telling_what_stays(options.folder, finished, "--resume", quiet=messages.quiet),
        # Ray prints pages of a lost machine's log on stdout, whatever its options say; `announce` says it in a line.
        open(os.devnull, "w") as nowhere,
        redirect_stdout(nowhere),
    ):
        record = run_sweep(wanted, options, terminal.progress(quiet=messages.quiet))
    if messages.json is not None:
        write_atomic(messages.json, sweep_json(record))
    if not messages.quiet:
        _print_record(record, options.folder, console)
    if record.failed:
        failed = record.failed[0]
        rest = f"{count(len(record.failed), 'trial')} of {len(record.trials)} failed; --resume tries again. First"
        errors.print(f"dlaflow: {rest} {failed.name}: {failed.outcome.error}", markup=False)
    return EXIT_USAGE if record.failed else EXIT_DONE


def check_cores(cores: int | None, address: str | None) -> None:
    """Raise UsageError for cores that are none, or of a cluster that has its own."""
    if cores is not None and (cores < 1 or address):
        expected = "1 or more" if cores < 1 else "--cores only without --address"
        raise UsageError("--cores makes no sense", expected=expected, received=cores)


def _print_trial(trial: TrialRecord, kept: bool, console: Console) -> None:
    if trial.outcome.status == "failed":
        console.print(terminal.styled(("✗ ", "red"), f"{trial.name}  ", trial.outcome.error))
        return
    seconds = "kept" if kept else f"{trial.outcome.seconds:.1f} s"
    console.print(
        terminal.styled(("✓ ", "green"), f"{trial.name}  ", "  ".join(trial.numbers), (f"  {seconds}", "dim"))
    )


def _print_record(record: SweepRecord, folder: Path, console: Console) -> None:
    console.print()
    console.print(terminal.styled((record.headline, "bold")))
    for notice in record.notices:
        console.print(terminal.styled((notice, "dim")))
    for target, trials in record.by_target().items():
        if front := [trial for trial in trials if trial.front]:
            console.print(_front_table(target, front))
    console.print("top-1 measured here, latency of a batch estimated for the board", style="dim")
    console.print(f"Report: {folder / 'report.html'}", soft_wrap=True)


def _front_table(target: str, front: list[TrialRecord]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold underline")
    table.add_column(f"front for {target}", overflow="fold")
    for title in ("top-1", "latency"):
        table.add_column(title, justify="right", no_wrap=True)
    for trial in front:
        table.add_row(trial.name, *trial.numbers)
    return table
