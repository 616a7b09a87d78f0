"""Which layers does INT8 hurt, and which few must stay in FP16 to keep the accuracy?

Each layer with weights is quantised alone, everything else stays in float32, and the network's output is compared. The
ranking then guides one search: the shortest prefix of it that, kept in FP16, brings the loss of the quantised network
below the limit. The search measures the network itself, so that interactions between layers are not guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dlaflow.errors import InputError
from dlaflow.fixed_shape import FixedShape
from dlaflow.graph.load import Model, as_model
from dlaflow.progress import Progress, Task, silent
from dlaflow.quantize.calibration import Calibration
from dlaflow.quantize.images import Images, in_batches
from dlaflow.quantize.numerics import as_on_dla
from dlaflow.quantize.plan import LINEAR
from dlaflow.quantize.qdq import qdq_model
from dlaflow.quantize.session import Session


@dataclass(frozen=True, slots=True)
class LayerDamage:
    """What INT8 in this layer alone does. `error` is the relative squared error of the network's output.

    `agreement` is the share, 0..1, of images that keep their class; `top1` the accuracy, None without labels.
    """

    node: str
    op: str
    error: float
    agreement: float
    top1: float | None


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """`layers`, worst first; `keep` stay in FP16 for the loss to be at most `max_drop` (in points of percent).

    `drop` is the loss with `keep`, `drop_all` with every layer in INT8; of top-1 where labels exist, else of agreement.
    """

    layers: tuple[LayerDamage, ...]
    keep: tuple[str, ...]
    drop: float
    drop_all: float
    max_drop: float
    images: int


@dataclass(frozen=True, eq=False)
class Sample:
    """The images to measure with: labels int64 [n] or None, `batch` images at once.

    `shapes` fix the size of an input that the model leaves open.
    """

    images: Images
    labels: NDArray[np.int64] | None
    batch: int = 32
    shapes: tuple[FixedShape, ...] = ()


def rank(
    model: Model | Path, calibration: Calibration, sample: Sample, max_drop: float, progress: Progress = silent
) -> Sensitivity:
    """Measure every layer alone, then find how many of the worst must stay in FP16.

    Raises InputError for a model without layers to quantise or without images.
    """
    held = as_model(model, sample.shapes)
    nodes = [node for node in held.proto.graph.node if node.op_type in LINEAR]
    if not nodes or not len(sample.images):
        raise InputError("nothing to compare", expected="layers with weights, and images", received=str(held.path))
    with progress("sensitivity", None, "runs of the network") as task:
        meter = _Meter(held, calibration, sample, task)
        reference = meter.scores(None)
        names = [node.name for node in nodes]
        damage = []
        for node in nodes:
            scores = meter.scores([name for name in names if name != node.name], only=node.name)
            damage.append(LayerDamage(node.name, node.op_type, *meter.compare(scores, reference)))
        damage.sort(key=lambda item: -item.error)
        order = [item.node for item in damage]
        base = meter.share(reference, reference)

        @cache
        def drop(count: int) -> float:
            return 100 * (base - meter.share(meter.scores(order[:count]), reference))

        count = 0 if drop(0) <= max_drop else _shortest(len(order), drop, max_drop)
        return Sensitivity(tuple(damage), tuple(order[:count]), drop(count), drop(0), max_drop, len(sample.images))


def _shortest(total: int, drop: Callable[[int], float], limit: float) -> int:
    """The smallest prefix whose loss is within the limit, by bisection; all layers when none is."""
    low, high = 0, total
    while high - low > 1:
        middle = (low + high) // 2
        if drop(middle) <= limit:
            high = middle
        else:
            low = middle
    return high


def _one_row_each(batch: NDArray[np.float32], output: NDArray[np.float32]) -> NDArray[np.float32]:
    """The output as [n, values]; recognisers that put time first have no row an image."""
    if output.ndim < 1 or len(output) != len(batch) or not output.size:
        raise InputError(
            "the model's output cannot be compared image by image",
            expected=f"[{len(batch)}, ...] for {len(batch)} images",
            received=list(output.shape),
            then="Take an output whose first axis is the batch.",
        )
    return output.reshape(len(output), -1)


class _Meter:
    """Runs versions of the network over the same images."""

    def __init__(self, model: Model, calibration: Calibration, sample: Sample, task: Task) -> None:
        self._model = model
        self._calibration = calibration
        self._sample = sample
        self._task = task

    def scores(self, float_nodes: Collection[str] | None, only: str = "") -> NDArray[np.float32]:
        """The outputs, [n, values]; None: the float32 network; `only`: no tensor besides those of that node."""
        proto = self._model.whole()
        if float_nodes is not None:
            calibration = self._around(only) if only else self._calibration
            proto = as_on_dla(qdq_model(proto, calibration, float_nodes))
        runner = Session(proto)
        proto.Clear()
        found = [
            _one_row_each(batch, runner.run(batch)) for batch in in_batches(self._sample.images, self._sample.batch)
        ]
        self._task.advance()
        return np.concatenate(found)

    def compare(self, scores: NDArray[np.float32], reference: NDArray[np.float32]) -> tuple[float, float, float | None]:
        """Relative squared error, agreement, top-1."""
        power = float(np.mean(np.square(reference, dtype=np.float64))) or 1.0
        error = float(np.mean(np.square(scores - reference, dtype=np.float64))) / power
        agreement = float(np.mean(scores.argmax(axis=1) == reference.argmax(axis=1)))
        return error, agreement, None if self._sample.labels is None else self.share(scores, reference)

    def share(self, scores: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
        """Top-1, or agreement with the reference where there are no labels."""
        right = reference.argmax(axis=1) if self._sample.labels is None else self._sample.labels
        return float(np.mean(scores.argmax(axis=1) == right))

    def _around(self, node_name: str) -> Calibration:
        node = next(node for node in self._model.proto.graph.node if node.name == node_name)
        touched = {*node.input, *node.output}
        tensors = tuple(tensor for tensor in self._calibration.tensors if tensor.name in touched)
        return Calibration(tensors, self._calibration.method, self._calibration.images, "", "")
