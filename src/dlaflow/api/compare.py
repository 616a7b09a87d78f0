"""compare: runs of any kind → one record of all, what differs, and what got worse from the first to the last."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dlaflow.api.claims import Claim, OutFile, Use, claims_of, refuse_overwriting
from dlaflow.api.keywords import File
from dlaflow.api.runs import LoadedRun, comparisons_of, load_runs, loaded_run, with_counts
from dlaflow.errors import UsageError
from dlaflow.files import together, write_atomic
from dlaflow.report.compare import Limit, Regression, merge, parse_limit, regressions
from dlaflow.report.records import RunRecord, Variant, utc_now
from dlaflow.types import Placement

if TYPE_CHECKING:
    from dlaflow.report.notebook import Comparison


@dataclass(frozen=True, kw_only=True)
class ComparedFiles:
    """What to write."""

    html: OutFile | None = None
    """One self-contained report over all runs."""
    markdown: OutFile | None = None
    """A table for a pull request."""
    svg: OutFile | None = None
    """The strips of all variants as a picture, for a README or a slide."""
    json: OutFile | None = None
    """The merged record."""


@dataclass(frozen=True, slots=True)
class Compared:
    """The runs in one record; `worse` is None where nobody asked for regressions."""

    run: RunRecord
    worse: list[Regression] | None

    @property
    def failed(self) -> bool:
        """Whether a log of a build or a run that failed is among them."""
        outcomes = [outcome for comparison in self.run.comparisons for outcome in comparison.outcomes]
        return any(outcome is not None and outcome.state == "failed" for outcome in outcomes)


def limits_of(fail_on: Sequence[str], runs: int) -> list[Limit]:
    """What counts as a regression of `runs` runs.

    Raises UsageError for a limit that is none, without a run, and for limits without a second run.
    """
    limits = [parse_limit(text) for part in fail_on for text in part.split(",")]
    if not runs:
        raise UsageError("nothing to compare", expected="at least one run", received="none")
    if limits and runs < 2:
        raise UsageError("--fail-on needs something to compare with", expected="at least two runs", received="one")
    return limits


def compare_runs(loaded: Sequence[LoadedRun], limits: Sequence[Limit], files: ComparedFiles) -> Compared:
    """Put runs side by side and write the files; with `limits` also what got worse from the first to the last.

    Raises UsageError for a picture of runs of which none is a placed graph, and for one log or profile alone.
    """
    runs = [each.run for each in loaded]
    if len(runs) == 1 and not any(variant.placement for variant in runs[0].variants):
        raise UsageError(
            f"{runs[0].name} has nothing beside it",
            expected="at least two runs",
            received="one",
            then="`dlaflow profile FILE` tells of one.",
        )
    merged = merge(runs, utc_now()) if len(runs) > 1 else runs[0]
    if len(runs) > 1:
        merged = replace(merged, comparisons=comparisons_of(loaded, merged))
        runs = with_counts(runs, merged.comparisons)
    worse = regressions(runs[0], runs[-1], limits) if limits else None
    with together():
        if files.html is not None:
            from dlaflow.report.html import render

            write_atomic(files.html, render(merged))
        if files.markdown is not None:
            from dlaflow.report.text import run_markdown

            write_atomic(files.markdown, run_markdown(merged, worse))
        if files.svg is not None:
            if not any(variant.placement for variant in merged.variants):
                raise UsageError("there is nothing to draw", expected="a file of `check --json`", received="logs alone")
            from dlaflow.report.strip import strips_svg

            write_atomic(files.svg, strips_svg(merged))
        if files.json is not None:
            from dlaflow.report.json import run_json

            write_atomic(files.json, run_json(merged))
    return Compared(merged, worse)


def compare(
    *runs: File | Placement | RunRecord,
    fail_on: Iterable[str] = (),
    html: OutFile | None = None,
    markdown: OutFile | None = None,
    svg: OutFile | None = None,
    json: OutFile | None = None,
) -> Comparison:
    """Put runs side by side; `fail_on` (switches, loadables, accuracy=0.5, slower=5%) fills `regressions`.

    A run is a folder of `dlaflow run`, a file of `check --json` or `profile --json`, an engine's manifest, a log, a
    profile, layer information, a capture, or what `check` returned.
    Raises UsageError and InputError.
    """
    from dlaflow.report.notebook import Comparison

    limits = limits_of([fail_on] if isinstance(fail_on, str) else list(fail_on), len(runs))
    files = ComparedFiles(html=html, markdown=markdown, svg=svg, json=json)
    read = [Claim("run", Path(run), Use.READ) for run in runs if isinstance(run, str | os.PathLike)]
    refuse_overwriting([*read, *claims_of({}, {"": files})])
    found = compare_runs(_loaded(runs), limits, files)
    return Comparison(found.run, found.worse or [])


def _loaded(runs: Sequence[File | Placement | RunRecord]) -> list[LoadedRun]:
    """The runs; where all are files, those of one run go together."""
    paths = [Path(run) for run in runs if isinstance(run, str | os.PathLike)]
    if len(paths) == len(runs):
        return load_runs(paths)
    return [each for run in runs for each in _of_record(run)]


def _of_record(run: File | Placement | RunRecord) -> list[LoadedRun]:
    if isinstance(run, RunRecord):
        return [loaded_run(run)]
    if isinstance(run, Placement):
        from dlaflow.report.notebook import show

        name = Path(run.model.path).stem
        # The plain record, so that a run compares equal to the same run read back from its file.
        return [loaded_run(RunRecord(name, "", variants=[Variant(name, placement=show(Placement, run))]))]
    return load_runs([Path(run)])
