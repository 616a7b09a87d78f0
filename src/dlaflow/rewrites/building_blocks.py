"""Small groups of layers that several rewrites append: a scale per channel, a copy, a square, a slice, a resize."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dlaflow.rewrites.base import Bounds
from dlaflow.rewrites.draft import Array, Edit, Value

Floats = NDArray[np.float64]
_SLICE_WITH_INPUTS_SINCE = 10
_RESIZE_WITHOUT_ROI_SINCE = 13


def affine(edit: Edit, x: str, factor: float | Floats, offset: float | Floats, output: str = "") -> str:
    """factor x + offset per channel of (N, C, H, W): a BatchNormalization, which TensorRT makes one Scale of."""
    shape = edit.image(x)
    values = (("factor", factor), ("offset", offset), ("mean", 0.0), ("variance", 1.0))
    inputs = [
        edit.weight(label, np.broadcast_to(np.asarray(value, np.float64), shape[1]), x) for label, value in values
    ]
    return edit.add("BatchNormalization", [x, *inputs], shape, output=output, epsilon=0.0)


def scaled(edit: Edit, x: str, factor: float, offset: float, bounds: Bounds) -> str:
    """factor x + offset with numbers: Mul and Add, or one Scale where those are not broadcast or may not stand."""
    shape, broadcast = edit.shape(x) or (), bounds.limit("elementwise.broadcast")
    refused = broadcast is not None and (shape[:1] != (1,) or "N111" not in broadcast.names)
    if len(shape) == 4 and (refused or bounds.target.mode == "standalone"):
        return affine(edit, x, factor, offset)
    if factor != 1:
        x = edit.add("Mul", [x, operand(edit, "factor", factor, x)], shape)
    if offset != 0:
        x = edit.add("Add", [x, operand(edit, "offset", offset, x)], shape)
    return x


def scalar(edit: Edit, label: str, value: float, like: str) -> str:
    """One number as a weight."""
    return edit.weight(label, np.asarray(value, np.float64), like)


def operand(edit: Edit, label: str, value: float | Array, like: str) -> str:
    """A constant beside `like` in an element-wise operation, of the same rank: another one costs a reshaping layer."""
    full = np.asarray(value, np.float64)
    rank = max(full.ndim, len(edit.shape(like) or ()))
    return edit.weight(label, full.reshape([1] * (rank - full.ndim) + list(full.shape)), like)


def depthwise(edit: Edit, x: str, factor: float | Floats, offset: float | Floats | None = None) -> str:
    """factor x + offset per channel as a depthwise 1x1 convolution, which no builder takes for a copy."""
    shape = edit.image(x)
    kernel = np.broadcast_to(np.asarray(factor), shape[1]).reshape(-1, 1, 1, 1)
    bias = None if offset is None else ("offset", np.broadcast_to(np.asarray(offset), shape[1]))
    return convolved(edit, x, kernel, shape, label="factor", bias=bias, group=shape[1])


def convolved(
    edit: Edit,
    x: str,
    kernel: Array,
    shape: Sequence[int],
    *,
    label: str = "weight",
    bias: tuple[str, Array] | None = None,
    **attributes: Value,
) -> str:
    """A convolution with a kernel of (out, in / groups, H, W), stored as `label`, and a bias with its label."""
    inputs = [x, edit.weight(label, kernel, x)]
    if bias is not None:
        inputs.append(edit.weight(*bias, x))
    return edit.add("Conv", inputs, shape, output="", kernel_shape=list(kernel.shape[2:]), **attributes)


def spread(edit: Edit, x: str, kernel: Array, shape: Sequence[int], label: str) -> str:
    """A transposed convolution whose stride is its kernel, of (in, out, H, W): each pixel becomes a block."""
    sides = list(kernel.shape[2:])
    return edit.add("ConvTranspose", [x, edit.weight(label, kernel, x)], shape, kernel_shape=sides, strides=sides)


def squared(edit: Edit, x: str) -> str:
    """x * x with one side through a convolution that copies: an element-wise layer wants two tensors."""
    return edit.add("Mul", [x, depthwise(edit, x, 1.0)], edit.shape(x) or ())


def sliced(edit: Edit, x: str, cuts: Mapping[int, tuple[int, int]], shape: Sequence[int]) -> str:
    """A Slice in the form of the draft's opset; `cuts` maps an axis to where it begins and ends."""
    starts, ends = ([cut[place] for cut in cuts.values()] for place in (0, 1))
    if edit.draft.opset < _SLICE_WITH_INPUTS_SINCE:
        return edit.add("Slice", [x], shape, starts=starts, ends=ends, axes=list(cuts))
    lists = (("starts", starts), ("ends", ends), ("axes", list(cuts)))
    return edit.add("Slice", [x, *(edit.weight(label, np.array(each, np.int64)) for label, each in lists)], shape)


def resized(edit: Edit, x: str, factors: Sequence[int], shape: Sequence[int], **options: str) -> str:
    """A Resize of H and W by whole factors: nearest, asymmetric and floor unless `options` say otherwise."""
    scales = edit.weight("scales", np.array([1, 1, *factors], np.float32))
    nearest = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    roi = edit.weight("roi", np.zeros(0, np.float32)) if edit.draft.opset < _RESIZE_WITHOUT_ROI_SINCE else ""
    return edit.add("Resize", [x, roi, scales], shape, **(options or nearest))
