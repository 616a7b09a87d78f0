"""The memory of a run: one small file a finished step, written only after the step's outputs are whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from dlaflow.files import record_json, sha256_of, write_atomic

SCHEMA = "dlaflow.step/1"


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


def hashes(folder: Path, outputs: tuple[Path, ...]) -> dict[str, str]:
    """The sha256 of each output by its path in the folder."""
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in outputs}


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
