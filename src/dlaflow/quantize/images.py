"""Images as a sequence that is cut lazily: `images[start:stop]` reads, resizes and normalises just that part.

Arrays (also memory-mapped ones) and folders behave the same, so that calibration and evaluation need no more memory
than one batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from dlaflow.errors import InputError, UsageError, require
from dlaflow.reading import PIXELS, open_regular

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

LAYOUTS = ("nchw", "nhwc")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".pgm", ".webp", ".tif", ".tiff"})

_FORMATS = ("PNG", "JPEG", "BMP", "PPM", "WEBP", "TIFF")
"""Pillow's names of what `SUFFIXES` stand for."""


class Images(Protocol):
    """A sequence of images that are ready for the network."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> NDArray[np.float32]:
        """float32 [n, ...] of the part."""

    def only(self, part: slice, /) -> Images:
        """The images of `part` alone; nothing is read."""


@dataclass(frozen=True)
class Preparation:
    """How pixels become the network's input.

    `mean` and `std` are per channel, of pixels in 0..1; `layout` is that of the network's input; `size` its height and
    width (None: open). `resize` is the length of the shorter side before a centred cut to `size`, or an exact height
    and width; None takes images as they are.
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    layout: str = "nchw"
    size: tuple[int, int] | None = None
    resize: int | tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise UsageError("unknown layout", expected=" or ".join(LAYOUTS), received=repr(self.layout))
        if not all(deviation > 0 for deviation in self.std):
            raise UsageError("a standard deviation must be positive", expected="above 0", received=self.std)

    def normalised(self, pixels: NDArray[np.generic]) -> NDArray[np.float32]:
        """Pixels [n, ...] in the network's layout: uint8 becomes 0..1, then (x - mean) / std for each channel.

        Raises InputError when mean and std do not fit the channels.
        """
        with np.errstate(over="ignore"):  # what does not fit is infinite, which is told as such
            values = pixels.astype(np.float32)
        if pixels.dtype == np.uint8:
            values /= 255
        if self.mean == (0.0,) and self.std == (1.0,):
            return values
        channels = values.shape[1 if self.layout == "nchw" else -1]
        if {len(self.mean), len(self.std)} - {1, channels}:
            raise InputError(
                "mean and std do not fit the images", expected=f"1 or {channels} values each", received=self
            )
        shape = (-1, 1, 1) if self.layout == "nchw" else (-1,)
        values -= np.asarray(self.mean, np.float32).reshape(shape)
        values /= np.asarray(self.std, np.float32).reshape(shape)
        return values


@dataclass(frozen=True, eq=False)
class ImageArray:
    """Images [n, ...] of an array in the order of `order`, in the network's layout."""

    pixels: NDArray[np.generic] = field(repr=False)
    order: NDArray[np.int64] = field(repr=False)
    preparation: Preparation

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, part: slice, /) -> NDArray[np.float32]:
        return self.preparation.normalised(np.asarray(self.pixels[self.order[part]]))

    def only(self, part: slice, /) -> ImageArray:
        """The images of `part` alone; nothing is read."""
        return replace(self, order=self.order[part])


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """Image files, RGB (or grey for a network with one channel).

    Reading raises InputError for a file that is no image, and for sizes that differ or do not fit the network.
    """

    paths: Sequence[Path] = field(repr=False)
    preparation: Preparation
    channels: int = 3

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, part: slice, /) -> NDArray[np.float32]:
        pixels = [self._read(path) for path in self.paths[part]]
        wanted = pixels[0].shape
        for path, image in zip(self.paths[part], pixels, strict=True):
            if image.shape != wanted:
                raise InputError(
                    f"{path} has another size than the images before it",
                    expected=f"{wanted[1]}x{wanted[0]} pixels",
                    received=f"{image.shape[1]}x{image.shape[0]}",
                    then="Bring all images to one size with --resize.",
                )
        stacked = np.stack(pixels)
        return self.preparation.normalised(
            stacked.transpose(0, 3, 1, 2) if self.preparation.layout == "nchw" else stacked
        )

    def only(self, part: slice, /) -> ImageFiles:
        """The images of `part` alone; nothing is read."""
        return replace(self, paths=self.paths[part])

    def _read(self, path: Path) -> NDArray[np.uint8]:
        try:
            with open_regular(path) as content, _opened(content) as file:
                PIXELS.check(file.width * file.height, path)
                image = _resized(file.convert("RGB" if self.channels == 3 else "L"), self.preparation)
        except InputError:
            raise
        except Exception as error:  # what Pillow's decoders raise for damaged files shares no base
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"{path} cannot be read as an image", received=reason, then="Remove or repair it."
            ) from None
        size = self.preparation.size
        if size and (image.height, image.width) != size:
            raise InputError(
                f"{path} does not fit the network",
                expected=f"{size[1]}x{size[0]} pixels",
                received=f"{image.width}x{image.height}",
                then=f"Add --resize {min(size)}, or --resize {size[1]}x{size[0]} to ignore the aspect ratio.",
            )
        return np.asarray(image).reshape(image.height, image.width, self.channels)


