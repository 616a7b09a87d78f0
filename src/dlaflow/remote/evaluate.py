"""`dlaflow remote BOARD evaluate`: the engine's own answers to pushed batches, counted on the host.

trtexec loads the engine for each batch, which is slow but needs nothing on the board but trtexec; so take a large batch
and a share of the images. Times measured this way mean nothing, and none are reported.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dlaflow.build.trtexec_arguments import Measuring, load_arguments
from dlaflow.errors import EnvironmentLacksError, UsageError
from dlaflow.parse.exports import parse_output
from dlaflow.quantize.accuracy import Accuracy, classes
from dlaflow.quantize.feed import Samples, only_array
from dlaflow.remote.board import RemoteBoard
from dlaflow.remote.build import ENGINE
from dlaflow.remote.doctor import ask
from dlaflow.remote.jobs import JobControl, JobOptions, performed
from dlaflow.remote.profile import checked_engine
from dlaflow.remote.records import Phase, ProgramRun

_ONE_RUN = Measuring(iterations=1, warm_up=0, duration=0)


@dataclass(frozen=True, slots=True)
class RemoteEvaluation:
    """How to feed the engine. `input` and `batch` are needed where its manifest does not have them."""

    input: str | None = None
    batch: int | None = None
    seconds: float = 600.0
    control: JobControl = field(default_factory=JobControl)


def evaluate_on_board(
    board: RemoteBoard, engine: Path, images: Samples, labels: NDArray[np.int64], how: RemoteEvaluation | None = None
) -> Accuracy:
    """Run `images`, float32 [n, C, H, W] as the engine expects them, against `labels`, int64 [n].

    Raises UsageError when the input's name or the batch is not known, InputError and EnvironmentLacksError as
    `profile_on_board` does. `seconds` of the result is the time of the whole job.
    """
    how = how or RemoteEvaluation()
    checked = checked_engine(engine, ask(board)[0])
    first = checked.shapes[0] if checked.shapes else None
    name = how.input or (first.name if first else None)
    batch = how.batch or (first.shapes.usual[0] if first else None)
    if name is None or batch is None:
        raise UsageError("the engine's manifest tells neither input nor batch", expected="--input NAME and --batch N")
    count = -(-len(labels) // batch)
    with tempfile.TemporaryDirectory(prefix="dlaflow-") as folder:
        files, phases = {ENGINE: engine}, []
        for number in range(count):
            part = np.ascontiguousarray(only_array(images[number * batch : (number + 1) * batch]), dtype=np.float32)
            # The engine takes whole batches only: the last is filled with its first image.
            padded = np.concatenate([part, np.repeat(part[:1], batch - len(part), axis=0)])
            path = Path(folder) / f"batch{number}.npy"
            np.save(path, padded)
            files[path.name] = path
            loading = load_arguments(ENGINE, checked.tensorrt, _ONE_RUN, checked.shapes, checked.core)
            inputs = [f"--loadInputs={name}:batch{number}.bin", f"--exportOutput=output{number}.json"]
            run = ProgramRun(name=f"evaluate{number}", arguments=(*loading, *inputs), seconds=how.seconds)
            phases.append(Phase(name=run.name, runs=(run,)))
        job = JobOptions("evaluate", f"{engine.name} on {len(labels)} images", files, tuple(phases))
        with performed(board, job, how.control) as (state, pulled):
            scores = [_scores(board, pulled / f"output{number}.json", batch) for number in range(count)]
    if len({score.shape for score in scores}) > 1:
        raise EnvironmentLacksError(f"the batches of {board.name} have different numbers of classes")
    found = classes(np.concatenate(scores)[: len(labels)], len(labels))
    return Accuracy(int(np.sum(found == labels)), len(labels), state.ended - state.started, found)


def _scores(board: RemoteBoard, path: Path, batch: int) -> NDArray[np.float32]:
    """The first output, float32 [batch, classes]."""
    tensors = parse_output(path) if path.is_file() else ()
    if not tensors or not tensors[0].values or len(tensors[0].values) % batch:
        raise EnvironmentLacksError(
            f"trtexec on {board.name} exported no output of {batch} images", then="Is --batch the engine's own batch?"
        )
    return np.asarray(tensors[0].values, dtype=np.float32).reshape(batch, -1)
