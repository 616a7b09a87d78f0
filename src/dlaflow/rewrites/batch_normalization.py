"""BatchNormalization outside of four dimensions → into the product beside it.

    a (W x + c) + b = (a W) x + (a c + b)          behind a Gemm or a convolution
    W (a x + b) + c = (W a) x + (W b + c)          in front of a Gemm

TensorRT lifts the rows (N, C) of a BatchNorm1d with shuffles that stay on the GPU. A BatchNormalization behind a
convolution is folded where that lets something else follow; the DLA's compiler fuses the others by itself.
"""

from __future__ import annotations

import numpy as np
import onnx

from dlaflow.quantize.fold import DEFAULT_EPSILON, affine_of, folded
from dlaflow.rewrites.base import Bounds, Match, Rewrite
from dlaflow.rewrites.building_blocks import Floats
from dlaflow.rewrites.draft import Array, Draft, Edit, integer, number
from dlaflow.rewrites.fully_connected import constant_product


class BatchNormFolding(Rewrite):
    """BatchNormalization is folded into the product or convolution beside it."""

    id = "batch-normalization"
    answers = ("DLA106", "DLA107", "DLA240", "DLA241", "DLA242")
    operators = ("BatchNormalization",)

    def match(self, draft: Draft, node: onnx.NodeProto, bounds: Bounds) -> Match:
        scale = scale_of(draft, node)
        if scale is None:
            return None
        before = draft.producers.get(node.input[0])
        if before is not None and draft.only_reader(node.input[0]) is node:
            folded = _behind(draft, before, node, scale)
            if folded is not None:
                return folded
        shape = draft.shape(node.input[0])
        if shape is None or len(shape) != 2:
            return None
        after = draft.only_reader(node.output[0])
        if after is None or after.input[0] != node.output[0]:
            return "no Gemm, MatMul or convolution stands beside it"
        return _in_front(draft, node, after, scale) or "no Gemm, MatMul or convolution stands beside it"


def scale_of(draft: Draft, node: onnx.NodeProto) -> tuple[Floats, Floats] | None:
    """a and b of a x + b; None in training, with further outputs, or with computed statistics."""
    values = [draft.value(node, index) for index in range(1, 5)]
    if integer(node, "training_mode", 0) or len([name for name in node.output if name]) != 1:
        return None
    known = [value for value in values if value is not None]
    return affine_of(known, number(node, "epsilon", DEFAULT_EPSILON)) if len(known) == 4 else None


def _behind(draft: Draft, before: onnx.NodeProto, node: onnx.NodeProto, scale: tuple[Floats, Floats]) -> Edit | None:
    edit, shape = Edit(draft, [before, node]), draft.shape(node.output[0]) or ()
    if before.op_type in {"Gemm", "MatMul"} and len(shape) == 2:
        product = constant_product(draft, before)
        return None if product is None else _gemm(edit, before.input[0], *folded(*product, scale, 1), node)
    kernel, own = draft.value(before, 1), draft.value(before, 2)
    if before.op_type not in {"Conv", "ConvTranspose"} or kernel is None:
        return None
    if len(before.input) > 2 and before.input[2] and own is None:
        return None
    x, groups = before.input[0], integer(before, "group", 1)
    if before.op_type == "Conv":
        weight, bias = folded(kernel, own, scale)
    elif groups < 1 or kernel.shape[0] % groups or kernel.shape[1] * groups != scale[0].size:
        return None  # the model contradicts itself
    else:
        weight, bias = _folded_groups(kernel, own, scale, groups)
    inputs = [x, edit.weight("weight", weight, x), edit.weight("bias", bias, x)]
    edit.copy(before, inputs, shape, output=node.output[0])
    return edit


def _folded_groups(
    kernel: Array, own: Array | None, scale: tuple[Floats, Floats], groups: int
) -> tuple[Floats, Floats]:
    """A transposed convolution, (in, out / groups, H, W): the rows of a group have the scales of its own outputs."""
    biases = [None] * groups if own is None else np.split(own, groups)
    parts = zip(np.split(kernel, groups), biases, *(np.split(each, groups) for each in scale), strict=True)
    done = [folded(rows, bias, (factor, offset), 1) for rows, bias, factor, offset in parts]
    return np.concatenate([weight for weight, _ in done]), np.concatenate([bias for _, bias in done])


def _in_front(draft: Draft, node: onnx.NodeProto, after: onnx.NodeProto, scale: tuple[Floats, Floats]) -> Edit | None:
    product = constant_product(draft, after) if after.op_type in {"Gemm", "MatMul"} else None
    if product is None:
        return None
    matrix, bias = np.asarray(product[0], np.float64), product[1]
    factor, offset = scale
    own = np.zeros(matrix.shape[1]) if bias is None else np.asarray(bias, np.float64).reshape(-1)
    changed = own + offset @ matrix
    return _gemm(Edit(draft, [node, after]), node.input[0], matrix * factor[:, None], changed, after)


def _gemm(edit: Edit, x: str, matrix: Array, bias: Floats, last: onnx.NodeProto) -> Edit:
    inputs = [x, edit.weight("weight", matrix, x), edit.weight("bias", bias, x)]
    edit.add("Gemm", inputs, edit.draft.shape(last.output[0]) or (), output=last.output[0])
    return edit
