"""`--via trtexec`: find it, run it, follow its log, keep the engine only when it passed.

The engine is written beside its final place under another name and renamed at the end, so a failed, killed or full-disk
build leaves nothing that looks like an engine. The log stays, whatever happens: `ENGINE.log`.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from dlaflow.build.capability import Via
from dlaflow.build.config import BuildConfig
from dlaflow.build.failures import explain_log
from dlaflow.build.trtexec_arguments import BUILD_ONLY, Measuring, build_arguments
from dlaflow.errors import EnvironmentLacksError, InputError
from dlaflow.files import atomic_path
from dlaflow.process import Outcome, run_logged
from dlaflow.progress import Progress, Task, silent

USUAL_PLACES = ("/usr/src/tensorrt/bin/trtexec", "/usr/local/TensorRT/bin/trtexec")
"""Where JetPack and NVIDIA's archives put it; neither is on PATH by default."""

_MILESTONES = (
    ("Start parsing network model", "reading the model"),
    ("Finish parsing network model", "read the model"),
    ("Starting Calibration", "calibrating"),
    ("Local timing cache in use", "choosing tactics"),
    ("Global timing cache in use", "choosing tactics"),
    ("Compiler backend", "compiling"),
    ("Layers Running on DLA", "placed the layers"),
    ("Layers running on DLA", "placed the layers"),
    ("Engine generation completed", "generated the engine"),
    ("Engine built in", "built"),
    ("Starting inference", "measuring"),
    ("Timing trace has", "measured"),
)


@dataclass(frozen=True, slots=True)
class LoggedBuild:
    """A build that passed: the program, its log, its seconds, the way to it and what was measured after it."""

    program: str
    log: Path
    seconds: float
    measuring: Measuring
    via: Via = "trtexec"


@dataclass(frozen=True, slots=True)
class TrtexecOptions:
    """How to run it: `program` (None: find it), `timeout` in seconds (None: none), what to measure after the build."""

    program: str | None = None
    timeout: float | None = None
    measuring: Measuring = BUILD_ONLY


def find_trtexec(given: str | None = None) -> Path:
    """The trtexec to use: `given`, the one on PATH, or the one in JetPack's usual place.

    Raises EnvironmentLacksError when there is none.
    """
    candidates = [given] if given else [shutil.which("trtexec"), *USUAL_PLACES]
    for candidate in candidates:
        if candidate and os.access(candidate, os.X_OK) and Path(candidate).is_file():
            return Path(candidate)
    raise EnvironmentLacksError(
        "trtexec is not here",
        expected=f"on PATH or one of {', '.join(USUAL_PLACES)}",
        received=given or "neither",
        then="Install it on the Jetson (apt-get install tensorrt), or use --print-command and run the line there.",
    )


def build_with_trtexec(
    model: Path,
    engine: Path,
    config: BuildConfig,
    tensorrt: str,
    options: TrtexecOptions | None = None,
    progress: Progress = silent,
) -> LoggedBuild:
    """Build `engine` from `model` and keep it only when trtexec passed.

    Raises InputError, UsageError or EnvironmentLacksError with the cause in plain words; `ENGINE.log` stays.
    """
    options = options or TrtexecOptions()
    program = find_trtexec(options.program)
    _check_files(model, config)
    log = engine.with_name(f"{engine.name}.log")
    seen = _Watcher()
    with atomic_path(engine) as unfinished, progress(f"trtexec {engine.name}", None) as task:
        command = [str(program), *build_arguments(str(model), str(unfinished), config, tensorrt, options.measuring)]
        seen.task = task
        started = time.monotonic()
        outcome = run_logged(command, log, on_line=seen.line, timeout=options.timeout)
        seconds = time.monotonic() - started
        _raise_unless_passed(outcome, seen, unfinished, log, options.timeout)
    return LoggedBuild(str(program), log, seconds, options.measuring)


class _Watcher:
    """Follows the log: how far it is, whether it passed."""

    def __init__(self) -> None:
        self.task: Task | None = None
        self.passed = False
        self.failed = False

    def line(self, text: str) -> None:
        if text.startswith("&&&& "):
            self.passed = self.passed or text.startswith("&&&& PASSED")
            self.failed = self.failed or text.startswith("&&&& FAILED")
            return
        for mark, state in _MILESTONES:
            if mark in text and self.task:
                self.task.describe(state)


def _raise_unless_passed(outcome: Outcome, seen: _Watcher, engine: Path, log: Path, timeout: float | None) -> None:
    if outcome.timed_out:
        raise EnvironmentLacksError(
            "trtexec was stopped because it took too long",
            expected=f"at most {timeout:g} s",
            received=f"{outcome.lines} lines of log and no end",
            then=f"Give it more time (--timeout), or see where it stands in {log}.",
        )
    if outcome.exit_code == 0 and not seen.failed and engine.stat().st_size > 0:
        return
    known = explain_log(log)
    nameless = known.id in {"unknown", "silent"}
    if outcome.exit_code < 0 and nameless:
        hint = "the kernel may have ended it for lack of memory" if outcome.exit_code == -9 else "it crashed"
        raise EnvironmentLacksError(
            f"trtexec was ended by signal {-outcome.exit_code}: {hint}",
            then=f"Look at the end of {log} and at `dmesg`; close other programs or lower the batch.",
        )
    if outcome.exit_code == 0 and seen.passed and nameless:
        raise EnvironmentLacksError(
            "trtexec says PASSED but saved no engine", then=f"See {log}; the disk or the folder may be at fault."
        )
    error = known.error()
    raise type(error)(error.what, then=f"{error.then} The whole log: {log}")


def _check_files(model: Path, config: BuildConfig) -> None:
    if not model.is_file():
        raise InputError(f"cannot read {model}", received="no such file", then="Check the path.")
    # A missing cache is no error to trtexec: it calibrates on one random batch and passes.
    if config.cache and not Path(config.cache).is_file():
        raise InputError(
            f"cannot read the calibration cache {config.cache}",
            received="no such file",
            then="Make it with `dlaflow calibrate`; trtexec itself would invent scales and say nothing.",
        )
    for plugin in config.plugins:
        if not Path(plugin).is_file():
            raise InputError(f"cannot read the plugin {plugin}", received="no such file", then="Check the path.")
