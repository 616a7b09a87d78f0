"""How far the outputs of a model are from those of a reference on the same images: accuracy that needs no labels.

Each output is measured by the cosine and the relative error of its values. Where it holds classes (scores [n, classes]
or at every position, what a softmax or an argmax made, or a sigmoid's mask), also by how often both choose the same;
where it holds boxes, by how many both find. Numbers are means over images, so that their intervals count images and not
pixels. The proof of a rewrite counts classes and masks by the same function.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from dlaflow.errors import InputError
from dlaflow.progress import Progress, silent
from dlaflow.quantize.accuracy import Z95, wilson
from dlaflow.quantize.boxes import BoxForm, boxes_in, chosen_boxes, paired
from dlaflow.quantize.feed import Batch, Samples
from dlaflow.quantize.model import opset_of
from dlaflow.types import Measurement

if TYPE_CHECKING:
    import onnx

Floats = NDArray[np.float32]
Values = NDArray[np.floating]
_FIVE = 5
_BOXES_RANK, _IMAGE_RANK = 3, 4
CLASS, POSITIONS, MASK = "class", "positions", "mask"
_HALF = 0.5
"""Where a sigmoid's mask is cut."""
_SAME_VALUES = {"Identity", "Cast", "DequantizeLinear", "QuantizeLinear"}
_CHOICES = {"Softmax", "LogSoftmax", "Sigmoid", "ArgMax"}
_RESHAPES = {"Squeeze", "Unsqueeze", "Reshape", "Flatten", "Transpose"}
_SOFTMAX_OPSET = 13
"""The first opset whose Softmax works on one axis, by default the last."""


@dataclass(frozen=True, slots=True)
class OutputForm:
    """What the graph tells of an output: `axis` of a softmax; `mask`: a sigmoid made it, `chosen`: an argmax.

    `plain` holds values: others of the model hold classes, which this one does not show (the boxes beside the scores),
    or it is one of a detector's maps. `boxes` says how it holds boxes.
    """

    name: str
    axis: int | None = None
    mask: bool = False
    chosen: bool = False
    plain: bool = False
    boxes: BoxForm | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over `n` images with the half width of its 95% interval (None for one image); a share with its ends."""

    value: float
    spread: float | None
    n: int = 1
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class OutputAgreement:
    """One output of a model beside the reference's. Shares lie in 0..1; `what` says in words what `same` counts.

    `relative_error` is the root of the mean squared difference over the root of the reference's mean square. `same` is
    None for an output without classes; `five`, whether the reference's class is among the best five, for one without
    as many. `apart` counts images whose outputs differ in shape and were left out.

    Of boxes, `same` is the share of both models' boxes that have a partner in the other, over the images where one of
    them finds any, and `overlap` how much the pairs overlap (intersection over union).
    """

    output: str
    images: int
    cosine: Estimate
    relative_error: Estimate
    same: Estimate | None = None
    five: Estimate | None = None
    what: str = ""
    apart: int = 0
    overlap: Estimate | None = None

    def measurements(self, subject: str, detail: str = "") -> list[Measurement]:
        """The same as records; shares and errors in percent."""
        found = []
        for quantity, unit, estimate in (
            ("cosine", "1", self.cosine),
            ("relative_error", "%", self.relative_error),
            ("agreement", "%", self.same),
            ("top5_agreement", "%", self.five),
            ("box_overlap", "1", self.overlap),
        ):
            if estimate is not None:
                factor = 100 if unit == "%" else 1
                ends = (estimate.spread, estimate.low, estimate.high)
                spread, low, high = (None if end is None else factor * end for end in ends)
                value = factor * estimate.value
                number = Measurement(quantity, subject, value, unit, estimate.n, spread, low=low, high=high)
                found.append(replace(number, detail=f"output {self.output}; {detail}"))
        return found


class ManyOutputs(Protocol):
    """What can be compared: onnxruntime here, TensorRT on a board."""

    batch: int | None
    output_names: list[str]

    def run_all(self, batch: Batch) -> list[Floats]:
        """All outputs for at most one fixed batch, in the order of `output_names`."""


@dataclass(frozen=True, eq=False)
class Compared:
    """The outputs of one model beside the reference's."""

    outputs: tuple[OutputAgreement, ...]
    images: int


