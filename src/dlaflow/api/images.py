"""Where images come from: a named data set, a folder or an array, for every use case that feeds a model."""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dlaflow.api.keywords import File
from dlaflow.errors import InputError, UsageError, require, unknown_name
from dlaflow.fixed_shape import refuse_batch
from dlaflow.progress import Progress
from dlaflow.quantize.feed import NetworkInput
from dlaflow.quantize.images import (
    VIDEOS,
    ImageArray,
    ImageFiles,
    Images,
    InputImages,
    Preparation,
    Video,
    VideoFrames,
    balanced,
    decoded,
    folder_labels,
    image_files,
)
from dlaflow.reading import ARRAY_BYTES, check_regular

if TYPE_CHECKING:
    from dlaflow.zoo.dataset import Split

_NAMED = ("cifar10", "digits")
_CHANNELS = (1, 3, 4)


@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """How images are read."""

    data_dir: File | None = None
    """The folder that holds CIFAR-10."""
    samples: int | None = None
    """How many images, the same number of each class (default: 512 to calibrate, all to evaluate)."""
    batch: int = 32
    """How many images run at once."""
    resize: str | int | None = None
    """Folder only: length of the shorter side before a centred cut (256), or an exact size (224x224)."""
    mean: str | Sequence[float] | None = None
    """Mean of each channel of pixels in 0..1, such as 0.485,0.456,0.406; of several inputs "LEFT=0.5;RIGHT=0.4"."""
    std: str | Sequence[float] | None = None
    """Standard deviation of each channel, such as 0.229,0.224,0.225; of several inputs as --mean."""
    layout: str | None = None
    """The layout of the model's input: nchw or nhwc (default: what its shape says). Arrays are taken as they are."""


@dataclass(frozen=True, eq=False)
class Selection:
    """The chosen images with their labels (None: unknown); `description` says in words what they are."""

    images: Images
    labels: NDArray[np.int64] | None
    description: str

    def halves(self) -> tuple[Selection, Selection]:
        """The first half of the images and the rest, with their labels; nothing is read.

        Raises UsageError where there are too few for two.
        """
        if len(self.images) < 2:
            raise UsageError("too few images", expected="--samples of 2 or more", received=len(self.images))
        half = len(self.images) // 2
        return self.head(half), self.rest(half)

    def head(self, count: int | None) -> Selection:
        """The first `count` images with their labels; all of them for None."""
        return self._only(slice(count))

    def rest(self, skipped: int) -> Selection:
        """The images after the first `skipped` ones with their labels."""
        return self._only(slice(skipped, None))

    def _only(self, which: slice) -> Selection:
        labels = None if self.labels is None else self.labels[which]
        return Selection(self.images.only(which), labels, self.description)

    @property
    def known_labels(self) -> NDArray[np.int64]:
        """The labels, for what cannot do without.

        Raises InputError when the images have none.
        """
        if self.labels is None:
            raise InputError(
                "the images have no labels",
                expected="one sub-folder a class, or a .npz with `images` and `labels`",
                received=self.description,
                then="Without them a model can be compared with its float version: name that one too, first.",
            )
        return self.labels


def select(
    data: File | Sequence[File],
    options: ImageOptions,
    inputs: Sequence[NetworkInput],
    *,
    train: bool,
    default: int | None = None,
    progress: Progress,
) -> Selection:
    """The images of `data` for a model with `inputs`.

    `data` is cifar10, digits, a folder of images (sub-folders are classes), a video, or a .npy/.npz file; for several
    inputs a .npz that names their arrays, or `NAME=` and one of these for each, whose images belong together in their
    order. `train` picks the split of a named data set, `default` the number of images without `--samples`. Raises
    UsageError for options that make no sense and InputError for data that cannot be used.
    """
    if options.samples is not None and options.samples < 1:
        raise UsageError("too few images", expected="--samples of 1 or more", received=options.samples)
    refuse_batch(options.batch)
    count = options.samples or default
    given = [data] if isinstance(data, str | os.PathLike) else list(data)
    if not given:
        raise UsageError(
            "no images are named", expected=f"--data {', '.join(_NAMED)}, a folder, a video or a .npy/.npz"
        )
    if len(given) == len(inputs) == 1 and given[0] in _NAMED:
        return _named(str(given[0]), options, count, train=train, progress=progress)
    sources = _opened(given, options, inputs)
    available = len(sources[0].images)
    for source in sources:
        if len(source.images) != available:
            raise InputError(
                f"{source.title} does not belong to {sources[0].title}",
                expected=f"{available} images",
                received=len(source.images),
            )
    labels = next((source.labels for source in sources if source.labels is not None), None)
    order = balanced(labels, available, count)
    if any(source.moving for source in sources):
        order = np.sort(order)
    images = {each.name: source.images.only(order) for each, source in zip(inputs, sources, strict=True)}
    title = ", ".join(dict.fromkeys(source.title for source in sources))
    return Selection(
        InputImages(images) if len(inputs) > 1 else images[inputs[0].name],
        None if labels is None else labels[order],
        f"{title}, {len(order)} of {available} {'frames' if sources[0].moving else 'images'}",
    )


