"""What two models agree on where the form of an output tells what it means: classes, masks, boxes.

    (N, C), (N, C, 1, 1)   the only output: the best class of each image
    behind a Softmax       the best class of each image, pixel or character
    (N, C, H, W)           behind a Sigmoid: each pixel on its side of 0.5
    boxes with scores      the 100 best cells with their classes (`box_forms` tells them)

A number in a report, no bound: two scores that are nearly equal may change places.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dlaflow.quantize.agreement import CLASS, MASK, POSITIONS, OutputForm, class_axis, same_choices
from dlaflow.quantize.boxes import BoxForm, same_cells
from dlaflow.rewrites.outputs import Part

Floats = NDArray[np.float64]
Agreed = tuple[str, int, int]
"""What is counted, how many are the same, of how many."""
IMAGES, PLACES, PIXELS = "the same class", "places of the same class", "pixels on the same side of 0.5"
BOXES = "boxes that overlap by 0.9 with the same class"
_WORDS = {CLASS: IMAGES, POSITIONS: PLACES, MASK: PIXELS}


def agreement(old: Floats, new: Floats, part: Part | None, boxes: BoxForm | None, *, alone: bool) -> Agreed | None:
    """What two outputs of one shape agree on; None where the form does not tell.

    `part` is what the output is made of, None for several parts; `alone`: it is the only output.
    """
    if boxes is not None:
        return _counted(BOXES, same_cells(old, new, boxes))
    if part is None or old.ndim < 2 or not old.size:
        return None
    image = old.ndim in (2, 4) and old.size == old.shape[0] * old.shape[1]
    mask = part.function == "Sigmoid" and old.ndim == 4
    if part.axis is None and not mask and (part.function or not alone or not image):
        return None
    form = OutputForm(part.label, part.axis, mask)
    told = same_choices(old, new, form, class_axis(old, form))
    return None if told is None else _counted(_WORDS[told[0]], told[1])


def _counted(what: str, same: NDArray[np.bool_]) -> Agreed:
    return what, int(same.sum()), same.size
