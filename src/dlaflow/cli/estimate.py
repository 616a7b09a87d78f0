"""`dlaflow estimate`: a model and a target → about how long, how sure, where the time goes, and whether it pays."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from dlaflow.api.claims import Written
from dlaflow.api.estimate import EstimateOptions, estimate_json, estimate_model, estimates_json
from dlaflow.api.estimate_table import AgainstOptions
from dlaflow.cli.options import Target, group
from dlaflow.cli.terminal import Quiet, say_unread
from dlaflow.errors import UsageError
from dlaflow.files import together, write_atomic
from dlaflow.targets.target import Target as KnownTarget

if TYPE_CHECKING:
    from dlaflow.estimate.answer import Estimate


@group
@dataclass(frozen=True, kw_only=True)
class Estimating(EstimateOptions):
    """How to estimate and where the answer goes."""

    learn: Annotated[tuple[Path, ...], Parameter(consume_multiple=True)] = ()
    json: Written | None = None
    """Write the estimate to this file (schema dlaflow.estimate/1; with --against dlaflow.estimates/1)."""
    html: Written | None = None
    """Write the estimate, or the table of --against, as a page of its own to this file."""
    quiet: Quiet = False


@group
@dataclass(frozen=True, kw_only=True)
class Against(AgainstOptions):
    """One table of many targets; what is not named stays as the target says."""


def estimate(
    model: Path, /, *, on: Target = Target(), how: Estimating = Estimating(), among: Against = Against()
) -> None:
    """Estimate latency, throughput and energy before there is a board, with honest error bars.

    Fitted on public measurements; every number is an 80% interval, and what nobody measured is `unknown`.

    For example:

        dlaflow estimate model.onnx --board agx-orin-64gb --jetpack 5.1.1 --precision int8

        dlaflow estimate model.onnx --board agx-orin-64gb --power-mode 15W --batch 8 --json estimate.json

        dlaflow estimate model.onnx --board agx-orin-64gb --learn trtexec.log

        dlaflow estimate model.onnx --against --boards all --power-modes all --precisions int8,fp16

    Parameters
    ----------
    model
        The ONNX file. Its large weights are not read.
    """
    from dlaflow.estimate.text import estimate_text

    if among.asked:
        _table(model, on.target(), how, among)
        return
    target = on.target()
    found = estimate_model(model, target, how)
    if found.learned and not how.quiet:
        learned = found.learned
        for name, before, after in zip(learned.samples, learned.before, learned.after, strict=True):
            sys.stdout.write(f"learned from {name}: {before:+.0%} off before, {after:+.0%} now\n")
        sys.stdout.write(f"stored in {learned.stored}\n\n")
    say_unread(found.placement, quiet=how.quiet)
    with together():
        if how.json:
            write_atomic(how.json, estimate_json(found.estimate, str(model)))
        if how.html:
            _write_page(how.html, model, [(target.release.name, found.estimate)], ())
    if not how.quiet:
        sys.stdout.write(estimate_text(found.estimate, str(model)) + "\n")


def _table(model: Path, target: KnownTarget, how: Estimating, among: Against) -> None:
    from dlaflow.api.estimate_table import estimate_table
    from dlaflow.report.estimate_table import estimate_table_text

    if how.learn:
        raise UsageError("--learn is for one target", received="also a table of many")
    found = estimate_table(model, target, how.power_mode, among)
    rows = [(row.release, row.estimate) for row in found.rows]
    with together():
        if how.json:
            write_atomic(how.json, estimates_json(found, str(model)))
        if how.html:
            _write_page(how.html, model, rows, found.left_out)
    if not how.quiet:
        sys.stdout.write(estimate_table_text(str(model), rows, found.left_out) + "\n")


def _write_page(path: Path, model: Path, rows: Sequence[tuple[str, Estimate]], left_out: Sequence[str]) -> None:
    from dlaflow.report.estimate_table import estimate_table_page
    from dlaflow.report.records import utc_now

    write_atomic(path, estimate_table_page(str(model), rows, left_out, utc_now()))
