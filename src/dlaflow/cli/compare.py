"""`dlaflow compare`: runs → one report, a table for a pull request, and an exit code for regressions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dlaflow.cli import terminal
from dlaflow.errors import EXIT_DONE, EXIT_FINDINGS, InputError, UsageError
from dlaflow.files import write_atomic
from dlaflow.report.compare import merge, parse_limit, read_any_run, regressions
from dlaflow.report.html import render
from dlaflow.report.json import run_json
from dlaflow.report.strip import strips_svg
from dlaflow.report.text import run_markdown, run_table, table_notes
from dlaflow.report.verdict import headline


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What to write."""

    html: Path | None = None
    """One self-contained report over all runs."""
    markdown: Path | None = None
    """A table for a pull request."""
    svg: Path | None = None
    """The strips of all variants as a picture, for a README or a slide."""
    json: Path | None = None
    """The merged record."""
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"], negative="")] = False
    """Print nothing but errors."""


def compare(
    *runs: Path,
    fail_on: Annotated[list[str] | None, Parameter(name="--fail-on", negative="")] = None,
    outputs: Outputs | None = None,
) -> int:
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
    outputs = outputs or Outputs()
    limits = [parse_limit(text) for part in fail_on or [] for text in part.split(",")]
    if not runs:
        raise UsageError("nothing to compare", expected="at least one run", received="none")
    if limits and len(runs) < 2:
        raise UsageError("--fail-on needs something to compare with", expected="at least two runs", received="one")
    if all(map(_is_measured, runs)):
        return _compare_profiles(runs, outputs)
    records = [read_any_run(path) for path in runs]
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    merged = merge(records, now) if len(records) > 1 else records[0]
    worse = regressions(records[0], records[-1], limits) if limits else None
    if outputs.html is not None:
        write_atomic(outputs.html, render(merged))
    if outputs.markdown is not None:
        write_atomic(outputs.markdown, run_markdown(merged, worse))
    if outputs.svg is not None:
        write_atomic(outputs.svg, strips_svg(merged))
    if outputs.json is not None:
        write_atomic(outputs.json, run_json(merged))
    console = terminal.console()
    if not outputs.quiet:
        console.print(headline(merged), markup=False, style="bold")
        console.print(run_table(merged))
        for note in table_notes(merged):
            console.print(note, markup=False, style="dim")
    for each in worse or []:
        console.print(f"worse: {each.variant}: {each.what}, {each.before} → {each.after}", markup=False)
    return EXIT_FINDINGS if worse else EXIT_DONE


def _is_measured(path: Path) -> bool:
    """Whether a file is something that a profile is made of."""
    from dlaflow.profile.evidence import option_for

    try:
        return path.is_file() and bool(option_for(path))
    except InputError:
        return False


def _compare_profiles(files: tuple[Path, ...], outputs: Outputs) -> int:
    from dlaflow.cli.profile import Artefacts, groups_of
    from dlaflow.cli.profile_view import comparison_view, profile_json
    from dlaflow.profile.compare import compare_profiles
    from dlaflow.profile.profile import read_profile

    if outputs.html or outputs.markdown or outputs.svg:
        raise UsageError("logs and profiles are compared on the terminal and in --json", expected="runs of dlaflow run")
    profiles = [read_profile(group) for group in groups_of(files, Artefacts())]
    comparison = compare_profiles(profiles)
    if outputs.json is not None:
        write_atomic(outputs.json, profile_json(profiles))
    if not outputs.quiet:
        terminal.console().print(comparison_view(comparison))
    return EXIT_DONE
