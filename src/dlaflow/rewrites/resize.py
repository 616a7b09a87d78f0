"""Resize given by an output size → by scales; nearest in other coordinates → asymmetric floor, or ConvTranspose.

Nearest by a whole factor f repeats every pixel f times whatever the coordinates, when the rounding agrees; that is
tested on all positions. The same is a transposed convolution with kernel = stride = f and a one for each channel.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx

from dlaflow.rewrites.base import Bounds, Match, Rewrite
from dlaflow.rewrites.building_blocks import resized, spread
from dlaflow.rewrites.draft import Draft, Edit, attribute

SCALES_SINCE = 11


class ResizeByScales(Rewrite):
    """Resize by whole factors is given by scales, or becomes a transposed convolution."""

    id = "resize"
    answers = ("DLA220", "DLA221", "DLA222", "DLA223")
    operators = ("Resize", "Upsample")

    def match(self, draft: Draft, node: onnx.NodeProto, bounds: Bounds) -> Match:
        image, shape = draft.image(node.input[0]), draft.image(node.output[0])
        if image is None or shape is None or image[:2] != shape[:2]:
            return None
        factors = shape[2] // image[2], shape[3] // image[3]
        if (image[2] * factors[0], image[3] * factors[1]) != shape[2:]:
            return f"{image[2]}x{image[3]} to {shape[2]}x{shape[3]} is no whole factor"
        mode = str(attribute(node, "mode", "nearest"))
        available = bounds.limit("resize.available") is not None
        if available and _is_plain(draft, node):
            return None
        edit = Edit(draft, [node])
        if mode == "nearest":
            if not all(
                _repeats(node, draft.opset, side, factor) for side, factor in zip(image[2:], factors, strict=True)
            ):
                return "its rounding does not repeat every pixel the same number of times"
            form = resized if available and draft.opset >= SCALES_SINCE else repeated
            return edit.finish(form(edit, node.input[0], factors, shape), node.output[0])
        if mode == "linear" and available and len(node.input) > 3 and node.input[3]:
            coordinates = str(attribute(node, "coordinate_transformation_mode", "half_pixel"))
            if coordinates == "pytorch_half_pixel" and min(shape[2:]) > 1:
                coordinates = "half_pixel"
            options = {"mode": mode, "coordinate_transformation_mode": coordinates}
            return edit.finish(resized(edit, node.input[0], factors, shape, **options), node.output[0])
        return None


def _is_plain(draft: Draft, node: onnx.NodeProto) -> bool:
    """Whether it is given by scales in the one form that every release with a Resize takes."""
    form = attribute(node, "coordinate_transformation_mode", "half_pixel"), attribute(node, "nearest_mode", "")
    return draft.opset >= SCALES_SINCE and len(node.input) == 3 and form == ("asymmetric", "floor")


def repeated(edit: Edit, x: str, factors: tuple[int, int], shape: tuple[int, ...]) -> str:
    """Append what repeats every pixel `factors` times: a transposed convolution."""
    kernel = np.eye(shape[1])[:, :, None, None] * np.ones(factors)
    return spread(edit, x, kernel, shape, "repeat")


_COORDINATES: dict[str, Callable[[np.ndarray, int, int], np.ndarray]] = {
    "asymmetric": lambda x, factor, side: x / factor,
    "half_pixel": lambda x, factor, side: (x + 0.5) / factor - 0.5,
    "pytorch_half_pixel": lambda x, factor, side: (x + 0.5) / factor - 0.5 if side * factor > 1 else x * 0.0,
    "tf_half_pixel_for_nn": lambda x, factor, side: (x + 0.5) / factor,
    "align_corners": lambda x, factor, side: x * (side - 1) / max(side * factor - 1, 1),
}
_ROUNDING: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "floor": np.floor,
    "ceil": np.ceil,
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
}


def _repeats(node: onnx.NodeProto, opset: int, side: int, factor: int) -> bool:
    """Whether a nearest Resize along one axis repeats every pixel `factor` times."""
    old = node.op_type == "Upsample" or opset < SCALES_SINCE
    coordinates = str(attribute(node, "coordinate_transformation_mode", "asymmetric" if old else "half_pixel"))
    rounding = str(attribute(node, "nearest_mode", "floor" if old else "round_prefer_floor"))
    if coordinates not in _COORDINATES or rounding not in _ROUNDING:
        return False
    positions = np.arange(side * factor, dtype=np.float64)
    chosen = _ROUNDING[rounding](_COORDINATES[coordinates](positions, factor, side)).clip(0, side - 1)
    return bool(np.array_equal(chosen, positions // factor))
