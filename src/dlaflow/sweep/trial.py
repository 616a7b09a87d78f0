"""What a worker does: the shared training of some trials, and a trial. Nothing here knows of the cluster.

Every file appears by a rename and every step is remembered when it is done, so an attempt that dies costs no more than
the step that it was in: the next one, on whatever machine, goes on.
"""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from dlaflow.errors import DlaflowError, InputError
from dlaflow.files import atomic_path
from dlaflow.recipe.engine import StepDone
from dlaflow.recipe.lock import locked
from dlaflow.recipe.run import RunOptions, run_recipe
from dlaflow.recipe.schema import Recipe
from dlaflow.recipe.state import read_state, write_state
from dlaflow.sweep.records import Outcome, write_outcome
from dlaflow.sweep.space import VARIANT

_WAIT = 120.0
"""Seconds until a worker whose machine was lost must have let go of a folder."""


@dataclass(frozen=True, slots=True)
class Job:
    """A recipe (as JSON) in a folder, started in the folder `cwd`.

    `token` is a file that the driver wrote: where it is not seen, the machines share no file system. `training` is the
    folder whose weights the trial takes, None when it has none to take.
    """

    recipe: bytes
    folder: Path
    cwd: Path
    token: Path
    training: Path | None = None


def run_training(job: Job) -> str:
    """Train what several trials share. Returns the error in one line, empty when it is done."""
    return _guarded(lambda: _run(job))[1]


def run_trial(job: Job, training_error: str) -> Outcome:
    """Run a trial, or go on with it, and leave its outcome in its folder; `training_error` is of what it builds on."""
    began = time.monotonic()
    done, error = ([], training_error) if training_error else _guarded(lambda: _run(job))
    outcome = Outcome(
        "failed" if error else "done",
        error,
        round(time.monotonic() - began, 2),
        sum(step.kept for step in done),
        f"{socket.gethostname()}/{os.getpid()}",
    )
    if job.token.is_file():
        write_outcome(job.folder, outcome)
    return outcome


def _guarded(work: Callable[[], list[StepDone]]) -> tuple[list[StepDone], str]:
    """The steps, or the error in one line: a trial that cannot work must not end the others."""
    try:
        return work(), ""
    except DlaflowError as error:
        return [], str(error)
    except Exception as error:
        return [], f"unexpected {type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _run(job: Job) -> list[StepDone]:
    if not job.token.is_file():
        raise InputError(
            f"{socket.gethostname()} does not see {job.token.parent}",
            then="Put --out on a file system that all machines of the cluster share.",
        )
    os.chdir(job.cwd)
    recipe = msgspec.json.decode(job.recipe, type=Recipe)
    if job.training is not None:
        with locked(job.folder, _WAIT):
            _take_weights(job.training, job.folder)
    return run_recipe(recipe, RunOptions(job.folder, resume=True, wait=_WAIT)).done


def _take_weights(training: Path, folder: Path) -> None:
    """Copy the weights and the memory of their training; `run_recipe` then judges whether they are what it would do."""
    step = f"train/{VARIANT}"
    state = read_state(training, step)
    if state is None or state == read_state(folder, step):
        return
    for name in state.outputs:
        with atomic_path(folder / name) as copy:
            shutil.copyfile(training / name, copy)
    write_state(folder, state)
