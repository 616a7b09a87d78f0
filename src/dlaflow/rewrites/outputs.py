"""What the outputs of a model are made of, so that a proof measures each part by itself.

An output is followed back through what only moves values. Where it is a Concat, each operand is a part (boxes in pixels
beside scores in 0..1). Where a part is made by a function that hides what it reads, since it ends at an asymptote (a
Sigmoid of -40 is 0 whatever the error), that is watched too, moved in the same way: `y before Sigmoid`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx
from numpy.typing import NDArray

from dlaflow.rewrites.draft import Draft, integer, ints
from dlaflow.rewrites.motions import RESHAPES

Places = NDArray[np.int16]
_MOVES = RESHAPES | {"Transpose", "Identity"}
_ENDS: dict[str, tuple[float | None, float | None]] = {
    "Sigmoid": (0.0, 1.0), "HardSigmoid": (0.0, 1.0), "Tanh": (-1.0, 1.0), "Softsign": (-1.0, 1.0), "Erf": (-1.0, 1.0),
    "Relu": (0.0, None), "Softmax": (None, None), "LogSoftmax": (None, None),
}  # fmt: skip
"""The functions that hide their input, with the values that they end at."""
_DEEPEST = 3
"""How many Concats of Concats are taken apart."""


@dataclass(frozen=True)
class Part:
    """One part of an output: its name in reports, the function that makes it (or none) and where that ends."""

    label: str
    function: str = ""
    low: float | None = None
    high: float | None = None

    @property
    def reach(self) -> float | None:
        """The largest absolute value that the function can have, where it has one."""
        return None if self.low is None or self.high is None else max(abs(self.low), abs(self.high))


@dataclass(frozen=True, eq=False)
class Watch:
    """What a proof looks at.

    `parts` are those of each output; `places` holds, for an output of several parts, the number of the part that each
    element belongs to. `hidden` names the tensors before the last functions, which `draft` makes as well.
    """

    draft: Draft
    parts: Mapping[str, tuple[Part, ...]]
    places: Mapping[str, Places]
    hidden: Mapping[str, str]


@dataclass(frozen=True)
class _Leaf:
    """Where following ends: the node that makes the values, and the moves between it and the output or a Concat."""

    maker: onnx.NodeProto | None
    moves: tuple[onnx.NodeProto, ...]


def watch(draft: Draft) -> Watch:
    """Take the outputs of a draft apart."""
    parts: dict[str, tuple[Part, ...]] = {}
    places: dict[str, Places] = {}
    hidden: dict[str, str] = {}
    nodes, types = list(draft.nodes), dict(draft.types)
    for output in draft.outputs:
        leaves, where = _followed(draft, output, (), _DEEPEST)
        labels = [output] if len(leaves) == 1 else [f"{output}[{number}]" for number in range(len(leaves))]
        parts[output] = tuple(_part(label, leaf.maker) for label, leaf in zip(labels, leaves, strict=True))
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
            hidden[label] = name
    return Watch(replace(draft, nodes=tuple(nodes), types=types), parts, places, hidden)


def _part(label: str, maker: onnx.NodeProto | None) -> Part:
    if maker is None or maker.op_type not in _ENDS or maker.domain not in ("", "ai.onnx"):
        return Part(label)
    return Part(label, maker.op_type, *_ENDS[maker.op_type])


def _followed(
    draft: Draft, name: str, moves: tuple[onnx.NodeProto, ...], depth: int
) -> tuple[list[_Leaf], Places | None]:
    """The leaves behind a tensor, and for each of its elements the number of its leaf; None where a shape is open."""
    node, shape = draft.producers.get(name), draft.shape(name)
    if node is not None and shape is not None and node.domain in ("", "ai.onnx"):
        known = all(draft.shape(each) is not None and each not in draft.weights for each in node.input[:1])
        if node.op_type in _MOVES and known:
            leaves, where = _followed(draft, node.input[0], (node, *moves), depth)
            if where is not None and node.op_type == "Transpose":
                return leaves, where.transpose(ints(node, "perm", tuple(reversed(range(where.ndim)))))
            return leaves, None if where is None else where.reshape(shape)
        if node.op_type == "Concat" and depth and all(draft.shape(each) is not None for each in node.input):
            leaves, pieces = [], []
            for operand in node.input:
                found, where = _followed(draft, operand, (), depth - 1)
                if where is not None:
                    pieces.append(where + np.int16(len(leaves)))
                leaves += found
            if len(pieces) == len(node.input):
                return leaves, np.concatenate(pieces, integer(node, "axis", 1))
    return [_Leaf(node, moves)], None if shape is None else np.zeros(shape, np.int16)