def forms_of(model: onnx.ModelProto) -> dict[str, OutputForm]:
    """What a graph tells of its outputs; other shapes of what an argmax chose or a sigmoid marked are the same.

    Images of several sizes are a detector's maps, whose channels are no classes.
    """
    opset = opset_of(model)
    producer = {name: node for node in model.graph.node for name in node.output}
    found: dict[str, OutputForm] = {}
    told: set[str] = set()
    maps: set[tuple[str, ...]] = set()
    for value in model.graph.output:
        form, node = OutputForm(value.name), producer.get(value.name)
        reshaped = False
        while node is not None and node.op_type in _SAME_VALUES | _RESHAPES:
            reshaped |= node.op_type in _RESHAPES
            node = producer.get(node.input[0])
        if node is not None and node.op_type in _CHOICES:
            told.add(value.name)
        elif len(dims := value.type.tensor_type.shape.dim) == _IMAGE_RANK:
            maps.add(tuple(dim.dim_param or str(dim.dim_value) for dim in dims[2:]))
        if node is not None and not reshaped and node.op_type in {"Softmax", "LogSoftmax"}:
            default = -1 if opset >= _SOFTMAX_OPSET else 1
            form = replace(form, axis=next((each.i for each in node.attribute if each.name == "axis"), default))
        elif node is not None:
            form = replace(form, mask=node.op_type == "Sigmoid", chosen=node.op_type == "ArgMax")
        found[value.name] = form
    plain = bool(told) or len(maps) > 1
    return {name: form if name in told else replace(form, plain=plain) for name, form in found.items()}


def compare(
    reference: ManyOutputs,
    models: Sequence[ManyOutputs],
    images: Samples,
    forms: Mapping[str, OutputForm],
    batch_size: int = 32,
    progress: Progress = silent,
) -> list[Compared]:
    """Run all `images` through the reference and each of the models.

    Raises InputError without images, and for a model that shares no output with the reference or puts out NaN.
    """
    if not len(images):
        raise InputError("no images to compare with", expected="at least 1", received=0)
    places = [_shared(reference.output_names, model.output_names) for model in models]
    tallies = [[Tally(forms.get(name, OutputForm(name))) for name, _, _ in shared] for shared in places]
    step = min([batch_size, *(runner.batch for runner in (reference, *models) if runner.batch)])
    with progress("compare", len(images), "images") as task:
        for start in range(0, len(images), step):
            batch = images[start : start + step]
            exact = reference.run_all(batch)
            for model, own, shared in zip(models, tallies, places, strict=True):
                values = model.run_all(batch)
                for tally, (_, ours, theirs) in zip(own, shared, strict=True):
                    tally.add(exact[ours], values[theirs], len(batch))
            task.advance(len(batch))
    return [Compared(tuple(tally.result() for tally in own), len(images)) for own in tallies]


def _shared(ours: Sequence[str], theirs: Sequence[str]) -> list[tuple[str, int, int]]:
    """The outputs that two models share by name, or by their order where they have as many."""
    found = [(name, place, theirs.index(name)) for place, name in enumerate(ours) if name in theirs]
    if not found and len(ours) == len(theirs):
        found = [(name, place, place) for place, name in enumerate(ours)]
    if not found:
        raise InputError(
            "the models share no output", expected=", ".join(ours), received=", ".join(theirs) or "no output"
        )
    return found


