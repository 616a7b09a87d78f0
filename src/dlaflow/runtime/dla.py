"""Run a Q/DQ model in the DLA's own integer arithmetic, on this computer: what a board's outputs can be held against.

Between its Q/DQ pairs a layer takes INT8 and gives INT8, and is computed with integers alone (`quantize.integer` says
what is known of their rounding and what is inferred). onnxruntime is what multiplies and sums: on whole numbers in
float32, where each sum is exact because its bound is checked. What has no integer form here runs in floating point as
the file says, and `Layers` lists it with the reason; nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dlaflow.errors import InputError
from dlaflow.fixed_shape import FixedShape
from dlaflow.graph.load import as_model
from dlaflow.quantize import integer
from dlaflow.quantize.feed import Batch, by_name
from dlaflow.quantize.model import has_graph, has_qdq, index, network_inputs
from dlaflow.quantize.session import SessionOptions, open_session, reason_of

if TYPE_CHECKING:
    import onnx
    import onnxruntime

_EXACT = 2**24
"""Whole numbers up to this are exact in float32."""
_IMAGE_RANK = 4
_LOW_BITS = 4
"""Of weights whose sums would be larger: these bits are convolved apart from the others."""
_MOVES = frozenset(
    {"MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze"}
    | {"Identity", "Slice", "Split", "DepthToSpace", "SpaceToDepth", "Dropout"}
)
"""Operators that put out values that they took in: the first input moves, the others say where to."""
_SHAPES = frozenset({"Shape", "Size", "QuantizeLinear"})
"""What computes no values of the network: neither integers nor floats."""
_WEIGHED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


@dataclass(frozen=True, eq=False)
class Part:
    """Whole numbers, and what one of them is worth: a scale, or scales that broadcast over the values."""

    values: NDArray[np.int32]
    scale: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Terms:
    """A tensor between two Q/DQ pairs: the sum of its parts, cut at `low` and `high`; of `dtype` in the file."""

    parts: tuple[Part, ...]
    dtype: np.dtype[np.generic]
    low: float = -np.inf
    high: float = np.inf

    @property
    def single(self) -> Part | None:
        """The part of a tensor that has one, not cut, with one scale for all values."""
        uncut = self.low == -np.inf and self.high == np.inf
        return self.parts[0] if uncut and len(self.parts) == 1 and self.parts[0].scale.size == 1 else None

    def real(self) -> NDArray[np.generic]:
        """The values as the file's type."""
        total = sum((part.values * part.scale for part in self.parts), np.zeros((), np.float64))
        return np.clip(total, self.low, self.high).astype(self.dtype)

    def quantised(self, scale: float) -> NDArray[np.int8]:
        """INT8 in steps of `scale`: multiplied, shifted and rounded once, cut, saturated.

        Raises ValueError where a scale cannot be written as a multiplier and a shift.
        """
        factors = [part.scale / scale for part in self.parts]
        shift = integer.shift_for(max(float(np.max(np.abs(each), initial=0.0)) for each in factors))
        total: NDArray[np.int64] = np.zeros((), np.int64)
        for part, factor in zip(self.parts, factors, strict=True):
            total = total + part.values.astype(np.int64) * integer.multiplied(factor, shift)
        low, high = (int(np.clip(np.rint(each / scale), *integer.INT8)) for each in (self.low, self.high))
        return integer.saturate(integer.shift_right(total, shift), (low, high)).astype(np.int8)


Value: TypeAlias = NDArray[np.generic] | Terms


class _NotInteger(Exception):
    """Why a layer has no integer form here."""


@dataclass
class Layers:
    """How the layers with work of their own were computed, by the names of their first outputs."""

    integer: set[str] = field(default_factory=set)
    table: set[str] = field(default_factory=set)
    floating: dict[str, str] = field(default_factory=dict)


