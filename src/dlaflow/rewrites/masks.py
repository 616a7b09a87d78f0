"""Boolean masks inside a network → floats of 0 and 1, for whose arithmetic the DLA has layers.

    Where(c, a, b) = m a + (1 - m) b, m = Cast(c)      Where(a > b, a, b) = Max(a, b)     Where(a < b, a, b) = Min(a, b)
    p and q = p q      p or q = Max(p, q)      p xor q = Max(p, q) - Min(p, q)      not p = 1 - p
    a > b = step(a - b)      a >= b = 1 - step(b - a)      a == b = 1 - step(|a - b|)
    step(x) = Clip(k Clip(k x, 0, 1), 0, 1)

With k = 2 ** 15 step is 0 or 1 for every difference of FP16, whose smallest is 2 ** -24; in FP32 only a difference
between 0 and 2 ** -30 is taken for something between. Where the mask is 0 an infinity becomes nan (0 * inf), so that a
Where which guards an exponential, a logarithm or a quotient stays; a nan that is compared stays one. The types of the
network's inputs and outputs stay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx

from dlaflow.graph.tensor_type import elem_of
from dlaflow.rewrites.axis_selection import LARGEST_CONSTANT
from dlaflow.rewrites.base import Bounds, Match, Rewrite, Safety
from dlaflow.rewrites.building_blocks import affine, scaled
from dlaflow.rewrites.draft import Draft, Edit, Shape, integer
from dlaflow.rewrites.hard_activations import clip
from dlaflow.rewrites.known_range import may_overflow

_STEEP = 2.0**15
_GREATER = frozenset({"Greater", "GreaterOrEqual"})
_COMPARISONS = _GREATER | {"Less", "LessOrEqual", "Equal"}


class SelectByMask(Rewrite):
    """Where becomes Max, Min or a sum of masked tensors."""

    id = "select-by-mask"
    answers = ("DLA281",)
    operators = ("Where",)

    def match(self, draft: Draft, node: onnx.NodeProto, bounds: Bounds) -> Match:
        condition, shape = node.input[0], draft.shape(node.output[0])
        if shape is None or not draft.is_float(node.output[0]) or condition in draft.weights:
            return None
        edit = Edit(draft, [node])
        extremum = _extremum(draft, node)
        if extremum:
            above = [name for name in node.input[1:] if name not in draft.weights or draft.weights[name].any()]
            is_relu = extremum == "Max" and len(above) == 1 and draft.shape(above[0]) == shape
            made = edit.add("Relu", above, shape) if is_relu else edit.add(extremum, node.input[1:], shape)
            return edit.finish(made, node.output[0])
        if draft.shape(condition) is None:
            return None
        mask, terms = _as_float(edit, condition, node.output[0]), []
        for place, name in enumerate(node.input[1:]):
            value, size = draft.weights.get(name), draft.shape(name)
            if value is not None and not np.all(np.abs(np.asarray(value, np.float64)) <= LARGEST_CONSTANT):
                return f"a constant is no number of FP16, which end at {LARGEST_CONSTANT:g}"
            if size is None:
                return None
            if overflows := may_overflow(draft, name):
                return f"it may guard an infinity of {overflows}, which a product with 0 would make nan"
            if value is not None and not value.any():
                continue
            factor = _line(edit, mask, -1.0, 1.0, bounds) if place else mask
            terms.append(edit.add("Mul", [factor, name], _wider(edit.shape(factor) or (), size)))
        total = edit.add("Add", terms, shape) if len(terms) == 2 else (terms or [""])[0]
        if edit.shape(total) != shape:
            return "it spreads its condition over more than the tensor that it keeps"
        return edit.finish(total, node.output[0])


class LogicInFloats(Rewrite):
    """And, Or, Not and Xor in front of a Cast become Mul, Max and Sub."""

    id = "logic-in-floats"
    answers = ("DLA180", "DLA270", "DLA283")
    operators = ("Cast",)

    def match(self, draft: Draft, node: onnx.NodeProto, bounds: Bounds) -> Match:
        maker, shape = draft.producers.get(node.input[0]), draft.shape(node.output[0])
        form = _LOGIC.get(maker.op_type) if maker is not None else None
        if maker is None or form is None or shape is None or not draft.is_float(node.output[0]):
            return None
        if any(draft.shape(name) is None for name in maker.input):
            return None
        edit = Edit(draft, [node])
        masks = [_as_float(edit, name, node.output[0]) for name in maker.input]
        return edit.finish(form(edit, masks, shape, bounds), node.output[0])


class ComparisonByStep(Rewrite):
    """Comparisons in front of a Cast become steep clipped lines: exact in FP16."""

    id = "comparison-by-step"
    answers = ("DLA184", "DLA283")
    safety = Safety.TOLERANCE
    operators = ("Cast",)

    def match(self, draft: Draft, node: onnx.NodeProto, bounds: Bounds) -> Match:
        maker, shape = draft.producers.get(node.input[0]), draft.shape(node.output[0])
        if maker is None or maker.op_type not in _COMPARISONS or shape is None or not draft.is_float(node.output[0]):
            return None
        first, second = maker.input
        if not draft.is_float(first) or not draft.is_float(second) or first == second:
            return None
        if bounds.target.precision != "fp16":
            return "INT8 has no numbers for the steep line that takes the place of a comparison (--precision fp16)"
        edit = Edit(draft, [node])
        if maker.op_type in {"Less", "GreaterOrEqual"}:
            first, second = second, first
        x = _difference(edit, first, second, shape, bounds)
        if maker.op_type == "Equal":
            x = edit.add("Max", [x, _line(edit, x, -1.0, 0.0, bounds)], shape)
        for _ in range(2):
            x = clip(edit, _line(edit, x, _STEEP, 0.0, bounds), 0.0, 1.0, shape, x)
        if maker.op_type not in {"Greater", "Less"}:
            x = _line(edit, x, -1.0, 1.0, bounds)
        return edit.finish(x, node.output[0])


def _difference(edit: Edit, first: str, second: str, shape: Shape, bounds: Bounds) -> str:
    """first - second, whichever of them is a constant."""
    low, high = edit.draft.weights.get(second), edit.draft.weights.get(first)
    if low is not None and low.size == 1:
        return _line(edit, first, 1.0, -float(low.reshape(-1)[0]), bounds)
    if low is not None:
        return edit.add("Add", [first, edit.weight("negative", -np.asarray(low, np.float64), first)], shape)
    if high is not None and high.size == 1:
        return _line(edit, second, -1.0, float(high.reshape(-1)[0]), bounds)
    if high is not None:
        return edit.add("Add", [_line(edit, second, -1.0, 0.0, bounds), first], shape)
    return edit.add("Sub", [first, second], shape)


def _line(edit: Edit, x: str, factor: float, offset: float, bounds: Bounds) -> str:
    """factor x + offset, of an image as a Scale, since constants of their own keep a network out of standalone mode."""
    rank = len(edit.shape(x) or ())
    return affine(edit, x, factor, offset) if rank == 4 else scaled(edit, x, factor, offset, bounds)


def _extremum(draft: Draft, node: onnx.NodeProto) -> str:
    """Max or Min where a Where chooses between the two tensors that its condition compares."""
    maker = draft.producers.get(node.input[0])
    if maker is None or maker.op_type not in _COMPARISONS - {"Equal"}:
        return ""
    pairs = [tuple(maker.input), tuple(reversed(maker.input))]
    alike = [all(_same(draft, *names) for names in zip(pair, node.input[1:], strict=True)) for pair in pairs]
    if not any(alike):
        return ""
    return "Max" if alike[0] == (maker.op_type in _GREATER) else "Min"


def _same(draft: Draft, first: str, second: str) -> bool:
    one, other = draft.weights.get(first), draft.weights.get(second)
    if one is None or other is None:
        return first == second
    return np.array_equal(one, other) or (one.size == other.size == 1 and one.item() == other.item())


def _wider(first: Shape, second: Shape) -> Shape:
    """The shape of two tensors spread over each other, empty where they do not fit."""
    try:
        return np.broadcast_shapes(first, second)
    except ValueError:
        return ()


def _as_float(edit: Edit, name: str, like: str) -> str:
    """A boolean tensor as 0 and 1 of the type of `like`: by a Cast that is there already, or by one more."""
    draft = edit.draft
    known, value = draft.types[like], draft.weights.get(name)
    kind = elem_of(known.dtype)
    if value is not None:
        return edit.weight("mask", value.astype(np.float64), like)
    for reader in draft.consumers.get(name, []):
        if reader.op_type == "Cast" and integer(reader, "to", 0) == kind and reader not in edit.remove:
            return str(reader.output[0])
    made = edit.add("Cast", [name], draft.shape(name) or (), to=kind)
    edit.types[made] = replace(edit.types[made], dtype=known.dtype)
    return made


def _xor(edit: Edit, masks: list[str], shape: Shape, bounds: Bounds) -> str:
    return edit.add("Sub", [edit.add("Max", masks, shape), edit.add("Min", masks, shape)], shape)


_LOGIC: dict[str, Callable[[Edit, list[str], Shape, Bounds], str]] = {
    "And": lambda edit, masks, shape, bounds: edit.add("Mul", masks, shape),
    "Or": lambda edit, masks, shape, bounds: edit.add("Max", masks, shape),
    "Xor": _xor,
    "Not": lambda edit, masks, shape, bounds: _line(edit, masks[0], -1.0, 1.0, bounds),
}
