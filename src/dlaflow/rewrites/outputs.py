"""What the outputs of a model are made of, so that a proof measures each part by itself.

An output is followed back through what only moves values. Where it is a Concat, each operand is a part (boxes in pixels
beside scores in 0..1). Where a part is made by a function that hides what it reads, since it ends at an asymptote (a
Sigmoid of -40 is 0 whatever the error), that is watched too, moved in the same way: `y before Sigmoid`.

Where an output follows from a decision (ArgMax, NonMaxSuppression, a comparison), rounding may turn that. What enters
the nodes from the first decision on is watched, and tells all where both models hold the same nodes there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import onnx
from numpy.typing import NDArray

from dlaflow.graph.verify import outer_names
from dlaflow.rewrites.draft import Draft, integer, ints, softmax_axis
from dlaflow.rewrites.motions import RESHAPES

Places = NDArray[np.int16]
_MOVES = RESHAPES | {"Transpose", "Identity"}
_ENDS: dict[str, tuple[float | None, float | None]] = {
    "Sigmoid": (0.0, 1.0), "HardSigmoid": (0.0, 1.0), "Tanh": (-1.0, 1.0), "Softsign": (-1.0, 1.0), "Erf": (-1.0, 1.0),
    "Relu": (0.0, None), "Softmax": (None, None), "LogSoftmax": (None, None),
}  # fmt: skip
"""The functions that hide their input, with the values that they end at."""
_DECISIONS = frozenset(
    {"ArgMax", "ArgMin", "TopK", "NonMaxSuppression", "NonZero", "Hardmax", "Greater", "Less", "GreaterOrEqual"}
    | {"LessOrEqual", "Equal", "Round", "Floor", "Ceil", "Sign", "Unique", "Compress"}
)
_MOST_ENTERING = 16
"""Where more enters, the decisions stand at the start of the network, not at its end."""
_MOST_PLACES = 1 << 26
"""Elements of an output that are told apart by where they come from."""
_DEEPEST = 3
"""How many Concats of Concats are taken apart."""


@dataclass(frozen=True)
class Part:
    """One part of an output: its name in reports, the function that makes it (or none) and where that ends.

    `axis` is that of the classes behind a Softmax which nothing moves, None elsewhere.
    """

    label: str
    function: str = ""
    low: float | None = None
    high: float | None = None
    axis: int | None = None

    @property
    def reach(self) -> float | None:
        """The largest absolute value that the function can have, where it has one."""
        return None if self.low is None or self.high is None else max(abs(self.low), abs(self.high))


@dataclass(frozen=True, eq=False)
class Watch:
    """What a proof looks at.

    `parts` are those of each output; `places` holds, for an output of several parts, the number of the part that each
    element belongs to. `hidden` names the tensors before the last functions, which `draft` makes as well. `decided` are
    the outputs behind a decision.
    """

    draft: Draft
    parts: Mapping[str, tuple[Part, ...]]
    places: Mapping[str, Places]
    hidden: Mapping[str, str]
    decided: Mapping[str, Decided]


@dataclass(frozen=True)
class Decided:
    """The nodes of an output from its first decisions on, with their constants, and the labels of what enters them."""

    nodes: tuple[bytes, ...]
    constants: tuple[bytes, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class _Leaf:
    """Where following ends: the node that makes the values, and the moves between it and the output or a Concat.

    `behind` are the moves behind that Concat, of which a transpose can be repeated for one operand alone.
    """

    maker: onnx.NodeProto | None
    moves: tuple[onnx.NodeProto, ...]
    behind: tuple[onnx.NodeProto, ...] = ()


def watch(draft: Draft) -> Watch:
    """Take the outputs of a draft apart."""
    parts: dict[str, tuple[Part, ...]] = {}
    places: dict[str, Places] = {}
    hidden: dict[str, str] = {}
    nodes, types = list(draft.nodes), dict(draft.types)
    for output in draft.outputs:
        leaves, where = _followed(draft, output, (), _DEEPEST)
        labels = [output] if len(leaves) == 1 else [f"{output}[{number}]" for number in range(len(leaves))]
        parts[output] = tuple(_part(label, leaf, draft.opset) for label, leaf in zip(labels, leaves, strict=True))
        if where is not None and len(leaves) > 1:
            places[output] = where
        for part, leaf in zip(parts[output], leaves, strict=True):
            if leaf.maker is None or not part.function:
                continue
            label, name = f"{part.label} before {part.function}", leaf.maker.input[0]
            for move in leaf.moves:
                again = onnx.NodeProto()
                again.CopyFrom(move)
                again.name = f"{label}/{len(nodes)}"
                again.input[0], again.output[0] = name, again.name
                types[again.name] = types[move.output[0]]
                nodes.append(again)
                name = again.name
            shape = types[name].shape if name in types else None
            if shape is not None and all(move.op_type == "Transpose" for move in leaf.behind):
                for move in leaf.behind:
                    perm = ints(move, "perm", tuple(reversed(range(len(shape)))))
                    shape = tuple(shape[axis] for axis in perm)
                    turned = f"{label}/{len(nodes)}"
                    nodes.append(onnx.helper.make_node("Transpose", [name], [turned], name=turned, perm=perm))
                    types[turned] = replace(types[name], shape=shape)
                    name = turned
            hidden[label] = name
    decided: dict[str, Decided] = {}
    for output in draft.outputs:
        behind, entering = _from_decisions(draft, output)
        if behind and len(entering) <= _MOST_ENTERING:
            found = {f"{name} before {op}": name for name, op in entering.items()}
            hidden |= found
            used = sorted({name for node in behind for name in node.input if name in draft.weights})
            decided[output] = Decided(
                tuple(node.SerializeToString() for node in behind),
                tuple(draft.weights[name].tobytes() for name in used),
                tuple(found),
            )
    return Watch(replace(draft, nodes=tuple(nodes), types=types), parts, places, hidden, decided)


def _from_decisions(draft: Draft, output: str) -> tuple[list[onnx.NodeProto], dict[str, str]]:
    """The nodes that make an output from its first decisions on; the tensors that enter them, with a reader's kind."""
    needed, behind, made = {output}, [], set[str]()
    for node in reversed(draft.nodes):
        if needed.intersection(node.output):
            needed.update((*node.input, *outer_names(node)))
    for node in draft.nodes:
        if needed.intersection(node.output) and (node.op_type in _DECISIONS or made.intersection(node.input)):
            behind.append(node)
            made.update(node.output)
    known = {*made, *draft.weights, *draft.inputs, ""}
    return behind, {name: node.op_type for node in reversed(behind) for name in node.input if name not in known}