class DlaRunner:
    """One Q/DQ model, ready to run; it answers as `quantize.session.Session` does.

    `output_steps` holds the scale of each output that comes out of a pair. `layers` fills with the first run.
    Raises InputError for a model without Q/DQ, with control flow, or that cannot be read, EnvironmentLacksError without
    onnxruntime.
    """

    def __init__(self, model: str | Path | onnx.ModelProto, shapes: Sequence[FixedShape] = ()) -> None:
        proto = as_model(model, shapes).whole() if isinstance(model, (str, Path)) else model
        if not has_qdq(proto):
            raise InputError(
                "the DLA's integers need scales in the file",
                expected="a model with Q/DQ",
                received="a model without",
                then="Write one with `dlaflow calibrate --qdq`, or from a cache with `dlaflow cache to-qdq`.",
            )
        looping = next((node.op_type for node in proto.graph.node if has_graph(node)), None)
        if looping:
            raise InputError("the DLA's integers end at control flow", expected="no If, Loop or Scan", received=looping)
        open_session(proto, SessionOptions())  # what onnxruntime refuses is refused before the first image
        self._graph = index(proto)
        self._kernels: dict[int, _Kernel] = {}
        self._constants: dict[str, NDArray[np.generic]] = {}
        self.inputs = network_inputs(proto)
        self.input_name = self.inputs[0].name
        self.shape = self.inputs[0].shape
        self.output_names = self._graph.outputs
        self.batch = next((each.batch for each in self.inputs if each.batch), None)
        self.layers = Layers()
        self._last = _last_readers(proto, self._graph.constants)

    @property
    def output_steps(self) -> dict[str, float]:
        """The scale of each output that a DequantizeLinear with one scale makes."""
        found = {}
        for name in self.output_names:
            node = self._graph.producer.get(name)
            if node is not None and node.op_type == "DequantizeLinear" and self._constant(node.input[1]).size == 1:
                found[name] = float(self._constant(node.input[1]).reshape(-1)[0])
        return found

    def run(self, batch: Batch) -> NDArray[np.float32]:
        """The first output for a batch of any length."""
        step = self.batch or len(batch)
        pieces = [self.run_all(batch[start : start + step])[0] for start in range(0, len(batch), step)]
        return np.concatenate(pieces)

    def run_all(self, batch: Batch) -> list[NDArray[np.float32]]:
        """All outputs for at most one fixed batch of images, in the order of `output_names`."""
        return [np.asarray(each, np.float32) for each in self.run_named(batch, self.output_names)]

    @property
    def quantised(self) -> list[str]:
        """The INT8 tensors of the network: what its QuantizeLinear nodes put out."""
        nodes = [node for node in self._graph.proto.graph.node if node.op_type == "QuantizeLinear"]
        return [node.output[0] for node in nodes if node.output[0] not in self._graph.constants]

    def run_named(self, batch: Batch, names: Sequence[str]) -> list[NDArray[np.generic]]:
        """These tensors for at most one fixed batch of images."""
        count, fed = len(batch), by_name(batch, self.inputs)
        missing = (self.batch or count) - count
        values: dict[str, Value] = {
            each.name: np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]).astype(each.dtype)
            for each, array in zip(self.inputs, fed.values(), strict=True)
        }
        for place, node in enumerate(self._graph.proto.graph.node):
            if not all(name in self._graph.constants for name in node.output if name):
                values.update(self._computed(place, node, values))
            for name in self._last.get(place, ()):
                if name not in names:
                    values.pop(name, None)
        found = [_real(values[name] if name in values else self._constant(name)) for name in names]
        return [each[:count] if missing else each for each in found]

    def _computed(self, place: int, node: onnx.NodeProto, values: Mapping[str, Value]) -> dict[str, Value]:
        known = [values[name] if name in values else self._constant(name) if name else None for name in node.input]
        rule = _RULES.get(node.op_type) or (_moved if node.op_type in _MOVES else None)
        terms = any(isinstance(each, Terms) for each in known)
        try:
            if rule is not None and (terms or node.op_type in {"QuantizeLinear", "DequantizeLinear", *integer.TABLES}):
                found = rule(_Layer(self, place, node, known))
                if node.op_type in integer.TABLES:
                    self.layers.table.add(node.output[0])
                elif node.op_type not in {"QuantizeLinear", "DequantizeLinear"}:
                    self.layers.integer.add(node.output[0])
                return dict(zip(node.output, found, strict=False))
            reason = f"{node.op_type} has no integer form here" if terms else "its input is in floating point"
        except (_NotInteger, ValueError) as error:
            reason = str(error)
        if node.op_type not in _SHAPES and (terms or any(_is_float(each) for each in known)):
            self.layers.floating.setdefault(node.output[0], f"{node.op_type}: {reason}")
        arrays = [None if each is None else _real(each) for each in known]
        return dict(zip(node.output, self.kernel(place, node).run(arrays), strict=True))

    def kernel(self, place: int, node: onnx.NodeProto) -> _Kernel:
        """onnxruntime with this node alone."""
        if place not in self._kernels:
            self._kernels[place] = _Kernel(node, self._graph.proto.opset_import)
        return self._kernels[place]

    def known(self, name: str) -> NDArray[np.generic] | None:
        """The value of a tensor that is known before run time; None for any other."""
        return self._constant(name) if name in self._graph.constants else None

    def is_fed(self, name: str) -> bool:
        """Whether a tensor is an input of the network."""
        return name in self._graph.inputs

    def _constant(self, name: str) -> NDArray[np.generic]:
        """The value of a tensor that is known before run time."""
        if name not in self._constants:
            stored = self._graph.value(name)
            if stored is None:
                node = self._graph.producer[name]
                arrays = [self._constant(each) if each else None for each in node.input]
                found = _Kernel(node, self._graph.proto.opset_import).run(arrays)
                self._constants.update(zip(node.output, found, strict=True))
            else:
                self._constants[name] = np.asarray(stored)
        return self._constants[name]

    def weights(self, name: str) -> tuple[NDArray[np.int32], NDArray[np.float64], int]:
        """INT8 weights with their scales and the axis of these. Raises _NotInteger where the file has no such pair."""
        node = self._graph.producer.get(name)
        if node is None or node.op_type != "DequantizeLinear":
            raise _NotInteger("its weights have no Q/DQ")
        values, scale = self._constant(node.input[0]), self._constant(node.input[1])
        shift = self._constant(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(1, np.int8)
        if values.dtype != np.int8 or np.any(shift):
            raise _NotInteger("its weights are not symmetric INT8")
        axis = next((each.i for each in node.attribute if each.name == "axis"), 1)
        return values.astype(np.int32), scale.astype(np.float64), int(axis)


@dataclass(frozen=True, eq=False)
class _Layer:
    """A node with the values of its inputs."""

    runner: DlaRunner
    place: int
    node: onnx.NodeProto
    inputs: Sequence[Value | None]

    def single(self, place: int) -> Part:
        """The whole numbers of an input. Raises _NotInteger for a sum, or values with several scales."""
        value = self.inputs[place] if place < len(self.inputs) else None
        part = value.single if isinstance(value, Terms) else None
        if part is None:
            raise _NotInteger("no Q/DQ pair stands before it")
        return part

    def like(self, *parts: Part) -> list[Value]:
        """The result, of the type that the first input has."""
        source = next(each for each in self.inputs if isinstance(each, Terms))
        return [Terms(parts, source.dtype)]

    def attribute(self, name: str, default: int) -> int:
        """A whole number among the attributes."""
        return int(next((each.i for each in self.node.attribute if each.name == name), default))

    def on_whole_numbers(self, arrays: Sequence[NDArray[np.generic] | None]) -> list[NDArray[np.int32]]:
        """The node on whole numbers in float32. The caller has seen to it that no result is beyond 2^24."""
        fed = [each.astype(np.float32) if each is not None and each.dtype == np.int32 else each for each in arrays]
        fed += [None] * (len(self.node.input) - len(fed))
        return [each.astype(np.int32) for each in self.runner.kernel(self.place, self.node).run(fed)]


def _quantize(layer: _Layer) -> list[Value]:
    value, scale = layer.inputs[0], layer.inputs[1]
    zero = layer.inputs[2] if len(layer.inputs) > 2 else None
    assert isinstance(scale, np.ndarray)
    if scale.size != 1 or not isinstance(zero, np.ndarray) or zero.dtype != np.int8 or np.any(zero):
        raise _NotInteger("not one scale for INT8 without a zero point, which is all that the DLA has")
    step = float(scale.reshape(-1)[0])
    if isinstance(value, Terms):
        return [value.quantised(step)]
    assert value is not None
    # Who feeds the network quantises as TensorRT and onnxruntime do, half to even; what the DLA made, it rounds itself.
    ratio = value.astype(np.float32) / np.float32(step)
    whole = np.rint(ratio) if layer.runner.is_fed(layer.node.input[0]) else np.trunc(ratio + np.copysign(0.5, ratio))
    return [np.clip(whole, *integer.INT8).astype(np.int8)]


def _dequantize(layer: _Layer) -> list[Value]:
    value, scale = layer.inputs[0], layer.inputs[1]
    zero = layer.inputs[2] if len(layer.inputs) > 2 else None
    assert isinstance(scale, np.ndarray)
    shifted = isinstance(zero, np.ndarray) and bool(np.any(zero))
    if not isinstance(value, np.ndarray) or value.dtype != np.int8 or scale.size != 1 or shifted:
        raise _NotInteger("not one scale for INT8 without a zero point, which is all that the DLA has")
    part = Part(value.astype(np.int32), scale.astype(np.float64).reshape(()))
    return [Terms((part,), scale.dtype)]


def _weighed(layer: _Layer) -> list[Value]:
    """Conv, ConvTranspose, Gemm and MatMul with constant weights: exact sums, a bias in steps of the accumulator."""
    source, (weights, scale, axis) = layer.single(0), layer.runner.weights(layer.node.input[1])
    kind = layer.node.op_type
    channels, along = _output_channels(layer, weights.ndim)
    if scale.size > 1 and axis % weights.ndim != channels:
        raise _NotInteger("the scales of its weights are not those of its output channels")
    step = source.scale * (scale.reshape(-1) if scale.size > 1 else scale.reshape(1))
    largest = int(np.max(np.abs(source.values), initial=0))
    others = tuple(each for each in range(weights.ndim) if each != channels)
    if kind == "ConvTranspose":
        others = tuple(range(weights.ndim))  # how many of its weights meet at a position depends on the strides
    sums = np.abs(weights).sum(axis=others, dtype=np.int64)
    if largest * int(np.max(sums, initial=0)) < _EXACT:
        total = layer.on_whole_numbers([source.values, weights])[0]
    else:
        halves = weights >> _LOW_BITS, weights & (2**_LOW_BITS - 1)
        if any(largest * int(np.max(np.abs(each).sum(axis=others), initial=0)) >= _EXACT for each in halves):
            raise _NotInteger("its sums are too long to be exact here")
        high, low = (layer.on_whole_numbers([source.values, each])[0] for each in halves)
        total = (high << _LOW_BITS) + low
    wide = (-1,) + (1,) * along
    bias = layer.inputs[2] if len(layer.inputs) > 2 else None
    if bias is not None:
        whole = integer.rounded_bias(_real(bias).astype(np.float32).reshape(-1), step)
        total = integer.saturate(total + (whole.reshape(wide) if whole.size > 1 else whole), integer.INT32).astype(
            np.int32
        )
    return layer.like(Part(total, step.reshape(wide) if step.size > 1 else step.reshape(())))


def _output_channels(layer: _Layer, rank: int) -> tuple[int, int]:
    """The axis of the weights that counts output channels, and how many axes of the output follow that one."""
    kind = layer.node.op_type
    if kind == "Conv":
        return 0, rank - 2
    if kind == "ConvTranspose":
        if layer.attribute("group", 1) != 1:
            raise _NotInteger("groups of a ConvTranspose share scales of other channels")
        return 1, rank - 2
    if rank != 2:
        raise _NotInteger("its weights are no matrix")
    if kind == "MatMul":
        return 1, 0
    plain = all(each.f == 1.0 for each in layer.node.attribute if each.name in {"alpha", "beta"})
    if not plain or layer.attribute("transA", 0):
        raise _NotInteger("a Gemm that scales or turns its input")
    return (0 if layer.attribute("transB", 0) else 1), 0


def _moved(layer: _Layer) -> list[Value]:
    part = layer.single(0)
    if np.max(np.abs(part.values), initial=0) >= _EXACT:
        raise _NotInteger("no Q/DQ pair stands before it")
    others = [None if each is None else _real(each) for each in layer.inputs[1:]]
    found = layer.on_whole_numbers([part.values, *others])
    return [value for each in found for value in layer.like(Part(each, part.scale))]


def _cut(layer: _Layer) -> list[Value]:
    """Relu and Clip: of whole numbers they are exact, and remembered until the next pair otherwise."""
    value = layer.inputs[0]
    assert isinstance(value, Terms)
    if value.high != np.inf or value.low != -np.inf:
        raise _NotInteger("it cuts what is cut already")
    part = value.parts[0]
    if layer.node.op_type == "Relu" and len(value.parts) == 1 and np.all(part.scale >= 0):
        return layer.like(replace(part, values=np.maximum(part.values, 0)))
    bounds = [0.0, np.inf]
    if layer.node.op_type == "Clip":
        given = [float(_real(each).reshape(-1)[0]) if each is not None else None for each in layer.inputs[1:]]
        stored = {each.name: float(each.f) for each in layer.node.attribute}
        low, high = (*given, None, None)[:2]
        bounds = [
            low if low is not None else stored.get("min", -np.inf),
            high if high is not None else stored.get("max", np.inf),
        ]
    return [replace(value, low=bounds[0], high=bounds[1])]


def _sum(layer: _Layer) -> list[Value]:
    first, second = layer.inputs[:2]
    if not isinstance(first, Terms) or not isinstance(second, Terms):
        raise _NotInteger("one of its inputs has no Q/DQ pair")
    if any(each.low != -np.inf or each.high != np.inf for each in (first, second)):
        raise _NotInteger("no Q/DQ pair stands behind the activation before it")
    sign = -1.0 if layer.node.op_type == "Sub" else 1.0
    return layer.like(*first.parts, *(replace(part, scale=sign * part.scale) for part in second.parts))


def _product(layer: _Layer) -> list[Value]:
    """Two INT8 tensors, or one and a constant, which the multiplier takes in."""
    if isinstance(layer.inputs[0], Terms) and isinstance(layer.inputs[1], Terms):
        first, second = layer.single(0), layer.single(1)
        return layer.like(Part(first.values * second.values, first.scale * second.scale))
    place = 0 if isinstance(layer.inputs[0], Terms) else 1
    part, factor = layer.single(place), layer.runner.known(layer.node.input[1 - place])
    if factor is None or np.broadcast_shapes(factor.shape, part.values.shape) != part.values.shape:
        raise _NotInteger("one of its inputs has no Q/DQ pair")
    return layer.like(Part(part.values, part.scale * factor.astype(np.float64)))


def _joined(layer: _Layer) -> list[Value]:
    parts = [layer.single(place) for place in range(len(layer.inputs))]
    axis = layer.attribute("axis", 1)
    values = np.concatenate([part.values for part in parts], axis=axis)
    if len({float(part.scale.reshape(())) for part in parts}) == 1:
        return layer.like(Part(values, parts[0].scale))
    shape = [1] * values.ndim
    scales = []
    for part in parts:
        shape[axis] = part.values.shape[axis]
        scales.append(np.broadcast_to(part.scale.reshape(()), shape))
    return layer.like(Part(values, np.concatenate(scales, axis=axis)))


def _averaged(layer: _Layer) -> list[Value]:
    """Windows over height and width, which all count as whole ones; their sums are exact."""
    part = layer.single(0)
    if part.values.ndim != _IMAGE_RANK:
        raise _NotInteger("no average over height and width")
    if layer.node.op_type == "GlobalAveragePool":
        height, width = part.values.shape[2:]
        sums = part.values.sum(axis=(2, 3), keepdims=True, dtype=np.int64)
    else:
        height, width = next(tuple(each.ints) for each in layer.node.attribute if each.name == "kernel_shape")
        means = layer.runner.kernel(layer.place, layer.node).run([part.values.astype(np.float32)])[0]
        padded = any(any(each.ints) for each in layer.node.attribute if each.name == "pads")
        texts = {each.s for each in layer.node.attribute if each.name == "auto_pad"}
        automatic = not texts <= {b"NOTSET", b"VALID"}
        if automatic or layer.attribute("ceil_mode", 0) or (padded and not layer.attribute("count_include_pad", 0)):
            raise _NotInteger("its windows at the border count fewer values")
        # The sum of a window is below 2^24, so that its mean tells it.
        sums = np.rint(means.astype(np.float64) * (height * width)).astype(np.int64)
    return layer.like(Part(integer.average(sums, width, height).astype(np.int32), part.scale))


def _looked_up(layer: _Layer) -> list[Value]:
    value = layer.inputs[0]
    assert value is not None
    real = _real(value)
    return [integer.from_table(layer.node.op_type, real).astype(real.dtype)]


_RULES: dict[str, Callable[[_Layer], list[Value]]] = {
    "QuantizeLinear": _quantize,
    "DequantizeLinear": _dequantize,
    **dict.fromkeys(_WEIGHED, _weighed),
    **dict.fromkeys(("Relu", "Clip"), _cut),
    **dict.fromkeys(("Add", "Sub"), _sum),
    "Mul": _product,
    "Concat": _joined,
    **dict.fromkeys(("AveragePool", "GlobalAveragePool"), _averaged),
    **dict.fromkeys(integer.TABLES, _looked_up),
}


class _Kernel:
    """onnxruntime with one node, opened for the types that come first."""

    def __init__(self, node: onnx.NodeProto, opsets: Sequence[onnx.OperatorSetIdProto]) -> None:
        self._node = node
        self._opsets = list(opsets)
        self._session: onnxruntime.InferenceSession | None = None
        self._types: tuple[np.dtype[np.generic], ...] = ()

    def run(self, arrays: Sequence[NDArray[np.generic] | None]) -> list[NDArray[np.generic]]:
        """The outputs of the node. Raises InputError for what onnxruntime refuses."""
        fed = {name: each for name, each in zip(self._node.input, arrays, strict=True) if name and each is not None}
        types = tuple(each.dtype for each in fed.values())
        if self._session is None or types != self._types:
            self._session, self._types = open_session(self._model(fed), SessionOptions()), types
        try:
            return [np.asarray(each) for each in self._session.run(None, fed)]
        except Exception as error:
            raise InputError(
                f"onnxruntime cannot compute {self._node.op_type} {self._node.name or self._node.output[0]}",
                expected="inputs that fit together",
                received=reason_of(error),
            ) from None

    def _model(self, fed: Mapping[str, NDArray[np.generic]]) -> onnx.ModelProto:
        from onnx import helper

        given = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(each.dtype), [None] * each.ndim)
            for name, each in fed.items()
        ]
        node = type(self._node)()
        node.CopyFrom(self._node)
        node.input[:] = [name if name in fed else "" for name in node.input]
        while not node.input[-1]:
            del node.input[-1]
        made = [helper.make_empty_tensor_value_info(name) for name in self._node.output if name]
        graph = helper.make_graph([node], "one", given, made)
        return helper.make_model(graph, opset_imports=self._opsets, ir_version=10)


def _real(value: Value) -> NDArray[np.generic]:
    return value.real() if isinstance(value, Terms) else value


def _is_float(value: Value | None) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def _last_readers(model: onnx.ModelProto, constants: frozenset[str]) -> dict[int, list[str]]:
    """The tensors that no node reads after the node at each place."""
    last = {name: place for place, node in enumerate(model.graph.node) for name in node.input if name}
    kept = constants | {value.name for value in model.graph.output}
    found: dict[int, list[str]] = {}
    for name, place in last.items():
        if name not in kept:
            found.setdefault(place, []).append(name)
    return found
