"""The images of a run: a data set that is loaded when the first step asks for it, or files of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dlaflow.api.claims import path_in
from dlaflow.errors import InputError
from dlaflow.files import sha256_of
from dlaflow.fixed_shape import FixedShape
from dlaflow.progress import Progress
from dlaflow.recipe.schema import DataSection

if TYPE_CHECKING:
    from dlaflow.api.images import Selection
    from dlaflow.zoo.dataset import Dataset, Split


class RunData:
    """The images that a recipe names; `notice` is the loud remark when another data set had to be taken.

    `announce` is called with what a user must not miss; `shapes` are those of inputs that the models leave open.
    """

    def __init__(
        self,
        section: DataSection,
        progress: Progress,
        announce: Callable[[str], None],
        shapes: Sequence[FixedShape] = (),
    ) -> None:
        self._section = section
        self._progress = progress
        self.announce = announce
        self._shapes = shapes
        self.notice: str | None = None

    @cached_property
    def dataset(self) -> Dataset:
        """The data set that is named. Raises whatever `dlaflow.zoo.data.load_dataset` raises."""
        from dlaflow.zoo.data import find_or_digits, load_dataset

        folder = Path(self._section.dir) if self._section.dir else None
        if self._section.name != "auto":
            return load_dataset(self._section.name, folder, self._progress)
        dataset, self.notice = find_or_digits(folder, self._progress)
        if self.notice:
            self.announce(self.notice)
        return dataset

    @property
    def name(self) -> str:
        """What the images are called in results."""
        return ", ".join(self._section.source) or self.dataset.name

    @cached_property
    def fingerprint(self) -> str:
        """Changes with the images: a file counts by its content, a folder by its files, their sizes and times."""
        if self._section.source:
            read = repr((self._section.resize, self._section.mean, self._section.std, self._section.layout))
            return "\n".join([read, *(mark for each in self._section.source for mark in _marks(each))])
        return self.dataset.fingerprint

    def test(self, model: Path, limit: int | None) -> Selection:
        """The first `limit` test images for `model`, normalised as they are read; labels where they have some."""
        if self._section.source:
            return self._own(model)[1].head(limit)
        split = self.dataset.test.head(limit)
        return self._selected(split, np.arange(len(split)))

    def training(self, model: Path, images: int, skip: int = 0) -> Selection:
        """`images` training images for `model`, the same number of each class, after `skip` others.

        A small data set gives fewer others rather than fewer images.
        """
        from dlaflow.quantize.images import balanced

        if self._section.source:
            chosen = self._own(model)[0].head(skip + images)
            return chosen.rest(max(len(chosen.images) - images, 0))
        split = self.dataset.train
        return self._selected(split, balanced(split.labels, len(split), skip + images)[-images:])

    @lru_cache(maxsize=2)  # noqa: B019 - lives as long as the run
    def _own(self, model: Path) -> tuple[Selection, Selection]:
        """The user's images for the inputs of `model`: one half for scales and statistics, the other to measure on."""
        from dlaflow.api.images import ImageOptions, select
        from dlaflow.graph.load import as_model
        from dlaflow.quantize.model import network_inputs

        section = self._section
        reading = ImageOptions(
            data_dir=section.dir, resize=section.resize, mean=section.mean, std=section.std, layout=section.layout
        )
        inputs = network_inputs(as_model(model, self._shapes).proto)
        chosen = select(section.source, reading, inputs, train=True, progress=self._progress)
        if len(chosen.images) < 2:
            what = "one half of the images calibrates, the other measures"
            raise InputError(what, expected="2 images or more", received=len(chosen.images))
        return chosen.halves()

    def _selected(self, split: Split, order: NDArray[np.int64]) -> Selection:
        from dlaflow.api.images import Selection
        from dlaflow.quantize.images import ImageArray, Preparation

        images = ImageArray(split.images, order, Preparation(self.dataset.mean, self.dataset.std))
        return Selection(images, split.labels[order], self.dataset.name)


def _marks(source: str) -> Iterator[str]:
    path = path_in(source)
    if not path.is_dir():
        yield f"{source} {sha256_of(path) if path.is_file() else ''}"
        return
    for each in sorted(path.rglob("*")):
        about = each.stat()
        yield f"{each} {about.st_size} {about.st_mtime_ns}"
