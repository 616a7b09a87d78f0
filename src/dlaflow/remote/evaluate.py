"""`dlaflow remote BOARD evaluate`: the engine's own answers to pushed batches, counted on the desk.

trtexec loads the engine for each batch, which is slow but needs nothing on the board but trtexec; so take a large batch
and a share of the images. Times measured this way say nothing, and none are reported.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dlaflow.build.measuring import Measuring
from dlaflow.build.trtexec_arguments import load_arguments
from dlaflow.errors import EnvironmentLacksError, UsageError
from dlaflow.parse.times_json import parse_output
from dlaflow.quantize.accuracy import Accuracy, Images, classes
from dlaflow.remote.board import Board
from dlaflow.remote.build import ENGINE
from dlaflow.remote.doctor import ask
from dlaflow.remote.jobs import Handling, JobOptions, perform, require_done
from dlaflow.remote.profile import checked_engine
from dlaflow.remote.records import Phase, Run

_ONE_RUN = Measuring(iterations=1, warm_up=0, duration=0)


@dataclass(frozen=True, slots=True)
class RemoteEvaluation:
    """How to feed the engine. `input` and `batch` are needed where its manifest does not tell them."""

    input: str | None = None
    batch: int | None = None
    seconds: float = 600.0
    handling: Handling = field(default_factory=Handling)


def evaluate_on_board(
    board: Board, engine: Path, images: Images, labels: NDArray[np.int64], how: RemoteEvaluation | None = None
) -> Accuracy:
    """Run `images`, float32 [n, C, H, W] as the engine expects them, against `labels`, int64 [n].

    Raises UsageError when the input's name or the batch is not known, InputError and EnvironmentLacksError as
    `profile_on_board` does. `seconds` of the result is the time of the whole job.
    """
    how = how or RemoteEvaluation()
    machine, _ = ask(board)
    manifest, release = checked_engine(engine, machine)
    shapes = manifest.config.shapes if manifest else ()
    name = how.input or (shapes[0].name if shapes else None)
    batch = how.batch or (shapes[0].shapes.usual[0] if shapes else None)
    if name is None or batch is None:
        raise UsageError("the engine's manifest tells neither input nor batch", expected="--input NAME and --batch N")
    core = manifest.config.dla_core if manifest else None
    count = -(-len(labels) // batch)
    with tempfile.TemporaryDirectory(prefix="dlaflow-") as folder:
        files, phases = {ENGINE: engine}, []
        for number in range(count):
            part = np.ascontiguousarray(images[slice(number * batch, (number + 1) * batch)], dtype=np.float32)
            # The engine takes whole batches only: the last is filled with its first image.
            padded = np.concatenate([part, np.repeat(part[:1], batch - len(part), axis=0)])
            path = Path(folder) / f"batch{number}.npy"
            np.save(path, padded)
            files[path.name] = path
            words = load_arguments(ENGINE, release, _ONE_RUN, shapes, core)
            inputs = [f"--loadInputs={name}:batch{number}.bin", f"--exportOutput=output{number}.json"]
            run = Run(name=f"evaluate{number}", arguments=(*words, *inputs), seconds=how.seconds)
            phases.append(Phase(name=run.name, runs=(run,)))
        pulled = Path(folder) / "pulled"
        pulled.mkdir()
        title = f"{engine.name} on {len(labels)} images"
        state = perform(board, JobOptions("evaluate", title, files, tuple(phases)), pulled, how.handling)
        require_done(board, state)
        scores = [_scores(board, pulled / f"output{number}.json", batch) for number in range(count)]
    found = classes(np.concatenate(scores)[: len(labels)], len(labels))
    return Accuracy(int(np.sum(found == labels)), len(labels), state.ended - state.started, found)


def _scores(board: Board, path: Path, batch: int) -> NDArray[np.float32]:
    """The first output, float32 [batch, classes]."""
    tensors = parse_output(path) if path.is_file() else ()
    if not tensors or len(tensors[0].values) % batch:
        raise EnvironmentLacksError(
            f"trtexec on {board.name} exported no output of {batch} images", then="Is --batch the engine's own batch?"
        )
    return np.asarray(tensors[0].values, dtype=np.float32).reshape(batch, -1)
