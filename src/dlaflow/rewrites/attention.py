"""Attention → one piece that stays on the GPU, so that a network leaves the DLA once for it and not at each product.

    softmax(Q K s) V        on (N, heads, L, d) becomes the same on (N, 1, heads, L, d)

The DLA has no product of two activations, yet it takes the scale, the softmax and the transposes between the two, so
that TensorRT goes to the GPU, back, and there again. It takes nothing of five dimensions. What makes Q, K and V out of
one tensor (splits, transposes, a scale) gets the fifth dimension too, so that one tensor leaves instead of three.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx

from dlaflow.graph.tensor_type import TensorType
from dlaflow.rewrites.base import Bounds, Match, Rewrite
from dlaflow.rewrites.draft import SOFTMAX_ON_ONE_AXIS, Draft, Edit, Shape, Value, integer, softmax_axis
from dlaflow.rewrites.transposed import UNARY, perm_of

_SCALES = frozenset({"Mul", "Div", "Add", "Sub", "Where", "Min", "Max"})
_MIDDLE = _SCALES | UNARY | {"Softmax", "Transpose", "Cast"}
_LONGEST = 12
"""Operators between the two products: a scale, a mask, a softmax, a transpose and their kind."""


class Attention(Rewrite):
    """The two products of an attention and what stands between them run on the GPU in one piece."""

    id = "attention"
    answers = ("DLA190",)
    operators = ("MatMul",)

    def match(self, draft: Draft, node: onnx.NodeProto, bounds: Bounds) -> Match:
        if not _is_product(draft, node) or not any(_from_product(draft, name) for name in node.input):
            return None
        edit = Edit(draft, [node])
        made = _Lifted(edit).tensor(node.output[0], _LONGEST)
        return edit.finish(made, node.output[0]) if made else None


def _is_product(draft: Draft, node: onnx.NodeProto) -> bool:
    """A product of two activations of four dimensions."""
    computed = [name for name in node.input if name not in draft.weights and len(draft.shape(name) or ()) == 4]
    return node.op_type == "MatMul" and len(computed) == 2 and len(draft.shape(node.output[0]) or ()) == 4


def _from_product(draft: Draft, name: str) -> bool:
    """Whether a tensor comes from another such product, by operators that the DLA may take."""
    for _ in range(_LONGEST):
        maker = draft.producers.get(name)
        if maker is None or maker.domain not in ("", "ai.onnx"):
            return False
        if maker.op_type == "MatMul":
            return _is_product(draft, maker)
        data = [each for each in maker.input if each and each not in draft.weights]
        if maker.op_type not in _MIDDLE or not data or draft.only_reader(maker.output[0]) is None:
            return False
        name = data[0]
    return False


@dataclass
class _Lifted:
    """The tensors of an attention in five dimensions: (N, H, a, b) as (N, 1, H, a, b)."""

    edit: Edit
    made: dict[str, str] = field(default_factory=dict)

    def tensor(self, name: str, depth: int) -> str:
        """A tensor in five dimensions: made anew by its operator, reshaped where that is none of an attention."""
        if name not in self.made:
            node = self.edit.draft.producers.get(name)
            if not (node is not None and depth and node.domain in ("", "ai.onnx") and self._again(node, depth - 1)):
                self._reshaped(name)
        return self.made[name]

    def _reshaped(self, name: str) -> None:
        draft, (n, *rest) = self.edit.draft, self.edit.draft.shape(name) or ()
        node = draft.producers.get(name)
        reshapes = node is not None and node.op_type in ("Reshape", "Unsqueeze", "Squeeze", "Flatten")
        source = str(node.input[0]) if node is not None and reshapes else name
        shape = (n, 1, *rest)
        weight = self.edit.weight("shape", np.array(shape, np.int64))
        self.made[name] = self.edit.add("Reshape", [source, weight], shape)

    def _again(self, node: onnx.NodeProto, depth: int) -> bool:
        """Append the operator in five dimensions; whether it is one of those that are known."""
        draft, op = self.edit.draft, node.op_type
        shape = draft.shape(node.output[0])
        if shape is None or len(shape) != 4:
            return False
        if op == "MatMul":
            if not _is_product(draft, node):
                return False
            self._add(node, [self.tensor(name, depth) for name in node.input], shape)
        elif op == "Transpose":
            perm = perm_of(node, 4)
            if perm[:1] != (0,):
                return False
            lifted = [0, 1, *(axis + 1 for axis in perm[1:])]
            self._add(node, [self.tensor(node.input[0], depth)], shape, perm=lifted)
        elif op == "Softmax":
            axis = softmax_axis(node, draft.opset) % 4
            if draft.opset < SOFTMAX_ON_ONE_AXIS and axis != 3:
                return False
            self._add(node, [self.tensor(node.input[0], depth)], shape, axis=axis + 1)
        elif op == "Split":
            return self._split(node, depth)
        elif op in _SCALES | UNARY | {"Cast"}:
            return self._elementwise(node, depth, shape)
        else:
            return False
        return True

    def _add(self, node: onnx.NodeProto, inputs: list[str], shape: Shape, **attributes: Value) -> None:
        name = self.edit.add(node.op_type, inputs, shape, output="", **attributes)
        self.edit.nodes[-1].attribute.extend(each for each in node.attribute if each.name not in attributes)
        self.edit.types[name] = self._type(node.output[0])
        self.made[node.output[0]] = name

    def _type(self, name: str) -> TensorType:
        """The type of an old tensor with the further dimension."""
        known = self.edit.draft.types[name]
        n, *rest = known.shape or ()
        return TensorType((n, 1, *rest), known.dtype)

    def _elementwise(self, node: onnx.NodeProto, depth: int, shape: Shape) -> bool:
        draft, inputs = self.edit.draft, []
        for name in node.input:
            own = draft.shape(name)
            if own == shape and name not in draft.weights:
                inputs.append(self.tensor(name, depth))
            elif own is None or (name not in draft.weights) or (len(own) == 4 and own[0] != 1):
                return False
            else:
                inputs.append(name)  # it broadcasts from the last dimensions on, which stay
        self._add(node, inputs, shape)
        return True

    def _split(self, node: onnx.NodeProto, depth: int) -> bool:
        """All parts at once; those that nobody reads in five dimensions are not used."""
        draft = self.edit.draft
        axis = integer(node, "axis", 0) % 4
        if axis == 0 or any(draft.shape(name) is None for name in node.output):
            return False
        inputs = [self.tensor(node.input[0], depth), *node.input[1:]]
        first = self.edit.add("Split", inputs, (), axis=axis + 1)
        made = self.edit.nodes[-1]
        made.attribute.extend(each for each in node.attribute if each.name != "axis")
        del made.output[:]
        for number, name in enumerate(node.output):
            self.made[name] = f"{first.removesuffix('0')}{number}"
            made.output.append(self.made[name])
            self.edit.types[self.made[name]] = self._type(name)
        return True
