"""calibrate: images → one INT8 calibration → TensorRT's cache and a Q/DQ model."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dlaflow.api.claims import OutFile
from dlaflow.api.images import ImageOptions, Selection, select
from dlaflow.api.keywords import File, keywords
from dlaflow.errors import UsageError
from dlaflow.files import is_stream, together, waiting, write_atomic
from dlaflow.fixed_shape import ShapesGiven, fixed_shapes
from dlaflow.graph.load import Model, as_model
from dlaflow.progress import Progress, silent
from dlaflow.quantize.cache import header_for, header_for_reader, write_cache
from dlaflow.quantize.calibrate import calibrate as run_calibration
from dlaflow.quantize.calibration import Calibration, CalibrationConfig, sidecar_of, write_calibration
from dlaflow.quantize.coverage import cover
from dlaflow.quantize.fp16 import IoTypes
from dlaflow.quantize.images import in_batches
from dlaflow.quantize.model import index, network_inputs
from dlaflow.quantize.plan import with_residual_ones, without_float_nodes
from dlaflow.quantize.qdq import write_qdq
from dlaflow.quantize.recover import RecoveryStep, Wanted, recover
from dlaflow.quantize.sensitivity import Sample
from dlaflow.quantize.strip import layer_precisions
from dlaflow.targets.features import has
from dlaflow.targets.version import Version

if TYPE_CHECKING:
    from dlaflow.report.notebook import ShownCalibration

DEFAULT_SAMPLES = 512
DEFAULT_RELEASE = "8.5.2"


@dataclass(frozen=True, kw_only=True)
class ReleaseOptions:
    """The release that reads what is written."""

    board: str | None = None
    """The board the scales are for, such as agx-orin-64gb; with --jetpack it decides the release."""
    jetpack: str | None = None
    """The release the scales are for, such as 5.1.1."""
    tensorrt: str | None = None
    """TensorRT's version, when it is known rather than the release (default: 8.5.2)."""

    def release(self) -> str:
        """The TensorRT version, such as a cache's header names. Raises UsageError for unknown names."""
        if self.board is None and self.jetpack is None:
            return self.tensorrt or DEFAULT_RELEASE
        if self.board is None:
            from dlaflow.targets.release import find_release

            return find_release(self.jetpack or "").tensorrt
        from dlaflow.targets.target import resolve_target

        return resolve_target(self.board, self.jetpack, tensorrt=self.tensorrt).release.tensorrt

    def by_precisions(self, max_drop: float, asked: OutFile | None) -> bool:
        """Whether the release is told by --layerPrecisions which layers run in FP16 (else: by the types in the file).

        Raises UsageError where it is not although they are asked for, and for a limit that makes no sense.
        """
        if not max_drop >= 0:
            raise UsageError("--max-drop makes no sense", expected="0 or more points", received=max_drop)
        tensorrt = self.release()
        told = has("implicit_int8", Version.parse(tensorrt))
        if asked is not None and not told:
            raise UsageError(
                f"TensorRT {tensorrt} takes no --layerPrecisions",
                expected="a release before 11, or --qdq",
                then="--qdq writes the model with these layers left in FP16, which is how this release is told.",
            )
        return told


