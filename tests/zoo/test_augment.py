"""Batches on the device: normalised like numpy's, cropped and flipped as promised."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlaflow.quantize.images import Preparation
from dlaflow.zoo.augment import CROP, DeviceImages, draw_epoch
from dlaflow.zoo.dataset import Dataset, Split

CPU = torch.device("cpu")


def coordinates(mirrored: bool) -> Dataset:
    """One image whose red is the row, green the column and blue 77, unscaled by the statistics below."""
    rows, columns = np.mgrid[0:32, 0:32]
    image = np.stack([rows, columns, np.full((32, 32), 77)]).astype(np.uint8)[None]
    split = Split(np.repeat(image, 64, axis=0), np.zeros(64, np.int64))
    return Dataset("coordinates", split, split, (0.0,) * 3, (1 / 255,) * 3, ("only",), mirrored)


def batch(dataset: Dataset, seed: int) -> torch.Tensor:
    images = DeviceImages(dataset.train, dataset, CPU)
    return images.augmented(draw_epoch(64, seed)).round()


def test_training_normalises_as_calibration_and_evaluation_do(colours: Dataset) -> None:
    got = DeviceImages(colours.test, colours, CPU).plain(slice(5, 9))
    wanted = Preparation(colours.mean, colours.std).normalised(colours.test.images[5:9])
    np.testing.assert_allclose(got.numpy(), wanted, atol=1e-5)
    assert got.is_contiguous(memory_format=torch.channels_last)


@given(seed=st.integers(0, 2**31))
@settings(deadline=None, max_examples=10)
def test_a_crop_moves_at_most_four_and_mirrors_the_border(seed: int) -> None:
    out = batch(coordinates(mirrored=False), seed)
    moved = out[:, :, 16, 16] - torch.tensor([16.0, 16.0, 77.0])
    assert moved[:, :2].abs().max() <= CROP
    assert (moved[:, 2] == 0).all()
    for image, (down, right, _) in zip(out, moved.tolist(), strict=True):
        for axis, shift in ((0, down), (1, right)):
            line = image[0, :, 0] if axis == 0 else image[1, 0]
            position = np.arange(32) + shift
            wanted = 31 - np.abs(31 - np.abs(position))
            assert line.tolist() == wanted.tolist()


def test_about_half_are_flipped_and_only_where_that_is_harmless() -> None:
    # A flipped image's columns fall from left to right (away from the border, which mirrors).
    flipped = [
        (out[:, 1, 0, 20] < out[:, 1, 0, 10]).float().mean() for out in (batch(coordinates(True), s) for s in range(8))
    ]
    assert 0.4 < float(torch.stack(flipped).mean()) < 0.6
    unflipped = batch(coordinates(mirrored=False), 3)
    assert (unflipped[:, 1, 0, 20] > unflipped[:, 1, 0, 10]).all()


def test_images_of_a_batch_move_independently_and_a_seed_repeats() -> None:
    dataset = coordinates(mirrored=True)
    out = batch(dataset, 1)
    assert len({tuple(image[:2, 16, 16].tolist()) for image in out}) > 20
    assert torch.equal(out, batch(dataset, 1))
    assert not torch.equal(out, batch(dataset, 2))
    assert torch.equal(batch(replace(dataset, name="other"), 1), out)


@given(images=st.integers(1, 300), seed=st.integers(0, 2**40))
@settings(deadline=None, max_examples=20)
def test_an_epoch_takes_each_image_once_and_hangs_on_its_seed_alone(images: int, seed: int) -> None:
    draws = draw_epoch(images, seed)
    assert sorted(draws[0].tolist()) == list(range(images))
    assert int(draws[1:3].abs().max()) <= CROP
    assert set(draws[3].tolist()) <= {0, 1}
    assert torch.equal(draws, draw_epoch(images, seed))
