"""What a model means for its build: whether the release's parser reads it, the types that it holds, its shapes.

Up to TensorRT 10 the builder chooses types within its flags; from 11 on, and in strongly typed networks, the model's
own types are all there is, so a plain FP32 model asked to run as INT8 would silently stay FP32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dlaflow.build.capability import Caution
from dlaflow.build.config import BuildConfig, InputShape, ShapeRange
from dlaflow.errors import InputError, UsageError
from dlaflow.fixed_shape import FixedShape, left_open, suggested
from dlaflow.graph.inputs import batch_of, dims_of, fed_inputs, fix_inputs, open_inputs
from dlaflow.graph.layer import Reading
from dlaflow.graph.load import Model, as_model
from dlaflow.graph.lower import lower
from dlaflow.rules.reading import READING_RULES, described
from dlaflow.targets.features import has

_QUANTISING = {"QuantizeLinear", "DequantizeLinear"}
_WORST_FIRST = (Reading.REFUSED, Reading.CONTRADICTION, Reading.MISREAD, Reading.PLUGIN)
_HEADS = {rule.reading: rule.head for rule in READING_RULES}


@dataclass(frozen=True, slots=True)
class ModelTypes:
    """What a model holds."""

    qdq: bool
    half: bool


def types_of(model: Model | Path) -> ModelTypes:
    """Look through a model's nodes and weights.

    Raises InputError when it cannot be read.
    """
    import onnx

    graph = as_model(model).proto.graph
    values = [value.type.tensor_type.elem_type for value in (*graph.input, *graph.output, *graph.value_info)]
    weights = [tensor.data_type for tensor in graph.initializer]
    casts = [one.i for node in graph.node if node.op_type == "Cast" for one in node.attribute if one.name == "to"]
    return ModelTypes(
        qdq=any(node.op_type in _QUANTISING for node in graph.node),
        half=onnx.TensorProto.FLOAT16 in (*values, *weights, *casts),
    )


def takes_types_from_model(config: BuildConfig, tensorrt: str) -> bool:
    """Whether the model's types are all there is for this build."""
    return config.strongly_typed or has("typed_only", tensorrt)


def examine_model(model: Model | Path, config: BuildConfig, tensorrt: str) -> list[Caution]:
    """What the model's own types mean for the build; empty when they fit.

    Raises InputError when the model cannot be read.
    """
    model = as_model(model)
    types = types_of(model)
    cautions = []
    if config.scales == "qdq" and not types.qdq:
        cautions.append(
            Caution(
                f"{model.path} holds no Q/DQ nodes, so nothing of it would run in INT8.",
                "Write such a model with `dlaflow calibrate MODEL --data ... --qdq int8.onnx` and build that.",
            )
        )
    elif config.scales in {"cache", "calibrator"} and types.qdq:
        cautions.append(
            Caution(
                f"{model.path} holds Q/DQ nodes: TensorRT takes the scales from there and leaves the calibration "
                "unused.",
                "Build the plain model with the cache, or this one with --scales qdq.",
            )
        )
    if config.precision == "model" and config.on_dla and not (types.half or types.qdq):
        cautions.append(
            Caution(
                f"{model.path} is FP32 throughout, and the DLA computes in FP16 and INT8 only.",
                "Write a typed model with `dlaflow calibrate MODEL --data ... --fp16 half.onnx` or --qdq int8.onnx.",
            )
        )
    if config.precision == "fp16" and takes_types_from_model(config, tensorrt) and not types.half:
        cautions.append(
            Caution(
                f"{model.path} holds no FP16 tensors, and TensorRT {tensorrt} changes no types: it would run in FP32.",
                "Write one with `dlaflow calibrate MODEL --data ... --fp16 half.onnx` and build that.",
            )
        )
    return cautions


def require_usable_types(model: Model | Path, config: BuildConfig, tensorrt: str) -> list[Caution]:
    """The cautions of `examine_model`. Raises InputError where they rule out the DLA that was asked for."""
    cautions = examine_model(model, config, tensorrt)
    if cautions and config.on_dla and takes_types_from_model(config, tensorrt):
        raise InputError(cautions[0].message.rstrip("."), then=cautions[0].then)
    return cautions


def examine_reading(model: Model | Path, tensorrt: str, plugins: Sequence[str] = ()) -> list[Caution]:
    """What the parser of that TensorRT refuses, misreads or wants plugins for, unless libraries of `plugins` are named.

    Empty when it reads the model.

    Raises InputError when the model cannot be read.
    """
    model = as_model(model)
    refusals = lower(model, tensorrt=tensorrt).refusals
    cautions = []
    for reading in _WORST_FIRST:
        found = [refusal for refusal in refusals if refusal.reading is reading]
        if found and not (reading is Reading.PLUGIN and plugins):
            message = f"TensorRT {tensorrt}'s parser {_HEADS[reading].format(model=model.path)}: {described(found)}."
            then = f"`dlaflow check {model.path}` tells what to do."
            if reading is Reading.PLUGIN:
                then = "Name the library that holds them: --plugin LIBRARY.so."
            cautions.append(Caution(message, then))
    return cautions


def shapes_for(model: Model | Path, batch: int | None, given: Sequence[FixedShape] = ()) -> tuple[InputShape, ...]:
    """One fixed shape (minimum = optimum = maximum) for every input, where any of them has open dimensions.

    An open batch becomes `batch` (that of `given`, 1 when neither tells one). TensorRT takes no shapes for a model
    whose inputs are all fixed, so none are returned then. Raises InputError when the model cannot be read, UsageError
    for a batch or a shape that does not fit the model, or for dimensions that stay open.
    """
    import onnx

    graph = onnx.GraphProto()
    graph.CopyFrom(as_model(model).proto.graph)
    was_open = open_inputs(graph)
    wanted = batch_of(graph, batch, given)
    fix_inputs(graph, wanted, given)
    for name, dims in open_inputs(graph).items():
        raise UsageError(
            f"input {left_open(name, dims)}",
            expected=f"one size, such as --shape {suggested(name, dims)}",
            then="The DLA takes one shape: it becomes minimum, optimum and maximum of the build.",
        )
    fixed = [(value.name, dims_of(value)) for value in fed_inputs(graph)] if was_open else []
    return tuple(
        InputShape(name, ShapeRange.fixed(tuple(size for size in dims if size is not None)))
        for name, dims in fixed
        if dims is not None
    )
