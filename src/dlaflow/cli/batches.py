"""The options that say where images come from, and the images that they mean."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from cyclopts import Parameter
from numpy.typing import NDArray

from dlaflow.errors import InputError, UsageError
from dlaflow.progress import Progress
from dlaflow.quantize.images import (
    ImageArray,
    ImageFiles,
    Images,
    Preparation,
    balanced,
    folder_labels,
    image_files,
)

if TYPE_CHECKING:
    from dlaflow.zoo.dataset import Split

_NAMED = ("cifar10", "digits")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the images come from."""

    data: str
    """cifar10, digits, a folder of images (sub-folders are classes), or a .npy/.npz file."""
    data_dir: Path | None = None
    """The folder that holds CIFAR-10."""
    samples: int | None = None
    """How many images, the same number of each class (default: 512 to calibrate, all to evaluate)."""
    batch: int = 32
    """How many images run at once."""
    resize: str | None = None
    """Folder only: length of the shorter side before a centred cut (256), or an exact size (224x224)."""
    mean: str | None = None
    """Mean of each channel of pixels in 0..1, such as 0.485,0.456,0.406."""
    std: str | None = None
    """Standard deviation of each channel, such as 0.229,0.224,0.225."""
    layout: str = "nchw"
    """The layout of the model's input: nchw or nhwc. Arrays are taken as they are."""


@dataclass(frozen=True, eq=False)
class Selection:
    """The chosen images with their labels (None: unknown); `description` says in words what they are."""

    images: Images
    labels: NDArray[np.int64] | None
    description: str


def select(
    source: Source, shape: tuple[int | None, ...], *, train: bool, default: int | None, progress: Progress
) -> Selection:
    """The images for a model whose input is `shape` (without the batch).

    `train` picks the split of a named data set, `default` the number of images without `--samples`.
    Raises UsageError for options that make no sense and InputError for data that cannot be used.
    """
    if source.samples is not None and source.samples < 1:
        raise UsageError("too few images", expected="--samples of 1 or more", received=source.samples)
    if source.batch < 1:
        raise UsageError("the batch must be positive", expected="1 or more", received=source.batch)
    count = source.samples or default
    if source.data in _NAMED:
        return _named(source, count, train=train, progress=progress)
    path = Path(source.data)
    if path.is_dir():
        return _folder(source, path, shape, count)
    if path.suffix in {".npy", ".npz"} and path.is_file():
        return _array(source, path, count)
    raise InputError(
        f"--data {source.data} is nothing that holds images",
        expected=f"{', '.join(_NAMED)}, a folder, or a .npy/.npz file",
        received="another file" if path.exists() else "no such file or folder",
    )


def _named(source: Source, count: int | None, *, train: bool, progress: Progress) -> Selection:
    from dlaflow.zoo.data import load_dataset

    dataset = load_dataset(source.data, source.data_dir, progress)
    split: Split = dataset.train if train else dataset.test
    order = balanced(split.labels, len(split.labels), count)
    mean = _numbers("--mean", source.mean) or dataset.mean
    std = _numbers("--std", source.std) or dataset.std
    images = ImageArray(split.images, order, Preparation(mean, std))
    return Selection(images, split.labels[order], f"{dataset.name} {'train' if train else 'test'}, {len(order)} images")


def _folder(source: Source, folder: Path, shape: tuple[int | None, ...], count: int | None) -> Selection:
    paths = image_files(folder)
    labels = folder_labels(folder, paths)
    order = balanced(labels, len(paths), count)
    channels, *size = shape if source.layout == "nchw" else (shape[-1:] + shape[:-1])
    height, width = (*size, None, None)[:2]
    preparation = Preparation(
        mean=_numbers("--mean", source.mean) or (0.0,),
        std=_numbers("--std", source.std) or (1.0,),
        layout=source.layout,
        size=(height, width) if height and width else None,
        resize=_resize(source.resize),
    )
    images = ImageFiles([paths[index] for index in order], preparation, channels or 3)
    return Selection(
        images, None if labels is None else labels[order], f"{folder}, {len(order)} of {len(paths)} images"
    )


def _array(source: Source, path: Path, count: int | None) -> Selection:
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
    preparation = Preparation(
        _numbers("--mean", source.mean) or (0.0,), _numbers("--std", source.std) or (1.0,), source.layout
    )
    chosen = None if labels is None else labels[order]
    return Selection(
        ImageArray(pixels, order, preparation), chosen, f"{path.name}, {len(order)} of {len(pixels)} images"
    )


def _load(path: Path) -> tuple[NDArray[np.generic], NDArray[np.int64] | None]:
    """Images and labels; a .npy stays on disk, a .npz names them `images` and `labels` or holds one array."""
    try:
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
    return images, labels.astype(np.int64)


def _wanted(path: Path, names: list[str]) -> list[str]:
    """The arrays of a .npz that are read: `images` (or the only one) and `labels`."""
    if "images" not in names and len(names) != 1:
        raise InputError(
            f"{path} has no array of images", expected="an array named images", received=", ".join(names) or "no array"
        )
    return [name for name in names if name in {"images", "labels"}] if "images" in names else names


def _numbers(option: str, text: str | None) -> tuple[float, ...]:
    if text is None:
        return ()
    try:
        return tuple(float(part) for part in text.strip("()[] ").split(","))
    except ValueError:
        raise UsageError(
            f"{option} makes no sense", expected="numbers such as 0.5,0.5,0.5", received=repr(text)
        ) from None


def _resize(text: str | None) -> int | tuple[int, int] | None:
    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() and int(side) > 0 for side in sides):
        raise UsageError("--resize makes no sense", expected="256, or 224x224 (width x height)", received=repr(text))
    return int(sides[0]) if len(sides) == 1 else (int(sides[1]), int(sides[0]))
