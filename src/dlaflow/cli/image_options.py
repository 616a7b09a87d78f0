"""The options that say where images come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cyclopts import Parameter

from dlaflow.api.images import ImageOptions


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Source(ImageOptions):
    """Where the images come from."""

    data: str
    """cifar10, digits, a folder of images (sub-folders are classes), or a .npy/.npz file."""
    data_dir: Path | None = None
    resize: str | None = None
    mean: str | None = None
    std: str | None = None
