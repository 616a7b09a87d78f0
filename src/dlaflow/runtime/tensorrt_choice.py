"""The runner for a file: TensorRT for an engine, onnxruntime for a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dlaflow.fixed_shape import FixedShape
from dlaflow.runtime.ort import OrtRunner
from dlaflow.runtime.tensorrt import EngineOptions, TensorRTRunner

ENGINE_SUFFIXES = (".engine", ".plan", ".trt")
_PLAN_MAGIC = (b"ftrt", b"ptrt")


def is_engine(path: str | Path) -> bool:
    """Whether a file is a TensorRT engine, by its name or its first bytes."""
    if Path(path).suffix in ENGINE_SUFFIXES:
        return True
    try:
        with Path(path).open("rb") as file:
            return file.read(4) in _PLAN_MAGIC
    except OSError:
        return False


def open_runner(
    path: str | Path, options: EngineOptions | None = None, shapes: Sequence[FixedShape] = ()
) -> OrtRunner | TensorRTRunner:
    """The runner for an engine or an ONNX model; both have the same interface.

    `shapes` are for models: an engine has the sizes that it was built with. Raises InputError or EnvironmentLacksError
    as the runners do.
    """
    return TensorRTRunner(path, options) if is_engine(path) else OrtRunner(path, shapes=shapes)
