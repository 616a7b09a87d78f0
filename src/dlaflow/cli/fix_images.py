"""Real images for `dlaflow fix`: batches for the proof and the statistics, and a measure of accuracy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dlaflow.cli import terminal
from dlaflow.cli.batches import Selection, Source, select
from dlaflow.errors import InputError
from dlaflow.graph.inputs import fed_inputs
from dlaflow.graph.load import as_model
from dlaflow.quantize.model import input_shape
from dlaflow.rewrites.prove import Samples
from dlaflow.runtime.ort import OrtRunner

if TYPE_CHECKING:
    import onnx

    from dlaflow.cli.fix import Data
    from dlaflow.targets.target import Target

MEASURED = 2000
"""Test images that an accuracy is measured on."""


@dataclass(frozen=True)
class Picked:
    """Batches of the model's own size from the training split, and the test images."""

    samples: Samples
    test: Selection

    @property
    def tested(self) -> int:
        """How many test images there are."""
        return len(self.test.images)

    def accuracy(self) -> Callable[[onnx.ModelProto], float]:
        """What measures the percent of test images whose class a model names.

        Raises InputError when the images have no labels.
        """
        images, labels = self.test.images, self.test.labels
        if labels is None:
            raise InputError(
                "the accuracy cannot be measured",
                expected="images with labels: cifar10, digits, or a folder with one sub-folder a class",
                received=self.test.description,
            )

        def measure(proto: onnx.ModelProto) -> float:
            runner = OrtRunner(proto)
            step, right = runner.batch or 100, 0
            for start in range(0, len(labels), step):
                part = slice(start, min(start + step, len(labels)))
                scores = runner.run(np.asarray(images[part]))
                right += int((scores.reshape(len(scores), -1).argmax(1) == labels[part]).sum())
            return 100 * right / len(labels)

        return measure


def real_images(path: Path, source: Data, target: Target, *, quiet: bool) -> Picked:
    """The images that `source` names, prepared for the model at `path` with the target's batch and shapes.

    Raises InputError for data that cannot be used, and for fewer images than one batch.
    """
    model = as_model(path, target.shapes).proto
    progress = terminal.progress(quiet=quiet)
    known = input_shape(model)
    chosen = Source(data=source.data or "", data_dir=source.data_dir, samples=source.samples)
    train = select(chosen, known, train=True, default=source.samples, progress=progress)
    step = fed_inputs(model.graph)[0].type.tensor_type.shape.dim[0].dim_value or target.batch or 1
    whole = len(train.images) // step * step
    if not whole:
        raise InputError("there are too few images", expected=f"{step}, one batch", received=len(train.images))
    batches = [np.asarray(train.images[start : start + step]) for start in range(0, whole, step)]
    tested = Source(data=source.data or "", data_dir=source.data_dir, samples=MEASURED)
    test = select(tested, known, train=False, default=MEASURED, progress=progress)
    return Picked(Samples(batches), test)
