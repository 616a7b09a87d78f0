"""Data sets by name.

`cifar10` is read from the official binary archive or its unpacked folder, or downloaded; which folder: the argument,
else the environment's DLAFLOW_DATA, else data/cifar10. `digits` needs no network: scikit-learn ships its 1,797
handwritten digits (UCI "Optical Recognition of Handwritten Digits"), enlarged here from 8x8 grey to 32x32 RGB.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from dlaflow.errors import EnvironmentLacksError, require, unknown_name
from dlaflow.progress import Progress, silent
from dlaflow.zoo.cifar import load_cifar10
from dlaflow.zoo.dataset import Dataset, Images, Split

DATASETS = ("cifar10", "digits")
DEFAULT_FOLDER = Path("data/cifar10")
FOLDER_VARIABLE = "DLAFLOW_DATA"
SIDE = 32
TEST_IMAGES = 360
_BRIGHTEST = 16.0
_SPLIT_SEED = 0


def load_dataset(name: str, data_dir: Path | None = None, progress: Progress = silent) -> Dataset:
    """Load the data set `name` ("cifar10" or "digits"); `data_dir` holds (or will hold) CIFAR-10.

    Raises UsageError for another name, InputError for files that are not CIFAR-10, EnvironmentLacksError when CIFAR-10
    is neither there nor can be downloaded.
    """
    if name == "digits":
        return load_digits()
    if name == "cifar10":
        return load_cifar10(cifar_folder(data_dir), progress)
    raise unknown_name("data set", name, DATASETS)


def find_or_digits(data_dir: Path | None = None, progress: Progress = silent) -> tuple[Dataset, str | None]:
    """CIFAR-10 when it can be had, else the built-in digits and a notice to show loudly.

    Files that are there but broken are an error (InputError), not a reason to go on with something else.
    """
    try:
        return load_dataset("cifar10", data_dir, progress), None
    except EnvironmentLacksError as error:
        return load_digits(), (
            f"CIFAR-10 CANNOT BE HAD ({error.what}). Going on with scikit-learn's handwritten digits instead: the "
            "steps are the same, the accuracies are NOT comparable with CIFAR-10's. For the real run, put "
            f"cifar-10-binary.tar.gz into a folder and pass it with --data-dir or {FOLDER_VARIABLE}."
        )


def cifar_folder(data_dir: Path | None = None) -> Path:
    """Where CIFAR-10 is looked for: `data_dir`, else DLAFLOW_DATA, else data/cifar10."""
    if data_dir is not None:
        return data_dir
    from_environment = os.environ.get(FOLDER_VARIABLE)
    return Path(from_environment) if from_environment else DEFAULT_FOLDER


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
