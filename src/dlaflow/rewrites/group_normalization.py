"""Group normalization written with three dimensions → with four, so that only the normalization itself leaves the DLA.

    (N, C, H, W) → (N, G, L) → InstanceNormalization → (N, C, H, W) → Mul, Add        as PyTorch exports it
    (N, C, H, W) → (N, G, C/G H, W) → InstanceNormalization → (N, C, H, W) → Mul, Add

The reshapes of the second form stay in four dimensions, which the DLA runs from TensorRT 8.5 on (before 8.6 not where C
changes; there the two shuffles go that lift three dimensions to four). The affine part stays apart, on the DLA.
"""

from __future__ import annotations

import onnx

from dlaflow.rewrites.base import Bounds, Match, Rewrite
from dlaflow.rewrites.draft import Draft, Edit


class GroupNormalizationShape(Rewrite):
    """Group normalization keeps four dimensions: only its statistics leave the DLA."""

    id = "group-normalization"
    answers = ("DLA241",)
    operators = ("InstanceNormalization",)

    def match(self, draft: Draft, node: onnx.NodeProto, bounds: Bounds) -> Match:
        found = grouped(draft, node)
        if found is None or len(draft.shape(node.input[0]) or ()) != 3 or draft.only_reader(node.input[0]) is not node:
            return None
        before, after, (n, c, h, w), groups = found
        shape = (n, groups, c // groups * h, w)
        edit = Edit(draft, [before, node, after])
        middle = edit.reshape(before.input[0], shape)
        normal = edit.copy(node, [middle, *node.input[1:]], shape)
        edit.reshape(normal, (n, c, h, w), output=after.output[0])
        return edit


def grouped(
    draft: Draft, node: onnx.NodeProto
) -> tuple[onnx.NodeProto, onnx.NodeProto, tuple[int, int, int, int], int] | None:
    """The Reshapes before and behind an InstanceNormalization of groups, their N, C, H, W, and the number of groups."""
    before, after = draft.producers.get(node.input[0]), draft.only_reader(node.output[0])
    middle = draft.shape(node.input[0])
    if before is None or after is None or middle is None or {before.op_type, after.op_type} != {"Reshape"}:
        return None
    image = draft.image(before.input[0])
    if image is None or draft.image(after.output[0]) != image or middle[0] != image[0] or image[1] % middle[1]:
        return None
    return before, after, image, middle[1]
