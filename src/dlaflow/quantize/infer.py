"""Scales that follow from the operators, for tensors that a quantised model has no pair around.

*Bounded* ones clip nothing that the network computes: a sigmoid stays below 1, a mean below the values that it is of, a
product below the product of its factors; and what goes into a Concat or a ReLU needs no more range than what comes out.
*Guessed* ones go back through an operator that shrinks its values (a mean, a gate): they may clip, and whoever asks for
them is told. Both give one scale where the DLA wants one: around pooling, Concat and an element-wise sum.

Sources: the operators' definitions; NVIDIA's qdq-translator (Deep-Learning-Accelerator-SW, tools/qdq-translator) for
which operators a cache needs them at.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dlaflow.quantize.calibration import LEVELS
from dlaflow.quantize.model import Graph
from dlaflow.quantize.plan import TIED_INPUTS, Plan, clip_ends

if TYPE_CHECKING:
    import onnx

_AT_MOST_ONE = frozenset({"Sigmoid", "HardSigmoid", "Tanh", "Softmax", "Softsign", "Erf", "Sin", "Cos"})
_SHRINKS = frozenset(
    {"Relu", "LeakyRelu", "HardSwish", "Gelu", "Mish", "GlobalAveragePool", "ReduceMean", "Abs", "Neg"}
    | {"ReduceMax", "ReduceMin", "Pad", "Upsample", "Resize", "Clip", "MaxPool", "AveragePool", "GlobalMaxPool"}
)
"""Operators with no output larger than their largest input, in magnitude."""
_NEEDS_NO_MORE = frozenset({"Relu", "Abs", "Neg", "Pad", "Clip"})
"""Operators whose input may be clipped where their output is: that loses nothing more."""
_GATES = frozenset({"Sigmoid", "HardSigmoid"})
_ROUNDS = 60
"""Doublings and halvings until a float64 is found."""


@dataclass(frozen=True, slots=True)
class Inferred:
    """A scale, what it follows from in words, and whether it may clip."""

    scale: float
    origin: str
    may_clip: bool


def infer_scales(graph: Graph, tensors: Plan, known: Mapping[str, float], *, guess: bool) -> dict[str, Inferred]:
    """Scales for what `known` lacks of `tensors`, as far as they follow; with `guess` also those that may clip."""
    return _Inference(graph, tensors, known).run(guess=guess)


def fill(graph: Graph, tensors: Plan, own: Mapping[str, float], measured: Mapping[str, float]) -> dict[str, float]:
    """What `measured` says of tensors that `own` lacks, with one scale where the DLA wants one.

    A scale of 0, NaN or infinity says that a calibration broke down: such a tensor was not measured.

    A quantised model's own scales stay: it was trained with them. Beside them a measured operand of a sum takes theirs
    when it fits, and what goes into a Concat takes that of its output.
    """
    found = {
        name: measured[name] for name in tensors.tensors if name not in own and 0 < measured.get(name, 0.0) < math.inf
    }
    for node in graph.proto.graph.node:
        if node.op_type == "Concat" and node.output[0] in own:
            found.update({name: own[node.output[0]] for name in node.input if name in found})
    for group in tensors.tied:
        widest = max((own[name] for name in group if name in own), default=0.0)
        found.update({name: widest for name in group if name in found and found[name] < widest})
    for family in tensors.families:
        known = [found[name] for name in family if name in found]
        found.update({name: max(known) for name in family if known and name not in own})
    return found


class _Inference:
    def __init__(self, graph: Graph, tensors: Plan, known: Mapping[str, float]) -> None:
        self._graph = graph
        self._known = dict(known)
        self._family = {name: family for family in tensors.families for name in family}
        self._found: dict[str, Inferred] = {}

    def run(self, *, guess: bool) -> dict[str, Inferred]:
        nodes = list(self._graph.proto.graph.node)
        more = True
        while more:
            # All that is certain comes before the next guess; guesses go from the end of the network to its start.
            certain = [self._apply(node, self._bounded) for node in nodes]
            certain += [self._apply(node, self._bounded_back) for node in reversed(nodes)]
            more = any(certain) or (guess and any(self._apply(node, self._guessed) for node in reversed(nodes)))
        return self._found

    def _apply(self, node: onnx.NodeProto, rule: Callable[[onnx.NodeProto], Iterator[tuple[str, float]]]) -> bool:
        """Take what a rule says of a node's tensors; whether any of it was new."""
        new = False
        for name, scale in rule(node):
            kept = float(np.float32(scale))
            if name in self._known or name not in self._family or not 0 < kept < math.inf:
                continue
            origin = f"{node.op_type} {node.name or node.output[0]}"
            found = Inferred(kept, origin, may_clip=rule == self._guessed)
            fresh = [member for member in self._family[name] if member not in self._known]
            self._known.update(dict.fromkeys(fresh, kept))
            self._found.update(dict.fromkeys(fresh, found))
            new = True
        return new

    def _bounded(self, node: onnx.NodeProto) -> Iterator[tuple[str, float]]:
        """The output from the inputs."""
        largest = [self._largest(name) for name in node.input if name]
        known = [value for value in largest if value is not None]
        if node.op_type in _AT_MOST_ONE:
            yield node.output[0], 1 / LEVELS
        elif node.op_type == "Clip":
            first = largest[0] if self._shrinks(node) else None
            yield node.output[0], min(self._clip_bound(node), math.inf if first is None else first) / LEVELS
        elif node.op_type in _SHRINKS and self._shrinks(node) and known[:1] == largest[:1]:
            yield node.output[0], known[0] / LEVELS
        elif len(known) == len(node.input) and node.op_type in {"Concat", "Max", "Min"}:
            yield node.output[0], max(known) / LEVELS
        elif len(known) == len(node.input) and node.op_type == "Mul":
            yield node.output[0], math.prod(known) / LEVELS

    def _bounded_back(self, node: onnx.NodeProto) -> Iterator[tuple[str, float]]:
        """The inputs from the output, where clipping them changes nothing behind the node or beside it."""
        behind = self._known.get(node.output[0])
        if behind is not None and node.op_type == "Concat":
            yield from ((name, behind) for name in node.input if self._graph.read_once(name))
        elif behind is not None and node.op_type in _NEEDS_NO_MORE and self._shrinks(node):
            yield from ((name, behind) for name in node.input[:1] if self._graph.read_once(name))

    def _guessed(self, node: onnx.NodeProto) -> Iterator[tuple[str, float]]:
        """What may clip: back through means and gates, and one scale for all operands of a Concat or a sum."""
        behind = self._known.get(node.output[0])
        tied = [*node.input, *node.output] if node.op_type == "Concat" else list(node.input)
        known = [scale for name in tied if (scale := self._known.get(name)) is not None]
        if known and node.op_type in TIED_INPUTS | {"Concat"}:
            yield from ((name, max(known)) for name in tied)
        if behind is None or not node.input:
            return
        source, largest = node.input[0], behind * LEVELS
        own = node.output[0] not in self._found
        if node.op_type == "Mul" and len(node.input) == len({*node.input}):
            yield from self._factors(node, behind)
        elif node.op_type in {"Sigmoid", "Tanh"} and own and largest < 1:
            yield source, math.atanh(largest) / LEVELS if node.op_type == "Tanh" else _logit(largest) / LEVELS
        elif node.op_type in _SHRINKS:
            yield source, behind

    def _factors(self, node: onnx.NodeProto, behind: float) -> Iterator[tuple[str, float]]:
        """The factors of a product: x of x * gate(x) by solving for it, else the output over the other factor."""
        for name, other in (tuple(node.input), tuple(node.input)[::-1]):
            gate = self._graph.producer.get(other)
            if gate is not None and gate.op_type in _GATES and gate.input[0] == name:
                yield name, _solve(_gated(gate), behind * LEVELS) / LEVELS
            elif (scale := self._known.get(other)) is not None:
                yield name, behind / scale / LEVELS

    def _largest(self, name: str) -> float | None:
        """The largest magnitude of an operand: a constant's own, or what 127 stands for."""
        if (value := self._graph.value(name)) is not None:
            return float(np.abs(np.asarray(value, np.float64)).max()) if value.size else None
        scale = self._known.get(name)
        return None if scale is None else scale * LEVELS

    def _shrinks(self, node: onnx.NodeProto) -> bool:
        """Whether this node's attributes keep the promise of its operator."""
        attributes = {attribute.name: attribute for attribute in node.attribute}
        if node.op_type == "Resize":
            return "mode" not in attributes or attributes["mode"].s in {b"nearest", b"linear"}
        if node.op_type == "LeakyRelu":
            return "alpha" not in attributes or abs(attributes["alpha"].f) <= 1
        if node.op_type == "Pad":
            filled = node.input[2] if len(node.input) > 2 else ""
            value = self._graph.value(filled) if filled else None
            own = attributes["value"].f if "value" in attributes else 0.0
            return own == 0.0 and (not filled or (value is not None and not np.any(value)))
        low, high = clip_ends(self._graph, node) if node.op_type == "Clip" else (0.0, 0.0)
        return low <= 0 <= high

    def _clip_bound(self, node: onnx.NodeProto) -> float:
        """The largest magnitude that a Clip lets through; infinite when one of its ends is open or computed."""
        low, high = clip_ends(self._graph, node)
        return max(abs(low), abs(high)) if low <= high else math.inf


def _logit(share: float) -> float:
    """The magnitude whose sigmoid is `share`, or one minus it."""
    return abs(math.log(share / (1 - share)))


def _gated(gate: onnx.NodeProto) -> Callable[[float], float]:
    """x * gate(x) for x above 0, where it grows."""
    if gate.op_type == "Sigmoid":
        return lambda x: x / (1 + math.exp(-x))
    given = {attribute.name: attribute.f for attribute in gate.attribute}
    alpha, beta = given.get("alpha", 0.2), given.get("beta", 0.5)
    return lambda x: x * min(1.0, max(0.0, alpha * x + beta))


def _solve(grows: Callable[[float], float], wanted: float) -> float:
    """x above 0 with grows(x) = wanted, by doubling and halving."""
    high = max(wanted, 1e-30)
    for _ in range(_ROUNDS):
        if grows(high) >= wanted:
            break
        high *= 2
    low = 0.0
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        low, high = (middle, high) if grows(middle) < wanted else (low, middle)
    return high
