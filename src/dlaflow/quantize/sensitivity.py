"""Which layers does INT8 hurt, and which few must stay in FP16 to keep the accuracy?

Each layer with weights is quantised alone, everything else stays in float32, and the network's output is compared. The
ranking then guides one search: the shortest prefix of it that, kept in FP16, brings the loss of the quantised network
below the limit, without those of its layers that turn out to be needless. The search measures the network itself, so
that interactions between layers are not guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dlaflow.errors import InputError
from dlaflow.fixed_shape import FixedShape
from dlaflow.graph.load import Model, as_model
from dlaflow.progress import Progress, Task, silent
from dlaflow.quantize.accuracy import Z95, classes
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
    if not len(sample.images) or not any(node.op_type in LINEAR for node in held.proto.graph.node):
        raise InputError("nothing to compare", expected="layers with weights, and images", received=str(held.path))
    with progress("sensitivity", None, "runs of the network") as task:
        return search(held.whole, calibration, Meter(held.whole(), sample, task), max_drop)


def search(
    fresh: Callable[[], onnx.ModelProto],
    calibration: Calibration,
    meter: Meter,
    max_drop: float,
    given: Sequence[str] = (),
    corrected: Callable[[Sequence[str]], onnx.ModelProto] | None = None,
) -> Sensitivity:
    """Rank the layers of the model that `fresh` makes anew at each call, then find those to keep.

    `given` stay in FP16 in any case; they are neither ranked nor among those to keep. `corrected` makes the model whose
    weights belong to a list of layers in FP16, where those depend on it; as that takes long, the list is the shortest
    beginning of the ranking then, and may hold one that is needless.
    """
    model = fresh()
    nodes = [node for node in model.graph.node if node.op_type in LINEAR and node.name not in given]
    names = [node.name for node in nodes]

    def damage(own: onnx.ModelProto, float_nodes: Collection[str], scales: Calibration) -> Damage:
        return meter.damage(as_on_dla(qdq_model(own, scales, {*float_nodes, *given})))

    ranked = []
    for node in nodes:
        others = [name for name in names if name != node.name]
        alone = damage(fresh(), others, _around(model, calibration, node.name))
        ranked.append(LayerDamage(node.name, node.op_type, alone.error, alone.agreement, alone.top1))
    ranked.sort(key=lambda item: -item.error)
    order = tuple(item.node for item in ranked)

    @cache
    def drop(keep: tuple[str, ...]) -> float:
        return meter.drop(damage(corrected(keep) if corrected else fresh(), keep, calibration))

    keep = order[:0]
    if drop(keep) > max_drop:
        keep = order[: _shortest(len(order), lambda count: drop(order[:count]), max_drop)]
    # The last of the prefix tipped the scale; of those before it some may be needless, the least harmful ones first.
    for name in keep[-2::-1] if drop(keep) <= max_drop and not corrected else ():
        fewer = tuple(other for other in keep if other != name)
        keep = fewer if drop(fewer) <= max_drop else keep
    return Sensitivity(tuple(ranked), keep, drop(keep), drop(()), max_drop, meter.count)


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


@dataclass(frozen=True, slots=True)
class Damage:
    """What a quantised network does to the outputs, in the measures of `LayerDamage`."""

    error: float
    agreement: float
    top1: float | None


class Meter:
    """Runs versions of a network over the same images, beside `exact`, which is consumed.

    Raises InputError for outputs that cannot be compared, and with labels for a first output that holds no classes.
    """

    def __init__(self, exact: onnx.ModelProto, sample: Sample, task: Task) -> None:
        self._sample = sample
        self._task = task
        self._forms = list(forms_of(exact).values())
        self.count = len(sample.images)
        self.step = sample.batch
        """How many images run at once: a model with a fixed batch may take fewer than the sample says."""
        self._exact = self._outputs(exact)
        right = sum(self._right(batch, values[0]) for batch, values in enumerate(self._exact))
        self.top1 = self._share(right)
        """The accuracy of the exact network, None without labels."""

    def damage(self, model: onnx.ModelProto) -> Damage:
        """What `model` does to the outputs; it is consumed."""
        tallies = [Tally(form) for form in self._forms]
        right = 0
        for batch, (values, exact) in enumerate(zip(self._outputs(model), self._exact, strict=True)):
            for tally, ours, theirs in zip(tallies, exact, values, strict=True):
                tally.add(ours, theirs, self._count(batch))
            right += self._right(batch, values[0])
        found = [tally.result() for tally in tallies]
        same = [each.same.value for each in found if each.same] or [each.cosine.value for each in found]
        error = float(np.mean([each.relative_error.value**2 for each in found]))
        return Damage(error, float(np.mean(same)), self._share(right))

    def drop(self, damage: Damage) -> float:
        """The loss in points: of top-1 where labels exist, else of agreement."""
        lost = 1 - damage.agreement if damage.top1 is None or self.top1 is None else self.top1 - damage.top1
        return 100 * lost

    def better(self, new: Damage, old: Damage, least: float) -> bool:
        """Whether `new` is the better one, by top-1 or else agreement; by the error where those cannot tell them apart.

        Two INT8 versions answer otherwise for at most the images on which either differs from the float network: that
        many fair coins bound how far chance brings them apart. The error must fall below `least` of the old one.
        """
        doubtful = self.count * max(0.0, 2 - new.agreement - old.agreement)
        gained = self.count * (self.drop(old) - self.drop(new)) / 100
        if abs(gained) > Z95 * doubtful**0.5:
            return gained > 0
        return new.error < least * old.error

    def _outputs(self, proto: onnx.ModelProto) -> list[list[NDArray[np.float32]]]:
        runner = Session(proto)
        proto.Clear()
        self.step = min(self._sample.batch, runner.batch or self._sample.batch)
        found = [runner.run_all(batch) for batch in in_batches(self._sample.images, self.step)]
        self._task.advance()
        return found

    def _count(self, batch: int) -> int:
        return min(self.step, len(self._sample.images) - batch * self.step)

    def _right(self, batch: int, scores: NDArray[np.float32]) -> int:
        """How many of a batch have the right class; 0 without labels."""
        if self._sample.labels is None:
            return 0
        part = self._sample.labels[batch * self.step :][: self._count(batch)]
        return int(np.sum(classes(scores, len(part)) == part))

    def _share(self, right: int) -> float | None:
        return None if self._sample.labels is None else right / len(self._sample.images)


def _around(model: onnx.ModelProto, calibration: Calibration, node_name: str) -> Calibration:
    """The scales of the tensors that one node touches."""
    node = next(node for node in model.graph.node if node.name == node_name)
    touched = {*node.input, *node.output}
    return replace(calibration, tensors=tuple(each for each in calibration.tensors if each.name in touched))
