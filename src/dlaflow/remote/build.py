"""`dlaflow remote BOARD build`: the build of `dlaflow build`, on the board; engine, log and manifest come back."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from dlaflow.build.calibrator import fitted_cache, names_release
from dlaflow.build.capability import Via
from dlaflow.build.config import BuildConfig
from dlaflow.build.engine import BuildResult, Request, recorded, require_another_path
from dlaflow.build.failures import explain_log
from dlaflow.build.precheck import precheck
from dlaflow.build.trtexec import LoggedBuild
from dlaflow.build.trtexec_arguments import BUILD_ONLY, Measuring, build_arguments
from dlaflow.errors import EnvironmentLacksError, InputError
from dlaflow.files import atomic_path
from dlaflow.remote.board import RemoteBoard
from dlaflow.remote.jobs import JobControl, JobOptions, failed_run, perform
from dlaflow.remote.records import Facts, JobState, Phase, Program, ProgramRun

MODEL, ENGINE, CACHE, PROFILE = "model.onnx", "model.engine", "model.cache", "profile.json"
RUN = "build"
HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class RemoteBuild:
    """How to build on a board: what to measure afterwards (its files are the host's), time limit in seconds, clocks.

    `program` is trtexec, or `bindings`: TensorRT's Python API, which measures nothing.
    """

    measuring: Measuring = BUILD_ONLY
    seconds: float = 6 * HOUR
    clocks: bool = False
    control: JobControl = field(default_factory=JobControl)
    program: Program = "trtexec"

    @property
    def via(self) -> Via:
        """What `dlaflow build` calls it."""
        return "trtexec" if self.program == "trtexec" else "python"


def builder_on(board: RemoteBoard, facts: Facts) -> Program:
    """The program that can build on the board.

    Raises EnvironmentLacksError for a board with neither trtexec nor TensorRT's bindings.
    """
    if "trtexec" in facts.places:
        return "trtexec"
    if facts.tensorrt.version:
        return "bindings"
    raise EnvironmentLacksError(
        f"{board.name} has neither trtexec nor TensorRT's Python bindings",
        then="On the board: sudo apt-get install tensorrt.",
    )


def build_on_board(board: RemoteBoard, request: Request, how: RemoteBuild | None = None) -> BuildResult:
    """Build the engine of `request` with the board's trtexec and pull it; on any error nothing is left at its path.

    `request.built_for.tensorrt` must be the board's release. ENGINE.log stays whatever happens.
    Raises UsageError before anything runs for what the release cannot do, InputError or EnvironmentLacksError with the
    cause in plain words, LeftRunningError when the connection or the user leaves and the build goes on.
    """
    how = how or RemoteBuild()
    require_another_path(request)
    tensorrt = request.built_for.tensorrt
    cautions = precheck(request.model, request.config, request.built_for, how.via)
    with ExitStack() as stack:
        files, config = stack.enter_context(_staged(request, tensorrt))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dlaflow-")))
        requested = how.measuring if how.program == "trtexec" else BUILD_ONLY
        measuring = replace(requested, export_profile=PROFILE if requested.export_profile else None)
        arguments = tuple(build_arguments(MODEL, ENGINE, config, tensorrt, measuring))
        phase = Phase(
            name=RUN, runs=(ProgramRun(name=RUN, program=how.program, arguments=arguments, seconds=how.seconds),)
        )
        title = f"{request.model.name} for {request.config.mode}"
        state = perform(board, JobOptions("build", title, files, (phase,), clocks=how.clocks), folder, how.control)
        log = request.engine.with_name(f"{request.engine.name}.log")
        if f"{RUN}.log" in state.outputs:
            put(folder / f"{RUN}.log", log)
        require_passed(board, state, log, how.seconds)
        if how.measuring.export_profile and PROFILE in state.outputs:
            put(folder / PROFILE, Path(how.measuring.export_profile))
        put(folder / ENGINE, request.engine)
    seconds = state.runs[0].seconds if state.runs else 0.0
    return recorded(
        request, LoggedBuild(how.program, log, seconds, how.measuring, how.via), cautions, "Name that release."
    )


def require_passed(board: RemoteBoard, state: JobState, log: Path, seconds: float) -> None:
    """Raises what the log, or else the job's ending, shows of a build that failed."""
    if state.state == "done" and ENGINE in state.outputs:
        return
    failed = failed_run(state)
    if failed is not None and failed.timed_out:
        raise EnvironmentLacksError(
            f"trtexec on {board.name} was stopped because it took too long",
            expected=f"at most {seconds:g} s",
            then=f"Give it more time (--timeout), or see where it stands in {log}.",
        )
    if failed is not None and failed.exit < 0:
        raise EnvironmentLacksError(
            f"trtexec on {board.name} was killed by signal {-failed.exit}",
            then=f"Too little memory there? `sudo dmesg` on the board tells. The log so far: {log}",
        )
    if state.state == "failed" and failed is not None and log.is_file():
        error = explain_log(log).error()
        raise type(error)(f"on {board.name}: {error.what}", then=f"{error.then} The whole log: {log}")
    if state.state == "done":
        raise EnvironmentLacksError(f"trtexec on {board.name} passed but saved no engine", then=f"See {log}.")
    raise EnvironmentLacksError(
        f"the build on {board.name} did not end: {state.why or state.state}",
        then="Nothing half-written was kept; run the same command again.",
    )


@contextmanager
def _staged(request: Request, tensorrt: str) -> Iterator[tuple[dict[str, Path], BuildConfig]]:
    """The files to push under their names on the board, and the configuration that names them so."""
    files, config = {MODEL: request.model}, replace(request.config, timing_cache=None)
    for path in (request.model, *map(Path, filter(None, (config.cache, *config.plugins)))):
        if not path.is_file():
            raise InputError(f"cannot read {path}", received="no such file", then="Check the path.")
    plugins = {f"plugin{number}.so": Path(path) for number, path in enumerate(config.plugins)}
    config = replace(config, plugins=tuple(f"./{name}" for name in plugins))
    with tempfile.TemporaryDirectory(prefix="dlaflow-") as folder:
        if config.cache:
            content = Path(config.cache).read_bytes()
            files[CACHE] = Path(config.cache)
            if not names_release(content, tensorrt):
                files[CACHE] = Path(folder) / CACHE
                files[CACHE].write_bytes(fitted_cache(content, tensorrt))
            config = replace(config, cache=CACHE)
        yield {**files, **plugins}, config


def put(source: Path, target: Path) -> None:
    """Copy a pulled file to where it stays, whole or not at all."""
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)
