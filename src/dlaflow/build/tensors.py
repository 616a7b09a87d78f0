"""The inputs and outputs of an engine, as its model and its options make them: what whoever runs it must know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dlaflow.build.config import BuildConfig, IOFormat
from dlaflow.build.model import takes_types_from_model
from dlaflow.errors import InputError
from dlaflow.fixed_shape import FixedShape
from dlaflow.graph.inputs import fed_inputs
from dlaflow.graph.load import Model, as_model
from dlaflow.graph.shapes import infer
from dlaflow.quantize.cache import read_cache
from dlaflow.targets.features import has

_TYPES = {"float32": "fp32", "float64": "fp32", "float16": "fp16", "bfloat16": "bf16"}
"""ONNX's names of types → trtexec's, where they differ."""
LINEAR = ("chw",)
"""The layout of a tensor for which none was asked."""


@dataclass(frozen=True, slots=True)
class EngineTensor:
    """One input or output. `shape` holds the batch and -1 where a size is not known before the engine is there.

    `type` is trtexec's name (fp32, int8; empty: unknown), `layouts` are those that the build allowed, of which TensorRT
    takes one; `scale` is that of the calibration cache: real value = scale * INT8 value.
    """

    name: str
    is_input: bool
    shape: tuple[int, ...]
    type: str
    layouts: tuple[str, ...] = LINEAR
    scale: float | None = None

    @property
    def is_plain(self) -> bool:
        """Whether the values lie one behind the other, so that an array can be copied as it is."""
        return self.layouts == LINEAR


def tensors_of(model: Model | Path, config: BuildConfig, tensorrt: str) -> tuple[EngineTensor, ...]:
    """All inputs, then all outputs, in the model's order.

    Raises InputError when the model cannot be read.
    """
    model = as_model(model)
    fixed = [FixedShape(one.name, one.shapes.usual) for one in config.shapes if one.shapes.is_fixed]
    known = infer(model, fixed[0].dims[0] if fixed and fixed[0].dims else None, fixed)
    scales = _scales(config.cache)
    graph = model.proto.graph
    found = []
    typed = takes_types_from_model(config, tensorrt)
    inputs, outputs = fed_inputs(graph), list(graph.output)
    for index, value in enumerate([*inputs, *outputs]):
        is_input = index < len(inputs)
        place = index if is_input else index - len(inputs)
        asked = _asked(config.input_formats if is_input else config.output_formats, place)
        kind = known.type_of(value.name)
        shape = tuple(-1 if size is None else size for size in kind.shape or ())
        dtype = _type(kind.dtype, tensorrt) if asked is None or typed else asked.type
        layouts = LINEAR if asked is None else asked.layouts
        found.append(EngineTensor(value.name, is_input, shape, dtype, layouts, scales.get(value.name)))
    return tuple(found)


def _asked(formats: Sequence[IOFormat], index: int) -> IOFormat | None:
    """What was asked for a tensor: one format is for all of them."""
    if len(formats) == 1:
        return formats[0]
    return formats[index] if index < len(formats) else None


def _type(dtype: str, tensorrt: str) -> str:
    if dtype == "int64" and not has("int64", tensorrt):
        return "int32"
    return _TYPES.get(dtype, dtype)


def _scales(cache: str | None) -> Mapping[str, float]:
    """The scales of a cache; none where there is no cache to read, which the build itself reports."""
    with suppress(InputError):
        return read_cache(cache).scales if cache else {}
    return {}
