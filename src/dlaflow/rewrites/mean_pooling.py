"""GlobalAveragePool and ReduceMean over H and W → AveragePool, in several steps above the largest window.

    mean over H, W = AveragePool(H x W)
    mean over h1*h2 rows = mean over h2 of the means over h1

The steps use factors of H and W, so that every window is full and the weights are equal. A side without such factors
(a prime above the bound) becomes a depthwise convolution with the weight 1 / (H * W).
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
from dlaflow.rewrites.draft import Draft, Edit, integer, ints
from dlaflow.rewrites.load import open_draft
from dlaflow.targets.target import Target


class MeanPooling(Rewrite):
    """Means over H and W become AveragePool windows."""

    id = "mean-pooling"
    answers = ("DLA250", "DLA241", "DLA242")
    operators = ("GlobalAveragePool", "ReduceMean")

    def match(self, draft: Draft, node: onnx.NodeProto, bounds: Bounds) -> Match:
        image, shape = draft.image(node.input[0]), draft.shape(node.output[0])
        axes = reduced_axes(draft, node, 4)
        if image is None or shape is None or not axes or not set(axes) <= {2, 3}:
            return None
        sides = (image[2] if 2 in axes else 1, image[3] if 3 in axes else 1)
        edit = Edit(draft, [node])
        x = mean_over(edit, node.input[0], sides, bounds)
        if x is None:
            return f"no windows of at most {bounds.largest('conv.kernel', 32)} make up {sides[0]}x{sides[1]}"
        return edit.finish(x, node.output[0])


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


def reduced_axes(draft: Draft, node: onnx.NodeProto, rank: int) -> tuple[int, ...] | None:
    """The axes of a reduction, from the attribute or the input; None when they are computed."""
    if node.op_type.startswith("Global"):
        return tuple(range(2, rank))
    axes = ints(node, "axes", ())
    if len(node.input) > 1 and node.input[1]:
        value = draft.value(node, 1)
        if value is None:
            return None
        axes = tuple(int(axis) for axis in value.reshape(-1))
    if not axes and integer(node, "noop_with_empty_axes", 0):
        return None
    return tuple(sorted(axis % rank for axis in axes)) if axes else tuple(range(rank))


def mean_over(edit: Edit, x: str, sides: tuple[int, int], bounds: Bounds) -> str | None:
    """Append the mean over windows of `sides` that do not overlap; None where it cannot be had."""
    largest = bounds.largest("pool.window", 8)
    rows, columns = factors(sides[0], largest), factors(sides[1], largest)
    if rows is None or columns is None:
        return _by_convolution(edit, x, sides, bounds)
    for window in map(list, zip_longest(rows, columns, fillvalue=1)):
        n, c, h, w = (int(dim) for dim in edit.shape(x) or ())
        shape = (n, c, h // window[0], w // window[1])
        x = edit.add("AveragePool", [x], shape, kernel_shape=window, strides=window)
    return x


def _by_convolution(edit: Edit, x: str, sides: tuple[int, int], bounds: Bounds) -> str | None:
    if max(sides) > bounds.largest("conv.kernel", 32):
        return None
    n, c, h, w = (int(dim) for dim in edit.shape(x) or ())
    strides = [1 if side == whole else side for side, whole in zip(sides, (h, w), strict=True)]
    if max(strides) > bounds.largest("conv.stride", 8):
        return None
    kernel = edit.weight("mean", np.full((c, 1, *sides), 1 / (sides[0] * sides[1])), x)
    shape = (n, c, h // sides[0], w // sides[1])
    return edit.add("Conv", [x, kernel], shape, kernel_shape=list(sides), group=c, strides=strides)


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
