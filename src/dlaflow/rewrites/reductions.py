"""Means, maxima and sums over C, H and W → AveragePool, MaxPool and convolutions with equal weights.

    mean over H, W = AveragePool(H x W)                 mean over h1*h2 rows = mean over h2 of the means over h1
    max over H, W = MaxPool(H x W)                      max over h1*h2 rows = max over h2 of the maxima over h1
    sum over H, W = depthwise Conv, H x W ones          sum over c of x[c] = Conv 1x1 with ones

Above the largest window a pool is taken in steps. Those of a mean use factors of H and W, so that every window is full
and the weights are equal; a side without such factors (a prime above the bound) becomes a depthwise convolution with
the weight 1 / (H * W). A maximum covers such a side by overlapping windows of stride 1.
"""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path

import numpy as np
import onnx

from dlaflow.errors import InputError
from dlaflow.files import write_atomic
from dlaflow.graph.load import load_model
from dlaflow.rewrites.base import Bounds, Match, Rewrite
from dlaflow.rewrites.building_blocks import convolved
from dlaflow.rewrites.draft import Draft, Edit, integer, ints
from dlaflow.rewrites.load import open_draft
from dlaflow.targets.target import Target


class MeanPooling(Rewrite):
    """Means over H and W become AveragePool windows."""

    id = "mean-pooling"
    answers = ("DLA250", "DLA241", "DLA242")
    operators = ("GlobalAveragePool", "ReduceMean")

    def match(self, draft: Draft, node: onnx.NodeProto, bounds: Bounds) -> Match:
        image, axes = draft.image(node.input[0]), _reduced_axes(draft, node)
        if image is None or not axes or not set(axes) <= {2, 3}:
            return None
        sides = (image[2] if 2 in axes else 1, image[3] if 3 in axes else 1)
        edit = Edit(draft, [node])
        x = mean_over(edit, node.input[0], sides, bounds)
        if x is None:
            return f"no windows of at most {bounds.largest('conv.kernel', 32)} make up {sides[0]}x{sides[1]}"
        return edit.finish(x, node.output[0])


