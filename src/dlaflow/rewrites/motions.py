"""Move the reshapes and transposes that rewrites leave behind as far down as they go, and drop those that cancel.

With f element by element and R a reshape or transpose:

    f(R(x)) = R(f(x))        f(R(x), R(z)) = R(f(x, z))        R2(R1(x)) = (R2 R1)(x)

Only motions that a rewrite made (`Draft.moved`) are touched: moving the author's own could cut the graph elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import takewhile

import onnx

from dlaflow.rewrites.draft import Array, Draft, Edit, Shape, declare, integer
from dlaflow.rewrites.transposed import BINARY, UNARY, below_transpose, perm_of

RESHAPES = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze"})
_ROUNDS = 400


def move_down(draft: Draft) -> Draft:
    """Move and merge until nothing changes."""
    for _ in range(_ROUNDS):
        edits = [edit for node in draft.nodes if (edit := _step(draft, node)) is not None] if draft.moved else []
        if not edits:
            return draft
        # Other edits might hold a tensor that one of them renames, so that one goes alone.
        alike = list(takewhile(lambda edit: not edit.rename, edits))
        draft = draft.apply(alike or edits[:1])
    return draft


def _step(draft: Draft, node: onnx.NodeProto) -> Edit | None:
    if draft.moved.isdisjoint(node.input) or node.domain not in ("", "ai.onnx"):
        return None
    transposes = {name: motion for name in node.input if (motion := _motion(draft, name, "Transpose")) is not None}
    if transposes and node.op_type != "Transpose":
        return below_transpose(draft, node, transposes)
    below = _BELOW.get(node.op_type)
    return below(draft, node) if below and len(node.output) == 1 else None


def _motion(draft: Draft, name: str, op: str) -> onnx.NodeProto | None:
    """The rewrite-made Reshape or Transpose behind a tensor."""
    node = draft.producers.get(name)
    if node is None or name not in draft.moved or node.op_type != op:
        return None
    return node if draft.shape(node.input[0]) is not None and draft.shape(name) is not None else None


def _below_unary(draft: Draft, node: onnx.NodeProto) -> Edit | None:
    motion = _motion(draft, node.input[0], "Reshape")
    if motion is None or any(
        draft.value(node, index) is None for index in range(1, len(node.input)) if node.input[index]
    ):
        return None
    edit = Edit(draft, [node])
    moved = edit.copy(node, [motion.input[0], *node.input[1:]], draft.shape(motion.input[0]) or ())
    edit.reshape(moved, draft.shape(node.output[0]) or (), output=node.output[0])
    return edit


def _below_binary(draft: Draft, node: onnx.NodeProto) -> Edit | None:
    if len(node.input) != 2:
        return None
    first, second = (_motion(draft, name, "Reshape") for name in node.input)
    motion = first or second
    if motion is None or draft.shape(node.output[0]) != draft.shape(motion.output[0]):
        return None
    source = draft.shape(motion.input[0])
    if source is None:
        return None
    inputs: list[str] = []
    edit = Edit(draft, [node])
    for name, own in zip(node.input, (first, second), strict=True):
        if own is not None:
            if draft.shape(own.input[0]) != source:
                return None
            inputs.append(own.input[0])
            continue
        value = draft.weights.get(name)
        back = None if value is None else _constant_before(draft, value, motion, source)
        if back is None:
            return None
        inputs.append(edit.weight("constant", back, node.output[0]) if back is not value else name)
    moved = edit.copy(node, inputs, source)
    edit.reshape(moved, draft.shape(motion.output[0]) or (), output=node.output[0])
    return edit


def _constant_before(draft: Draft, value: Array, motion: onnx.NodeProto, source: Shape) -> Array | None:
    """A constant operand as it must be in front of the motion; None when it has no such form."""
    if value.size == 1:
        return value if value.ndim <= len(source) else value.reshape(())
    after = draft.shape(motion.output[0]) or ()
    if value.ndim > len(after):
        return None
    full = value.reshape((1,) * (len(after) - value.ndim) + value.shape)
    lasting = [(axis, size) for axis, size in enumerate(source) if size != 1]
    behind = [(axis, size) for axis, size in enumerate(after) if size != 1]
    if [size for _, size in lasting] != [size for _, size in behind]:
        return None
    # Only ones come and go: every other axis keeps its place among the rest.
    shape = [1] * len(source)
    for (axis, _), (other, _) in zip(lasting, behind, strict=True):
        shape[axis] = full.shape[other]
    return full.reshape(shape)


def _merge_reshapes(draft: Draft, node: onnx.NodeProto) -> Edit | None:
    motion = _motion(draft, node.input[0], "Reshape")
    shape = draft.shape(node.output[0])
    if motion is None or shape is None:
        return None
    edit = Edit(draft, [node])
    if shape == draft.shape(motion.input[0]):
        return bypassed(draft, edit, motion.input[0], node.output[0])
    edit.reshape(motion.input[0], shape, output=node.output[0])
    return edit


def _merge_transposes(draft: Draft, node: onnx.NodeProto) -> Edit | None:
    motion = _motion(draft, node.input[0], "Transpose")
    shape = draft.shape(node.output[0])
    if motion is None or shape is None:
        return None
    first = perm_of(motion, len(shape))
    perm = [first[axis] for axis in perm_of(node, len(shape))]
    if not perm:
        return None
    edit = Edit(draft, [node])
    if perm == sorted(perm):
        return bypassed(draft, edit, motion.input[0], node.output[0])
    edit.add("Transpose", [motion.input[0]], shape, output=node.output[0], perm=perm)
    edit.moved.add(node.output[0])
    return edit


def bypassed(draft: Draft, edit: Edit, source: str, output: str) -> Edit | None:
    """Give the tensor of `source` the name of the output that equals it, or make the readers take `source`."""
    if output not in draft.outputs:
        edit.rename.append((output, source))
        return edit
    if source in draft.inputs or source in draft.outputs or source in draft.weights:
        return None
    edit.rename.append((source, output))
    return edit


def _below_batch_norm(draft: Draft, node: onnx.NodeProto) -> Edit | None:
    """On the rows (N, C) that come from (N, C, 1, 1)."""
    pixel = _pixel(draft, node.input[0])
    if pixel is None:
        return None
    edit = Edit(draft, [node])
    return _to_rows(edit, edit.copy(node, [pixel, *node.input[1:]], edit.image(pixel)), node)


def _below_softmax(draft: Draft, node: onnx.NodeProto) -> Edit | None:
    """Over the classes of (N, C) that come from (N, C, 1, 1); before opset 13 over all behind C, which is the same."""
    pixel = _pixel(draft, node.input[0])
    if pixel is None or integer(node, "axis", -1) % 2 != 1:
        return None
    edit = Edit(draft, [node])
    return _to_rows(edit, edit.add("Softmax", [pixel], edit.image(pixel), axis=1), node)


def _below_concat(draft: Draft, node: onnx.NodeProto) -> Edit | None:
    """Vectors (N, C) that come from (N, C, 1, 1), joined along C."""
    pixels = [pixel for name in node.input if (pixel := _pixel(draft, name)) is not None]
    shape = draft.shape(node.output[0])
    if shape is None or len(pixels) < len(node.input) or integer(node, "axis", 1) % 2 != 1:
        return None
    edit = Edit(draft, [node])
    return _to_rows(edit, edit.add("Concat", pixels, (*shape, 1, 1), axis=1), node)


def _pixel(draft: Draft, name: str) -> str | None:
    """The tensor (N, C, 1, 1) whose rows (N, C) a rewrite made `name` of."""
    motion, rows = _motion(draft, name, "Reshape"), draft.shape(name)
    if motion is None or rows is None or draft.image(motion.input[0]) != (*rows, 1, 1):
        return None
    return str(motion.input[0])


def _to_rows(edit: Edit, x: str, node: onnx.NodeProto) -> Edit:
    """Put the reshape of (N, C, 1, 1) to (N, C) behind `x`, in place of what `node` makes."""
    edit.reshape(x, edit.image(x)[:2], output=node.output[0])
    return edit


def four_dimensional_outputs(draft: Draft) -> Draft:
    """Let the network's outputs be (N, C, 1, 1) where only a reshape to (N, C) stands behind them."""
    base, types, edits = onnx.ModelProto(), dict(draft.types), []
    base.CopyFrom(draft.base)
    for value in base.graph.output:
        motion = draft.producers.get(value.name)
        if motion is None or motion.op_type not in RESHAPES:
            continue
        source, flat = draft.image(motion.input[0]), draft.shape(value.name)
        if source is None or flat != source[:2] or motion.input[0] in draft.outputs or motion.input[0] in draft.inputs:
            continue
        if len(draft.consumers.get(value.name, ())) > 0:
            continue
        edit = Edit(draft, [motion])
        edit.rename.append((motion.input[0], value.name))
        edits.append(edit)
        types[value.name] = replace(types[value.name], shape=source)
        declare(value, source)
    for edit in edits:
        draft = draft.apply([edit])
    return replace(draft, base=base, types=types)


_BELOW: dict[str, Callable[[Draft, onnx.NodeProto], Edit | None]] = {
    **dict.fromkeys(UNARY, _below_unary),
    **dict.fromkeys((*BINARY, "PRelu"), _below_binary),
    **dict.fromkeys(RESHAPES, _merge_reshapes),
    "Transpose": _merge_transposes,
    "BatchNormalization": _below_batch_norm,
    "Softmax": _below_softmax,
    "Concat": _below_concat,
}
