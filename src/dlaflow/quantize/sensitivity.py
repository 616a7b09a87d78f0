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
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dlaflow.errors import InputError
from dlaflow.fixed_shape import FixedShape
from dlaflow.graph.load import Model, as_model
from dlaflow.progress import Progress, Task, silent
from dlaflow.quantize.accuracy import classes
from dlaflow.quantize.agreement import Tally, forms_of
from dlaflow.quantize.calibration import Calibration
from dlaflow.quantize.images import Images, in_batches
from dlaflow.quantize.numerics import as_on_dla
from dlaflow.quantize.plan import LINEAR
from dlaflow.quantize.qdq import qdq_model
from dlaflow.quantize.session import Session

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True, slots=True)
class LayerDamage:
    """What INT8 in this layer alone does. `error` is the relative squared error of the network's outputs, their mean.

    `agreement` is the share, 0..1, of images (or positions) that keep their class, the mean over the outputs that hold
    classes; where none does, the mean cosine. `top1` is the accuracy, None without labels.
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
        names = [node.name for node in nodes]
        damage = [
            LayerDamage(
                node.name, node.op_type, *meter.damage([name for name in names if name != node.name], only=node.name)
            )
            for node in nodes
        ]
        damage.sort(key=lambda item: -item.error)
        order = [item.node for item in damage]

        @cache
        def drop(count: int) -> float:
            _, agreement, top1 = meter.damage(order[:count])
            return 100 * (1 - agreement if top1 is None or meter.top1 is None else meter.top1 - top1)

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


class _Meter:
    """Runs versions of the network over the same images."""

    def __init__(self, model: Model, calibration: Calibration, sample: Sample, task: Task) -> None:
        self._model = model
        self._calibration = calibration
        self._sample = sample
        self._task = task
        self._forms = list(forms_of(model.proto).values())
        self._exact = self._outputs(model.whole())

    def damage(self, float_nodes: Collection[str], only: str = "") -> tuple[float, float, float | None]:
        """Relative squared error, agreement and top-1 with `float_nodes` in float32; `only`: no tensor besides those of
        that node is quantised."""
        calibration = self._around(only) if only else self._calibration
        proto = as_on_dla(qdq_model(self._model.whole(), calibration, float_nodes))
        tallies = [Tally(form) for form in self._forms]
        right = 0
        for batch, (values, exact) in enumerate(zip(self._outputs(proto), self._exact, strict=True)):
            count = self._count(batch)
            for tally, ours, theirs in zip(tallies, exact, values, strict=True):
                tally.add(ours, theirs, count)
            right += self._right(batch, values[0])
        found = [tally.result() for tally in tallies]
        same = [each.same.value for each in found if each.same] or [each.cosine.value for each in found]
        error = float(np.mean([each.relative_error.value**2 for each in found]))
        return error, float(np.mean(same)), self._share(right)

    @property
    def top1(self) -> float | None:
        """The accuracy of the float32 network, None without labels."""
        return self._share(sum(self._right(batch, values[0]) for batch, values in enumerate(self._exact)))

    def _outputs(self, proto: onnx.ModelProto) -> list[list[NDArray[np.float32]]]:
        runner = Session(proto)
        proto.Clear()
        step = min(self._sample.batch, runner.batch or self._sample.batch)
        self._step = step
        found = [runner.run_all(batch) for batch in in_batches(self._sample.images, step)]
        self._task.advance()
        return found

    def _count(self, batch: int) -> int:
        return min(self._step, len(self._sample.images) - batch * self._step)

    def _right(self, batch: int, scores: NDArray[np.float32]) -> int:
        """How many of a batch have the right class; 0 without labels."""
        if self._sample.labels is None:
            return 0
        part = self._sample.labels[batch * self._step :][: self._count(batch)]
        return int(np.sum(classes(scores, len(part)) == part))

    def _share(self, right: int) -> float | None:
        return None if self._sample.labels is None else right / len(self._sample.images)

    def _around(self, node_name: str) -> Calibration:
        node = next(node for node in self._model.proto.graph.node if node.name == node_name)
        touched = {*node.input, *node.output}
        tensors = tuple(tensor for tensor in self._calibration.tensors if tensor.name in touched)
        return Calibration(tensors, self._calibration.method, self._calibration.images, "", "")
