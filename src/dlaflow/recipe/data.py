"""The images of a run, loaded when the first step asks for them and shared by all."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dlaflow.progress import Progress
from dlaflow.recipe.schema import DataSection

if TYPE_CHECKING:
    from dlaflow.quantize.images import ImageArray
    from dlaflow.zoo.dataset import Dataset


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

    def test(self, limit: int | None) -> tuple[ImageArray, NDArray[np.int64]]:
        """Test images, normalised as they are read, and their labels; the first `limit` of them."""
        split = self.dataset.test.head(limit)
        return self._prepared(split.images, np.arange(len(split))), split.labels

    def training(self, images: int, skip: int = 0) -> tuple[ImageArray, NDArray[np.int64]]:
        """`images` training images and their labels, the same number of each class, after `skip` others.

        A small dataset gives fewer others rather than fewer images.
        """
        from dlaflow.quantize.images import balanced

        split = self.dataset.train
        order = balanced(split.labels, len(split), skip + images)[-images:]
        return self._prepared(split.images, order), split.labels[order]

    def _prepared(self, pixels: NDArray[np.uint8], order: NDArray[np.int64]) -> ImageArray:
        from dlaflow.quantize.images import ImageArray, Preparation

        return ImageArray(pixels, order, Preparation(self.dataset.mean, self.dataset.std))
