"""The built-in data set: scikit-learn's 1,797 handwritten digits, enlarged from 8x8 grey to 32x32 RGB.

They ship inside scikit-learn (UCI "Optical Recognition of Handwritten Digits"), so nothing is downloaded.
"""

from __future__ import annotations

import numpy as np

from dlaflow.errors import require
from dlaflow.zoo.dataset import Dataset, Images, Split

SIDE = 32
TEST_IMAGES = 360
_BRIGHTEST = 16.0
_SPLIT_SEED = 0


def load_digits() -> Dataset:
    """1,437 training and 360 test images, always the same split.

    Raises EnvironmentLacksError without scikit-learn.
    """
    require("sklearn", extra="train", what_for="the data set digits")
    from sklearn.datasets import load_digits as load

    bunch = load()
    images = enlarge(np.asarray(bunch.images))
    labels = np.asarray(bunch.target, dtype=np.int64)
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(labels))
    test, train = order[:TEST_IMAGES], order[TEST_IMAGES:]
    pixels = images[train] / 255
    mean, std = round(float(pixels.mean()), 4), round(float(pixels.std()), 4)
    return Dataset(
        name="digits",
        train=Split(images[train], labels[train]),
        test=Split(images[test], labels[test]),
        mean=(mean, mean, mean),
        std=(std, std, std),
        classes=tuple(str(digit) for digit in range(10)),
        mirrored=False,
    )


def enlarge(images: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Images:
    """Images of 0..16 [n, s, s] → uint8 [n, 3, 32, 32], linearly between pixel centres."""
    matrix = _linear(images.shape[-1])
    grey = matrix @ images @ matrix.T * (255 / _BRIGHTEST)
    return np.repeat(np.rint(grey).astype(np.uint8)[:, None], 3, axis=1)


def _linear(size: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """The [32, size] matrix that enlarges one axis; beyond the outermost pixel centres the border pixel repeats."""
    position = np.clip((np.arange(SIDE) + 0.5) * size / SIDE - 0.5, 0, size - 1)
    left = np.minimum(position.astype(int), size - 2)
    share = position - left
    matrix = np.zeros((SIDE, size))
    matrix[np.arange(SIDE), left] = 1 - share
    matrix[np.arange(SIDE), left + 1] = share
    return matrix
