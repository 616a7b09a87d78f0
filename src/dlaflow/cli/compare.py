"""`dlaflow compare`: runs → one report, a table for a pull request, and an exit code for regressions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dlaflow.api.compare import ComparedFiles, compare_runs, limits_of
from dlaflow.cli import terminal
from dlaflow.cli.options import group
from dlaflow.errors import EXIT_DONE, EXIT_FINDINGS, InputError, UsageError
from dlaflow.files import write_atomic
from dlaflow.report.compare import read_any_run
from dlaflow.report.text import run_table, table_notes
from dlaflow.report.verdict import headline


@group
@dataclass(frozen=True, kw_only=True)
class Outputs(ComparedFiles):
    """What to write."""

    quiet: terminal.Quiet = False


def compare(*runs: Path, fail_on: list[str] | None = None, outputs: Outputs = Outputs()) -> int:
    """Compare runs or measured profiles; with --fail-on, exit with 1 when the last run is worse than the first.

    Examples:

        dlaflow compare runs/main runs/branch --html compare.html

        dlaflow compare runs/main runs/branch --markdown comment.md --fail-on switches --fail-on accuracy=0.5

        dlaflow compare before.json after.json --fail-on loadables --fail-on slower=5%

        dlaflow compare groupnorm.log batchnorm.log

    Parameters
    ----------
    runs
        Folders of `dlaflow run`, or files of `dlaflow check --json`; or logs, exported profiles and captures, which are
        compared as `dlaflow profile` does.
    fail_on
        What counts as a regression: switches, loadables, accuracy (beyond the 95% intervals) or accuracy=POINTS,
        slower or slower=PERCENT. May be given several times.
    """
    limits = limits_of(fail_on or [], len(runs))
    if all(map(_is_measured, runs)):
        return _compare_profiles(runs, outputs)
    found = compare_runs([read_any_run(path) for path in runs], limits, outputs)
    console = terminal.console()
    if not outputs.quiet:
        console.print(headline(found.run), markup=False, style="bold")
        console.print(run_table(found.run))
        for note in table_notes(found.run):
            console.print(note, markup=False, style="dim")
    worse = found.worse or ()
    terminal.say(*(f"worse: {each.variant}: {each.what}, {each.before} → {each.after}" for each in worse))
    return EXIT_FINDINGS if found.worse else EXIT_DONE


def _is_measured(path: Path) -> bool:
    """Whether a file is something that a profile is made of."""
    from dlaflow.profile.evidence import option_for

    try:
        return path.is_file() and bool(option_for(path))
    except InputError:
        return False


def _compare_profiles(files: tuple[Path, ...], outputs: Outputs) -> int:
    from dlaflow.api.profile import Artefacts, groups_of, profile_json
    from dlaflow.cli.profile_view import comparison_view
    from dlaflow.profile.compare import compare_profiles
    from dlaflow.profile.profile import read_profile

    if outputs.html or outputs.markdown or outputs.svg:
        raise UsageError("logs and profiles are compared on the terminal and in --json", expected="runs of dlaflow run")
    profiles = [read_profile(each) for each in groups_of(files, Artefacts())]
    comparison = compare_profiles(profiles)
    if outputs.json is not None:
        write_atomic(outputs.json, profile_json(profiles))
    if not outputs.quiet:
        terminal.console().print(comparison_view(comparison))
    return EXIT_DONE
