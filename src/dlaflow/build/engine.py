"""Build one engine, whichever way: examine the request, build, write the manifest, collect the cautions."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType

from dlaflow.build.api import Messages, import_rtx, import_tensorrt, make_logger
from dlaflow.build.calibrator import fitted_cache, names_release
from dlaflow.build.capability import Caution, Via, examine
from dlaflow.build.config import BuildConfig
from dlaflow.build.device_memory import open_memory
from dlaflow.build.manifest import BuildRecord, BuiltFor, EngineManifest, write_manifest
from dlaflow.build.precheck import precheck
from dlaflow.build.python_build import RTX_AS, Bindings, CalibrationImages, EnginePlan, build_for_rtx, build_with_python
from dlaflow.build.trtexec import LoggedBuild, TrtexecOptions, build_with_trtexec
from dlaflow.build.trtexec_arguments import build_arguments
from dlaflow.errors import EnvironmentLacksError, UsageError
from dlaflow.files import is_stream, same_file, together, write_atomic
from dlaflow.parse.log import LogRun
from dlaflow.parse.trtexec import parse_log
from dlaflow.progress import Progress, silent
from dlaflow.reading import read_bytes
from dlaflow.targets.version import Version


@dataclass(frozen=True, slots=True)
class Request:
    """What to build: the ONNX model, the engine's path, the configuration and what it is for."""

    model: Path
    engine: Path
    config: BuildConfig
    built_for: BuiltFor


@dataclass(frozen=True, slots=True)
class How:
    """How to build: `images` for TensorRT's calibrator, `gpus` for TensorRT-RTX, `trt` to use other bindings."""

    via: Via = "trtexec"
    trtexec: TrtexecOptions = field(default_factory=TrtexecOptions)
    images: CalibrationImages | None = None
    gpus: tuple[str, ...] = ()
    trt: ModuleType | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class BuildResult:
    """A finished engine. `run` is what trtexec's log says (None for the Python API), `plan` the reverse."""

    engine: Path
    manifest: EngineManifest
    cautions: tuple[Caution, ...]
    run: LogRun | None = None
    plan: EnginePlan | None = None


def build_engine(request: Request, how: How | None = None, progress: Progress = silent) -> BuildResult:
    """Build the engine of `request` and its manifest; on any error nothing is left at the engine's path.

    Raises UsageError for what the release cannot do (before anything runs), InputError or EnvironmentLacksError with
    the cause in plain words when the build fails.
    """
    how = how or How()
    require_another_path(request)
    if how.via == "trtexec":
        return _with_trtexec(request, how, progress)
    trt = how.trt or (import_rtx() if how.via == "rtx" else import_tensorrt())
    messages = Messages()
    bindings = Bindings(trt, messages, make_logger(trt, messages), progress)
    if how.via == "rtx":
        return _for_rtx(request, how, bindings)
    return _with_python(request, how, bindings)


def require_another_path(request: Request) -> None:
    """Raises UsageError when the engine would be written over the model."""
    if same_file(request.engine, request.model):
        raise UsageError("the engine would overwrite the model", received=request.engine, then="Name another file.")
    if is_stream(request.engine):
        raise UsageError("an engine has files beside it", expected="a file", received=request.engine)


def _with_trtexec(request: Request, how: How, progress: Progress) -> BuildResult:
    config, tensorrt = request.config, request.built_for.tensorrt
    cautions = precheck(request.model, config, request.built_for, "trtexec")
    with _fitting_cache(config, tensorrt) as fitting, together():
        built = build_with_trtexec(request.model, request.engine, fitting, tensorrt, how.trtexec, progress)
        return recorded(request, built, cautions, "Name the release that is here.")


