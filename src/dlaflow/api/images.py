"""Where images come from: a named data set, a folder or an array, for every use case that feeds a model."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dlaflow.api.keywords import File
from dlaflow.errors import InputError, UsageError
from dlaflow.fixed_shape import refuse_batch
from dlaflow.progress import Progress
from dlaflow.quantize.images import ImageArray, ImageFiles, Images, Preparation, balanced, folder_labels, image_files
from dlaflow.reading import ARRAY_BYTES, check_regular

if TYPE_CHECKING:
    from dlaflow.zoo.dataset import Split

_NAMED = ("cifar10", "digits")


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
    """Mean of each channel of pixels in 0..1, such as 0.485,0.456,0.406."""
    std: str | Sequence[float] | None = None
    """Standard deviation of each channel, such as 0.229,0.224,0.225."""
    layout: str = "nchw"
    """The layout of the model's input: nchw or nhwc. Arrays are taken as they are."""


@dataclass(frozen=True, eq=False)
class Selection:
    """The chosen images with their labels (None: unknown); `description` says in words what they are."""

    images: Images
    labels: NDArray[np.int64] | None
    description: str

    def part(self, which: slice) -> Selection:
        """Some of the images with their labels; nothing is read."""
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
            )
        return self.labels


def select(
    data: File,
    options: ImageOptions,
    shape: tuple[int | None, ...],
    *,
    train: bool,
    default: int | None = None,
    progress: Progress,
) -> Selection:
    """The images of `data` for a model whose input is `shape` (without the batch).

    `data` is cifar10, digits, a folder of images (sub-folders are classes), or a .npy/.npz file. `train` picks the
    split of a named data set, `default` the number of images without `--samples`. Raises UsageError for options that
    make no sense and InputError for data that cannot be used.
    """
    if options.samples is not None and options.samples < 1:
        raise UsageError("too few images", expected="--samples of 1 or more", received=options.samples)
    refuse_batch(options.batch)
    count = options.samples or default
    if data in _NAMED:
        return _named(str(data), options, count, train=train, progress=progress)
    path = Path(data)
    if path.is_dir():
        return _folder(path, options, shape, count)
    if path.suffix in {".npy", ".npz"} and path.exists():
        return _array(path, options, count)
    raise InputError(
        f"--data {data} is nothing that holds images",
        expected=f"{', '.join(_NAMED)}, a folder, or a .npy/.npz file",
        received="another file" if path.exists() else "no such file or folder",
    )


def _named(name: str, options: ImageOptions, count: int | None, *, train: bool, progress: Progress) -> Selection:
    from dlaflow.zoo.data import load_dataset

    dataset = load_dataset(name, Path(options.data_dir) if options.data_dir else None, progress)
    split: Split = dataset.train if train else dataset.test
    order = balanced(split.labels, len(split.labels), count)
    mean = _numbers("--mean", options.mean) or dataset.mean
    std = _numbers("--std", options.std) or dataset.std
    images = ImageArray(split.images, order, Preparation(mean, std))
    return Selection(images, split.labels[order], f"{dataset.name} {'train' if train else 'test'}, {len(order)} images")


def _folder(folder: Path, options: ImageOptions, shape: tuple[int | None, ...], count: int | None) -> Selection:
    paths = image_files(folder)
    labels = folder_labels(folder, paths)
    order = balanced(labels, len(paths), count)
    channels, *size = shape if options.layout == "nchw" else (shape[-1:] + shape[:-1])
    height, width = (*size, None, None)[:2]
    preparation = replace(
        _preparation(options), size=(height, width) if height and width else None, resize=_resize(options.resize)
    )
    images = ImageFiles([paths[index] for index in order], preparation, channels or 3)
    return Selection(
        images, None if labels is None else labels[order], f"{folder}, {len(order)} of {len(paths)} images"
    )


def _array(path: Path, options: ImageOptions, count: int | None) -> Selection:
    pixels, labels = _load(path)
    if pixels.ndim < 2 or not len(pixels) or pixels.dtype.kind not in "fu":
        raise InputError(
            f"{path} does not hold images",
            expected="an array [n, ...] of uint8 or float",
            received=f"{pixels.dtype} {list(pixels.shape)}",
        )
    if labels is not None and len(labels) != len(pixels):
        raise InputError(f"{path} is inconsistent", expected=f"{len(pixels)} labels", received=len(labels))
    order = balanced(labels, len(pixels), count)
    chosen = None if labels is None else labels[order]
    images = ImageArray(pixels, order, _preparation(options))
    return Selection(images, chosen, f"{path.name}, {len(order)} of {len(pixels)} images")


def _preparation(options: ImageOptions) -> Preparation:
    mean, std = _numbers("--mean", options.mean), _numbers("--std", options.std)
    return Preparation(mean or (0.0,), std or (1.0,), options.layout)


def _load(path: Path) -> tuple[NDArray[np.generic], NDArray[np.int64] | None]:
    """Images and labels; a .npy stays on disk, a .npz names them `images` and `labels` or holds one array."""
    check_regular(path)
    try:
        if path.suffix == ".npz":
            _check_claims(path)
        loaded = np.load(path, mmap_mode="r" if path.suffix == ".npy" else None, allow_pickle=False)
        arrays = (
            {"": loaded}
            if isinstance(loaded, np.ndarray)
            else {name: loaded[name] for name in _wanted(path, loaded.files)}
        )
    except InputError:
        raise
    except Exception as error:  # what numpy, zipfile and zlib raise for damaged files shares no base
        raise InputError(
            f"{path} cannot be read", expected="an array of numpy", received=" ".join(str(error).split())[:200]
        ) from None
    labels = arrays.pop("labels", None) if len(arrays) > 1 else None
    (images,) = arrays.values()
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


def _wanted(path: Path, names: list[str]) -> list[str]:
    """The arrays of a .npz that are read: `images` (or the only one) and `labels`."""
    if "images" not in names and len(names) != 1:
        raise InputError(
            f"{path} has no array of images", expected="an array named images", received=", ".join(names) or "no array"
        )
    return [name for name in names if name in {"images", "labels"}] if "images" in names else names


def _numbers(option: str, given: str | Sequence[float] | None) -> tuple[float, ...]:
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
