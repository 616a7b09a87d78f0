"""Images as a sequence that is cut lazily: `images[start:stop]` reads, resizes and normalises just that part.

Arrays (also memory-mapped ones) and folders behave the same, so that calibration and evaluation need no more memory
than one batch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from dlaflow.errors import EnvironmentLacksError, InputError, UsageError, require
from dlaflow.quantize.feed import Batch, Feed, only_array
from dlaflow.reading import PIXELS, open_regular

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

LAYOUTS = ("nchw", "nhwc")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".pgm", ".webp", ".tif", ".tiff"})

VIDEOS = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v"})

_LOCAL = "file"
"""All that a decoder may open: what looks like a video may be a list of addresses."""

_FORMATS = ("PNG", "JPEG", "BMP", "PPM", "WEBP", "TIFF")
"""Pillow's names of what `SUFFIXES` stand for."""


class Images(Protocol):
    """A sequence of images that are ready for the network."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> Batch:
        """[n, ...] of the part, or a Feed of several inputs."""

    def only(self, which: slice | NDArray[np.int64], /) -> Images:
        """The images of a part or of these places alone; nothing is read."""


@dataclass(frozen=True)
class Preparation:
    """How pixels become the network's input.

    `mean` and `std` are per channel, of pixels in 0..1; `layout` is that of the network's input; `size` its height and
    width (None: open). `resize` is the length of the shorter side before a centred cut to `size`, or an exact height
    and width; None takes images as they are. An input of whole numbers (`dtype`) gets the pixels as they are.
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    layout: str = "nchw"
    size: tuple[int, int] | None = None
    resize: int | tuple[int, int] | None = None
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise UsageError("unknown layout", expected=" or ".join(LAYOUTS), received=repr(self.layout))
        if not all(deviation > 0 for deviation in self.std):
            raise UsageError("a standard deviation must be positive", expected="above 0", received=self.std)
        if self._whole and (self.mean, self.std) != ((0.0,), (1.0,)):
            raise UsageError(
                f"an input of {self.dtype} takes pixels as they are", expected="no --mean and --std", received=self.mean
            )

    @property
    def _whole(self) -> bool:
        """Whether the input takes whole numbers."""
        return np.dtype(self.dtype).kind != "f"

    def normalised(self, pixels: NDArray[np.generic]) -> NDArray[np.generic]:
        """Pixels [n, ...] in the network's layout: uint8 becomes 0..1, then (x - mean) / std for each channel.

        Raises InputError when mean and std do not fit the channels.
        """
        if self._whole:
            return pixels
        with np.errstate(over="ignore"):  # what does not fit is infinite, which is told as such
            values = pixels.astype(np.float32)
        if pixels.dtype == np.uint8:
            values /= 255
        if self.mean == (0.0,) and self.std == (1.0,):
            return values
        channels = values.shape[1 if self.layout == "nchw" else -1]
        if {len(self.mean), len(self.std)} - {1, channels}:
            raise InputError(
                "mean and std do not fit the images",
                expected=f"1 or {channels} values each",
                received=f"{len(self.mean)} and {len(self.std)}",
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

    def __getitem__(self, part: slice, /) -> NDArray[np.generic]:
        return self.preparation.normalised(np.asarray(self.pixels[self.order[part]]))

    def only(self, which: slice | NDArray[np.int64], /) -> ImageArray:
        """The images of a part or of these places alone; nothing is read."""
        return replace(self, order=self.order[which])


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """Image files in the mode that the network's channels say: grey, RGB or RGB with transparency.

    Reading raises InputError for a file that is no image, and for sizes that differ or do not fit the network.
    """

    paths: Sequence[Path] = field(repr=False)
    preparation: Preparation
    channels: int = 3

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, part: slice, /) -> NDArray[np.generic]:
        return stacked([(str(path), self._read(path)) for path in self.paths[part]], self.preparation, self.channels)

    def only(self, which: slice | NDArray[np.int64], /) -> ImageFiles:
        """The images of a part or of these places alone; nothing is read."""
        return replace(self, paths=[self.paths[place] for place in np.arange(len(self.paths))[which]])

    def _read(self, path: Path) -> Image:
        try:
            with open_regular(path) as content, _opened(content) as file:
                PIXELS.check(file.width * file.height, path)
                return _resized(file.convert(mode(self.channels)), self.preparation)
        except InputError:
            raise
        except Exception as error:  # what Pillow's decoders raise for damaged files shares no base
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"{path} cannot be read as an image", received=reason, then="Remove or repair it."
            ) from None


