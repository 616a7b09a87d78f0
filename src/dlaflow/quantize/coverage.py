"""A scale for every tensor that TensorRT's network will have, by the names that the target release gives them.

A calibration knows the tensors of the ONNX file. TensorRT's parser adds its own: helper shuffles, the product inside a
Gemm, constants. Each follows from a neighbour: a shuffle keeps the values of its input, a product takes the scale of
the sum that it is fused with, a constant is its own calibration image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dlaflow.errors import InputError
from dlaflow.fixed_shape import FixedShape
from dlaflow.graph.layer import Layer, Network
from dlaflow.graph.load import Model, as_model
from dlaflow.graph.lower import lower
from dlaflow.quantize.calibration import LEVELS, Calibration

_KEEPS_VALUES = frozenset({"SHUFFLE", "SQUEEZE", "UNSQUEEZE", "IDENTITY", "CAST", "SLICE", "GATHER", "POOLING", "TOPK"})
_FUSED_INTO = frozenset({"ELEMENTWISE", "SCALE", "ACTIVATION"}) | _KEEPS_VALUES
_FLOATS = frozenset({"float32", "float16", "bfloat16"})

Largest = Callable[[str], float | None]
"""The largest magnitude of a constant by its ONNX name; None when it is not stored in the file."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """Scales by TensorRT's tensor names, in network order.

    `derived` maps the tensors that the calibration did not know to the tensor that they take their scale from;
    `missing` are activations that no scale could be found for.
    """

    scales: Mapping[str, float]
    derived: Mapping[str, str]
    missing: tuple[str, ...]


def cover(model: Model | Path, calibration: Calibration, tensorrt: str, shapes: Sequence[FixedShape] = ()) -> Coverage:
    """Complete a calibration for the network that TensorRT `tensorrt` makes of `model`, built with `shapes`.

    Raises InputError when the model cannot be read, UsageError for a `tensorrt` that is no version.
    """
    loaded = as_model(model)
    return complete(lower(loaded, tensorrt=tensorrt, fixed=shapes), calibration.scales, _largest_of(loaded))


def renamed(model: Model | Path, scales: Mapping[str, float], before: str, after: str) -> Coverage:
    """The scales of one release's cache under the names that another release gives; strange names are kept.

    The parser's own tensors have other names and numbers there and are derived anew.
    """
    loaded = as_model(model)
    old = lower(loaded, tensorrt=before)
    graph = loaded.proto.graph
    onnx_names = {value.name for value in graph.input} | {name for node in graph.node for name in node.output}
    own = {tensor.name for layer in old.layers for tensor in layer.outputs} - onnx_names
    kept = {name: scale for name, scale in scales.items() if name not in own}
    covered = complete(lower(loaded, tensorrt=after), kept, _largest_of(loaded))
    return Coverage({**kept, **covered.scales}, covered.derived, covered.missing)


def complete(network: Network, known: Mapping[str, float], largest: Largest) -> Coverage:
    """Complete the scales `known` for a network that was lowered before."""
    solver = _Solver(network, known, largest)
    names = [tensor.name for tensor in network.inputs]
    constants = set()
    for layer in network.layers:
        for tensor in layer.outputs:
            if tensor.dtype in _FLOATS:
                names.append(tensor.name)
            if tensor.constant:
                constants.add(tensor.name)
    found = {name: solver.scale(name) for name in dict.fromkeys(names)}
    return Coverage(
        {name: scale for name, scale in found.items() if scale is not None},
        {name: solver.origin[name] for name, scale in found.items() if scale is not None and name in solver.origin},
        tuple(name for name, scale in found.items() if scale is None and name not in constants),
    )


class _Solver:
    """Walks to a neighbour with a known scale; each tensor is visited once."""

    def __init__(self, network: Network, known: Mapping[str, float], largest: Largest) -> None:
        self.origin: dict[str, str] = {}
        self._known = dict(known)
        self._largest = largest
        self._busy: set[str] = set()
        self._producer = {tensor.name: layer for layer in network.layers for tensor in layer.outputs}
        self._consumers: dict[str, list[Layer]] = {}
        for layer in network.layers:
            for tensor in layer.inputs:
                self._consumers.setdefault(tensor.name, []).append(layer)

    def scale(self, name: str) -> float | None:
        """The scale of a tensor, or None."""
        if name in self._known:
            return self._known[name]
        if name in self._busy:
            return None
        self._busy.add(name)
        scale = self._from_producer(name) or self._from_consumer(name)
        self._busy.discard(name)
        if scale is not None:
            self._known[name] = scale
        return scale

    def _from_producer(self, name: str) -> float | None:
        layer = self._producer.get(name)
        if layer is None:
            return None
        if layer.kind == "CONSTANT":
            largest = self._largest(layer.name)
            if largest is None:
                return None
            self.origin[name] = "its own values"
            return float(np.float32((largest if largest > 0 else 1.0) / LEVELS))
        if layer.kind in _KEEPS_VALUES and layer.inputs:
            return self._copied(name, layer.inputs[0].name)
        return None

    def _from_consumer(self, name: str) -> float | None:
        readers = [layer for layer in self._consumers.get(name, []) if layer.kind != "SHAPE" and layer.outputs]
        for layer in readers:
            if layer.kind in _KEEPS_VALUES and layer.inputs[0].name == name:
                return self._copied(name, layer.outputs[0].name)
        if len(readers) != 1 or readers[0].kind not in _FUSED_INTO:
            return None
        if any(not tensor.constant for tensor in readers[0].inputs if tensor.name != name):
            return None
        return self._copied(name, readers[0].outputs[0].name)

    def _copied(self, name: str, source: str) -> float | None:
        scale = self.scale(source)
        if scale is not None:
            self.origin[name] = source
        return scale


def _largest_of(model: Model) -> Largest:
    def largest(name: str) -> float | None:
        try:
            values = np.asarray(model.initializer(name))
        except InputError:
            return None
        return float(np.abs(values.astype(np.float64)).max()) if values.size else None

    return largest
