"""What a worker does: the shared training of some trials, and a trial. Nothing here knows of the cluster.

Every file appears by a rename and every step is remembered when it is done, so an attempt that dies costs no more than
the step that it was in: the next one, on whatever machine, goes on.
"""

from __future__ import annotations

import os
import shutil
import socket
import time
from pathlib import Path

from dlaflow.errors import DlaflowError, InputError
from dlaflow.files import atomic_path
from dlaflow.recipe.engine import StepDone, read_state, write_state
from dlaflow.recipe.lock import locked
from dlaflow.recipe.run import RunOptions, run_recipe
from dlaflow.recipe.schema import Recipe
from dlaflow.recipe.toml import read_toml, struct_of
from dlaflow.sweep.records import Outcome
from dlaflow.sweep.space import VARIANT

RECIPE = "recipe.toml"
_WAIT = 120.0
"""Seconds until a worker whose machine was lost must have let go of a folder."""


def run_training(folder: Path, current: Path) -> str:
    """Train what several trials share. Returns the error in one line, empty when it is done."""
    return _run(folder, current, None)[1]


def run_trial(folder: Path, current: Path, training: Path | None, training_error: str | None) -> Outcome:
    """Run the recipe in `folder`, or go on with it; paths in it count from the folder `current`.

    `training` is the folder whose weights it takes (None: it trains nothing), `training_error` why they are missing.
    """
    began = time.monotonic()
    done, error = ([], training_error) if training_error else _run(folder, current, training)
    return Outcome(
        "failed" if error else "done",
        error,
        round(time.monotonic() - began, 2),
        sum(step.kept for step in done),
        f"{socket.gethostname()}/{os.getpid()}",
    )


def _run(folder: Path, current: Path, training: Path | None) -> tuple[list[StepDone], str]:
    """The steps, or the error in one line: a trial that cannot work must not end the others."""
    try:
        if not (folder / RECIPE).is_file():
            raise InputError(
                f"{socket.gethostname()} does not see {folder}",
                then="Put --out on a file system that all machines of the cluster share.",
            )
        os.chdir(current)
        with locked(folder, _WAIT):
            if training is not None:
                _take_weights(training, folder)
        recipe = struct_of(read_toml(folder / RECIPE, "recipe"), Recipe, f"recipe {folder / RECIPE}")
        return run_recipe(recipe, RunOptions(folder, resume=True, wait=_WAIT)).done, ""
    except DlaflowError as error:
        return [], str(error)
    except Exception as error:
        return [], f"unexpected {type(error).__name__}: {' '.join(str(error).split())[:300]}"


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
