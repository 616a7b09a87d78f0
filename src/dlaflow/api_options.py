"""The options of the Python API: the same names and meanings as those of the commands.

All may be left out. A test compares each with the command's own options, so that the two cannot drift apart.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict, Union

from dlaflow.fixed_shape import ShapesGiven

if TYPE_CHECKING:
    import onnx

    from dlaflow.rewrites.prove import Samples

File = Union[str, "os.PathLike[str]"]
"""The path of a file."""


class On(TypedDict, total=False):
    """What the model is for. The defaults are those of `dlaflow check`."""

    board: str
    """Such as agx-orin-64gb (the default), orin-nx-16gb or xavier-nx-8gb; `dlaflow boards` lists them."""
    jetpack: str | None
    """The JetPack or DRIVE OS release, such as 5.1.1. Default: the newest of the board with a usable DLA."""
    tensorrt: str | None
    """TensorRT's version, such as 8.5.2, in place of `jetpack`."""
    precision: Literal["int8", "fp16"]
    """int8 (the default, which allows FP16 too) or fp16."""
    batch: int | None
    """The batch to build for. Default: the model's own; where it is open, that of `shape`, else 1."""
    shape: ShapesGiven
    """The size of inputs that the model leaves open, batch included: {"images": (1, 3, 640, 640)}, or as the commands
    spell it, "images:1x3x640x640" or a list of such."""
    mode: Literal["hybrid", "standalone"]
    """hybrid (the default: the GPU may help) or standalone (everything in DLA loadables)."""


class FixOptions(On, total=False):
    """How far a fix may go."""

    allow: Literal["exact", "tolerance", "data"]
    """exact (the default), tolerance (bounded approximations too), data (statistics of `samples` too)."""
    cut: str | Sequence[str] | None
    """"auto", or names of tensors: cut the decode part off into a second file."""
    output_4d: bool
    """Let outputs become (N, C, 1, 1), which saves the last switch."""
    input_shape: tuple[int, ...] | None
    """The same as `shape` for the first input, without its batch: (channels, height, width)."""
    samples: Samples | None
    """Real inputs for the proof and for statistics."""
    accuracy: Callable[[onnx.ModelProto], float] | None
    """What measures the percent of right answers of a model."""
    tested: int
    """How many images `accuracy` looks at."""
    max_drop: float
    """How many points of accuracy frozen statistics may cost."""
    dry_run: bool
    """Predict only: run no proof."""


class DataOptions(TypedDict, total=False):
    """How images are read."""

    data_dir: File | None
    """The folder that holds CIFAR-10."""
    samples: int | None
    """How many images, the same number of each class. Default: 512 to calibrate, all to evaluate."""
    batch: int
    """How many images run at once (32)."""
    resize: str | int | None
    """Folder only: length of the shorter side before a centred cut (256), or an exact size ("224x224")."""
    mean: str | Sequence[float] | None
    """Mean of each channel of pixels in 0..1."""
    std: str | Sequence[float] | None
    """Standard deviation of each channel."""
    layout: Literal["nchw", "nhwc"]
    """The layout of the model's input."""
    shape: ShapesGiven
    """The size of an input that the model leaves open, as for `check`."""


class CalibrateOptions(DataOptions, total=False):
    """How to calibrate, and the files to write."""

    cache: File | None
    """TensorRT's calibration cache; FILE.json beside it records model, images and ranges."""
    qdq: File | None
    """The INT8 model with Q/DQ nodes."""
    method: Literal["entropy", "minmax", "percentile", "mse", "auto"]
    """entropy is the default."""
    percentile: float
    """Percent of the values that the percentile method keeps (99.99)."""
    tensorrt: str | None
    """The version that the cache's header names (8.5.2)."""


class EvaluateOptions(DataOptions, total=False):
    """What to measure against."""

    reference: File | None
    """The model that agreement is measured against. Default: the first one, when there are several."""


class BuildOptions(On, total=False):
    """How to build; `dlaflow build --help` explains each."""

    via: Literal["trtexec", "python", "rtx"]
    gpu: str
    trtexec: File | None
    timeout: float | None
    build_only: bool
    dla_core: int
    gpu_only: bool
    no_gpu_fallback: bool
    standalone: bool
    input_format: tuple[str, ...]
    output_format: tuple[str, ...]
    layer_device: tuple[str, ...]
    cache: Path | None
    scales: Literal["auto", "qdq", "none"]
    strongly_typed: bool
    fp16_too: bool
    layer_precision: tuple[str, ...]
    obey: bool
    workspace: float | None
    dla_sram: float | None
    dla_local_dram: float | None
    dla_global_dram: float | None
    timing_cache: Path | None
    optimization_level: int | None
    sparsity: Literal["disable", "enable", "force"]
    detailed: bool
    version_compatible: bool
    plugin: tuple[Path, ...]
