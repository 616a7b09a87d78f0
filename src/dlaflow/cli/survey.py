"""`dlaflow survey`: models x targets → what runs on the DLA before and after a fix, and how fast: a gallery."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from dlaflow.api.claims import Written
from dlaflow.api.estimate_table import AgainstOptions, targets_of
from dlaflow.cli import terminal
from dlaflow.cli.options import InputText, OutFolder, Target, group
from dlaflow.cli.sweep import check_cores
from dlaflow.cli.terminal import Quiet
from dlaflow.errors import EXIT_DONE, EXIT_USAGE, UsageError
from dlaflow.files import record_json, write_atomic
from dlaflow.report.units import count, percent, plain
from dlaflow.survey.page import failed, headline
from dlaflow.survey.records import Result
from dlaflow.survey.run import SurveyOptions, cases_of, run_survey
from dlaflow.survey.sources import sources_of
from dlaflow.zoo.export import shape_of

if TYPE_CHECKING:
    from rich.console import Console

SCHEMA = "dlaflow.surveys/1"
_LEAST_MEBIBYTES = 512
"""What Python with onnxruntime and torch takes by itself."""
_LONGEST_SECONDS = 86_400


@group
@dataclass(frozen=True, kw_only=True)
class Among(AgainstOptions):
    """The targets; what is not named stays as the target says."""

    against: Annotated[bool, Parameter(show=False)] = False


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Working:
    """Where to work, and what a model may take."""

    address: str | None = None
    """HOST:PORT of a Ray cluster that runs and that this machine belongs to, or auto. Default: this machine alone."""
    cores: int | None = None
    """Models at once on this machine. Default: 1."""
    seconds: float = 600.0
    """The longest that a model may take on a target; then it counts as failed."""
    mebibytes: int = 8192
    """The most memory that a model may take; then it counts as failed."""
    allow: Literal["exact", "tolerance"] = "exact"
    """What `fix` may do: exact (the same algebra) or tolerance (bounded approximations too)."""
    input_shape: str | None = None
    """Channels, height, width of what is exported here, such as 3x224x224. Default: what each is meant for."""
    quiet: Quiet = False
    json: Written | None = None
    """Also write all results of the folder to this file (schema dlaflow.surveys/1)."""


def survey(
    *models: InputText,
    out: OutFolder = Path("runs/survey"),
    on: Target = Target(),
    among: Among = Among(),
    how: Working = Working(),
) -> int:
    """Survey many models on many targets: what runs on the DLA, what `fix` reaches, how fast it will be.

    A model is an ONNX file, a folder of them, timm:PATTERN, torchvision:PATTERN or transformers:PATTERN (with random
    weights: nothing is downloaded; the extra gallery brings the packages), or ultralytics:NAME (exported by the
    command `yolo` that you have). Each is worked on in a process of its own: a crash, or more time or memory than it
    may take, is one line of the answer. What is finished stays, and a later survey in the same folder adds to it:
    results.jsonl, gallery.html, gallery.md. Ends with 2 when a model failed.

    Examples:

        dlaflow survey models/ --boards orin-nx-16gb,agx-orin-64gb --releases 5.1.3,6.2

        dlaflow survey 'timm:mobilenetv3*' torchvision:resnet18 --precisions all --batch 4

        dlaflow survey 'timm:*' --address 10.0.0.1:6379 --out /shared/gallery

    Parameters
    ----------
    models
        What to survey.
    out
        The folder of the survey.
    """
    _check(how)
    shape = None if how.input_shape is None else shape_of(how.input_shape)
    sources = sources_of(models, shape)
    left_out: dict[str, None] = {}
    found = targets_of(on.target(), None, among, left_out)
    if not found:
        raise UsageError("no target is left to survey for", received="; ".join(left_out))
    console, errors = terminal.console(), terminal.console(stderr=True)

    def announce(text: str) -> None:
        errors.print(f"! {text}", markup=False)

    finished: list[Result] = []

    def listen(result: Result, kept: bool) -> None:
        finished.append(result)
        if not how.quiet:
            _print_result(result, kept, console)

    for text in left_out:
        announce(text)
    options = SurveyOptions(out, how.address, how.cores or 1, how.allow, how.seconds, how.mebibytes, announce, listen)
    with terminal.telling_what_stays(out, finished, "the same command", quiet=how.quiet):
        results = run_survey(sources, cases_of(found), options, terminal.progress(quiet=how.quiet))
    if how.json is not None:
        write_atomic(how.json, record_json(SCHEMA, {"results": results}))
    asked = {source.model.name for source in sources}
    crashed = [each for each in failed(results) if each.status == "failed" and each.model.name in asked]
    if not how.quiet:
        console.print(terminal.styled((headline(results), "bold")))
        console.print(f"Gallery: {out / 'gallery.html'}", soft_wrap=True, markup=False)
    if crashed:
        first = crashed[0]
        rest = f"{count(len(crashed), 'result')} failed; the same command tries them again. First"
        errors.print(f"dlaflow: {rest} {first.model.name}: {first.error}", markup=False)
    return EXIT_USAGE if crashed else EXIT_DONE


def _check(how: Working) -> None:
    check_cores(how.cores, how.address)
    if not 0 < how.seconds <= _LONGEST_SECONDS:
        raise UsageError("--seconds makes no sense", expected=f"up to {_LONGEST_SECONDS}", received=how.seconds)
    if how.mebibytes < _LEAST_MEBIBYTES:
        raise UsageError("--mebibytes makes no sense", expected=f"{_LEAST_MEBIBYTES} or more", received=how.mebibytes)


def _print_result(result: Result, kept: bool, console: Console) -> None:
    name, release = result.model.name, f"  JetPack {result.case.release}, {result.case.precision}  "
    if result.before is None or result.after is None:
        console.print(terminal.styled(("✗ ", "red"), name, release, result.error))
        return
    before, after = result.before, result.after
    numbers = [
        f"{percent(before.share)} → {percent(after.share)} of MACs",
        f"loadables {before.loadables} → {after.loadables}",
        f"switches {before.switches} → {after.switches}",
        *(
            f"{on.board} {plain(rate[1], 3)} images/s"
            for on in result.boards
            if (rate := (on.after or on.before).rate) is not None
        ),
    ]
    seconds = "kept" if kept else f"{result.seconds:.1f} s"
    console.print(terminal.styled(("✓ ", "green"), name, release, "  ".join(numbers), (f"  {seconds}", "dim")))
