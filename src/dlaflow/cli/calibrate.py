"""`dlaflow calibrate`: images → one calibration → a TensorRT cache and a Q/DQ model."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from dlaflow.cli import terminal
from dlaflow.cli.batches import Source, select
from dlaflow.cli.target_options import Shape
from dlaflow.errors import UsageError
from dlaflow.fixed_shape import FixedShape, fixed_shapes
from dlaflow.graph.load import as_model
from dlaflow.quantize.cache import header_for_reader, write_cache
from dlaflow.quantize.calibrate import calibrate as run_calibration
from dlaflow.quantize.calibration import Calibration, CalibrationConfig, sidecar_of, write_calibration
from dlaflow.quantize.choices import with_residual_ones, without_float_nodes
from dlaflow.quantize.coverage import cover
from dlaflow.quantize.fp16 import write_fp16
from dlaflow.quantize.images import in_batches
from dlaflow.quantize.model import index, input_shape
from dlaflow.quantize.qdq import write_qdq

DEFAULT_SAMPLES = 512
DEFAULT_RELEASE = "8.5.2"


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What to write; at least one."""

    cache: Path | None = None
    """TensorRT's calibration cache (TensorRT 8.x and 10.x); FILE.json beside it records model, images and ranges."""
    qdq: Path | None = None
    """The INT8 model with Q/DQ nodes (TensorRT 11.4, onnxruntime)."""
    fp16: Path | None = None
    """The FP16 model."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Calibrating:
    """How to calibrate."""

    method: str = "entropy"
    """entropy, percentile, minmax, mse, or auto."""
    percentile: float = 99.99
    """Percent of the values that the percentile method keeps."""
    fp16_nodes: str | None = None
    """Nodes that stay in FP16, separated by commas: their tensors get no scale."""
    residual_ones: Annotated[bool, Parameter(negative="")] = False
    """Cache only: write 1.0 for convolutions before a residual sum: DLA software 3.13 or later then fuses both."""
    board: str | None = None
    """The board the cache is for, such as agx-orin-64gb; with --jetpack it decides the cache's header."""
    jetpack: str | None = None
    """The release the cache is for, such as 5.1.1."""
    tensorrt: str | None = None
    """TensorRT's version, when it is known rather than the release (default: 8.5.2)."""
    json: Path | None = None
    """Also write every scale and how it was found to this file (it stands beside the cache anyway)."""
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"], negative="")] = False
    """Print nothing but errors."""


def calibrate(
    model: Path,
    /,
    *,
    source: Source,
    outputs: Outputs | None = None,
    how: Calibrating | None = None,
    shape: Shape = (),
) -> None:
    """Find INT8 scales for every tensor of a model from a few hundred images.

    Images are taken with a fixed seed, without augmentation and, where labels exist, the same number of each class.

    For example:

        dlaflow calibrate model.onnx --data cifar10 --samples 512 --cache calib.cache --qdq int8.onnx

        dlaflow calibrate model.onnx --data images/ --resize 256 --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225
            --method auto --cache calib.cache

    Parameters
    ----------
    model
        The float32 ONNX model.
    """
    outputs, how = outputs or Outputs(), how or Calibrating()
    if outputs == Outputs():
        raise UsageError("nothing to write", expected="--cache, --qdq or --fp16", received="none of them")
    tensorrt = _release(how)
    header = header_for_reader(tensorrt) if outputs.cache is not None else ""
    if outputs.cache is not None or outputs.qdq is not None:
        _calibrated(model, fixed_shapes(shape), source, outputs, how, (tensorrt, header))
    if outputs.fp16 is not None:
        write_fp16(model, outputs.fp16)
        if not how.quiet:
            terminal.console().print(f"Wrote {outputs.fp16}: float16 inside, float32 inputs and outputs")


def _calibrated(
    model: Path,
    shapes: tuple[FixedShape, ...],
    source: Source,
    outputs: Outputs,
    how: Calibrating,
    release: tuple[str, str],
) -> None:
    """Calibrate and write what has scales; `release` is TensorRT's version and the header of its cache."""
    tensorrt, header = release
    progress = terminal.progress(quiet=how.quiet)
    console = terminal.console()
    held = as_model(model, shapes)
    graph = index(held.proto)
    float_nodes = tuple(name.strip() for name in (how.fp16_nodes or "").split(",") if name.strip())
    without_float_nodes(graph, {}, float_nodes)
    chosen = select(source, input_shape(graph.proto), train=True, default=DEFAULT_SAMPLES, progress=progress)
    config = CalibrationConfig(how.method, how.percentile, len(chosen.images), _checkpoint(outputs), shapes=shapes)
    calibration = run_calibration(held, lambda: in_batches(chosen.images, source.batch), config, progress)
    if how.json is not None:
        write_calibration(calibration, how.json)
    warnings = list(calibration.warnings)
    if outputs.cache is not None:
        covered = cover(held, calibration, tensorrt, shapes)
        warnings += [f"no scale for {name!r}: its layer rises to FP16" for name in covered.missing]
        scales = without_float_nodes(graph, covered.scales, float_nodes)
        write_cache(with_residual_ones(graph, scales) if how.residual_ones else scales, tensorrt, outputs.cache)
        write_calibration(calibration, sidecar_of(outputs.cache))
    if outputs.qdq is not None:
        write_qdq(model, calibration, outputs.qdq, float_nodes=float_nodes)
    for warning in warnings:
        terminal.console(stderr=True).print(f"warning: {warning}")
    if not how.quiet:
        console.print(_summary(calibration, chosen.description))
        if outputs.cache is not None:
            console.print(f"Wrote {outputs.cache}: {header}, {len(scales)} scales")
        if outputs.qdq is not None:
            console.print(f"Wrote {outputs.qdq}: INT8 with Q/DQ, symmetric, weights per output channel")


def _checkpoint(outputs: Outputs) -> Path:
    """Where a killed calibration goes on from: beside the first output."""
    out = outputs.cache or outputs.qdq or Path("calibration")
    return out.with_name(f".{out.name}.checkpoint.npz")


def _release(how: Calibrating) -> str:
    """The TensorRT version that the cache's header names."""
    if how.board is None and how.jetpack is None:
        return how.tensorrt or DEFAULT_RELEASE
    if how.board is None:
        from dlaflow.targets.release import find_release

        return find_release(how.jetpack or "").tensorrt
    from dlaflow.targets.target import resolve_target

    return resolve_target(how.board, how.jetpack, tensorrt=how.tensorrt).release.tensorrt


def _summary(calibration: Calibration, description: str) -> str:
    kinds = Counter("followed" if tensor.origin else "measured" for tensor in calibration.tensors)
    return (
        f"Calibrated on {description} by {calibration.method}: {kinds['measured']} tensors measured, "
        f"{kinds['followed']} take the scale of another"
    )
