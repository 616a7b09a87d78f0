"""`dlaflow compare`: runs of any kind → what differs, one report, and an exit code for regressions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dlaflow.api.compare import ComparedFiles, compare_runs, limits_of
from dlaflow.api.runs import load_runs
from dlaflow.cli import terminal
from dlaflow.cli.options import group
from dlaflow.cli.profile_view import comparison_view
from dlaflow.errors import EXIT_DONE, EXIT_FINDINGS
from dlaflow.report.comparison_text import sentences
from dlaflow.report.records import RunRecord
from dlaflow.report.text import run_table, table_notes
from dlaflow.report.verdict import headline


@group
@dataclass(frozen=True, kw_only=True)
class Outputs(ComparedFiles):
    """What to write."""

    quiet: terminal.Quiet = False


def compare(*runs: Path, fail_on: list[str] | None = None, outputs: Outputs = Outputs()) -> int:
    """Compare runs of any kind: how each ended, speed, loadables, switches, and which layers are on another device.

    With --fail-on, exit with 1 when the last run is worse than the first; also when one of them is a run that failed.

    Examples:

        dlaflow compare runs/main runs/branch --html compare.html

        dlaflow compare runs/main runs/branch --markdown comment.md --fail-on switches --fail-on accuracy=0.5

        dlaflow compare before.json after.json --fail-on loadables --fail-on slower=5%

        dlaflow compare groupnorm.log batchnorm.log

        dlaflow compare check.json run.log

    Parameters
    ----------
    runs
        Folders of `dlaflow run`, files of `dlaflow check --json` and `dlaflow profile --json`, manifests of engines,
        logs, exported profiles, layer information and captures, in any mixture. The nth file of every kind that a tool
        of NVIDIA's writes belongs to the nth such run, unless that leaves one.
    fail_on
        What counts as a regression: switches, loadables, accuracy (beyond the 95% intervals) or accuracy=POINTS,
        slower or slower=PERCENT. May be given several times.
    """
    limits = limits_of(fail_on or [], len(runs))
    found = compare_runs(load_runs(runs), limits, outputs)
    if not outputs.quiet:
        _show(found.run)
    worse = found.worse or ()
    terminal.say(*(f"worse: {each.variant}: {each.what}, {each.before} → {each.after}" for each in worse))
    return EXIT_FINDINGS if found.worse or found.failed else EXIT_DONE


def _show(run: RunRecord) -> None:
    console = terminal.console()
    if predicted := all(variant.placement for variant in run.variants):
        console.print(headline(run), markup=False, style="bold")
        console.print(run_table(run))
        for note in table_notes(run):
            console.print(note, markup=False, style="dim")
    for at, comparison in enumerate(run.comparisons):
        if predicted or at:
            console.print()
        if any(comparison.outcomes) or not predicted:
            console.print(comparison_view(comparison))
        else:
            for line in sentences(comparison):
                console.print(line, markup=False)
