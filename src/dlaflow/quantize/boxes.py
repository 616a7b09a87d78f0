"""Boxes that detectors put out: read from an output, thinned out, and held against those of another model.

Two ways of counting, for two questions. A proof changes no number that matters, so each of the reference's best cells
must keep its class and place (`same_cells`). INT8 lets neighbouring cells change ranks, which nobody sees behind the
suppression: there the boxes that are left are paired (`paired`), as a detector's user would.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Floats = NDArray[np.float64]
SCORE, SUPPRESSED = 0.25, 0.45
"""The least score of a box that counts, and the overlap at which a worse one of its class goes: what the exporters of
YOLO detectors take by default."""
PAIRED = 0.5
"""The overlap from which two boxes are the same: that of PASCAL VOC and of COCO's AP50."""
UNCHANGED = 0.9
_CELLS = 100
_CANDIDATES = 1000
_COORDINATES, _SCORE, _CLASS, _CHOSEN_ROWS = 4, 4, 5, 6
_RANK = 3


@dataclass(frozen=True, slots=True)
class BoxForm:
    """How an output of three dimensions holds boxes: four coordinates along `axis` (1 or 2), then their scores.

    Coordinates are two corners, or with `centre` a centre, width and height. Scores are those of the classes, with
    `objectness` behind a first one that multiplies them. `chosen`: boxes that the network itself picked, best first,
    with one score and the number of its class.
    """

    axis: int
    centre: bool = False
    objectness: bool = False
    chosen: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """The boxes of one image, best first: corners float64 [n, 4] in pixels, classes int64 [n]."""

    corners: Floats
    classes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.classes)


def chosen_boxes(values: Array) -> BoxForm | None:
    """The form of what a network picked itself, [n, boxes, 6]: told by its numbers, since a TopK hides what it read.

    Scores in 0..1 that fall, classes without a fraction, and two corners in order wherever the score counts; where none
    does, nothing is told.
    """
    if values.ndim != _RANK or values.shape[2] != _CHOSEN_ROWS or values.shape[1] <= _CHOSEN_ROWS:
        return None
    score, number = values[..., _SCORE], values[..., _CLASS]
    counted = values[score >= SCORE]
    falls = (np.diff(score, axis=1) <= 0).all() and score.min() >= 0 and score.max() <= 1
    ordered = (counted[:, :2] <= counted[:, 2:4]).all() and len(counted) > 0
    return BoxForm(2, chosen=True) if falls and ordered and (number == np.abs(np.rint(number))).all() else None


def boxes_in(values: Array, form: BoxForm) -> list[Boxes]:
    """The boxes of each image of an output: scores from `SCORE` on, without those that a better one of a class covers.

    The best 1,000 of an image take part.
    """
    corners, scores, classes = _read(values, form)
    found = []
    for each, chances, kinds in zip(corners, scores, classes, strict=True):
        order = np.argsort(-chances, kind="stable")[:_CANDIDATES]
        order = order[chances[order] >= SCORE]
        found.append(Boxes(each[order], kinds[order]) if form.chosen else _suppressed(each[order], kinds[order]))
    return found


def paired(reference: Boxes, other: Boxes) -> Floats:
    """The overlaps of the pairs of two models: best first, each with the free one of its class that it overlaps most.

    A pair overlaps by at least `PAIRED`; what has no partner is left out.
    """
    overlaps = overlap(reference.corners[:, None], other.corners[None])
    overlaps[reference.classes[:, None] != other.classes[None]] = 0
    found = []
    for row in overlaps if len(other) else ():
        partner = int(row.argmax())
        if row[partner] >= PAIRED:
            found.append(row[partner])
            overlaps[:, partner] = 0
    return np.array(found, np.float64)


def same_cells(reference: Array, other: Array, form: BoxForm) -> NDArray[np.bool_]:
    """Whether each of the reference's 100 best cells keeps its class and its place: bool [n, cells]."""
    corners, scores, classes = _read(reference, form)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :_CELLS]
    moved, _, kinds = _read(other, form)
    overlaps = overlap(*(np.take_along_axis(each, best[..., None], 1) for each in (corners, moved)))
    kept = np.take_along_axis(classes, best, 1) == np.take_along_axis(kinds, best, 1)
    return np.asarray(kept & (overlaps >= UNCHANGED))


def overlap(first: Floats, second: Floats) -> Floats:
    """Intersection over union of corners [..., 4]; of boxes without an area, 1 where they are equal."""
    low, high = np.maximum(first[..., :2], second[..., :2]), np.minimum(first[..., 2:], second[..., 2:])
    shared = _area(np.maximum(high - low, 0))
    whole = _area(first[..., 2:] - first[..., :2]) + _area(second[..., 2:] - second[..., :2])
    union = whole - shared
    same = (first == second).all(axis=-1)
    found: Floats = np.where(union > 0, shared / np.where(union > 0, union, 1), same)
    return found


def _area(sizes: Floats) -> Floats:
    found: Floats = sizes[..., 0] * sizes[..., 1]
    return found


def _read(values: Array, form: BoxForm) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Corners [n, cells, 4], scores and classes [n, cells]."""
    rows = np.moveaxis(values, form.axis, 2).astype(np.float64)
    corners, scores = rows[..., :_COORDINATES], rows[..., _COORDINATES:]
    if form.centre:
        half = corners[..., 2:] / 2
        corners = np.concatenate((corners[..., :2] - half, corners[..., :2] + half), axis=2)
    if form.chosen:
        return corners, scores[..., 0], scores[..., 1].astype(np.int64)
    if form.objectness:
        scores = scores[..., 1:] * scores[..., :1]
    return corners, scores.max(axis=2), scores.argmax(axis=2).astype(np.int64)


def _suppressed(corners: Floats, classes: NDArray[np.int64]) -> Boxes:
    """Without the boxes that a better one of their class covers."""
    covered = overlap(corners[:, None], corners[None]) > SUPPRESSED
    covered &= classes[:, None] == classes[None]
    kept = np.ones(len(classes), bool)
    for place in range(len(classes)):
        if kept[place]:
            kept[place + 1 :] &= ~covered[place, place + 1 :]
    return Boxes(corners[kept], classes[kept])
