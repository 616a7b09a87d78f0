"""The steps of a run, done in order: skip what is done; leave nothing half-written.

A step's state is one small file, written only after its outputs are whole on disk, and each output appears by a rename.
So a run that is killed at any moment loses at most the step that it was in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from dlaflow.errors import InputError
from dlaflow.files import record_json, sha256_of, write_atomic
from dlaflow.progress import Progress, silent
from dlaflow.recipe.fingerprint import fingerprint

SCHEMA = "dlaflow.step/1"
Work = Callable[[Progress], str]
"""Does the step and returns its result in a few words."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step such as `export/model_bn`.

    `inputs` are files by name; `options` are texts that the outcome depends on; `distributions` are the installed
    packages besides dlaflow whose change makes the outcome stale. `outputs` exist, whole, when `work` returns.
    """

    id: str
    work: Work
    outputs: tuple[Path, ...]
    inputs: dict[str, Path] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    distributions: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """The part before the slash: train, export, rewrite, check, ... as the recipe's steps, and fp16."""
        return self.id.partition("/")[0]

    @property
    def subject(self) -> str:
        """The variant that the step is for (empty for the report)."""
        return self.id.partition("/")[2]


@dataclass(frozen=True, slots=True)
class StepState:
    """A finished step: its fingerprint, the sha256 of each output by its path in the run's folder, and the result.

    `result` says in a few words what came out, `seconds` is the time that the work took.
    """

    step: str
    fingerprint: str
    outputs: dict[str, str]
    result: str
    seconds: float


@dataclass(frozen=True, slots=True)
class StepDone:
    """A step that is finished: now (`kept` false) or in an earlier run that this one goes on from."""

    step: Step
    state: StepState
    kept: bool


Listener = Callable[[StepDone], None]


def run_steps(
    steps: Iterable[Step], folder: Path, *, resume: bool, progress: Progress = silent, listener: Listener | None = None
) -> list[StepDone]:
    """Do `steps` in the folder of the run, which the caller has locked, and return how each ended.

    With `resume` a step is kept when its options, the content of its inputs, the code that does it and its outputs are
    all as they were. Raises whatever a step raises; the steps before it stay finished.
    """
    done = []
    for step in steps:
        ended = _run_step(step, folder, resume=resume, progress=progress)
        done.append(ended)
        if listener:
            listener(ended)
    return done


def _run_step(step: Step, folder: Path, *, resume: bool, progress: Progress) -> StepDone:
    key = fingerprint({"step": step.id, **step.options}, step.inputs, step.distributions)
    if resume and (state := finished(folder, step.id, key)):
        return StepDone(step, state, kept=True)
    state_path(folder, step.id).unlink(missing_ok=True)
    started = time.monotonic()
    try:
        result = step.work(progress)
    except OSError as error:
        what = f"the step {step.id} failed: {error.strerror or error}" + (
            f" ({error.filename})" if error.filename else ""
        )
        raise InputError(
            what, then="Make room or choose another folder with --out, then go on with --resume."
        ) from error
    missing = [str(path) for path in step.outputs if not path.is_file()]
    if missing:
        raise InputError(f"the step {step.id} ended without its files", expected=", ".join(missing), received="none")
    outputs = {path.relative_to(folder).as_posix(): sha256_of(path) for path in step.outputs}
    state = StepState(step.id, key, outputs, result, round(time.monotonic() - started, 3))
    write_state(folder, state)
    return StepDone(step, state, kept=False)


def state_path(folder: Path, step: str) -> Path:
    """Where the state of a step such as `train/model_bn` lives."""
    return folder / "state" / f"{step.replace('/', '--')}.json"


def write_state(folder: Path, state: StepState) -> None:
    """Remember a finished step."""
    write_atomic(state_path(folder, state.step), record_json(SCHEMA, state))


def read_state(folder: Path, step: str) -> StepState | None:
    """The state of `step`; None when it was not done or its file is damaged."""
    try:
        return msgspec.json.decode(state_path(folder, step).read_bytes(), type=StepState)
    except (OSError, msgspec.DecodeError):
        return None


def finished(folder: Path, step: str, fingerprint: str) -> StepState | None:
    """The state of `step` when it was done with this fingerprint and its outputs are still as it left them."""
    state = read_state(folder, step)
    if state is None or state.fingerprint != fingerprint:
        return None
    for name, digest in state.outputs.items():
        if not (folder / name).is_file() or sha256_of(folder / name) != digest:
            return None
    return state


def forget(folder: Path) -> int:
    """Remove the states of an earlier run and return how many there were. The outputs stay until they are replaced."""
    states = sorted((folder / "state").glob("*.json"))
    for path in states:
        path.unlink(missing_ok=True)
    return len(states)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files (`.name.xxxx.tmp`) that a killed run left behind. Call it with the lock held."""
    for path in folder.rglob(".*.tmp"):
        path.unlink(missing_ok=True)
