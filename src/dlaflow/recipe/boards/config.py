"""Which model and which configuration a board builds a variant with, by what its TensorRT reads types from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dlaflow.build.config import BuildConfig, InputShape, ShapeRange
from dlaflow.build.model_types import takes_types_from_model
from dlaflow.build.shapes import shapes_for
from dlaflow.build.walkthrough import standalone_of
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


def dla_config(source: EngineSource, target: Target, tensorrt: str) -> BuildConfig:
    """The engine for the DLA, as `check` counts on it: FP16 beside INT8, GPU fallback unless standalone."""
    config = replace(gpu_config(source, target, tensorrt), dla_core=0, gpu_fallback=True)
    return standalone_of(config) if target.mode == "standalone" else config


def gpu_config(source: EngineSource, target: Target, tensorrt: str) -> BuildConfig:
    """The same network for the GPU alone."""
    int8, typed = target.precision == "int8", is_typed(tensorrt)
    return BuildConfig(
        precision="int8" if int8 else "fp16",
        scales=("qdq" if typed else "cache" if source.cache else "none") if int8 else "none",
        fp16_too=int8 and not typed,
        shapes=shapes_for(source.model, target.batch, target.shapes),
        cache=str(source.cache) if source.cache else None,
    )


def fed(model: Path, target: Target) -> InputShape:
    """The model's first input with the shape that its engine takes."""
    shapes = shapes_for(model, target.batch, target.shapes)
    return shapes[0] if shapes else _fixed(model)


def _fixed(model: Path) -> InputShape:
    value = fed_inputs(load_model(model).proto.graph)[0]
    return InputShape(value.name, ShapeRange.fixed(tuple(size or 0 for size in dims_of(value) or ())))
