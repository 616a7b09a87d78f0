"""NVIDIA's own ONNX parser, out of TensorRT-RTX, as a list of layers that ours can be compared with."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from dlaflow.graph.layer import Network

_LOOP = {"TRIP_LIMIT", "RECURRENCE", "ITERATOR", "LOOP_OUTPUT"}


@dataclass(frozen=True)
class Seen:
    """One layer that computes something at run time. Dimensions that are not known are None."""

    kind: str
    name: str
    shape: tuple[int | None, ...] | None


def parse(data: bytes) -> list[Seen]:
    """The layers of NVIDIA's network that do not fold. Raises ValueError when its parser refuses the model."""
    import tensorrt_rtx as trt

    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(data):
        raise ValueError(str(parser.get_error(0)))
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    folded = _folded(layers)
    return [_seen(layer) for index, layer in enumerate(layers) if index not in folded]


def _kind(layer: Any) -> str:
    return str(layer.type).rsplit(".", maxsplit=1)[-1]


def _seen(layer: Any) -> Seen:
    shape = None
    if layer.num_outputs:
        shape = tuple(size if size >= 0 else None for size in layer.get_output(0).shape)
    return Seen(_kind(layer), layer.name, shape)


def _folded(layers: list[Any]) -> set[int]:
    """Layers whose inputs are all known before run time."""
    constant: set[str] = set()
    folded: set[int] = set()
    changed = True
    while changed:
        changed = False
        for index, layer in enumerate(layers):
            if index in folded or _kind(layer) in _LOOP:
                continue
            inputs = [layer.get_input(number) for number in range(layer.num_inputs)]
            inputs = [tensor for tensor in inputs if tensor is not None]
            known = bool(inputs) and all(tensor.name in constant for tensor in inputs)
            if _kind(layer) == "SHAPE":
                known = known or -1 not in tuple(inputs[0].shape)
            if known or _kind(layer) == "CONSTANT":
                folded.add(index)
                constant.update(layer.get_output(number).name for number in range(layer.num_outputs))
                changed = True
    return folded


def ours(network: Network) -> list[Seen]:
    """Our layers that do not fold, in the same form."""
    return [
        Seen(layer.kind, layer.name, layer.outputs[0].shape if layer.outputs else None)
        for layer in sorted(network.layers, key=lambda layer: layer.index)
        if not layer.folded
    ]


def without_suffix(seen: Seen) -> Seen:
    """The layer without the counter in its name."""
    name = re.sub(r"\(Unnamed Layer\* \d+\)", "(Unnamed)", seen.name)
    return Seen(seen.kind, re.sub(r"_\d+$", "", name), seen.shape)