@dataclass(frozen=True, slots=True)
class _Source:
    """All images of one input; `moving` ones are read in their order."""

    images: Images
    labels: NDArray[np.int64] | None
    title: str
    moving: bool = False


def named_path(item: File, names: Sequence[str]) -> tuple[str, Path]:
    """The input that `NAME=PATH` is for and the path; a bare path is for "".

    The longest name that fits: names may hold "=" themselves, and one may begin another.
    """
    name = max((each for each in names if str(item).startswith(f"{each}=")), key=len, default="")
    name = "" if Path(item).exists() else name
    return name, Path(str(item)[len(name) + 1 :] if name else item)


def _opened(given: Sequence[File], options: ImageOptions, inputs: Sequence[NetworkInput]) -> list[_Source]:
    """A source for each input, in the order of the inputs."""
    names = [each.name for each in inputs]
    named: dict[str, Path] = {}
    for item in given:
        name, path = named_path(item, names)
        named[name] = path
    if {*named} == {*names} and len(given) == len(names):
        return [_source(named[each.name], options, each, inputs) for each in inputs]
    path = Path(given[0])
    if len(given) != 1 or "" not in named or (len(names) > 1 and path.suffix != ".npz"):
        raise UsageError(
            f"the model has {len(names)} inputs" if len(names) > 1 else "the model has one input",
            expected=" ".join(f"--data {name}=SOURCE" for name in names) + (", or a .npz" if len(names) > 1 else ""),
            received=" ".join(f"--data {item}" for item in given),
        )
    return [_source(path, options, each, inputs, shared=len(names) > 1) for each in inputs]


def _source(
    path: Path, options: ImageOptions, wanted: NetworkInput, inputs: Sequence[NetworkInput], *, shared: bool = False
) -> _Source:
    layout = options.layout or _layout_of(wanted.shape)
    channels, height, width = (
        *(wanted.shape if layout == "nchw" else wanted.shape[-1:] + wanted.shape[:-1]),
        *[None] * 3,
    )[:3]
    several = [each.name for each in inputs] if len(inputs) > 1 else []
    mean, std = (
        _numbers(f"--{option}", value, wanted.name, several)
        for option, value in (("mean", options.mean), ("std", options.std))
    )
    preparation = Preparation(mean or (0.0,), std or (1.0,), layout, dtype=wanted.dtype)
    if path.suffix in {".npy", ".npz"} and path.exists():
        return _array(path, preparation, wanted, shared=shared)
    preparation = replace(
        preparation, size=(height, width) if height and width else None, resize=_resize(options.resize)
    )
    if path.is_dir():
        paths = image_files(path)
        return _Source(ImageFiles(paths, preparation, channels or 3), folder_labels(path, paths), str(path))
    if path.suffix.lower() in VIDEOS and path.exists():
        require("PIL", extra="run", what_for="reading a video")
        check_regular(path)
        frames = np.arange(sum(1 for _ in decoded(path)))
        if not len(frames):
            raise InputError(f"{path} holds no frames", expected="a video", received="none")
        return _Source(VideoFrames(Video(path), frames, preparation, channels or 3), None, path.name, moving=True)
    raise InputError(
        f"--data {path} is nothing that holds images",
        expected=f"{', '.join(_NAMED)}, a folder, a video, or a .npy/.npz file",
        received="another file" if path.exists() else "no such file or folder",
    )


def _layout_of(shape: tuple[int | None, ...]) -> str:
    """Channels last, where only the last dimension can be a number of channels; else channels first."""
    return "nhwc" if len(shape) == 3 and shape[-1] in _CHANNELS and shape[0] not in _CHANNELS else "nchw"


def _named(name: str, options: ImageOptions, count: int | None, *, train: bool, progress: Progress) -> Selection:
    from dlaflow.zoo.data import load_dataset

    dataset = load_dataset(name, Path(options.data_dir) if options.data_dir else None, progress)
    split: Split = dataset.train if train else dataset.test
    order = balanced(split.labels, len(split.labels), count)
    mean = _numbers("--mean", options.mean) or dataset.mean
    std = _numbers("--std", options.std) or dataset.std
    images = ImageArray(split.images, order, Preparation(mean, std))
    return Selection(images, split.labels[order], f"{dataset.name} {'train' if train else 'test'}, {len(order)} images")


