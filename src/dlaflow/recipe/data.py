"""The images of a run, loaded when the first step asks for them and shared by all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dlaflow.progress import Progress
from dlaflow.recipe.schema import DataSection

if TYPE_CHECKING:
    from dlaflow.zoo.data import Dataset

_BATCH = 64
_SEED = 0


class RunData:
    """The dataset that a recipe names; `notice` is the loud remark when another one had to be taken."""

    def __init__(self, section: DataSection, progress: Progress, announce: Callable[[str], None]) -> None:
        self._section = section
        self._progress = progress
        self._announce = announce
        self.notice: str | None = None

    @cached_property
    def dataset(self) -> Dataset:
        """The dataset. Raises whatever `dlaflow.zoo.data.load_dataset` raises."""
        from dlaflow.zoo.data import find_or_digits, load_dataset

        folder = Path(self._section.dir) if self._section.dir else None
        if self._section.name != "auto":
            return load_dataset(self._section.name, folder, self._progress)
        dataset, self.notice = find_or_digits(folder, self._progress)
        if self.notice:
            self._announce(self.notice)
        return dataset

    def test(self, limit: int | None) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Normalised test images, float32 [n, 3, 32, 32], and their labels; the first `limit` of them."""
        split = self.dataset.test.head(limit)
        return self._normalised(split.images), split.labels

    def batches(self, samples: int) -> Iterator[NDArray[np.float32]]:
        """`samples` normalised training images in batches, drawn with a fixed seed: a dataset may lie sorted."""
        order = np.random.default_rng(_SEED).permutation(len(self.dataset.train))[:samples]
        for start in range(0, len(order), _BATCH):
            yield self._normalised(self.dataset.train.images[order[start : start + _BATCH]])

    def _normalised(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        from dlaflow.zoo.data import normalise

        return normalise(images, self.dataset.mean, self.dataset.std)