class Video:
    """The frames of a video by their numbers; those that rise are decoded in one go."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._next = 0
        self._frames: Iterator[NDArray[np.uint8]] = decoded(path)

    def frame(self, number: int) -> Image:
        """One frame. Raises InputError for a video that ends before it or cannot be read."""
        from PIL import Image as images

        if number < self._next:
            self._next, self._frames = 0, decoded(self.path)
        for pixels in self._frames:
            self._next += 1
            if self._next > number:
                return images.fromarray(pixels)
        raise InputError(f"{self.path} ends early", expected=f"frame {number}", received=f"{self._next} frames")


@dataclass(frozen=True, eq=False)
class VideoFrames:
    """Some frames of a video. Reading raises InputError as `Video` does, and for a size that does not fit."""

    video: Video
    frames: NDArray[np.int64] = field(repr=False)
    preparation: Preparation
    channels: int = 3

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, part: slice, /) -> NDArray[np.generic]:
        named = []
        for number in self.frames[part].tolist():
            image = self.video.frame(number).convert(mode(self.channels))
            named.append((f"frame {number} of {self.video.path}", _resized(image, self.preparation)))
        return stacked(named, self.preparation, self.channels)

    def only(self, which: slice | NDArray[np.int64], /) -> VideoFrames:
        """The frames of a part or of these places alone; nothing is read."""
        return replace(self, frames=self.frames[which])


@dataclass(frozen=True, eq=False)
class InputImages:
    """Images of several inputs that belong together, one sequence an input, all of the same length."""

    inputs: Mapping[str, Images]

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def __getitem__(self, part: slice, /) -> Feed:
        return Feed({name: only_array(images[part]) for name, images in self.inputs.items()})

    def only(self, which: slice | NDArray[np.int64], /) -> InputImages:
        """The images of a part or of these places alone; nothing is read."""
        return InputImages({name: images.only(which) for name, images in self.inputs.items()})


def mode(channels: int) -> str:
    """Pillow's mode for images of so many channels.

    Raises InputError for a number that image files do not have.
    """
    modes = {1: "L", 3: "RGB", 4: "RGBA"}
    if channels not in modes:
        raise InputError(
            f"the input takes {channels} channels",
            expected=f"{', '.join(map(str, modes))} channels of images",
            then="Give arrays instead: --data FILE.npy, or a .npz.",
        )
    return modes[channels]


def stacked(images: Sequence[tuple[str, Image]], preparation: Preparation, channels: int) -> NDArray[np.generic]:
    """Named images of one size as a batch in the network's layout.

    Raises InputError for sizes that differ or do not fit the network.
    """
    first = images[0][1].size
    for name, image in images:
        size = preparation.size
        if size and (image.height, image.width) != size:
            raise InputError(
                f"{name} does not fit the network",
                expected=f"{size[1]}x{size[0]} pixels",
                received=f"{image.width}x{image.height}",
                then=f"Add --resize {min(size)}, or --resize {size[1]}x{size[0]} to ignore the aspect ratio.",
            )
        if image.size != first:
            raise InputError(
                f"{name} has another size than the images before it",
                expected=f"{first[0]}x{first[1]} pixels",
                received=f"{image.width}x{image.height}",
                then="Bring all images to one size with --resize.",
            )
    pixels = np.stack([np.asarray(image).reshape(image.height, image.width, channels) for _, image in images])
    return preparation.normalised(pixels.transpose(0, 3, 1, 2) if preparation.layout == "nchw" else pixels)


def decoded(path: Path) -> Iterator[NDArray[np.uint8]]:
    """The frames of a video, RGB uint8 [H, W, 3], by PyAV or OpenCV.

    Raises InputError for what is no video, EnvironmentLacksError where neither is installed.
    """
    if find_spec("av") is not None:
        import av

        try:
            with av.open(str(path.absolute()), options={"protocol_whitelist": _LOCAL}) as container:
                stream = container.streams.video[0]
                PIXELS.check(stream.width * stream.height, path)
                for frame in container.decode(stream):
                    PIXELS.check(frame.width * frame.height, path)
                    yield np.asarray(frame.to_ndarray(format="rgb24"))
        except (av.FFmpegError, IndexError, ValueError) as error:
            raise InputError(f"{path} cannot be read as a video", received=" ".join(str(error).split())[:200]) from None
        return
    if find_spec("cv2") is None:
        raise EnvironmentLacksError("reading a video needs PyAV or OpenCV", then="Install it with: pip install av")
    import cv2

    os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", f"protocol_whitelist;{_LOCAL}")
    capture = cv2.VideoCapture(str(path.absolute()), cv2.CAP_FFMPEG)
    try:
        PIXELS.check(int(capture.get(cv2.CAP_PROP_FRAME_WIDTH) * capture.get(cv2.CAP_PROP_FRAME_HEIGHT)), path)
        if not capture.isOpened():
            raise InputError(f"{path} cannot be read as a video", received="nothing that OpenCV decodes")
        while (read := capture.read())[0]:
            yield np.asarray(read[1][:, :, ::-1], np.uint8)
    finally:
        capture.release()


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


def in_batches(images: Images, size: int) -> Iterator[Batch]:
    """All images, `size` at a time."""
    for start in range(0, len(images), size):
        yield images[start : start + size]


def float_batches(images: Images, size: int) -> Iterator[NDArray[np.float32]]:
    """The same for what takes one float input alone."""
    return (np.asarray(only_array(batch), np.float32) for batch in in_batches(images, size))


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