def _array(path: Path, preparation: Preparation, wanted: NetworkInput, *, shared: bool) -> _Source:
    pixels, labels = _load(path, wanted.name, shared=shared)
    kinds = "fu" if preparation.dtype.startswith("float") else "fui"
    if pixels.ndim < (2 if wanted.shape else 1) or not len(pixels) or pixels.dtype.kind not in kinds:
        raise InputError(
            f"{path} does not hold images",
            expected="an array [n, ...] of uint8 or float",
            received=f"{pixels.dtype} {list(pixels.shape)}",
        )
    if labels is not None and len(labels) != len(pixels):
        raise InputError(f"{path} is inconsistent", expected=f"{len(pixels)} labels", received=len(labels))
    return _Source(ImageArray(pixels, np.arange(len(pixels)), preparation), labels, path.name)


def _load(path: Path, name: str, *, shared: bool) -> tuple[NDArray[np.generic], NDArray[np.int64] | None]:
    """Images and labels; a .npy stays on disk, a .npz names them as the input or `images`, and `labels`."""
    check_regular(path)
    try:
        if path.suffix == ".npz":
            _check_claims(path)
        loaded = np.load(path, mmap_mode="r" if path.suffix == ".npy" else None, allow_pickle=False)
        arrays = (
            {"": loaded}
            if isinstance(loaded, np.ndarray)
            else {name: loaded[name] for name in _wanted(path, loaded.files, name, shared=shared)}
        )
    except InputError:
        raise
    except Exception as error:  # what numpy, zipfile and zlib raise for damaged files shares no base
        raise InputError(
            f"{path} cannot be read", expected="an array of numpy", received=" ".join(str(error).split())[:200]
        ) from None
    labels = arrays.pop("labels", None) if len(arrays) > 1 else None
    images = next(iter(arrays.values()))
    if not isinstance(images, np.ndarray):
        raise InputError(f"{path} cannot be read", expected="an array of numpy", received="a member that is none")
    if labels is None:
        return images, None
    if not isinstance(labels, np.ndarray) or labels.ndim != 1 or labels.dtype.kind not in "iuf":
        raise InputError(
            f"the labels in {path} cannot be used",
            expected="the number of its class for each image, [n]",
            received=f"{labels.dtype} {list(labels.shape)}" if isinstance(labels, np.ndarray) else "no array",
            then="One-hot labels become numbers with labels.argmax(axis=1).",
        )
    if labels.dtype.kind == "f" and not (np.isfinite(labels) & (labels == np.floor(labels))).all():
        raise InputError(f"the labels in {path} cannot be used", expected="whole numbers", received="others")
    return images, labels.astype(np.int64)


def _check_claims(path: Path) -> None:
    """Raise InputError for an array whose header claims more than its member holds, or than is read at once."""
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            with archive.open(member) as stream:
                if not member.filename.endswith(".npy"):
                    continue
                version = np.lib.format.read_magic(stream)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(stream)
            claimed = math.prod(shape) * dtype.itemsize
            if claimed > member.file_size:
                raise InputError(
                    f"{path} cannot be read",
                    expected=f"{member.filename} of {claimed:,} bytes, as its header claims",
                    received=f"{member.file_size:,} bytes",
                )
            ARRAY_BYTES.check(claimed, f"{path}: {member.filename}")


def _wanted(path: Path, names: list[str], own: str, *, shared: bool) -> list[str]:
    """The arrays of a .npz that are read: that of the input, `images` or the only one, and `labels`.

    In a file that several inputs share, each has an array of its own name: any other belongs to another input.
    """
    usual = (own,) if shared else (own, "images")
    only = names[0] if len(names) == 1 and not shared else None
    images = next((name for name in usual if name in names), only)
    if images is None:
        raise InputError(
            f"{path} has no array of images",
            expected=" or ".join(dict.fromkeys(f"an array named {name}" for name in usual if name)),
            received=", ".join(names) or "no array",
        )
    return [images, "labels"] if "labels" in names and images != "labels" else [images]


def _numbers(
    option: str, given: str | Sequence[float] | None, name: str = "", several: Sequence[str] = ()
) -> tuple[float, ...]:
    """What an option says for the input `name`; with `several` inputs "LEFT=0.5;RIGHT=0.4" says it for each."""
    if isinstance(given, str) and several and "=" in given:
        each = dict(part.strip().rpartition("=")[::2] for part in given.split(";"))
        if strange := next((one for one in each if one not in several), None):
            raise unknown_name("input", strange, several)
        given = each.get(name)
    parts = given.strip("()[] ").split(",") if isinstance(given, str) else given or ()
    try:
        return tuple(float(part) for part in parts)
    except ValueError:
        raise UsageError(
            f"{option} makes no sense", expected="numbers such as 0.5,0.5,0.5", received=repr(given)
        ) from None


def _resize(given: str | int | None) -> int | tuple[int, int] | None:
    if given is None:
        return None
    sides = str(given).lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() and int(side) > 0 for side in sides):
        raise UsageError("--resize makes no sense", expected="256, or 224x224 (width x height)", received=repr(given))
    return int(sides[0]) if len(sides) == 1 else (int(sides[1]), int(sides[0]))
