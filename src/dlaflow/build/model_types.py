"""Whether a model holds the types that it is to be built with: Q/DQ nodes for INT8, FP16 tensors for FP16.

Up to TensorRT 10 the builder chooses types within its flags; from 11 on, and in strongly typed networks, the model's
own types are all there is, so a plain FP32 model asked to run as INT8 would silently stay FP32.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dlaflow.build.capability import Caution
from dlaflow.build.config import BuildConfig
from dlaflow.graph.load import load_model
from dlaflow.targets.features import has

_QUANTISING = {"QuantizeLinear", "DequantizeLinear"}


@dataclass(frozen=True, slots=True)
class ModelTypes:
    """What a model holds."""

    qdq: bool
    half: bool


def types_of(model: Path) -> ModelTypes:
    """Look through a model's nodes and weights.

    Raises InputError when it cannot be read.
    """
    import onnx

    graph = load_model(model).proto.graph
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


def examine_model(model: Path, config: BuildConfig, tensorrt: str) -> list[Caution]:
    """What the model's own types mean for the build; empty when they fit.

    Raises InputError when the model cannot be read.
    """
    types = types_of(model)
    cautions = []
    if config.scales == "qdq" and not types.qdq:
        cautions.append(
            Caution(
                f"{model} holds no Q/DQ nodes, so nothing of it would run in INT8.",
                "Write such a model with `dlaflow calibrate MODEL --data ... --qdq int8.onnx` and build that.",
            )
        )
    elif config.scales in {"cache", "calibrator"} and types.qdq:
        cautions.append(
            Caution(
                f"{model} holds Q/DQ nodes: TensorRT takes the scales from there and leaves the calibration unused.",
                "Build the plain model with the cache, or this one with --scales qdq.",
            )
        )
    if config.precision == "model" and config.on_dla and not (types.half or types.qdq):
        cautions.append(
            Caution(
                f"{model} is FP32 throughout, and the DLA computes in FP16 and INT8 only.",
                "Write a typed model with `dlaflow calibrate MODEL --data ... --fp16 half.onnx` or --qdq int8.onnx.",
            )
        )
    if config.precision == "fp16" and takes_types_from_model(config, tensorrt) and not types.half:
        cautions.append(
            Caution(
                f"{model} holds no FP16 tensors, and TensorRT {tensorrt} changes no types: it would run in FP32.",
                "Write one with `dlaflow calibrate MODEL --data ... --fp16 half.onnx` and build that.",
            )
        )
    return cautions
