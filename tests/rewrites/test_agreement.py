"""What an output means is told by its form, and what two models agree on is counted."""

from __future__ import annotations

import numpy as np
import pytest

from dlaflow.quantize.boxes import BoxForm
from dlaflow.rewrites.agreement import BOXES, IMAGES, PIXELS, PLACES, agreement
from dlaflow.rewrites.outputs import Part

PLAIN, SOFTMAX, SIGMOID = Part("y"), Part("y", "Softmax", axis=1), Part("y", "Sigmoid", 0.0, 1.0)


def test_classes_of_images() -> None:
    old = np.eye(4)
    new = old[[0, 1, 2, 0]]
    assert agreement(old, new, PLAIN, None, alone=True) == (IMAGES, 3, 4)
    assert agreement(old[..., None, None], new[..., None, None], SOFTMAX, None, alone=False) == (IMAGES, 3, 4)
    # Beside other outputs a row of numbers may be a box.
    assert agreement(old, new, PLAIN, None, alone=False) is None


@pytest.mark.parametrize("part", [SOFTMAX, SIGMOID])
def test_masks(part: Part) -> None:
    generator = np.random.default_rng(0)
    old = generator.random((1, 3, 8, 8))
    new = old.copy()
    new[0, :, 0, 0] = 1 - new[0, :, 0, 0]
    what, same, count = agreement(old, new, part, None, alone=True) or ("", 0, 0)
    assert what == (PLACES if part is SOFTMAX else PIXELS)
    assert count == (64 if part is SOFTMAX else 192)
    assert count - 3 <= same < count


def test_classes_stand_where_the_softmax_says() -> None:
    """A reader of text gives (N, places, characters); a Softmax whose axis was moved tells nothing."""
    old = np.eye(5)[None]
    new = old[:, [0, 1, 2, 3, 0]]
    assert agreement(old, new, Part("y", "Softmax", axis=-1), None, alone=True) == (PLACES, 4, 5)
    assert agreement(old, new, Part("y", "Softmax"), None, alone=True) is None


@pytest.mark.parametrize("axis", [1, 2])
def test_boxes_with_their_classes(axis: int) -> None:
    """One of five boxes moved by half of its width, one with another class."""
    old = np.zeros((1, 6, 5))
    old[0, :4] = np.array([[50, 50, 20, 20]] * 5).T
    old[0, 4] = 0.9
    new = old.copy()
    new[0, 0, 1] += 10
    new[0, 5, 2] = 0.95
    first, second = (np.moveaxis(each, 1, axis) for each in (old, new))
    assert agreement(first, second, None, BoxForm(axis, centre=True), alone=True) == (BOXES, 3, 5)
    assert agreement(first, second, None, None, alone=True) is None