class Tally:
    """Collects one output over the batches. An output without a row an image counts a batch as one image."""

    def __init__(self, form: OutputForm) -> None:
        self._form = form
        self._cosines: list[float] = []
        self._errors: list[float] = []
        self._powers: list[float] = []
        self._same: list[float] = []
        self._five: list[float] = []
        self._overlaps: list[float] = []
        self._boxes = form.boxes
        self._apart = 0
        self._what = ""

    def add(self, reference: Floats, values: Floats, count: int) -> None:
        """Take in one batch of `count` images. Raises InputError where one is finite and the other is not."""
        if reference.shape != values.shape:
            self._apart += count
            return
        axis = class_axis(reference, self._form)
        if not reference.ndim or len(reference) != count:
            reference, values = reference[None], values[None]
        finite = np.isfinite(reference) & np.isfinite(values)
        if not np.array_equal(reference[~finite], values[~finite], equal_nan=True):
            raise InputError(
                f"output {self._form.name!r} of one model is not finite",
                expected="numbers, or the same infinities in both",
                received="NaN or an infinity",
                then="Check the images and their normalisation.",
            )
        rows = len(reference)
        exact = np.where(finite, reference, 0).reshape(rows, -1).astype(np.float64)
        other = np.where(finite, values, 0).reshape(rows, -1).astype(np.float64)
        equal = exact == other
        if self._form.chosen:  # the numbers of classes have no distance: each counts as a vector with a single one
            squares, powers = np.full(rows, float(exact.shape[1])), np.full(rows, float(exact.shape[1]))
            products, errors = equal.sum(axis=1), 2 * (~equal).sum(axis=1)
        else:
            squares, powers = np.sum(exact**2, axis=1), np.sum(other**2, axis=1)
            products, errors = np.sum(exact * other, axis=1), np.sum((exact - other) ** 2, axis=1)
        if self._boxes is None and axis is None and not self._form.mask | self._form.chosen:
            self._boxes = chosen_boxes(reference)
        norms = np.sqrt(squares * powers)
        cosines = np.where(equal.all(axis=1), 1.0, products / np.where(norms > 0, norms, 1.0))
        self._cosines += cosines.tolist()
        self._errors += errors.tolist()
        self._powers += squares.tolist()
        self._choices(reference, values, axis)

    def result(self) -> OutputAgreement:
        """What was collected. Raises InputError when no image could be compared."""
        if not self._cosines:
            raise InputError(
                f"output {self._form.name!r} cannot be compared",
                expected="the same shape in both models",
                received=f"other shapes for all {self._apart} images",
            )
        power = float(np.mean(self._powers)) or 1.0
        ratio = _mean(np.asarray(self._errors) / power)
        root = math.sqrt(ratio.value)
        # The error of a root, by its slope.
        spread = None if ratio.spread is None else ratio.spread / (2 * root) if root else 0.0
        return OutputAgreement(
            self._form.name,
            len(self._cosines),
            _mean(np.asarray(self._cosines)),
            Estimate(root, spread, ratio.n),
            _share(self._same),
            _share(self._five),
            self._what,
            self._apart,
            _mean(np.asarray(self._overlaps)) if self._overlaps else None,
        )

    def _choices(self, reference: Floats, values: Floats, axis: int | None) -> None:
        """Count where both choose the same class; `axis` is that of the classes, from the end."""
        if self._boxes is not None and reference.ndim == _BOXES_RANK:  # and not of a whole batch together
            self._pair(np.nan_to_num(reference), np.nan_to_num(values), self._boxes)
            return
        told = same_choices(reference, values, self._form, axis)
        if told is None:
            return
        self._what, same = told
        self._same += same.reshape(len(same), -1).mean(axis=1).tolist()
        if self._what == CLASS and axis is not None and reference.shape[axis] > _FIVE:
            best = reference.argmax(axis=axis)
            five = np.argpartition(-values, _FIVE, axis=axis).take(range(_FIVE), axis=axis)
            hit = (five == np.expand_dims(best, axis)).any(axis=axis)
            self._five += hit.reshape(len(hit), -1).mean(axis=1).tolist()

    def _pair(self, reference: Floats, values: Floats, form: BoxForm) -> None:
        """Count the boxes of both that have a partner; an image without boxes says nothing."""
        for ours, theirs in zip(boxes_in(reference, form), boxes_in(values, form), strict=True):
            if len(ours) or len(theirs):
                pairs = paired(ours, theirs)
                self._same.append(2 * len(pairs) / (len(ours) + len(theirs)))
                self._overlaps += [float(pairs.mean())] if len(pairs) else []
        self._what = "boxes" if self._same else "no boxes"


def same_choices(
    reference: Values, values: Values, form: OutputForm, axis: int | None
) -> tuple[str, NDArray[np.bool_]] | None:
    """What both choose (a class, one at each position, a mask, numbers of classes) and where they choose the same.

    `axis` is that of the classes, from the end. None where the form tells of no choice.
    """
    if form.chosen:
        return "choices", reference == values
    if axis is not None:
        best = reference.argmax(axis=axis)
        return CLASS if best[0].size == 1 else POSITIONS, best == values.argmax(axis=axis)
    return (MASK, (reference > _HALF) == (values > _HALF)) if form.mask else None


def class_axis(scores: Values, form: OutputForm) -> int | None:
    """The axis of the classes, from the end: what a softmax worked on, the only large one, or the channels of an image.

    A sigmoid's image holds yes or no for each class instead.
    """
    if form.plain:
        return None
    rank = scores.ndim
    axis = form.axis % rank if form.axis is not None and -rank <= form.axis < rank else None
    if axis is None and rank > 1 and (rank == _IMAGE_RANK or scores[0].size == scores.shape[1]):
        axis = None if form.mask and rank == _IMAGE_RANK else 1
    return None if axis is None or scores.shape[axis] < 2 else axis - rank


def _share(values: Sequence[float]) -> Estimate | None:
    """The mean of shares; of yes and no with Wilson's interval."""
    if not values:
        return None
    if set(values) <= {0.0, 1.0}:
        low, high = wilson(round(sum(values)), len(values))
        return Estimate(sum(values) / len(values), (high - low) / 2, len(values), low, high)
    return _mean(np.asarray(values))


def _mean(values: NDArray[np.float64]) -> Estimate:
    spread = Z95 * float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else None
    return Estimate(float(values.mean()), spread, len(values))
