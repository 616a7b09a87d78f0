"""Equalise: channels that share one INT8 scale are brought to one range, and the weights behind them take it back.

    relu(W1 x + b1) W2 = relu((W1 x + b1) / s) (s W2)      for s > 0 a channel

That holds for more than a pair of layers. A *stretch* is all tensors that must be scaled together: what a convolution
makes goes on through ReLU, pooling, gates and sums (the whole residual stream), until convolutions or products read it.
Where all who make and read it are those, a factor for each of its channels changes nothing that the network computes.

Source: M. Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (ICCV 2019), with
measured ranges of activations, and over whole stretches instead of pairs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dlaflow.quantize.calibration import LEVELS
from dlaflow.quantize.model import Graph, add_constant
from dlaflow.quantize.qdq import weight_axis

if TYPE_CHECKING:
    import onnx

Floats = NDArray[np.float64]
_PASSES = frozenset({"Relu", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Identity"})
"""Operators that take each channel for itself, and c x to c f(x) for c > 0."""
_SUMS = frozenset({"Add", "Sub", "Sum", "Max", "Min"})
_GATES = frozenset({"Sigmoid", "HardSigmoid"})
_RANGE = 16.0
"""The most that a channel changes against their mean, since the channels of a layer share one shift (`cut_weights`): of
4, 16 and 100 the least that was as good as any in the DLA's integers (docs/calibrate.md)."""


@dataclass(frozen=True, eq=False)
class Stretch:
    """Tensors [n, channels, ...] that take one factor a channel, the layers that make and those that read them."""

    tensors: tuple[str, ...]
    makers: tuple[onnx.NodeProto, ...]
    readers: tuple[onnx.NodeProto, ...]


def layer_weight(graph: Graph, node: onnx.NodeProto) -> NDArray[np.float32] | None:
    """The weight of a convolution or product that may be given other values.

    None for a node of another form: computed or shared operands, factors before the sum, pads that are not told.
    """
    if node.op_type not in {"Conv", "Gemm"}:
        return None
    weight = graph.value(node.input[1])
    attributes = {attribute.name: attribute for attribute in node.attribute}
    odd = any(name in attributes and attributes[name].f != 1.0 for name in ("alpha", "beta"))
    odd = odd or ("auto_pad" in attributes and attributes["auto_pad"].s not in {b"NOTSET", b""})
    odd = odd or ("transA" in attributes and attributes["transA"].i == 1)
    shared = len(graph.consumers.get(node.input[1], ())) != 1
    bias = len(node.input) < 3 or not node.input[2] or graph.value(node.input[2]) is not None
    if weight is None or weight.dtype != np.float32 or odd or shared or not bias or weight.ndim not in (2, 4):
        return None
    return np.asarray(weight)


def groups_of(node: onnx.NodeProto) -> int:
    """The groups of a convolution; 1 for any other."""
    return next((int(each.i) for each in node.attribute if each.name == "group"), 1)


def stretches(graph: Graph) -> list[Stretch]:
    """All of a graph, in the order in which they begin."""
    sets = _Sets()
    makers: dict[str, onnx.NodeProto] = {}
    readers: list[tuple[str, onnx.NodeProto]] = []
    fixed: set[str] = {*graph.inputs, *graph.outputs}
    for node in graph.proto.graph.node:
        read = [name for name in node.input if graph.is_activation(name)]
        made = [name for name in node.output if name]
        if not read:
            continue
        gated = _gated(graph, node, read)
        if layer_weight(graph, node) is not None and read == [node.input[0]]:
            makers[made[0]] = node
            readers.append((read[0], node))
            sets.join(read)
            sets.join(made)
        elif node.op_type in _PASSES or _flattens(node) or _sums(graph, node, read):
            sets.join([*read, *made])
        elif gated:
            sets.join([gated, *made])
        else:
            fixed.update(read, made)
    found = []
    for tensors in sets.all():
        own = tuple(makers[name] for name in tensors if name in makers)
        behind = tuple(node for name, node in readers if name in tensors)
        complete = own and behind and not fixed.intersection(tensors)
        if complete and _fits(graph, own, behind):
            found.append(Stretch(tensors, own, behind))
    return found


class _Sets:
    """Disjoint sets of names."""

    def __init__(self) -> None:
        self._of: dict[str, dict[str, None]] = {}

    def join(self, names: Sequence[str]) -> None:
        """Put names, and all that they were joined with, into one set."""
        whole: dict[str, None] = {}
        for name in names:
            whole |= self._of.get(name, {name: None})
        for name in whole:
            self._of[name] = whole

    def all(self) -> Iterable[tuple[str, ...]]:
        """Each set once."""
        return [tuple(names) for names in {id(names): names for names in self._of.values()}.values()]


def _gated(graph: Graph, node: onnx.NodeProto, read: Sequence[str]) -> str:
    """What a product with a sigmoid scales (squeeze and excite); "" for any other node."""
    if node.op_type != "Mul" or len(read) != 2:
        return ""
    gates = [name for name in read if name in graph.producer and graph.producer[name].op_type in _GATES]
    return next(name for name in read if name not in gates) if len(gates) == 1 else ""


def _sums(graph: Graph, node: onnx.NodeProto, read: Sequence[str]) -> bool:
    return node.op_type in _SUMS and [*node.input] == read and len({graph.ranks.get(name) for name in read}) == 1


