"""Gather, Slice and Tile that pick whole rows or columns → a Slice, or a convolution between transposes.

What picks channels alone, repeats each pixel or takes every n-th one is `data_movement`'s.
"""

from __future__ import annotations

import numpy as np
import onnx

from dlaflow.rewrites.axis_selection import Selection, append, of_one, picked, unfit
from dlaflow.rewrites.base import Bounds, Match, Rewrite
from dlaflow.rewrites.draft import Draft, Edit


class ConstantSelection(Rewrite):
    """Rows and columns picked by constant indices become a Slice, or a convolution between transposes."""

    id = "constant-selection"
    answers = ("DLA232", "DLA235", "DLA236", "DLA280")
    operators = ("Gather", "GatherElements", "GatherND", "Slice", "Tile")

    def match(self, draft: Draft, node: onnx.NodeProto, bounds: Bounds) -> Match:
        image, made = draft.image(node.input[0]), draft.shape(node.output[0])
        if image is None or made is None or not draft.is_float(node.input[0]):
            return None
        steps = draft.value(node, 4)
        if node.op_type == "Slice" and (steps is None or np.all(np.asarray(steps, np.int64) > 0)):
            return None
        if len(made) != 4 or 0 in made:
            return f"it makes {len(made)} dimensions of four"
        numbers = picked(draft, node, [0])
        if numbers is None or numbers.shape != made:
            return None
        selections = of_one(numbers, image)
        if isinstance(selections, str):
            return selections
        if all(each.axis == 1 or _is_strided(each, bounds) for each in selections):
            return None
        edit, x = Edit(draft, [node]), node.input[0]
        for selection in selections:
            reason = unfit(selection, [image[selection.axis]], bounds)
            if reason is not None:
                return reason
            x = append(edit, selection, {0: x}, bounds)
        return edit.finish(x, node.output[0])


def _is_strided(selection: Selection, bounds: Bounds) -> bool:
    """Whether it takes every n-th row or column, which a convolution with that stride does without transposes."""
    steps, limit = np.diff(selection.place), bounds.limit("conv.stride")
    return len(steps) > 0 and bool(np.all(steps == steps[0])) and steps[0] > 1 and (not limit or limit.allows(steps[0]))