class MaxPooling(Rewrite):
    """Maxima over H and W become MaxPool windows."""

    id = "max-pooling"
    answers = ("DLA250", "DLA251", "DLA241", "DLA242")
    operators = ("GlobalMaxPool", "ReduceMax")

    def match(self, draft: Draft, node: onnx.NodeProto, bounds: Bounds) -> Match:
        image, axes = draft.image(node.input[0]), _reduced_axes(draft, node)
        if image is None or not axes:
            return None
        if not set(axes) <= {2, 3}:
            return "only maxima over H and W are pools"
        largest = bounds.largest("pool.window", 8)
        rows, columns = (_steps(image[axis] if axis in axes else 1, largest) for axis in (2, 3))
        edit, x = Edit(draft, [node]), node.input[0]
        for row, column in zip_longest(rows, columns, fillvalue=(1, 1)):
            n, c, h, w = edit.image(x)
            window, strides = [row[0], column[0]], [row[1], column[1]]
            out = (n, c, (h - window[0]) // strides[0] + 1, (w - window[1]) // strides[1] + 1)
            x = edit.add("MaxPool", [x], out, kernel_shape=window, strides=strides)
        return edit.finish(x, node.output[0])


class ChannelReduction(Rewrite):
    """ReduceSum, and ReduceMean over channels, become convolutions with equal weights."""

    id = "channel-reduction"
    answers = ("DLA250", "DLA241")
    operators = ("ReduceSum", "ReduceMean")

    def match(self, draft: Draft, node: onnx.NodeProto, bounds: Bounds) -> Match:
        image, axes = draft.image(node.input[0]), _reduced_axes(draft, node)
        mean = node.op_type == "ReduceMean"
        if image is None or not axes or 0 in axes or (mean and 1 not in axes):
            return None
        n, c, h, w = image
        window = (h if 2 in axes else 1, w if 3 in axes else 1)
        limit = bounds.limit("conv.kernel")
        if limit is not None and not limit.allows(*window):
            return f"the window {window[0]}x{window[1]} is larger than {limit.text}"
        channels, inside, groups = (1, c, 1) if 1 in axes else (c, 1, c)
        kernel = np.full((channels, inside, *window), 1 / (inside * window[0] * window[1]) if mean else 1.0)
        edit, out = Edit(draft, [node]), (n, channels, h // window[0], w // window[1])
        y = convolved(edit, node.input[0], kernel, out, label="weights", group=groups)
        return edit.finish(y, node.output[0])


def _reduced_axes(draft: Draft, node: onnx.NodeProto) -> tuple[int, ...] | None:
    """The axes of a reduction of N, C, H, W, from the attribute or the input; None when they or its output are open."""
    if draft.shape(node.output[0]) is None:
        return None
    if node.op_type.startswith("Global"):
        return 2, 3
    axes = ints(node, "axes", ())
    if len(node.input) > 1 and node.input[1]:
        value = draft.value(node, 1)
        if value is None:
            return None
        axes = tuple(int(axis) for axis in value.reshape(-1))
    if not axes and integer(node, "noop_with_empty_axes", 0):
        return None
    return tuple(sorted(axis % 4 for axis in axes)) if axes else (0, 1, 2, 3)


def replace_global_average_pool(source: Path, out: Path, target: Target) -> int:
    """Write `source` to `out` with every GlobalAveragePool replaced, and nothing else; returns how many were.

    A batch that is open stays open, and the tensors keep their names. Weights that `source` keeps in other files come
    along into the one file that is written. Raises InputError for a file that is no ONNX model, and for a pool whose
    input height or width is not known.
    """
    draft, rewrite = open_draft(load_model(source, digest=False)), MeanPooling()
    edits: list[Edit] = []
    for node in draft.nodes:
        if node.op_type != "GlobalAveragePool" or node.domain not in ("", "ai.onnx"):
            continue
        found = rewrite.match(draft, node, Bounds(target))
        if not isinstance(found, Edit):
            known = draft.types.get(node.input[0])
            sides = (known.shape or ())[2:] if known else ()
            raise InputError(
                f"the GlobalAveragePool {node.name or node.output[0]!r} has no windows",
                expected="a known height and width of its input",
                received=found or "x".join("?" if side is None else str(side) for side in sides) or "an unknown shape",
                then="Export the model with a fixed height and width.",
            )
        edits.append(found)
    write_atomic(out, draft.apply(edits).proto().SerializeToString())
    return len(edits)


def mean_over(edit: Edit, x: str, sides: tuple[int, int], bounds: Bounds) -> str | None:
    """Append the mean over windows of `sides` that do not overlap; None where it cannot be had."""
    largest = bounds.largest("pool.window", 8)
    rows, columns = factors(sides[0], largest), factors(sides[1], largest)
    if rows is None or columns is None:
        return _mean_by_convolution(edit, x, sides, bounds)
    for window in map(list, zip_longest(rows, columns, fillvalue=1)):
        n, c, h, w = edit.image(x)
        shape = (n, c, h // window[0], w // window[1])
        x = edit.add("AveragePool", [x], shape, kernel_shape=window, strides=window)
    return x


def _mean_by_convolution(edit: Edit, x: str, sides: tuple[int, int], bounds: Bounds) -> str | None:
    n, c, h, w = edit.image(x)
    strides = [1 if side == whole else side for side, whole in zip(sides, (h, w), strict=True)]
    if max(sides) > bounds.largest("conv.kernel", 32) or max(strides) > bounds.largest("conv.stride", 8):
        return None
    kernel, shape = np.full((c, 1, *sides), 1 / (sides[0] * sides[1])), (n, c, h // sides[0], w // sides[1])
    return convolved(edit, x, kernel, shape, label="mean", group=c, strides=strides)


def _steps(side: int, largest: int) -> list[tuple[int, int]]:
    """Windows and strides that bring the maximum of a side down to 1."""
    found = factors(side, largest)
    return [(each, each) for each in found] if found is not None else [(each, 1) for each in links(side, largest)]


def factors(side: int, largest: int) -> list[int] | None:
    """`side` as a product of few numbers up to `largest`, larger ones first; None when a prime is larger."""
    found: list[int] = []
    while side > 1:
        divisor = next((each for each in range(min(largest, side), 1, -1) if side % each == 0), None)
        if divisor is None:
            return None
        found.append(divisor)
        side //= divisor
    return found or [1]


def links(window: int, largest: int) -> list[int]:
    """Windows whose chain equals `window`: few, and of nearly equal size."""
    count = max(1, -(-(window - 1) // (largest - 1)))
    reach, rest = divmod(window - 1, count)
    return [reach + 1 + (index < rest) for index in range(count)]