def _flattens(node: onnx.NodeProto) -> bool:
    return node.op_type == "Flatten" and all(each.i == 1 for each in node.attribute if each.name == "axis")


def _channels(graph: Graph, node: onnx.NodeProto, axis: int) -> int:
    """How many channels a layer makes (axis 0) or reads (axis 1)."""
    weight = graph.value(node.input[1])
    assert weight is not None
    shape = np.moveaxis(weight, weight_axis(node), 0).shape
    return int(shape[0] if axis == 0 else shape[1] * groups_of(node))


def _fits(graph: Graph, makers: Iterable[onnx.NodeProto], readers: Iterable[onnx.NodeProto]) -> bool:
    """Whether all make as many channels, and all read so many, or so many values for each."""
    counts = {_channels(graph, node, 0) for node in makers}
    if len(counts) != 1:
        return False
    count = counts.pop()
    return all(
        (read := _channels(graph, node, 1)) == count or (node.op_type == "Gemm" and read % count == 0)
        for node in readers
    )


def equalise(graph: Graph, stretch: Stretch, ranges: Mapping[str, Floats]) -> None:
    """Bring the `ranges` of a stretch together, in place: the largest magnitudes [channels] of tensors that exist.

    Half of the way, for all inputs of a product share one scale for their weights; a depthwise layer has one for each
    channel, and where none but those read, it is all the way.
    """
    count = _channels(graph, stretch.makers[0], 0)
    # A tensor that was flattened has several values a channel.
    known = [ranges[name].reshape(count, -1).max(axis=1) for name in stretch.tensors if name in ranges]
    widest = np.max(known, axis=0) if known else np.zeros(count)
    if not (widest > 0).any():
        return
    wanted = np.maximum(widest, 1e-12)
    if any(_channels(graph, node, 1) != groups_of(node) for node in stretch.readers):
        columns = np.max([_columns(graph, node, count) for node in stretch.readers], axis=0)
        wanted = np.sqrt(wanted / np.maximum(columns, 1e-12))
    wanted[widest <= 0] = np.median(wanted[widest > 0])
    factor = np.clip(wanted / np.exp(np.log(wanted).mean()), 1 / _RANGE, _RANGE)
    for node in stretch.makers:
        axis = weight_axis(node)
        weight = np.moveaxis(_operand(graph, node, 1), axis, -1) / factor
        replace_operand(graph, node, 1, np.moveaxis(weight, -1, axis))
        if len(node.input) > 2 and node.input[2]:
            replace_operand(graph, node, 2, _operand(graph, node, 2) / factor)
    for node in stretch.readers:
        axis = weight_axis(node)
        weight = np.moveaxis(_operand(graph, node, 1), axis, 0)
        grouped = _grouped(node, weight, count) * factor.reshape(groups_of(node), 1, -1, 1)
        replace_operand(graph, node, 1, np.moveaxis(grouped.reshape(weight.shape), 0, axis))


def cut_weights(graph: Graph, scales: Mapping[str, float], kept: Collection[str]) -> None:
    """Cut weights by which one step of the input already fills all of INT8 at the output; those of `kept` nodes stay.

    Channels that are hardly ever fed have them, of any size, and the multipliers of a layer's other channels lose as
    many bits on the DLA: they share one shift with the largest.
    """
    for node in graph.proto.graph.node:
        weight = layer_weight(graph, node)
        if weight is None or node.name in kept:
            continue
        entering, leaving = scales.get(node.input[0], 0.0), scales.get(node.output[0], 0.0)
        if not entering or not leaving:
            continue
        most = LEVELS * leaving / entering
        if np.abs(weight).max() > most:
            replace_operand(graph, node, 1, np.clip(_operand(graph, node, 1), -most, most))


def _grouped(node: onnx.NodeProto, weight: Floats, count: int) -> Floats:
    """A weight [out, in / groups, ...] as [groups, out / groups, channels / groups, values a channel]."""
    groups = groups_of(node)
    return weight.reshape(groups, len(weight) // groups, count // groups, -1)


def _columns(graph: Graph, node: onnx.NodeProto, count: int) -> Floats:
    """The largest share [channels] that each channel's weights have of the largest of their row."""
    weight = np.abs(np.moveaxis(_operand(graph, node, 1), weight_axis(node), 0))
    largest = _grouped(node, weight, count).max(axis=3)
    rows = np.maximum(largest.max(axis=2, keepdims=True), 1e-30)
    found: Floats = (largest / rows).max(axis=1).reshape(-1)
    return found


def _operand(graph: Graph, node: onnx.NodeProto, position: int) -> Floats:
    value = graph.value(node.input[position])
    assert value is not None
    return np.asarray(value, np.float64)


def replace_operand(graph: Graph, node: onnx.NodeProto, position: int, value: Floats) -> None:
    """Give an operand of a node another value; its old one goes where nothing else reads it."""
    from onnx import numpy_helper

    name = node.input[position] if position < len(node.input) else ""
    stored, narrowed = graph.stored.get(name), np.ascontiguousarray(value, np.float32)
    if stored is not None and len(graph.consumers.get(name, ())) == 1:
        stored.CopyFrom(numpy_helper.from_array(narrowed, name))
        return
    fresh = add_constant(graph.proto, f"{node.output[0]}.recovered{position}", narrowed)
    if position < len(node.input):
        node.input[position] = fresh
    else:
        node.input.append(fresh)
