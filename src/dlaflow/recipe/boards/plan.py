"""The steps of one board: build, profile, evaluate and bench of each variant, with what each depends on.

Which model and which configuration a board builds a variant with depends on what its TensorRT reads types from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from dlaflow.api.build import EngineOptions, configure
from dlaflow.build.config import BuildConfig
from dlaflow.build.engine import Request
from dlaflow.build.manifest import BuiltFor
from dlaflow.build.model import takes_types_from_model
from dlaflow.errors import InputError
from dlaflow.graph.load import load_model
from dlaflow.quantize.model import has_qdq
from dlaflow.recipe.boards import work as board_work
from dlaflow.recipe.boards.work import BoardAtWork, files_of_build
from dlaflow.recipe.data import RunData
from dlaflow.recipe.engine import Step
from dlaflow.recipe.files import BoardFiles, Files
from dlaflow.recipe.schema import Recipe, RemoteStep

if TYPE_CHECKING:
    from dlaflow.targets.target import Target


@dataclass(frozen=True, slots=True)
class EngineSource:
    """What an engine is built from: the model's file, and the calibration cache where the release reads one.

    `scaled` tells that the file holds its scales as Q/DQ nodes.
    """

    model: Path
    cache: Path | None = None
    scaled: bool = False


def is_typed(tensorrt: str) -> bool:
    """Whether this TensorRT (11 and later) wants Q/DQ nodes or FP16 tensors in the model itself."""
    return takes_types_from_model(BuildConfig(), tensorrt)


def source_of(files: Files, target: Target, tensorrt: str, *, calibrated: bool) -> EngineSource:
    """The file that a board with this release builds from.

    Raises InputError when it is an INT8 model that the recipe does not make.
    """
    int8 = target.precision == "int8"
    if int8 and not calibrated and has_qdq(load_model(files.model, digest=False).proto):
        return EngineSource(files.model, scaled=True)
    if not is_typed(tensorrt):
        return EngineSource(files.model, files.cache if int8 and calibrated else None)
    if int8 and not calibrated:
        raise InputError(
            f"TensorRT {tensorrt} takes INT8 from the model", expected="`calibrate` among the steps", received="none"
        )
    return EngineSource(files.int8, scaled=True) if int8 else EngineSource(files.fp16)


def engine_config(source: EngineSource, target: Target, tensorrt: str, *, gpu: bool = False) -> BuildConfig:
    """The engine for the DLA as `check` counts on it, FP16 beside INT8; with `gpu` the same network for the GPU alone.

    Raises UsageError for a target without a DLA.
    """
    int8, typed = target.precision == "int8", is_typed(tensorrt)
    scales: Literal["auto", "qdq"] = "qdq" if int8 and source.scaled else "auto"
    options = EngineOptions(gpu_only=gpu, cache=source.cache, scales=scales, fp16_too=int8 and not typed)
    return configure(source.model, replace(target, mode="hybrid") if gpu else target, options)


def board_steps(recipe: Recipe, target: Target) -> tuple[RemoteStep, ...]:
    """What is done on every board.

    A standalone loadable runs under cuDLA alone, which trtexec does not; INT8 without scales answers nonsense.
    """
    wanted = [step for step in recipe.remote.steps if step == "build" or target.mode != "standalone"]
    has_scales = target.precision != "int8" or "calibrate" in recipe.steps
    if "evaluate" not in recipe.steps or not has_scales:
        wanted = [step for step in wanted if step != "evaluate"]
    return tuple(wanted)


class BoardPlanner:
    """Makes the steps of a board; `files` are those of the variants, made by the steps before."""

    def __init__(
        self, recipe: Recipe, target: Target, files: Mapping[str, Files], data: RunData, board: BoardAtWork
    ) -> None:
        self._recipe = recipe
        self._target = target
        self._files = files
        self._data = data
        self._board = board
        self._steps = board_steps(recipe, target)

    def steps(self) -> Iterator[Step]:
        """The steps: all builds first, so that a board that cannot build says so early."""
        for variant in self._files:
            yield self._build(variant, "dla")
            if "bench" in self._steps:
                yield self._build(variant, "gpu")
        for variant in self._files:
            if "profile" in self._steps:
                yield self._profile(variant)
            if "evaluate" in self._steps:
                yield self._evaluate(variant)
            if "bench" in self._steps:
                yield self._bench(variant)

    def _left(self, variant: str) -> BoardFiles:
        return BoardFiles.of(self._files[variant].folder, self._board.name)

    def _source(self, variant: str) -> EngineSource:
        calibrated = "calibrate" in self._recipe.steps
        return source_of(self._files[variant], self._target, self._board.tensorrt, calibrated=calibrated)

    def _build(self, variant: str, device: str) -> Step:
        source, left = self._source(variant), self._left(variant)
        out = left.dla if device == "dla" else left.gpu
        config = engine_config(source, self._target, self._board.tensorrt, gpu=device == "gpu")
        inputs = {"model": source.model} | ({"cache": source.cache} if source.cache else {})
        built_for = BuiltFor("tensorrt", self._board.tensorrt, self._target.board.id, self._board.jetpack)
        return Step(
            f"build/{variant}{'' if device == 'dla' else ' (GPU)'} on {self._board.name}",
            partial(board_work.build, self._board, Request(source.model, out, config, built_for)),
            files_of_build(out),
            inputs,
            self._about(config, timeout=self._recipe.remote.timeout),
        )

    def _profile(self, variant: str) -> Step:
        left = self._left(variant)
        placement = self._files[variant].placement if "check" in self._recipe.steps else None
        options = self._recipe.remote
        return Step(
            f"profile/{variant} on {self._board.name}",
            partial(board_work.profile, self._board, left, placement),
            (left.profile,),
            {"engine": left.dla} | ({"placement": placement} if placement else {}),
            self._about(duration=options.duration, idle=options.idle),
        )

    def _evaluate(self, variant: str) -> Step:
        left, model = self._left(variant), self._source(variant).model
        return Step(
            f"evaluate/{variant} on {self._board.name}",
            partial(board_work.evaluate, self._board, left, (model, self._target), self._data),
            (left.accuracy,),
            {"engine": left.dla, "model": model},
            self._about(images=self._recipe.remote.images, data=self._data.fingerprint),
        )

    def _bench(self, variant: str) -> Step:
        left, options = self._left(variant), self._recipe.remote
        cores = tuple(range(self._target.board.dla_cores))
        return Step(
            f"bench/{variant} on {self._board.name}",
            partial(board_work.bench, self._board, left, cores),
            (left.bench,),
            {"dla": left.dla, "gpu": left.gpu},
            self._about(duration=options.duration, repeats=options.repeats, idle=options.idle, cores=cores),
        )

    def _about(self, config: BuildConfig | None = None, **options: object) -> dict[str, str]:
        """What the outcome depends on besides files: the board, its release, how it is asked."""
        board = self._board
        about = {"board": board.board.name, "tensorrt": board.tensorrt, "clocks": str(board.options.lock_clocks)}
        if config is not None:
            # The cache counts by its content, among the inputs.
            about["config"] = msgspec.json.encode(replace(config, cache=None)).decode()
        return about | {name: str(value) for name, value in options.items()}
