"""The built-in digits."""

from __future__ import annotations

import numpy as np

from dlaflow.zoo.data import enlarge, load_digits


def test_sizes_and_a_split_that_shares_nothing() -> None:
    digits = load_digits()
    assert digits.train.images.shape == (1437, 3, 32, 32)
    assert digits.test.images.shape == (360, 3, 32, 32)
    assert digits.train.images.dtype == np.uint8
    assert set(np.unique(digits.train.labels)) == set(range(10)) == set(np.unique(digits.test.labels))
    assert not digits.mirrored
    seen = {image.tobytes() for image in digits.train.images}
    assert sum(image.tobytes() in seen for image in digits.test.images) == 0


def test_it_is_the_same_every_time() -> None:
    assert load_digits().fingerprint == load_digits().fingerprint


def test_statistics_are_those_of_the_pixels() -> None:
    digits = load_digits()
    pixels = digits.train.images / 255
    assert abs(pixels.mean() - digits.mean[0]) < 1e-3
    assert abs(pixels.std() - digits.std[0]) < 1e-3


def test_enlarging_keeps_brightness_and_orientation() -> None:
    flat = np.full((1, 8, 8), 16.0)
    assert (enlarge(flat) == 255).all()
    corner = np.zeros((1, 8, 8))
    corner[0, 0, 7] = 16
    big = enlarge(corner)
    assert big.shape == (1, 3, 32, 32)
    assert big[0, 0, 0, 31] == 255
    assert big[0, :, 16:].max() == 0
    assert big[0, :, :, :16].max() == 0