def recorded(request: Request, built: LoggedBuild, cautions: list[Caution], advice: str) -> BuildResult:
    """Write the manifest of an engine that is there, by what the log of its build says.

    `advice` is what to do when another release built it than the target's.
    """
    runs = parse_log(built.log).runs
    run = runs[-1] if runs else None
    built_for = request.built_for
    if run and run.tensorrt:
        cautions += _about_release(run.tensorrt, built_for.tensorrt, advice)
        built_for = replace(built_for, tensorrt=run.tensorrt)
    if run and run.device and run.device.compute_capability:
        built_for = replace(built_for, compute_capability=run.device.compute_capability)
    # As it would be typed: the real one wrote to another name and may have read a fitted copy of the cache.
    tensorrt, measuring = request.built_for.tensorrt, built.measuring
    typed = build_arguments(str(request.model), str(request.engine), request.config, tensorrt, measuring)
    record = BuildRecord(built.via, built.seconds, (built.program, *typed), _texts(cautions))
    manifest = write_manifest(request.engine, request.model, request.config, built_for, record)
    return BuildResult(request.engine, manifest, tuple(cautions), run=run)


def _with_python(request: Request, how: How, bindings: Bindings) -> BuildResult:
    release = str(Version.parse(bindings.trt.__version__).release)
    cautions = precheck(request.model, request.config, replace(request.built_for, tensorrt=release), "python")
    cautions += _about_release(release, request.built_for.tensorrt, "Name the release that is here.")
    plan = build_with_python(bindings, request.model, request.config, how.images)
    if plan.answers and not any(answer.runs for answer in plan.answers):
        cautions.append(
            Caution(
                "No layer of this model can run on the DLA.", "`dlaflow check` tells why; types must be FP16 or INT8."
            )
        )
    built_for = replace(request.built_for, tensorrt=release, compute_capability=_capability(how))
    return _kept(request, plan, built_for, BuildRecord("python", plan.seconds, cautions=_texts(cautions)), cautions)


def _for_rtx(request: Request, how: How, bindings: Bindings) -> BuildResult:
    cautions = examine(request.config, RTX_AS, "rtx")
    plan = build_for_rtx(bindings, request.model, request.config, how.gpus)
    built_for = BuiltFor("tensorrt_rtx", bindings.trt.__version__, gpus=tuple(how.gpus))
    return _kept(request, plan, built_for, BuildRecord("rtx", plan.seconds, cautions=_texts(cautions)), cautions)


def _kept(
    request: Request, plan: EnginePlan, built_for: BuiltFor, record: BuildRecord, cautions: Sequence[Caution]
) -> BuildResult:
    """Write the engine with its manifest."""
    with together():
        write_atomic(request.engine, plan.content)
        manifest = write_manifest(request.engine, request.model, request.config, built_for, record)
    return BuildResult(request.engine, manifest, tuple(cautions), plan=plan)


@contextmanager
def _fitting_cache(config: BuildConfig, tensorrt: str) -> Iterator[BuildConfig]:
    """The configuration with a cache whose first line names the release: a copy where the given one does not."""
    content = _read_cache(config.cache)
    if content is None or names_release(content, tensorrt):
        yield config
        return
    with tempfile.TemporaryDirectory(prefix="dlaflow-") as folder:
        copy = Path(folder) / Path(config.cache or "").name
        copy.write_bytes(fitted_cache(content, tensorrt))
        yield replace(config, cache=str(copy))


def _read_cache(path: str | None) -> bytes | None:
    """The cache's content; None without one (a missing file is the builder's to report)."""
    return read_bytes(path) if path and Path(path).is_file() else None


def _about_release(actual: str, wanted: str, advice: str) -> list[Caution]:
    if not wanted or Version.parse(actual).parts[:2] == Version.parse(wanted).parts[:2]:
        return []
    return [Caution(f"The target says TensorRT {wanted}, but {actual} built the engine.", advice)]


def _capability(how: How) -> str:
    """This machine's compute capability where it can be asked; empty where neither cuda-python nor torch can tell."""
    if how.images is not None:
        return getattr(how.images.memory, "compute_capability", "")
    try:
        return open_memory().compute_capability
    except EnvironmentLacksError:
        return ""


def _texts(cautions: Sequence[Caution]) -> tuple[str, ...]:
    return tuple(f"{caution.message} {caution.then}" for caution in cautions)
