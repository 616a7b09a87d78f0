"""`dlaflow profile`: logs, per-layer profiles and Nsight captures → where the time goes, and what to change first."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from cyclopts import Parameter

from dlaflow.cli import terminal
from dlaflow.cli.options import Shape
from dlaflow.cli.profile_view import comparison_view, profile_json, profile_view
from dlaflow.errors import EXIT_DONE, EnvironmentLacksError, InputError, UsageError
from dlaflow.files import write_atomic
from dlaflow.fixed_shape import fixed_shapes
from dlaflow.profile.command import CaptureConfig, capture_commands
from dlaflow.profile.compare import compare_profiles
from dlaflow.profile.evidence import option_for
from dlaflow.profile.profile import Files, Profiled, read_profile
from dlaflow.report.profile_run import run_of_profiles
from dlaflow.types import Measurement, Placement


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Artefacts:
    """What to read. Given twice, the second belongs to a second profile, which is compared with the first."""

    log: list[Path] | None = None
    """trtexec's log, with stderr (2>&1), best with --verbose."""
    layer_times: list[Path] | None = None
    """The JSON of trtexec --exportProfile."""
    layer_info: list[Path] | None = None
    """The JSON of trtexec --exportLayerInfo."""
    times: list[Path] | None = None
    """The JSON of trtexec --exportTimes."""
    nsys: list[Path] | None = None
    """The SQLite export of an Nsight Systems capture."""
    tegrastats: list[Path] | None = None
    """A tegrastats log of the run."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Predicted:
    """The model, to compare with what was predicted and to name ONNX nodes."""

    model: Path | None = None
    """The ONNX file that was built."""
    board: str | None = None
    """The board it was built for, such as agx-orin-64gb."""
    jetpack: str | None = None
    """The release, such as 5.1.1; with an engine it also decides how nsys traces the DLA."""
    precision: str = "int8"
    """int8 or fp16."""
    batch: int | None = None
    """The batch, where the model leaves it open."""
    shape: Shape = ()


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What to write."""

    json: Path | None = None
    """Everything that was found, as records."""
    html: Path | None = None
    """A page: the prediction beside what ran (with --model), one inference in time, every number."""
    trace: Path | None = None
    """Trace Events of the capture, for ui.perfetto.dev."""
    svg: Path | None = None
    """One inference of the capture as a strip."""
    print_command: bool = False
    """Print the commands that capture the engine rather than run them."""
    quiet: terminal.Quiet = False


def profile(
    *files: Path,
    artefacts: Artefacts | None = None,
    predicted: Predicted | None = None,
    outputs: Outputs | None = None,
) -> int:
    """Tell where the time goes, what switches between DLA and GPU cost, and what to change first.

    For example:

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
    artefacts, predicted = artefacts or Artefacts(), predicted or Predicted()
    outputs = outputs or Outputs()
    engines = [path for path in files if path.suffix in {".engine", ".plan", ".trt"}]
    if engines:
        if len(files) > 1:
            raise UsageError("an engine is profiled alone", expected="one engine", received=len(files))
        sqlite = _capture(engines[0], predicted, outputs)
        if sqlite is None:
            return EXIT_DONE
        files = (sqlite,)
    groups = groups_of(files, artefacts)
    if not groups:
        raise UsageError("nothing to profile", expected="an engine, or at least one artefact", received="none")
    placement, estimated = _expected(predicted)
    profiles = [read_profile(group, placement) for group in groups]
    _write(profiles, outputs)
    if outputs.html is not None:
        from dlaflow.report.html import render

        write_atomic(outputs.html, render(run_of_profiles(profiles, estimated)))
    if not outputs.quiet:
        console = terminal.console()
        for each in profiles:
            console.print(profile_view(each))
        if len(profiles) > 1:
            console.print(comparison_view(compare_profiles(profiles)))
    return EXIT_DONE


def groups_of(files: tuple[Path, ...], artefacts: Artefacts) -> list[Files]:
    """The nth file of every kind makes the nth profile."""
    options = ("log", "layer_times", "layer_info", "times", "nsys", "tegrastats")
    found: dict[str, list[Path]] = {
        option: list(paths)
        for option, paths in zip(
            options,
            (
                artefacts.log or [],
                artefacts.layer_times or [],
                artefacts.layer_info or [],
                artefacts.times or [],
                artefacts.nsys or [],
                artefacts.tegrastats or [],
            ),
            strict=True,
        )
    }
    for path in files:
        found[option_for(path)].append(path)

    def nth(option: str, place: int) -> Path | None:
        return found[option][place] if place < len(found[option]) else None

    return [
        Files(
            log=nth("log", place),
            layer_times=nth("layer_times", place),
            layer_info=nth("layer_info", place),
            times=nth("times", place),
            nsys=nth("nsys", place),
            tegrastats=nth("tegrastats", place),
        )
        for place in range(max(map(len, found.values())))
    ]


def _expected(predicted: Predicted) -> tuple[Placement | None, list[Measurement]]:
    """What is known of the model before it runs, with the estimate; nothing without one."""
    if predicted.model is None:
        return None, []
    if predicted.board is None:
        raise UsageError("--model needs the board it was built for", expected="--board NAME", received="none")
    from dlaflow.api.check import predict
    from dlaflow.api.estimate import estimate_of
    from dlaflow.targets.target import resolve_target

    named = resolve_target(predicted.board, predicted.jetpack, precision=predicted.precision, batch=predicted.batch)
    target = replace(named, shapes=fixed_shapes(predicted.shape))
    found = predict(predicted.model, target)
    return found.placement, estimate_of(found, target).measurements()


def _capture(engine: Path, predicted: Predicted, outputs: Outputs) -> Path | None:
    """Capture an engine and export the report; None when the commands were only printed."""
    program = shutil.which("nsys")
    flags = _known_flags(program) if program else None
    commands = capture_commands(CaptureConfig(engine, jetpack=predicted.jetpack or "", known_flags=flags))
    if outputs.print_command:
        terminal.console().print(commands.shell(), markup=False, soft_wrap=True)
        return None
    if not engine.is_file():
        raise InputError(f"cannot read {engine}: no such file", then="Check the path.")
    if program is None:
        raise EnvironmentLacksError(
            "nsys is not on this machine",
            then=f"Run this on the Jetson, then `dlaflow profile {commands.sqlite.name}`:\n{commands.shell()}",
        )
    from dlaflow.build.process import run_logged

    for command in (commands.profile, commands.export):
        log = engine.with_name(f"{engine.stem}.{command[1]}.log")
        outcome = run_logged(command, log, timeout=600)
        if outcome.exit_code != 0:
            raise EnvironmentLacksError(f"{command[0]} {command[1]} ended with {outcome.exit_code}", then=f"See {log}.")
    return commands.sqlite


def _known_flags(program: str) -> frozenset[str]:
    import subprocess

    from dlaflow.parse.help_text import parse_help

    try:
        answer = subprocess.run([program, "profile", "--help"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return frozenset()
    return parse_help(f"{answer.stdout}\n{answer.stderr}")


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
        write_atomic(outputs.svg, strip_svg(capture))
