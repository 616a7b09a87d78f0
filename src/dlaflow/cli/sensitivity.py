"""`dlaflow sensitivity`: which layers INT8 hurts, and the smallest set to keep in FP16."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from dlaflow.cli import terminal
from dlaflow.cli.batches import Selection, Source, select
from dlaflow.cli.target_options import Shape
from dlaflow.errors import UsageError
from dlaflow.files import write_atomic
from dlaflow.fixed_shape import fixed_shapes
from dlaflow.graph.load import as_model
from dlaflow.quantize.calibrate import calibrate
from dlaflow.quantize.calibration import CalibrationConfig
from dlaflow.quantize.images import in_batches
from dlaflow.quantize.model import input_shape
from dlaflow.quantize.qdq import write_qdq
from dlaflow.quantize.sensitivity import Sample, Sensitivity, rank
from dlaflow.quantize.strip import layer_precisions
from dlaflow.version import __version__

SCHEMA = "dlaflow.sensitivity/1"
DEFAULT_SAMPLES = 512


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Searching:
    """What to look for and what to write."""

    max_drop: float = 0.5
    """How many points of top-1 (without labels: of agreement) may be lost."""
    method: str = "entropy"
    """The calibration method."""
    layer_precisions: Path | None = None
    """Write the layers to keep, as the value of trtexec's --layerPrecisions."""
    qdq: Path | None = None
    """Write the Q/DQ model without those layers."""
    json: Path | None = None
    """Write the ranking to this file."""
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"], negative="")] = False
    """Print nothing but errors."""


def sensitivity(model: Path, /, *, source: Source, how: Searching | None = None, shape: Shape = ()) -> None:
    """Rank layers by the damage that INT8 alone does, and propose the smallest set to keep in FP16.

    Half of the images calibrate, the other half measures.

    For example:

        dlaflow sensitivity model.onnx --data cifar10 --max-drop 0.1 --layer-precisions keep.txt --qdq mixed.onnx

    Parameters
    ----------
    model
        The float32 ONNX model.
    """
    how = how or Searching()
    if how.max_drop < 0:
        raise UsageError("--max-drop makes no sense", expected="0 or more points", received=how.max_drop)
    progress, shapes = terminal.progress(quiet=how.quiet), fixed_shapes(shape)
    known = input_shape(as_model(model, shapes).proto)
    chosen = select(source, known, train=True, default=DEFAULT_SAMPLES, progress=progress)
    if len(chosen.images) < 2:
        raise UsageError("too few images", expected="--samples of 2 or more", received=len(chosen.images))
    half = len(chosen.images) // 2
    first, second = _part(chosen, slice(half)), _part(chosen, slice(half, None))
    config = CalibrationConfig(how.method, images=half, shapes=shapes)
    calibration = calibrate(model, lambda: in_batches(first.images, source.batch), config, progress)
    sample = Sample(second.images, second.labels, source.batch, shapes)
    found = rank(model, calibration, sample, how.max_drop, progress)
    if how.layer_precisions is not None:
        write_atomic(how.layer_precisions, layer_precisions(found.keep))
    if how.qdq is not None:
        write_qdq(model, calibration, how.qdq, float_nodes=found.keep)
    if how.json is not None:
        record = {"schema": SCHEMA, "dlaflow": __version__, "model": str(model), **msgspec.to_builtins(found)}
        write_atomic(how.json, msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")
    if not how.quiet:
        _print(found, labelled=second.labels is not None)


def _part(chosen: Selection, part: slice) -> Selection:
    labels = None if chosen.labels is None else chosen.labels[part]
    return Selection(chosen.images.only(part), labels, chosen.description)


def _print(found: Sensitivity, *, labelled: bool) -> None:
    from rich.table import Table

    table = Table("layer", "kind", title=f"INT8 in one layer alone, {found.images} images", title_justify="left")
    for heading in ("output error", "same class", "top-1"):
        table.add_column(heading, justify="right")
    for layer in found.layers:
        top1 = "" if layer.top1 is None else f"{layer.top1:.2%}"
        table.add_row(layer.node, layer.op, f"{layer.error:.2e}", f"{layer.agreement:.2%}", top1)
    console = terminal.console()
    console.print(table)
    what = "top-1" if labelled else "agreement"
    console.print(f"All layers in INT8 lose {found.drop_all:.2f} points of {what}; {found.max_drop:g} are allowed.")
    if not found.keep:
        console.print("No layer needs FP16.")
    else:
        console.print(f"Keep {len(found.keep)} in FP16 (then {found.drop:.2f} points): {', '.join(found.keep)}")
        if found.drop > found.max_drop:
            console.print("Even so the limit is not met: try --method auto, or more images.")
