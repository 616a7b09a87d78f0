"""What engine to build: one frozen record that every way of building (trtexec, Python API, RTX) reads.

Nothing here knows how a release spells a request; `trtexec_arguments` and the API builders translate it, and
`dlaflow.build.capability` says beforehand what a release cannot do.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Literal

from dlaflow.errors import UsageError
from dlaflow.targets.features import trtexec_options
from dlaflow.targets.version import Version

Precision = Literal["fp32", "fp16", "int8", "model"]
Scales = Literal["none", "cache", "calibrator", "qdq"]
Constraints = Literal["default", "prefer", "obey"]
Sparsity = Literal["disable", "enable", "force"]
Verbosity = Literal["layer_names_only", "detailed", "none"]
_LEAST_POOL = 4 / 1024
_LARGEST_POOL = 2**20
"""MiB: the 4 KiB that TensorRT wants of a pool of the DLA, and more than any board has."""


@dataclass(frozen=True, slots=True)
class ShapeRange:
    """The shapes one input may take: NCHW, batch included. On the DLA all three must be equal."""

    smallest: tuple[int, ...]
    usual: tuple[int, ...]
    largest: tuple[int, ...]

    @classmethod
    def fixed(cls, shape: tuple[int, ...]) -> ShapeRange:
        """The range that holds one shape."""
        return cls(shape, shape, shape)

    @property
    def is_fixed(self) -> bool:
        """Whether only one shape is allowed."""
        return self.smallest == self.usual == self.largest


@dataclass(frozen=True, slots=True)
class InputShape:
    """The shapes of one named input."""

    name: str
    shapes: ShapeRange


@dataclass(frozen=True, slots=True)
class IOFormat:
    """The type and the memory layouts allowed for one input or output, in trtexec's names: `int8`, (`dla_hwc4`,)."""

    type: str
    layouts: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> IOFormat:
        """Read `int8:dla_hwc4` or `fp16:chw16+dla_linear`.

        Raises UsageError for another form.
        """
        kind, colon, layouts = text.partition(":")
        if not colon or not kind or not all(layouts.split("+")):
            raise UsageError("cannot read an I/O format", expected="TYPE:LAYOUT[+LAYOUT]", received=repr(text))
        return cls(kind, tuple(layouts.split("+")))

    def __str__(self) -> str:
        return f"{self.type}:{'+'.join(self.layouts)}"


@dataclass(frozen=True, slots=True)
class MemoryPools:
    """Limits of TensorRT's pools in MiB; None leaves TensorRT's default (DLA on Orin: 1, 1024 and 512 MiB).

    The DLA pools hold for each loadable; TensorRT rounds them down to powers of two and wants at least 4 KiB.
    """

    workspace: float | None = None
    dla_sram: float | None = None
    dla_local_dram: float | None = None
    dla_global_dram: float | None = None

    def __post_init__(self) -> None:
        for pool in (each.name for each in fields(self)):
            size, least = getattr(self, pool), 0 if pool == "workspace" else _LEAST_POOL
            if size is not None and not least <= size <= _LARGEST_POOL:
                option = f"--{pool.replace('_', '-')}"
                expected = f"{least:.4g} to {_LARGEST_POOL:,} MiB"
                raise UsageError(f"{option} makes no sense", expected=expected, received=size)


@dataclass(frozen=True, slots=True)
class LayerOptions:
    """A request for one layer by its TensorRT name: a precision (`fp16`) or a device (`GPU`)."""

    layer: str
    value: str


@dataclass(frozen=True, slots=True)
class BuildConfig:
    """One engine, described once.

    `precision` "model" leaves all types as they stand in the model. `scales` says where INT8 ranges come from: a
    calibration `cache`, a `calibrator` fed with images (Python API only), `qdq` nodes in the model, or `none` (TensorRT
    then invents ranges: good for speed, useless for accuracy). `fp16_too` lets layers without INT8 scales run in FP16.
    `dla_core` None builds for the GPU alone. `implicit_batch` and `outputs` serve Caffe models on TensorRT 7 and 8.
    """

    precision: Precision = "int8"
    scales: Scales = "none"
    fp16_too: bool = False
    strongly_typed: bool = False
    shapes: tuple[InputShape, ...] = ()
    dla_core: int | None = None
    gpu_fallback: bool = False
    standalone: bool = False
    input_formats: tuple[IOFormat, ...] = ()
    output_formats: tuple[IOFormat, ...] = ()
    pools: MemoryPools = field(default_factory=MemoryPools)
    cache: str | None = None
    precision_constraints: Constraints = "default"
    layer_precisions: tuple[LayerOptions, ...] = ()
    layer_devices: tuple[LayerOptions, ...] = ()
    sparsity: Sparsity = "disable"
    timing_cache: str | None = None
    optimization_level: int | None = None
    profiling_verbosity: Verbosity = "layer_names_only"
    version_compatible: bool = False
    plugins: tuple[str, ...] = ()
    implicit_batch: int | None = None
    outputs: tuple[str, ...] = ()

    @property
    def on_dla(self) -> bool:
        """Whether the engine is meant for the DLA."""
        return self.dla_core is not None

    @property
    def mode(self) -> str:
        """`gpu`, `hybrid`, `dla-only` (DLA without fallback) or `standalone`."""
        if not self.on_dla:
            return "gpu"
        if self.standalone:
            return "standalone"
        return "hybrid" if self.gpu_fallback else "dla-only"


def standalone_format(precision: Precision, tensorrt: str) -> IOFormat:
    """The I/O format of a standalone loadable where none was asked for.

    dla_linear, or where trtexec knows the standalone build as `--safe` only, which refuses that: chw32 or chw16.
    """
    kind = "int8" if precision == "int8" else "fp16"
    if trtexec_options()["buildDLAStandalone"].known_to(Version.parse(tensorrt)):
        return IOFormat(kind, ("dla_linear",))
    return IOFormat(kind, ("chw32" if kind == "int8" else "chw16",))


def standalone_of(config: BuildConfig, tensorrt: str) -> BuildConfig:
    """The standalone counterpart of a hybrid configuration: no fallback, the plainest DLA formats of its precision."""
    plain = (standalone_format(config.precision, tensorrt),)
    return replace(config, gpu_fallback=False, standalone=True, input_formats=plain, output_formats=plain)