def image_files(folder: Path) -> list[Path]:
    """All images below a folder, sorted by path.

    Raises InputError when there are none, EnvironmentLacksError without Pillow.
    """
    require("PIL", extra="run", what_for="reading image files")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise InputError(
            f"{folder} holds no images", expected=f"files such as {', '.join(sorted(SUFFIXES)[:4])}", received="none"
        )
    return found


def folder_labels(folder: Path, paths: Sequence[Path]) -> NDArray[np.int64] | None:
    """Labels from sub-folders, one a class in alphabetical order; None when the images lie in no or one sub-folder."""
    names = [path.relative_to(folder).parts[0] if path.parent != folder else "" for path in paths]
    classes = sorted(set(names))
    if "" in classes or len(classes) < 2:
        return None
    return np.array([classes.index(name) for name in names], np.int64)


def balanced(labels: NDArray[np.int64] | None, available: int, count: int | None, seed: int = 0) -> NDArray[np.int64]:
    """Which of `available` images to take: `count` of them at random, the same number of each class where labels exist.

    The order is mixed too, classes taking turns, so that every prefix is balanced.
    """
    generator = np.random.default_rng(seed)
    shuffled = generator.permutation(available)
    if labels is not None:
        turn = np.empty(available, np.int64)
        for label in np.unique(labels):
            members = np.flatnonzero(labels[shuffled] == label)
            turn[members] = np.arange(len(members))
        shuffled = shuffled[np.argsort(turn, kind="stable")]
    return shuffled[: available if count is None else count]


def in_batches(images: Images, size: int) -> Iterator[NDArray[np.float32]]:
    """All images, `size` at a time."""
    for start in range(0, len(images), size):
        yield images[start : start + size]


def _opened(content: BinaryIO) -> ImageFile:
    """The header of an image. Pillow goes by the content, and for some formats starts other programs: only those of
    `SUFFIXES` are tried. Its own limit on pixels is fixed and warns in two lines, so that ours stands in its place.
    """
    from PIL import Image as images

    usual, images.MAX_IMAGE_PIXELS = images.MAX_IMAGE_PIXELS, None
    try:
        return images.open(content, formats=_FORMATS)
    finally:
        images.MAX_IMAGE_PIXELS = usual


def _resized(image: Image, preparation: Preparation) -> Image:
    """Resize and cut as the preparation asks; bilinear, as most training pipelines do."""
    from PIL.Image import Resampling

    if preparation.resize is None:
        return image
    if isinstance(preparation.resize, tuple):
        height, width = preparation.resize
        return image.resize((width, height), Resampling.BILINEAR)
    factor = preparation.resize / min(image.size)
    width, height = round(image.width * factor), round(image.height * factor)
    PIXELS.check(width * height, f"an image of {image.width}x{image.height} pixels, resized to {width}x{height},")
    scaled = image.resize((width, height), Resampling.BILINEAR)
    height, width = preparation.size or (preparation.resize, preparation.resize)
    left, top = (scaled.width - width) // 2, (scaled.height - height) // 2
    return scaled.crop((left, top, left + width, top + height))
