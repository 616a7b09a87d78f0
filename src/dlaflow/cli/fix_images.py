"""Real images for `dlaflow fix`: batches for the proof and the statistics, and a measure of accuracy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dlaflow.cli import terminal
from dlaflow.cli.batches import Source, select
from dlaflow.errors import InputError
from dlaflow.quantize.model import fed_inputs, input_shape, load_onnx
from dlaflow.rewrites.prove import Samples
from dlaflow.run.ort import OrtRunner

if TYPE_CHECKING:
    import onnx

    from dlaflow.cli.fix import Data

MEASURED = 2000
Accuracy = Callable[["onnx.ModelProto"], float]


def real_images(
    path: Path, source: Data, shape: tuple[int, ...] | None, *, measure: bool, quiet: bool
) -> tuple[Samples, Accuracy | None]:
    """Batches of the model's own size from the training split, and percent right on up to 2,000 test images.

    Raises InputError when accuracy is to be measured on images without labels.
    """
    model = load_onnx(path)
    chosen = Source(data=source.data or "", data_dir=source.data_dir, samples=source.samples)
    progress = terminal.progress(quiet=quiet)
    known = shape or input_shape(model)
    picked = select(chosen, known, train=True, default=source.samples, progress=progress)
    dims = fed_inputs(model)[0].type.tensor_type.shape.dim
    batch = dims[0].dim_value or 1
    whole = len(picked.images) // batch * batch
    samples = Samples([np.asarray(picked.images[start : start + batch]) for start in range(0, whole, batch)])
    if not measure:
        return samples, None
    test = Source(data=source.data or "", data_dir=source.data_dir, samples=MEASURED)
    tested = select(test, known, train=False, default=MEASURED, progress=progress)
    labels = tested.labels
    if labels is None:
        raise InputError(
            "the accuracy cannot be measured",
            expected="images with labels: cifar10, digits, a folder with one sub-folder a class",
            received=source.data,
        )

    def accuracy(proto: onnx.ModelProto) -> float:
        runner = OrtRunner(proto)
        step = runner.batch or 100
        right = 0
        for start in range(0, len(labels), step):
            part = slice(start, min(start + step, len(labels)))
            scores = runner.run(np.asarray(tested.images[part]))
            right += int((scores.reshape(len(scores), -1).argmax(1) == labels[part]).sum())
        return 100 * right / len(labels)

    return samples, accuracy
