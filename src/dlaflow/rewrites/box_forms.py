"""Which outputs of a detector hold boxes, and how: told by what its decode part does, as `meanings` has it.

The labels of the last convolutions' channels (or of a decode part's inputs) are carried to the outputs. Four rows of
coordinates and then nothing but sigmoids are boxes. Rows 0 and 2, both of the same direction, tell what kind. From
distances to the sides, a centre and a width are made of both sides, a corner of one. Where the width alone is a square
or a power of e (YOLOv3 to v7, X), it is a width, and the first score the objectness. Nothing else is taken for boxes.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx

from dlaflow.quantize.boxes import BoxForm
from dlaflow.rewrites.draft import Draft
from dlaflow.rewrites.meanings import MOVES, SUMS, TWO, Labels, Tracer, meaning_of

_BOX, _RANK = 4, 3
_WEIGHT = 1
_SIZED = {"power", "exp"}
_PLACED = {"shift", "mixed"}
_KEEPS_SCORES = MOVES | SUMS | {"Sigmoid", "Relu", "Clip", "Identity", "Cast"}
"""Behind these a score is one still; arithmetic with constants makes a coordinate of it."""


def box_forms(draft: Draft) -> dict[str, BoxForm]:
    """Output → the form of its boxes, for those that hold some beyond doubt."""
    outputs = [name for name in draft.outputs if len(draft.shape(name) or ()) == _RANK]
    if not (outputs := _with_scores(draft, _sources(draft, outputs), outputs)):
        return {}  # labels through a whole transformer would take minutes
    tracer = Tracer(draft)
    for name in _sources(draft, outputs):
        tracer.seed(name, draft)
    tracer.run(draft.nodes)
    told = {name: _form(tracer, tracer.arrays[name]) for name in outputs if name in tracer.arrays}
    return {name: form for name, form in told.items() if form is not None}


def _sources(draft: Draft, outputs: Iterable[str]) -> list[str]:
    """What the last convolutions make (not one to a single channel, a distribution's mean), and inputs before them."""
    found, seen, open_ends = [], set[str](), list(outputs)
    while open_ends:
        name = open_ends.pop()
        if name in seen:
            continue
        seen.add(name)
        node = draft.producers.get(name)
        if node is None or (node.op_type == "Conv" and _channels_made(draft, node) > 1):
            found.append(name)
        else:
            open_ends += node.input
    return [name for name in found if name in draft.producers or name in draft.inputs]


def _with_scores(draft: Draft, sources: Iterable[str], outputs: Iterable[str]) -> list[str]:
    """The outputs that may hold scores: a sigmoid's values reach them as such."""
    kept, scores = set(sources), set[str]()
    for node in draft.nodes:
        keeps = node.op_type in _KEEPS_SCORES
        mixes = node.op_type in TWO and not any(name in draft.weights for name in node.input)
        if (keeps or mixes) and any(name in kept for name in node.input):
            kept.update(node.output)
            if node.op_type == "Sigmoid" or any(name in scores for name in node.input):
                scores.update(node.output)
    return [name for name in outputs if name in scores]


def _channels_made(draft: Draft, node: onnx.NodeProto) -> int:
    weight = draft.value(node, _WEIGHT)
    return 0 if weight is None else int(weight.shape[0])


def _form(tracer: Tracer, labels: Labels) -> BoxForm | None:
    """The form of an output by the labels of its elements."""
    for axis in (1, 2):
        rows = np.moveaxis(labels, axis, 0).reshape(labels.shape[axis], -1)
        met = [set().union(*(tracer.labels[number].met for number in np.unique(row))) for row in rows]
        told = [meaning_of(each) for each in met]
        box = {name for name, _ in told[:_BOX]}
        if box not in ({"coordinates"}, {"distribution"}) or set(told[_BOX:]) != {("scores", "sigmoid")}:
            continue
        pairs = np.unique(np.stack((rows[0], rows[2])), axis=1).T
        same = {tracer.labels[one].channels == tracer.labels[two].channels for one, two in pairs}
        sized = [bool(_SIZED & each) for each in met[:_BOX]]
        if sized == [False, False, True, True] and same == {False} and len(told) > _BOX + 1:
            return BoxForm(axis, centre=True, objectness=True)
        # A width of its own that is no square may be a plain product: a corner has the place of its cell in it.
        if not any(sized) and (same == {True} or (same == {False} and _PLACED & met[0] and _PLACED & met[2])):
            return BoxForm(axis, centre=same == {True})
        return None
    return None
