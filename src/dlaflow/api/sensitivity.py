"""sensitivity: which layers INT8 hurts, and the smallest set to keep in FP16."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dlaflow.api.calibrate import DEFAULT_SAMPLES, ReleaseOptions
from dlaflow.api.claims import OutFile
from dlaflow.api.images import ImageOptions, select
from dlaflow.api.keywords import File
from dlaflow.files import together, write_atomic
from dlaflow.fixed_shape import ShapesGiven, fixed_shapes
from dlaflow.graph.load import as_model
from dlaflow.progress import Progress, silent
from dlaflow.quantize.calibrate import calibrate
from dlaflow.quantize.calibration import CalibrationConfig
from dlaflow.quantize.images import in_batches
from dlaflow.quantize.model import network_inputs
from dlaflow.quantize.qdq import write_qdq
from dlaflow.quantize.sensitivity import Sample, Sensitivity, rank
from dlaflow.quantize.strip import layer_precisions


@dataclass(frozen=True, kw_only=True)
class SensitivityOptions(ReleaseOptions):
    """What to look for, and the files to write."""

    max_drop: float = 0.5
    """How many points of top-1 may be lost; without labels of agreement, or of cosine where no output holds classes."""
    method: str = "entropy"
    """The calibration method."""
    layer_precisions: OutFile | None = None
    """Write the layers to keep, as the value of trtexec's --layerPrecisions (TensorRT before 11)."""
    qdq: OutFile | None = None
    """Write the Q/DQ model without those layers."""
    shape: ShapesGiven = ()
    """The size of an input that the model leaves open, batch included: NAME:1x3x640x640. Repeat it for further
    inputs; the name may be left out with one input."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """The ranking; whether labels told what is right (else: what the float model answers); whether the release takes
    precisions of layers (else: the types in the file)."""

    sensitivity: Sensitivity
    labelled: bool
    by_precisions: bool


def rank_layers(
    model: Path,
    data: File | Sequence[File],
    reading: ImageOptions,
    options: SensitivityOptions,
    progress: Progress = silent,
) -> Ranked:
    """Calibrate on one half of the images of `data` and rank the layers on the other.

    Raises UsageError for options that make no sense and InputError for data or a model that cannot be used.
    """
    by_precisions = options.by_precisions(options.max_drop, options.layer_precisions)
    shapes = fixed_shapes(options.shape)
    known = network_inputs(as_model(model, shapes).proto)
    chosen = select(data, reading, known, train=True, default=DEFAULT_SAMPLES, progress=progress)
    first, second = chosen.halves()
    config = CalibrationConfig(options.method, images=len(first.images), shapes=shapes)
    calibration = calibrate(model, partial(in_batches, first.images, reading.batch), config, progress)
    sample = Sample(second.images, second.labels, reading.batch, shapes)
    found = rank(model, calibration, sample, options.max_drop, progress)
    with together():
        if options.layer_precisions is not None:
            write_atomic(options.layer_precisions, f"{layer_precisions(found.keep)}\n")
        if options.qdq is not None:
            write_qdq(model, calibration, Path(options.qdq), float_nodes=found.keep)
    return Ranked(found, second.labels is not None, by_precisions)
