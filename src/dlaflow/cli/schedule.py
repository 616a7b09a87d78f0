"""`dlaflow schedule`: networks with rates or budgets, and a board → which network on which core, and why."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dlaflow.api.claims import Claim, Use, Written, refuse_overwriting
from dlaflow.api.schedule import ScheduleOptions, Wish, schedule_json, schedule_models, wish_of
from dlaflow.cli.options import InputTexts, Target, group
from dlaflow.cli.terminal import Quiet, progress
from dlaflow.deploy.systems import System
from dlaflow.files import together, write_atomic


@group
@dataclass(frozen=True, kw_only=True)
class Scheduling(ScheduleOptions):
    """How to schedule and where the answer goes."""

    system: Annotated[System, Parameter(name="--for")] = "python"
    json: Written | None = None
    """Write the answer to this file (schema dlaflow.schedule/1)."""
    html: Written | None = None
    """Write a page of its own to this file, with the picture over time."""
    svg: Written | None = None
    """Write the picture alone to this file."""
    trace: Written | None = None
    """Write the recommended schedule over time as Trace Events, for ui.perfetto.dev."""
    quiet: Quiet = False


def schedule(models: InputTexts, /, *, on: Target = Target(), how: Scheduling = Scheduling()) -> None:
    """Find which network to run on which core: the GPU, a DLA core, or cut in two as a pipeline.

    Engines that run at once share the memory and queue for the GPU; each assignment is judged with that.
    `fix` is the best scheduler where engines visit the GPU: the answer tells what it would gain.

    For example:

        dlaflow schedule detect.onnx@30 classify.onnx@15 --board agx-orin-64gb --jetpack 6.2

        dlaflow schedule detect.onnx@30@20ms depth.onnx --board orin-nx-16gb --html schedule.html

        dlaflow schedule a.onnx a.onnx --measured bench.json --trace schedule.json

    Parameters
    ----------
    models
        ONNX files, each with what is asked of it: a.onnx@30 (images a second), a.onnx@20ms (a latency budget for a
        batch), a.onnx@30@20ms (both), a.onnx (as fast as possible). Name a file twice to run it twice.
    """
    from dlaflow.report.schedule import schedule_page, schedule_svg, schedule_text, schedule_trace

    wishes = [wish_of(text) for text in models]
    _keep_models(wishes, how)
    found = schedule_models(wishes, on.target(), how, progress(quiet=how.quiet))
    best = found.found.best
    with together():
        if how.json:
            write_atomic(how.json, schedule_json(found))
        if how.html:
            from dlaflow.report.records import utc_now

            write_atomic(how.html, schedule_page(found, utc_now()))
        if how.svg:
            write_atomic(how.svg, schedule_svg(best) + "\n")
        if how.trace:
            write_atomic(how.trace, schedule_trace(best))
    if not how.quiet:
        sys.stdout.write(schedule_text(found) + "\n")


def _keep_models(wishes: Sequence[Wish], how: Scheduling) -> None:
    """Raises UsageError for an output over a model: what is asked of one hides its path from the usual check."""
    outputs = [(name, getattr(how, name)) for name in ("json", "html", "svg", "trace")]
    refuse_overwriting(
        [
            *(Claim("models", wish.model, Use.READ) for wish in wishes),
            *(Claim(name, Path(path), Use.WRITTEN) for name, path in outputs if path is not None),
        ]
    )
