"""What a data set is: labelled images as uint8 arrays. numpy is all that it takes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

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
    """A train and a test split. `mean` and `std` are per channel, of pixels in 0..1; `mirrored` is whether an image
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
