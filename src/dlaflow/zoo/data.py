"""Data sets by name, as uint8 arrays. numpy is all that reading them takes.

`cifar10` is read from the official binary archive or its unpacked folder, or downloaded; `digits` needs no network.
Which folder: the argument, else the environment's DLAFLOW_DATA, else data/cifar10.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dlaflow.errors import DlaflowError, EnvironmentLacksError, unknown_name
from dlaflow.progress import Progress, silent

DATASETS = ("cifar10", "digits")
DEFAULT_FOLDER = Path("data/cifar10")
FOLDER_VARIABLE = "DLAFLOW_DATA"

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Split:
    """Images uint8 [n, 3, 32, 32] (RGB) with labels int64 [n]."""

    images: Images
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)

    def head(self, count: int | None) -> Split:
        """The first `count` images (None: all)."""
        return self if count is None else Split(self.images[:count], self.labels[:count])


@dataclass(frozen=True, eq=False)
class Dataset:
    """A train and a test split. `mean` and `std` are per channel, of pixels in 0..1; `mirrored` tells whether an image
    flipped left to right still shows its class (a truck does, a digit does not)."""

    name: str
    train: Split
    test: Split
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    classes: tuple[str, ...]
    mirrored: bool

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all pixels and labels: the same data give the same fingerprint, wherever they were read from."""
        digest = hashlib.sha256()
        for array in (self.train.images, self.train.labels, self.test.images, self.test.labels):
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def load_dataset(name: str, data_dir: Path | None = None, progress: Progress = silent) -> Dataset:
    """Load the data set `name` ("cifar10" or "digits"); `data_dir` holds (or will hold) CIFAR-10.

    Raises UsageError for another name, InputError for files that are not CIFAR-10, EnvironmentLacksError when CIFAR-10
    is neither there nor can be downloaded.
    """
    if name == "digits":
        from dlaflow.zoo.digits import load_digits

        return load_digits()
    if name == "cifar10":
        from dlaflow.zoo.cifar import load_cifar10

        return load_cifar10(cifar_folder(data_dir), progress)
    raise unknown_name("data set", name, DATASETS)


def find_or_digits(data_dir: Path | None = None, progress: Progress = silent) -> tuple[Dataset, str | None]:
    """CIFAR-10 when it can be had, else the built-in digits and a notice to show loudly.

    Files that are there but broken are an error (InputError), not a reason to go on with something else.
    """
    try:
        return load_dataset("cifar10", data_dir, progress), None
    except EnvironmentLacksError as error:
        return load_dataset("digits"), _digits_notice(error)


def cifar_folder(data_dir: Path | None = None) -> Path:
    """Where CIFAR-10 is looked for: `data_dir`, else DLAFLOW_DATA, else data/cifar10."""
    if data_dir is not None:
        return data_dir
    from_environment = os.environ.get(FOLDER_VARIABLE)
    return Path(from_environment) if from_environment else DEFAULT_FOLDER


def normalise(
    images: Images, mean: tuple[float, float, float], std: tuple[float, float, float]
) -> npt.NDArray[np.float32]:
    """Images uint8 [n, 3, h, w] → float32 of the same shape: (pixel / 255 - mean) / std for each channel."""
    scale = (1 / (255 * np.asarray(std))).astype(np.float32).reshape(1, 3, 1, 1)
    offset = (-np.asarray(mean) / np.asarray(std)).astype(np.float32).reshape(1, 3, 1, 1)
    normalised: npt.NDArray[np.float32] = images.astype(np.float32) * scale + offset
    return normalised


def _digits_notice(error: DlaflowError) -> str:
    return (
        f"CIFAR-10 CANNOT BE HAD ({error.what}). Going on with scikit-learn's handwritten digits instead: the steps "
        "are the same, the accuracies are NOT comparable with CIFAR-10's. For the real run, put cifar-10-binary.tar.gz "
        f"into a folder and pass it with --data-dir or {FOLDER_VARIABLE}."
    )
