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
    from dlaflow.api.images import Selection
    from dlaflow.zoo.dataset import Dataset, Split


class RunData:
    """The dataset that a recipe names; `notice` is the loud remark when another one had to be taken.

    `announce` is called with what a user must not miss.
    """

    def __init__(self, section: DataSection, progress: Progress, announce: Callable[[str], None]) -> None:
        self._section = section
        self._progress = progress
        self.announce = announce
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
            self.announce(self.notice)
        return dataset

    def test(self, limit: int | None) -> Selection:
        """The first `limit` test images with their labels, normalised as they are read."""
        split = self.dataset.test.head(limit)
        return self._selected(split, np.arange(len(split)))

    def training(self, images: int, skip: int = 0) -> Selection:
        """`images` training images with their labels, the same number of each class, after `skip` others.

        A small dataset gives fewer others rather than fewer images.
        """
        from dlaflow.quantize.images import balanced

        split = self.dataset.train
        return self._selected(split, balanced(split.labels, len(split), skip + images)[-images:])

    def _selected(self, split: Split, order: NDArray[np.int64]) -> Selection:
        from dlaflow.api.images import Selection
        from dlaflow.quantize.images import ImageArray, Preparation

        images = ImageArray(split.images, order, Preparation(self.dataset.mean, self.dataset.std))
        return Selection(images, split.labels[order], self.dataset.name)
