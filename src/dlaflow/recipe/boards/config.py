"""Which model and which configuration a board builds a variant with, by what its TensorRT reads types from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dlaflow.api.build import EngineOptions, configure
from dlaflow.build.config import BuildConfig, InputShape, ShapeRange
from dlaflow.build.model import shapes_for, takes_types_from_model
from dlaflow.errors import InputError
from dlaflow.graph.inputs import dims_of, fed_inputs
from dlaflow.graph.load import load_model
from dlaflow.recipe.work import Files

if TYPE_CHECKING:
    from dlaflow.targets.target import Target


@dataclass(frozen=True, slots=True)
class EngineSource:
    """What an engine is built from: the model's file, and the calibration cache where the release reads one."""

    model: Path
    cache: Path | None = None


def is_typed(tensorrt: str) -> bool:
    """Whether this TensorRT (11 and later) wants Q/DQ nodes or FP16 tensors in the model itself."""
    return takes_types_from_model(BuildConfig(), tensorrt)


def source_of(files: Files, target: Target, tensorrt: str, *, calibrated: bool) -> EngineSource:
    """The file that a board with this release builds from.

    Raises InputError when it is an INT8 model that the recipe does not make.
    """
    int8 = target.precision == "int8"
    if not is_typed(tensorrt):
        return EngineSource(files.model, files.cache if int8 and calibrated else None)
    if int8 and not calibrated:
        raise InputError(
            f"TensorRT {tensorrt} takes INT8 from the model", expected="`calibrate` among the steps", received="none"
        )
    return EngineSource(files.int8 if int8 else files.fp16)


def engine_config(source: EngineSource, target: Target, tensorrt: str, *, gpu: bool = False) -> BuildConfig:
    """The engine for the DLA as `check` counts on it, FP16 beside INT8; with `gpu` the same network for the GPU alone.

    Raises UsageError for a target without a DLA.
    """
    int8, typed = target.precision == "int8", is_typed(tensorrt)
    scales: Literal["auto", "qdq"] = "qdq" if int8 and typed else "auto"
    options = EngineOptions(gpu_only=gpu, cache=source.cache, scales=scales, fp16_too=int8 and not typed)
    return configure(source.model, replace(target, mode="hybrid") if gpu else target, options)


def fed(model: Path, target: Target) -> InputShape:
    """The model's first input with the shape that its engine takes."""
    shapes = shapes_for(model, target.batch, target.shapes)
    return shapes[0] if shapes else _fixed(model)


def _fixed(model: Path) -> InputShape:
    value = fed_inputs(load_model(model).proto.graph)[0]
    return InputShape(value.name, ShapeRange.fixed(tuple(size or 0 for size in dims_of(value) or ())))
