"""profile: logs, per-layer profiles and Nsight captures → where the time goes, laid over the model's own graph."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import msgspec

from dlaflow.api.check import predict
from dlaflow.api.keywords import File
from dlaflow.errors import EnvironmentLacksError, InputError, UsageError
from dlaflow.files import record_json
from dlaflow.fixed_shape import ShapesGiven
from dlaflow.profile.command import CaptureCommands, CaptureConfig, capture_commands
from dlaflow.profile.evidence import Files, option_for
from dlaflow.profile.profile import Profiled, read_profile
from dlaflow.report.json import PROFILE_SCHEMA
from dlaflow.targets.options import TargetOptions
from dlaflow.types import Measurement, Placement


@dataclass(frozen=True, kw_only=True)
class Artefacts:
    """What to read. Given twice, the second belongs to a second profile, which is compared with the first."""

    log: Sequence[File] | None = None
    """trtexec's log, with stderr (2>&1), best with --verbose."""
    layer_times: Sequence[File] | None = None
    """The JSON of trtexec --exportProfile."""
    layer_info: Sequence[File] | None = None
    """The JSON of trtexec --exportLayerInfo."""
    times: Sequence[File] | None = None
    """The JSON of trtexec --exportTimes."""
    nsys: Sequence[File] | None = None
    """The SQLite export of an Nsight Systems capture."""
    tegrastats: Sequence[File] | None = None
    """A tegrastats log of the run."""


@dataclass(frozen=True, kw_only=True)
class BuiltModel:
    """The model, to compare with what was predicted and to name ONNX nodes."""

    model: File | None = None
    """The ONNX file that was built."""
    board: str | None = None
    """The board it was built for, such as agx-orin-64gb."""
    jetpack: str | None = None
    """The release, such as 5.1.1; with an engine it also decides how nsys traces the DLA."""
    precision: str = "int8"
    """int8 or fp16."""
    batch: int | None = None
    """The batch, where the model leaves it open."""
    shape: ShapesGiven = ()
    """The size of an input that the model leaves open, batch included: NAME:1x3x640x640."""


@dataclass(frozen=True, slots=True)
class ProfiledFiles:
    """A profile for each group of files, and what was estimated of the model beforehand (nothing without it)."""

    profiles: list[Profiled]
    estimated: list[Measurement]


def profile_files(groups: Sequence[Files], built: BuiltModel) -> ProfiledFiles:
    """Read each group of files and lay it over the model, where there is one.

    Raises UsageError without files and for a model without its board, InputError for files that cannot be used or are
    of another model.
    """
    if not groups:
        raise UsageError("nothing to profile", expected="an engine, or at least one artefact", received="none")
    placement, estimated = _expected(built)
    return ProfiledFiles([read_profile(group, placement) for group in groups], estimated)


def groups_of(files: Sequence[Path], artefacts: Artefacts) -> list[Files]:
    """The nth file of every kind makes the nth profile; `files` are told apart by their content."""
    found = {each.name: [Path(path) for path in getattr(artefacts, each.name) or ()] for each in fields(artefacts)}
    for path in files:
        found[option_for(path)].append(path)
    return [
        Files(**{option: paths[place] for option, paths in found.items() if place < len(paths)})
        for place in range(max(map(len, found.values())))
    ]


def _expected(built: BuiltModel) -> tuple[Placement | None, list[Measurement]]:
    if built.model is None:
        return None, []
    if built.board is None:
        raise UsageError("--model needs the board it was built for", expected="--board NAME", received="none")
    from dlaflow.estimate.latency import estimate

    target = TargetOptions(
        board=built.board, jetpack=built.jetpack, precision=built.precision, batch=built.batch, shape=built.shape
    ).target()
    found = predict(Path(built.model), target)
    return found.placement, estimate(found.network, found.placement, target, None).measurements()


def commands_for(engine: Path, jetpack: str | None) -> CaptureCommands:
    """The commands that capture an engine, with the options that the nsys of this machine knows, if there is one."""
    program = shutil.which("nsys")
    return capture_commands(CaptureConfig(engine, jetpack=jetpack or "", known_flags=_flags_of(program)))


def capture(engine: Path, jetpack: str | None) -> Path:
    """Capture an engine with Nsight Systems and export the report; returns the export.

    Raises InputError without the engine, EnvironmentLacksError without nsys or when it fails.
    """
    commands = commands_for(engine, jetpack)
    if not engine.is_file():
        raise InputError(f"cannot read {engine}: no such file", then="Check the path.")
    if shutil.which("nsys") is None:
        raise EnvironmentLacksError(
            "nsys is not on this machine",
            then=f"Run on the Jetson, then `dlaflow profile {commands.sqlite.name}`: {' && '.join(commands.shell())}",
        )
    from dlaflow.process import run_logged

    for command in (commands.profile, commands.export):
        log = engine.with_name(f"{engine.stem}.{command[1]}.log")
        outcome = run_logged(command, log, timeout=600)
        if outcome.exit_code != 0:
            raise EnvironmentLacksError(f"{command[0]} {command[1]} ended with {outcome.exit_code}", then=f"See {log}.")
    return commands.sqlite


def _flags_of(program: str | None) -> frozenset[str] | None:
    """The options of `nsys profile`; None without nsys."""
    if program is None:
        return None
    from dlaflow.parse.help_text import parse_help
    from dlaflow.process import captured

    answer = captured([program, "profile", "--help"], 60)
    return parse_help(answer[1]) if answer is not None else frozenset()


def profile_json(profiles: Sequence[Profiled]) -> bytes:
    """The file of `--json`. The capture's inferences are left out: `--trace` writes those."""
    return record_json(PROFILE_SCHEMA, {"profiles": [msgspec.to_builtins(_lean(profile)) for profile in profiles]})


def _lean(profile: Profiled) -> Profiled:
    capture = replace(profile.capture, sample=()) if profile.capture else None
    run = replace(profile.run, registered=(), averages=(), unknown=()) if profile.run else None
    measured = replace(profile.measured, messages=(), listed=(), outcome=None) if profile.measured else None
    return replace(profile, capture=capture, run=run, measured=measured)


def profile(
    *files: File,
    model: File | None = None,
    board: str | None = None,
    jetpack: str | None = None,
    precision: str = "int8",
    batch: int | None = None,
    shape: ShapesGiven = (),
) -> list[Profiled]:
    """Tell where the time goes in logs, profiles and captures; with the model also what was predicted.

    `files` are artefacts of any kind, told apart by their content; the second of a kind begins a second profile. The
    other options say what was built and for what, as those of `check` do. Returns a `dlaflow.profile.profile.Profiled`
    for each. Raises UsageError and InputError.
    """
    built = BuiltModel(model=model, board=board, jetpack=jetpack, precision=precision, batch=batch, shape=shape)
    return profile_files(groups_of([Path(file) for file in files], Artefacts()), built).profiles
