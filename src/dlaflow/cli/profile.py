"""`dlaflow profile`: logs, per-layer profiles and Nsight captures → where the time goes, and what to change first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cyclopts import Parameter

from dlaflow.api.claims import Written
from dlaflow.api.profile import Artefacts, BuiltModel, capture, commands_for, groups_of, profile_files, profile_json
from dlaflow.cli import terminal
from dlaflow.cli.options import Shape, group
from dlaflow.cli.profile_view import comparison_view, profile_view
from dlaflow.errors import EXIT_DONE, EXIT_FINDINGS, UsageError
from dlaflow.files import together, write_atomic
from dlaflow.profile.compare import compare_profiles
from dlaflow.profile.profile import Profiled


@group
@dataclass(frozen=True, kw_only=True)
class Read(Artefacts):
    """What to read. Given twice, the second belongs to a second profile, which is compared with the first."""

    log: list[Path] | None = None
    layer_times: list[Path] | None = None
    layer_info: list[Path] | None = None
    times: list[Path] | None = None
    nsys: list[Path] | None = None
    tegrastats: list[Path] | None = None


@group
@dataclass(frozen=True, kw_only=True)
class Predicted(BuiltModel):
    """The model, to compare with what was predicted and to name ONNX nodes."""

    model: Path | None = None
    shape: Shape = ()


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What to write."""

    json: Written | None = None
    """Everything that was found, as records."""
    html: Written | None = None
    """A page: all of this, one inference in time, every number, and (with --model) the prediction beside what ran."""
    trace: Written | None = None
    """Trace Events of the capture, for ui.perfetto.dev."""
    svg: Written | None = None
    """One inference of the capture as a strip."""
    print_command: bool = False
    """Print the commands that capture the engine rather than run them."""
    quiet: terminal.Quiet = False


def profile(
    *files: Path,
    artefacts: Read | None = None,
    predicted: Predicted | None = None,
    outputs: Outputs | None = None,
) -> int:
    """Tell whether it worked, where the time goes, what switches between DLA and GPU cost, and what to change first.

    Of a log that failed: its error lines, the cause and what to do; the exit code is then 1.

    For example:

        dlaflow profile failed.log

        dlaflow profile --log build.log --layer-times profile.json

        dlaflow profile capture.sqlite --trace trace.json --svg strip.svg

        dlaflow profile capture.sqlite --model model.onnx --board agx-orin-64gb --jetpack 5.1.1 --html page.html

        dlaflow profile gn.log bn.log

        dlaflow profile model.engine --jetpack 5.1.2 --print-command

    Parameters
    ----------
    files
        Artefacts of any kind, told apart by their content; or one engine, which is captured with Nsight Systems.
    """
    artefacts, predicted = artefacts or Read(), predicted or Predicted()
    outputs = outputs or Outputs()
    engines = [path for path in files if path.suffix in {".engine", ".plan", ".trt"}]
    if engines:
        if len(files) > 1:
            raise UsageError("an engine is profiled alone", expected="one engine", received=len(files))
        if outputs.print_command:
            commands = commands_for(engines[0], predicted.jetpack)
            terminal.say(*commands.shell())
            return EXIT_DONE
        files = (capture(engines[0], predicted.jetpack),)
    found = profile_files(groups_of(files, artefacts), predicted)
    profiles = found.profiles
    with together():
        _write(profiles, outputs)
        if outputs.html is not None:
            from dlaflow.report.profile_page import render_profiles

            write_atomic(outputs.html, render_profiles(profiles, found.estimated))
    if not outputs.quiet:
        console = terminal.console()
        for each in profiles:
            console.print(profile_view(each))
        if len(profiles) > 1:
            console.print(comparison_view(compare_profiles(profiles), failures=False))
    return EXIT_FINDINGS if any(each.outcome.state == "failed" for each in profiles) else EXIT_DONE


def _write(profiles: list[Profiled], outputs: Outputs) -> None:
    if outputs.json is not None:
        write_atomic(outputs.json, profile_json(profiles))
    if outputs.trace is None and outputs.svg is None:
        return
    from dlaflow.report.timeline import strip_svg, trace_json

    found = next((each for each in profiles if each.capture is not None and each.capture.sample), None)
    if found is None or found.capture is None:
        raise UsageError("a timeline needs a capture with inferences", expected="--nsys FILE", received="none")
    capture = found.capture
    if outputs.trace is not None:
        write_atomic(outputs.trace, trace_json(capture, found.hardware))
    if outputs.svg is not None:
        if not (strip := strip_svg(capture)):
            raise UsageError("there is nothing to draw", expected="a warm inference with layers", received="none")
        write_atomic(outputs.svg, strip)
