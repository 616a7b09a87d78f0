"""What two models agree on where the form of an output tells what it means: classes, masks, boxes.

    (N, C), (N, C, 1, 1)   the only output: the best class of each image
    behind a Softmax       the best class of each image, pixel or character
    (N, C, H, W)           behind a Sigmoid: each pixel on its side of 0.5
    (N, 4 + C, K), (N, K, 4 + C)   scores behind a Sigmoid: the 100 best boxes with their classes

A number in a report, no bound: two scores that are nearly equal may change places.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dlaflow.rewrites.outputs import Part, Places

Floats = NDArray[np.float64]
Agreed = tuple[str, int, int]
"""What is counted, how many are the same, of how many."""
IMAGES, PLACES, PIXELS = "the same class", "places of the same class", "pixels on the same side of 0.5"
BOXES = "boxes that overlap by 0.9 with the same class"
_BEST = 100
_OVERLAP = 0.9
_BOX = 4


def agreement(old: Floats, new: Floats, parts: Sequence[Part], places: Places | None, *, alone: bool) -> Agreed | None:
    """What two outputs of one shape agree on; None where the form does not tell. `alone`: it is the only output."""
    if places is not None:
        return _boxes(old, new, parts, places)
    function = parts[0].function
    if old.ndim < 2 or not old.size or not (alone or function):
        return None
    image = old.ndim in (2, 4) and old.size == old.shape[0] * old.shape[1]
    axis = parts[0].axis if function else 1 if alone and image else None
    if axis is not None and old.shape[axis] > 1:
        same = old.argmax(axis) == new.argmax(axis)
        return _counted(IMAGES if same.size == old.shape[0] else PLACES, same)
    if old.ndim == 4 and function == "Sigmoid":
        return _counted(PIXELS, (old > 0.5) == (new > 0.5))
    return None


def _boxes(old: Floats, new: Floats, parts: Sequence[Part], places: Places) -> Agreed | None:
    """Where the first four rows are no scores and all others are."""
    if old.ndim != 3:
        return None
    for axis in (1, 2):
        rows = np.moveaxis(places, axis, 0).reshape(places.shape[axis], -1)
        is_score = [parts[number].function == "Sigmoid" for number in rows[:, 0]]
        form = [False] * _BOX + [True] * max(1, len(is_score) - _BOX)
        if is_score == form and (rows == rows[:, :1]).all():
            first, second = (np.moveaxis(each, axis, 1) for each in (old, new))
            best = np.argsort(-first[:, _BOX:].max(1), axis=1)[:, :_BEST]
            taken = [np.take_along_axis(each, best[:, None], 2) for each in (first, second)]
            classes = taken[0][:, _BOX:].argmax(1) == taken[1][:, _BOX:].argmax(1)
            return _counted(BOXES, classes & (_overlap(taken[0][:, :_BOX], taken[1][:, :_BOX]) >= _OVERLAP))
    return None


def _overlap(first: Floats, second: Floats) -> Floats:
    """Intersection over union of boxes (N, 4, K) of a centre, a width and a height."""
    low = np.maximum(first[:, :2] - first[:, 2:] / 2, second[:, :2] - second[:, 2:] / 2)
    high = np.minimum(first[:, :2] + first[:, 2:] / 2, second[:, :2] + second[:, 2:] / 2)
    shared = np.prod(np.maximum(high - low, 0), axis=1)
    whole = np.prod(first[:, 2:], axis=1) + np.prod(second[:, 2:], axis=1) - shared
    found: Floats = np.where(whole > 0, shared / np.where(whole > 0, whole, 1), (first == second).all(axis=1))
    return found


def _counted(what: str, same: NDArray[np.bool_]) -> Agreed:
    return what, int(same.sum()), same.size
