"""Flatten (or any reshape to rows) and a product with a constant → one convolution over the whole map.

    y[n, k] = sum over c, h, w of x[n, c, h, w] * W[(c h w), k] + b[k]
            = Conv(x, kernel H x W) with the weights W reshaped to (K, C, H, W)

A transpose in front of the reshape, as networks in (N, H, W, C) have it, becomes the order of the weights.
The reshape to (N, K) moves behind the convolution, where it can go further down, up to the output. A product on
(N, H, W, C) becomes a 1x1 convolution between two transposes, which cancel with those that the exporter wrote.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from dlaflow.rewrites.base import Bounds, Match, Rewrite
from dlaflow.rewrites.building_blocks import convolved
from dlaflow.rewrites.draft import Array, Draft, Edit, integer, number
from dlaflow.rewrites.transposed import perm_of

_FLATTENS = frozenset({"Flatten", "Reshape", "Squeeze"})


class FullyConnected(Rewrite):
    """Flatten and Gemm become a convolution in four dimensions."""

    id = "fully-connected"
    answers = ("DLA241", "DLA190", "DLA191", "DLA192", "DLA107", "DLA242")
    operators = ("Gemm", "MatMul")

    def match(self, draft: Draft, node: onnx.NodeProto, bounds: Bounds) -> Match:
        found = constant_product(draft, node)
        shape = draft.shape(node.input[0])
        if found is None or shape is None:
            return None
        matrix, bias = found
        if matrix.shape[0] != shape[-1]:
            return None  # the model contradicts itself
        if len(shape) == 4 and node.op_type == "MatMul":
            return _between_transposes(draft, node, matrix)
        flatten = draft.producers.get(node.input[0])
        if len(shape) != 2 or flatten is None or flatten.op_type not in _FLATTENS:
            return None
        order = _order(draft, flatten.input[0])
        image = draft.image(order.source)
        if image is None or image[0] != shape[0] or image[1] * image[2] * image[3] != shape[1]:
            return None
        n, c, h, w = image
        reason = _beyond(bounds, (h, w), c, matrix.shape[1])
        if reason:
            return reason
        edit = Edit(draft, [node])
        rows, added = matrix.T.reshape(matrix.shape[1], *(image[axis] for axis in order.perm[1:])), None
        kernel = rows.transpose(np.argsort(order.perm))
        if bias is not None:
            added = "bias", np.broadcast_to(bias.reshape(-1), (matrix.shape[1],))
        y = convolved(edit, order.source, kernel, (n, matrix.shape[1], 1, 1), bias=added)
        edit.reshape(y, (n, matrix.shape[1]), output=node.output[0])
        return edit


@dataclass(frozen=True)
class _Order:
    """The tensor that a reshape flattens, and the order in which it takes its axes."""

    source: str
    perm: tuple[int, ...]


def _order(draft: Draft, name: str) -> _Order:
    maker = draft.producers.get(name)
    if maker is not None and maker.op_type == "Transpose" and draft.image(maker.input[0]) is not None:
        perm = perm_of(maker, 4)
        if perm[:1] == (0,):
            return _Order(str(maker.input[0]), perm)
    return _Order(name, (0, 1, 2, 3))


def constant_product(draft: Draft, node: onnx.NodeProto) -> tuple[Array, Array | None] | None:
    """The matrix (in, out) and the bias (1 or out values) of a product whose second operand is constant."""
    matrix = draft.value(node, 1)
    if matrix is None or matrix.ndim != 2 or matrix.dtype.kind != "f":
        return None
    if node.op_type == "MatMul":
        return matrix, None
    if integer(node, "transA", 0):
        return None
    if integer(node, "transB", 0):
        matrix = matrix.T
    matrix = matrix * np.asarray(number(node, "alpha", 1.0), matrix.dtype)
    if len(node.input) < 3 or not node.input[2]:
        return matrix, None
    bias = draft.value(node, 2)
    if bias is None or bias.size not in (1, matrix.shape[1]) or (bias.ndim == 2 and bias.shape[0] != 1):
        return None
    return matrix, bias * np.asarray(number(node, "beta", 1.0), bias.dtype)


def _beyond(bounds: Bounds, window: tuple[int, int], before: int, after: int) -> str:
    kernel = bounds.limit("conv.kernel")
    if kernel is not None and not kernel.allows(*window):
        return f"the window {window[0]}x{window[1]} is larger than {kernel.text}"
    channels = bounds.limit("conv.in_channels")
    if channels is not None and not channels.allows(before, after):
        return f"{before} to {after} channels, allowed {channels.text}"
    return ""


def _between_transposes(draft: Draft, node: onnx.NodeProto, matrix: Array) -> Edit:
    n, h, w, c = draft.shape(node.input[0]) or (0, 0, 0, 0)
    edit = Edit(draft, [node])
    x = node.input[0]
    before = draft.producers.get(x)
    if before is not None and before.op_type == "Transpose" and perm_of(before, 4) == (0, 2, 3, 1):
        x = before.input[0]
    else:
        x = edit.add("Transpose", [x], (n, c, h, w), perm=[0, 3, 1, 2])
    y = convolved(edit, x, matrix.T[:, :, None, None], (n, matrix.shape[1], h, w))
    edit.add("Transpose", [y], (n, h, w, matrix.shape[1]), output=node.output[0], perm=[0, 2, 3, 1])
    edit.moved.add(node.output[0])
    return edit
