"""An operand that the release does not broadcast → one of the full shape, made on the DLA; needless Expand → nothing.

    (N, C, 1, 1) with (N, C, H, W): nearest Resize by H and W, or before TensorRT 8.2 a transposed convolution of ones
    (N, 1, H, W) with (N, C, H, W): a 1x1 convolution of ones from one channel to C

The first is the gate of squeeze-and-excite on releases before 8.5, the second the gate of spatial attention on all.
"""

from __future__ import annotations

from itertools import zip_longest

import numpy as np
import onnx

from dlaflow.graph.layer import Tensor
from dlaflow.rewrites.base import Bounds, Match, Rewrite
from dlaflow.rewrites.building_blocks import convolved, resized
from dlaflow.rewrites.draft import Draft, Edit
from dlaflow.rewrites.reductions import factors
from dlaflow.rewrites.resize import SCALES_SINCE, repeated
from dlaflow.rewrites.transposed import BINARY
from dlaflow.rules.elementwise import broadcast_form

_LARGEST_FACTOR = 32


class Broadcasting(Rewrite):
    """An operand that would be broadcast is repeated by a Resize or a convolution."""

    id = "broadcasting"
    answers = ("DLA181",)
    operators = tuple(sorted(BINARY))

    def match(self, draft: Draft, node: onnx.NodeProto, bounds: Bounds) -> Match:
        limit, full = bounds.limit("elementwise.broadcast"), draft.image(node.output[0])
        if limit is None or full is None or len(node.input) != 2:
            return None
        images = [draft.image(name) for name in node.input]
        small = [index for index, image in enumerate(images) if image is not None and image != full]
        if len(small) != 1 or images[1 - small[0]] != full:
            return None
        shape = images[small[0]] or full
        form = broadcast_form(*(Tensor(name, draft.shape(name), "float32") for name in (*node.input, node.output[0])))
        if form in limit.names or shape[0] != full[0]:
            return None
        edit, x = Edit(draft, [node]), node.input[small[0]]
        if shape[1] != full[1]:
            x = convolved(edit, x, np.ones((full[1], 1, 1, 1)), (full[0], full[1], *shape[2:]), label="ones")
        made = repeated_to(edit, x, (full[2], full[3]), bounds)
        if made is None:
            return f"no factors of at most {_LARGEST_FACTOR} make up {full[2]}x{full[3]}"
        inputs = list(node.input)
        inputs[small[0]] = made
        return edit.finish(edit.add(node.op_type, inputs, full), node.output[0])


class Expansion(Rewrite):
    """Expand is dropped where its readers broadcast by themselves."""

    id = "expansion"
    answers = ("DLA235", "DLA236")
    operators = ("Expand",)

    def match(self, draft: Draft, node: onnx.NodeProto, bounds: Bounds) -> Match:
        shape, source = draft.shape(node.output[0]), draft.shape(node.input[0])
        if shape is None or source is None or node.output[0] in draft.outputs or node.input[0] in draft.weights:
            return None
        for reader in draft.consumers.get(node.output[0], []):
            others = [draft.shape(name) for name in reader.input if name != node.output[0]]
            if reader.op_type not in BINARY or not any(other == shape for other in others):
                return f"{reader.op_type} reads it and does not broadcast it to the same shape"
        edit = Edit(draft, [node])
        edit.rename.append((node.output[0], node.input[0]))
        return edit


def repeated_to(edit: Edit, x: str, size: tuple[int, int], bounds: Bounds) -> str | None:
    """Append what repeats the rows and columns of `x` up to `size`; None where it cannot be had."""
    n, c, *now = edit.image(x)
    resizes = bounds.limit("resize.available") is not None and edit.draft.opset >= SCALES_SINCE
    largest = bounds.largest("resize.nearest_scale", _LARGEST_FACTOR) if resizes else _smaller_than_square_off(bounds)
    found = [factors(side // have, largest) for side, have in zip(size, now, strict=True)]
    if found[0] is None or found[1] is None:
        return None
    for by in zip_longest(found[0], found[1], fillvalue=1):
        if by != (1, 1):
            now = [side * factor for side, factor in zip(now, by, strict=True)]
            x = (resized if resizes else repeated)(edit, x, by, (n, c, *now))
    return x


def _smaller_than_square_off(bounds: Bounds) -> int:
    """The largest stride of a transposed convolution that is also fast when square."""
    off = bounds.limit("deconv.square_off")
    return off.min - 1 if off is not None and off.min is not None else bounds.largest("deconv.stride", _LARGEST_FACTOR)
