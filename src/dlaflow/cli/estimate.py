"""`dlaflow estimate`: a model and a target → about how long, how sure, where the time goes, and whether it pays."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dlaflow.api.claims import Written
from dlaflow.api.estimate import EstimateOptions, estimate_json, estimate_model
from dlaflow.cli.options import Target, group
from dlaflow.cli.terminal import Quiet, say_unread
from dlaflow.files import write_atomic


@group
@dataclass(frozen=True, kw_only=True)
class Estimating(EstimateOptions):
    """How to estimate and where the answer goes."""

    learn: Annotated[tuple[Path, ...], Parameter(consume_multiple=True)] = ()
    json: Written | None = None
    """Write the estimate to this file (schema dlaflow.estimate/1)."""
    quiet: Quiet = False


def estimate(model: Path, /, *, on: Target = Target(), how: Estimating = Estimating()) -> None:
    """Estimate latency, throughput and energy before there is a board, with honest error bars.

    Fitted on public measurements; every number is an 80% interval, and what nobody measured is `unknown`.

    For example:

        dlaflow estimate model.onnx --board agx-orin-64gb --jetpack 5.1.1 --precision int8

        dlaflow estimate model.onnx --board agx-orin-64gb --power-mode 15W --batch 8 --json estimate.json

        dlaflow estimate model.onnx --board agx-orin-64gb --learn trtexec.log

    Parameters
    ----------
    model
        The ONNX file. Its large weights are not read.
    """
    from dlaflow.estimate.text import estimate_text

    found = estimate_model(model, on.target(), how)
    if found.learned and not how.quiet:
        learned = found.learned
        for name, before, after in zip(learned.samples, learned.before, learned.after, strict=True):
            sys.stdout.write(f"learned from {name}: {before:+.0%} off before, {after:+.0%} now\n")
        sys.stdout.write(f"stored in {learned.stored}\n\n")
    say_unread(found.placement, quiet=how.quiet)
    if how.json:
        write_atomic(how.json, estimate_json(found.estimate, str(model)))
    if not how.quiet:
        sys.stdout.write(estimate_text(found.estimate, str(model)) + "\n")