def _part(label: str, leaf: _Leaf, opset: int) -> Part:
    maker = leaf.maker
    if maker is None or maker.op_type not in _ENDS or maker.domain not in ("", "ai.onnx"):
        return Part(label)
    softmax = "Softmax" in maker.op_type and not leaf.moves
    axis = softmax_axis(maker, opset) if softmax else None
    return Part(label, maker.op_type, *_ENDS[maker.op_type], axis=axis)


def _followed(
    draft: Draft, name: str, moves: tuple[onnx.NodeProto, ...], depth: int, behind: tuple[onnx.NodeProto, ...] = ()
) -> tuple[list[_Leaf], Places | None]:
    """The leaves behind a tensor, and for each of its elements the number of its leaf; None where a shape is open."""
    node, shape = draft.producers.get(name), draft.shape(name)
    if node is not None and shape is not None and node.domain in ("", "ai.onnx"):
        known = all(draft.shape(each) is not None and each not in draft.weights for each in node.input[:1])
        if node.op_type in _MOVES and known:
            leaves, where = _followed(draft, node.input[0], (node, *moves), depth, behind)
            if where is None or node.op_type == "Transpose":
                perm = ints(node, "perm", tuple(reversed(range(len(shape)))))
                return leaves, None if where is None else where.transpose(perm)
            return leaves, where.reshape(shape) if where.size == prod(shape) else None
        if node.op_type == "Concat" and depth and all(draft.shape(each) is not None for each in node.input):
            leaves, pieces = [], []
            for operand in node.input:
                found, where = _followed(draft, operand, (), depth - 1, (*moves, *behind))
                if where is not None and prod(shape) <= _MOST_PLACES:
                    pieces.append(where + np.int16(len(leaves)))
                leaves += found
            if len(pieces) == len(node.input):
                return leaves, np.concatenate(pieces, integer(node, "axis", 1))
    # A view of one zero: a shape of a few bytes in the file may ask for gigabytes.
    return [_Leaf(node, moves, behind)], None if shape is None else np.broadcast_to(np.int16(0), shape)
