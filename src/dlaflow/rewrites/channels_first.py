"""The transposes of a network in (N, H, W, C), as TensorFlow and Keras export it → as few as there can be.

    T2(f(T1(x))) = f'(x)        where T2 takes back what T1 did, and f' is f with its axes renumbered

Every transpose that the author wrote may now move down, past operators that work in any order (transposed.py), until
it meets its inverse or one that has none. In front of the operators that come before the first transpose, a pair of
transposes is put: the second one moves down through them and takes the author's away, so that they have (N, C, H, W).
"""

from __future__ import annotations

import numpy as np
import onnx

from dlaflow.rewrites.base import Bounds, Match, Rewrite
from dlaflow.rewrites.draft import Draft, Edit
from dlaflow.rewrites.motions import move_down
from dlaflow.rewrites.transposed import MOVABLE, perm_of


class ChannelsFirst(Rewrite):
    """Transposes move down until they cancel, so that a network in (N, H, W, C) gets (N, C, H, W)."""

    id = "channels-first"
    answers = (
        *("DLA106", "DLA107", "DLA180", "DLA181", "DLA210", "DLA220", "DLA221", "DLA222", "DLA223", "DLA230", "DLA232"),
        *("DLA234", "DLA235", "DLA236", "DLA240", "DLA241", "DLA242", "DLA243", "DLA250", "DLA251"),
    )
    operators = ("Transpose",)
    alone = False

    def find(self, draft: Draft, bounds: Bounds) -> tuple[list[Edit], dict[str, str]]:
        """All edits together: none where no transpose would go."""
        edits, refused = super().find(draft, bounds)
        before = _transposes(draft)
        pairs = any(len(edit.nodes) > 1 for edit in edits)
        if edits and _transposes(move_down(draft.apply(edits))) >= before + pairs:
            return [], {edit.site: "no transpose would meet its inverse" for edit in edits}
        return edits, refused

    def match(self, draft: Draft, node: onnx.NodeProto, bounds: Bounds) -> Match:
        shape = draft.shape(node.output[0])
        if shape is None or draft.shape(node.input[0]) is None or node.output[0] in draft.moved:
            return None
        perm = perm_of(node, len(shape))
        if not perm:
            return None
        top = _top(draft, node)
        if top != node.input[0] and top not in draft.outputs:
            return _pair(draft, top, perm)
        edit = Edit(draft, [node])
        edit.add("Transpose", [node.input[0]], shape, output=node.output[0], perm=list(perm))
        edit.moved.add(node.output[0])
        return edit


def _transposes(draft: Draft) -> int:
    return sum(node.op_type == "Transpose" for node in draft.nodes)


def _top(draft: Draft, node: onnx.NodeProto) -> str:
    """The tensor that the operators in front of a transpose begin with; its own input where there are none."""
    name, rank = str(node.input[0]), len(draft.shape(node.input[0]) or ())
    while True:
        maker = draft.producers.get(name)
        if maker is None or maker.op_type not in MOVABLE or maker.domain not in ("", "ai.onnx"):
            break
        data = [each for each in maker.input if each and each not in draft.weights and draft.shape(each) is not None]
        if len(data) != 1 or len(draft.shape(data[0]) or ()) != rank:
            break
        name = data[0]
    maker = draft.producers.get(name)
    return str(node.input[0]) if maker is not None and maker.op_type == "Transpose" else name


def _pair(draft: Draft, top: str, perm: tuple[int, ...]) -> Edit:
    """A transpose of `top` and its inverse, which every reader of `top` takes instead."""
    readers, shape = draft.consumers[top], draft.shape(top) or ()
    edit = Edit(draft, readers)
    there = edit.add("Transpose", [top], [shape[axis] for axis in perm], perm=list(perm))
    back = edit.add("Transpose", [there], shape, perm=[int(axis) for axis in np.argsort(perm)])
    edit.moved.add(back)
    for reader in readers:
        changed = onnx.NodeProto()
        changed.CopyFrom(reader)
        changed.input[:] = [back if name == top else name for name in reader.input]
        edit.nodes.append(changed)
    return edit