@dataclass(frozen=True, kw_only=True)
class CalibrateOptions(ReleaseOptions):
    """How to calibrate, and the files to write."""

    cache: OutFile | None = None
    """TensorRT's calibration cache (TensorRT 8.x and 10.x); FILE.json beside it records model, images and ranges."""
    qdq: OutFile | None = None
    """The INT8 model with Q/DQ nodes (TensorRT 11.4, onnxruntime)."""
    method: str = "entropy"
    """entropy, percentile, minmax, mse, or auto."""
    percentile: float = 99.99
    """Percent of the values that the percentile method keeps."""
    fp16_nodes: str | None = None
    """Nodes that stay in FP16, separated by commas: their tensors get no scale."""
    io_types: IoTypes = "float32"
    """The type of inputs and outputs of what is written with --qdq and --fp16. float16 needs no Cast and no GPU at the
    borders, and a standalone build of TensorRT 11.4 asks for it; the application then feeds float16."""
    residual_ones: bool = False
    """Cache only: write 1.0 for convolutions before a residual sum: DLA software 3.13 or later then fuses both."""
    recover: OutFile | None = None
    """Look for a version of the model that INT8 hurts less (other scales, equalised channels, better rounding), and
    write it here in float32: the other files are of it. Half of the images measure."""
    max_drop: float | None = None
    """With --recover: how many points of top-1 (without labels: of agreement) may be lost in the end. The fewest layers
    that it takes stay in FP16: no scales in the cache, no pairs in the Q/DQ model."""
    layer_precisions: OutFile | None = None
    """Write the layers in FP16 (yours and those of a recovery), as the value of trtexec's --layerPrecisions (TensorRT
    before 11)."""
    shape: ShapesGiven = ()
    """The size of an input that the model leaves open, batch included: NAME:1x3x640x640. Repeat it for further
    inputs; the name may be left out with one input."""

    def float_nodes(self) -> tuple[str, ...]:
        """The names in `fp16_nodes`."""
        return tuple(name.strip() for name in (self.fp16_nodes or "").split(",") if name.strip())

    def check_recovery(self) -> None:
        """Raise UsageError for a limit without a recovery that could keep to it."""
        if self.recover is None and self.max_drop is not None:
            raise UsageError("--max-drop is the limit of a recovery", expected="--recover beside it", received="none")


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A calibration with its warnings, in words what it was made from, and the cache's first line and length.

    `steps` are those of a recovery, `drop` the points still lost behind it; `float_nodes` stay in FP16.
    """

    calibration: Calibration
    images: str
    header: str = ""
    scales: int = 0
    steps: tuple[RecoveryStep, ...] = ()
    drop: float = 0.0
    float_nodes: tuple[str, ...] = ()


def calibrate_model(
    model: Path,
    data: File | Sequence[File],
    reading: ImageOptions,
    options: CalibrateOptions,
    progress: Progress = silent,
) -> Calibrated:
    """Pick images of `data`, calibrate, and write what the options name.

    Raises UsageError for options that make no sense (before any image is read) and InputError for data or a model that
    cannot be used.
    """
    tensorrt = options.release()
    if options.cache is not None:
        header_for_reader(tensorrt)
    if options.recover is not None and is_stream(options.recover):
        raise UsageError("the recovered model is read again", expected="a file", received=options.recover)
    options.check_recovery()
    options.by_precisions(options.max_drop or 0.0, options.layer_precisions)
    held = as_model(model, fixed_shapes(options.shape))
    without_float_nodes(index(held.proto), {}, options.float_nodes())
    inputs = network_inputs(held.proto)
    chosen = select(data, reading, inputs, train=True, default=DEFAULT_SAMPLES, progress=progress)
    if options.recover is not None:
        return _recovered(held, chosen, reading.batch, options, progress)
    return calibrate_on(held, chosen, reading.batch, options, progress)


def calibrate_on(
    model: Model | Path, chosen: Selection, batch: int, options: CalibrateOptions, progress: Progress = silent
) -> Calibrated:
    """Calibrate on images that are already chosen, `batch` of them at once, and write what the options name."""
    shapes = fixed_shapes(options.shape)
    held = as_model(model, shapes)
    how = CalibrationConfig(options.method, options.percentile, len(chosen.images), _checkpoint(options), shapes=shapes)
    found = run_calibration(held, partial(in_batches, chosen.images, batch), how, progress)
    return _written(held, Calibrated(found, chosen.description, float_nodes=options.float_nodes()), options)


def _recovered(
    model: Model, chosen: Selection, batch: int, options: CalibrateOptions, progress: Progress
) -> Calibrated:
    """Recover on one half of the images, measured on the other; write the model and all that belongs to it."""
    shapes = fixed_shapes(options.shape)
    first, second = chosen.halves()
    how = CalibrationConfig(options.method, options.percentile)
    wanted = Wanted(options.max_drop, options.float_nodes())
    found = recover(model, first.images, Sample(second.images, second.labels, batch, shapes), how, wanted, progress)
    content = found.model.SerializeToString()
    calibration = replace(found.calibration, model_sha256=hashlib.sha256(content).hexdigest())
    with together():
        path = Path(options.recover or "")
        write_atomic(path, content)
        made = Calibrated(
            calibration, chosen.description, steps=found.steps, drop=found.drop, float_nodes=found.float_nodes
        )
        return _written(as_model(waiting(path), shapes), made, options)


def _written(held: Model, made: Calibrated, options: CalibrateOptions) -> Calibrated:
    """Write the cache and the Q/DQ model that the options name."""
    float_nodes, found = made.float_nodes, made.calibration
    with together():
        if options.cache is not None:
            tensorrt, cache = options.release(), Path(options.cache)
            covered = cover(held, found, tensorrt, fixed_shapes(options.shape))
            missing = tuple(f"no scale for {name!r}: its layer rises to FP16" for name in covered.missing)
            found = replace(found, warnings=(*found.warnings, *missing))
            scales = covered.scales
            if float_nodes or options.residual_ones:
                graph = index(held.proto)
                scales = without_float_nodes(graph, scales, float_nodes)
                scales = with_residual_ones(graph, scales) if options.residual_ones else scales
            write_cache(scales, tensorrt, cache)
            if not is_stream(cache):
                write_calibration(found, sidecar_of(cache))
            made = replace(made, calibration=found, header=header_for(tensorrt), scales=len(scales))
        if options.qdq is not None:
            write_qdq(held, found, Path(options.qdq), float_nodes=float_nodes, io_types=options.io_types)
        if options.layer_precisions is not None:
            write_atomic(options.layer_precisions, f"{layer_precisions(float_nodes)}\n")
    return made


def _checkpoint(options: CalibrateOptions) -> Path | None:
    """Where a killed calibration goes on from: beside the first file; nowhere when none is written."""
    out = next((Path(path) for path in (options.cache, options.qdq) if path and not is_stream(path)), None)
    return out.with_name(f".{out.name}.checkpoint.npz") if out else None


@dataclass(frozen=True, kw_only=True)
class CalibrateArguments(CalibrateOptions, ImageOptions):
    """The arguments of `calibrate`."""

    model: File = field(kw_only=False)
    """The float32 ONNX model."""
    data: File | Sequence[File] = field(kw_only=False)
    """cifar10, digits, a folder of images (sub-folders are classes), a video, or a .npy/.npz file; for several inputs a
    .npz with their names, or NAME= and one of these for each."""
    progress: Progress = silent
    """What shows how far the work is."""


@keywords(CalibrateArguments)
def calibrate(given: CalibrateArguments) -> ShownCalibration:
    """Find INT8 scales for every tensor from a few hundred images.

    Files are written for `cache` and `qdq` only. Returns a `dlaflow.quantize.calibration.Calibration`. Raises
    UsageError and InputError for wrong options and data, EnvironmentLacksError without onnxruntime.
    """
    from dlaflow.report.notebook import ShownCalibration, show

    found = calibrate_model(Path(given.model), given.data, given, given, given.progress)
    return show(ShownCalibration, found.calibration)
