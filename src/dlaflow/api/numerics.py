"""evaluate --numerics dla: a Q/DQ model in the DLA's integers beside onnxruntime's Q/DQ, on the same images."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dlaflow.api.images import ImageOptions, select
from dlaflow.api.keywords import File
from dlaflow.errors import InputError
from dlaflow.fixed_shape import FixedShape
from dlaflow.graph.load import as_model
from dlaflow.progress import Progress, silent
from dlaflow.quantize.accuracy import Accuracy, classes
from dlaflow.quantize.agreement import OutputAgreement, OutputForm, Tally, forms_of
from dlaflow.runtime.dla import DlaRunner, Layers
from dlaflow.runtime.ort import OrtRunner
from dlaflow.types import Measurement

if TYPE_CHECKING:
    import onnx

    from dlaflow.quantize.feed import Batch

_MOST_BYTES = 2**30
"""Of outputs that are kept for a file."""


@dataclass(frozen=True, slots=True)
class Difference:
    """How many of the values of a tensor (or of several) differ; `steps` is the largest difference in steps of INT8.

    `steps` is None for a tensor that is no INT8, whose largest difference stands in `largest`, in its own unit.
    """

    tensor: str
    values: int
    different: int
    steps: int | None
    largest: float

    @property
    def share(self) -> float:
        """The share of values that differ, 0..1."""
        return self.different / self.values if self.values else 0.0


@dataclass(frozen=True, eq=False)
class IntegerNumerics:
    """One model: its outputs over all images, its INT8 tensors over the first batch, and how its layers were computed.

    `exact` and `reference` are the accuracies of the DLA's integers and of onnxruntime's Q/DQ, None without labels.
    `kept` holds the outputs by name, float32, where they were asked for.
    """

    model: Path
    images: int
    outputs: tuple[Difference, ...]
    agreements: tuple[OutputAgreement, ...]
    tensors: tuple[Difference, ...]
    layers: Layers
    exact: Accuracy | None
    reference: Accuracy | None
    kept: dict[str, NDArray[np.float32]]
    description: str

    @property
    def inner(self) -> Difference:
        """All INT8 tensors of the first batch together."""
        steps = max((each.steps or 0 for each in self.tensors), default=0)
        values, different = (sum(getattr(each, name) for each in self.tensors) for name in ("values", "different"))
        return Difference("all INT8 tensors", values, different, steps, float(steps))

    def measurements(self) -> list[Measurement]:
        """The numbers as records: shares in percent, differences in steps."""
        subject, detail = self.model.stem, f"DLA integers beside onnxruntime's Q/DQ; {self.description}"
        measured = partial(Measurement, subject=subject, n=self.images)
        found = []
        for each in (*self.outputs, self.inner):
            where = f"{each.tensor}; {detail}"
            found.append(measured(quantity="values_that_differ", value=100 * each.share, unit="%", detail=where))
            largest, unit = (each.largest, "1") if each.steps is None else (float(each.steps), "steps")
            found.append(measured(quantity="largest_difference", value=largest, unit=unit, detail=where))
        found += [row for output in self.agreements for row in output.measurements(subject, detail)]
        if self.exact is not None and self.reference is not None:
            found += self.exact.measurements(f"{subject} (DLA integers)", self.reference, self.description)
            found += self.reference.measurements(f"{subject} (onnxruntime)", None, self.description)
        return found


def evaluate_numerics(
    model: Path,
    data: File | Sequence[File],
    reading: ImageOptions,
    shapes: Sequence[FixedShape] = (),
    keep: bool = False,
    progress: Progress = silent,
) -> IntegerNumerics:
    """Run a Q/DQ model twice on the same images: in the DLA's integers, and by onnxruntime as its file says.

    `keep`: also return the outputs, which a board's can be held against. Raises InputError for a model without Q/DQ,
    for images that cannot be used, and for outputs to keep that are too large.
    """
    whole = as_model(model, shapes)
    runner, reference = DlaRunner(model, shapes), OrtRunner(model, shapes=shapes)
    chosen = select(data, reading, reference.inputs, train=False, progress=progress)
    both = _Both(runner, reference, forms_of(whole.proto), keep)
    size = min(reading.batch, runner.batch or reading.batch)
    tensors = _inner(runner, whole.whole(), chosen.images[:size])
    with progress("numerics", len(chosen.images), "images") as task:
        for start in range(0, len(chosen.images), size):
            both.add(chosen.images[start : start + size], predict=chosen.labels is not None)
            task.advance(min(size, len(chosen.images) - start))
    exact = plain = None
    if chosen.labels is not None:
        exact, plain = (each.accuracy(chosen.labels) for each in both.answers)
    return IntegerNumerics(
        model,
        len(chosen.images),
        tuple(both.counters[name].result() for name in runner.output_names),
        tuple(tally.result() for tally in both.tallies.values()),
        tensors,
        runner.layers,
        exact,
        plain,
        {name: np.concatenate(parts) for name, parts in both.kept.items() if parts},
        chosen.description,
    )


class _Both:
    """What two ways of computing a model put out, batch by batch."""

    def __init__(self, runner: DlaRunner, reference: OrtRunner, forms: dict[str, OutputForm], keep: bool) -> None:
        names, steps = runner.output_names, runner.output_steps
        self._runners: tuple[DlaRunner | OrtRunner, ...] = (runner, reference)
        self._keep = keep
        self.tallies = {name: Tally(forms[name]) for name in names}
        self.counters = {name: _Counter(name, steps.get(name)) for name in names}
        self.kept: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
        self.answers = (_Answers(), _Answers())

    def add(self, batch: Batch, predict: bool) -> None:
        """Run a batch; `predict`: its classes count. Raises InputError for outputs that are too large to keep."""
        found = []
        for runner, answers in zip(self._runners, self.answers, strict=True):
            began = time.perf_counter()
            found.append(runner.run_all(batch))
            answers.seconds += time.perf_counter() - began
            if predict:
                answers.predictions.append(classes(found[-1][0], len(batch)))
        for name, one, other in zip(self.tallies, *found, strict=True):
            self.tallies[name].add(other, one, len(batch))
            self.counters[name].add(one, other)
            if self._keep:
                self.kept[name].append(one)
        kept = sum(part.nbytes for parts in self.kept.values() for part in parts)
        if kept > _MOST_BYTES:
            raise InputError(
                "the outputs are too large to keep",
                expected=f"at most {_MOST_BYTES:,} bytes",
                received=f"more than {kept:,}",
                then="Take fewer images with --samples.",
            )


@dataclass
class _Answers:
    """The classes that one way of computing chose, and its seconds."""

    predictions: list[NDArray[np.int64]] = field(default_factory=list)
    seconds: float = 0.0

    def accuracy(self, labels: NDArray[np.int64]) -> Accuracy:
        chosen = np.concatenate(self.predictions)
        return Accuracy(int(np.sum(chosen == labels)), len(labels), self.seconds, chosen)


class _Counter:
    """Counts the values of a tensor that differ; `step` is the scale of one that is INT8."""

    def __init__(self, tensor: str, step: float | None) -> None:
        self._tensor, self._step = tensor, step
        self._values = self._different = 0
        self._largest = 0.0

    def add(self, one: NDArray[np.generic], other: NDArray[np.generic]) -> None:
        """Take in the values of a batch."""
        apart = np.abs(one.astype(np.float64) - other.astype(np.float64))
        self._values += apart.size
        self._different += int(np.count_nonzero(apart))
        self._largest = max(self._largest, float(np.max(apart, initial=0.0)))

    def result(self) -> Difference:
        """What was counted."""
        steps = None if self._step is None else round(self._largest / self._step)
        return Difference(self._tensor, self._values, self._different, steps, self._largest)


def _inner(runner: DlaRunner, model: onnx.ModelProto, batch: Batch) -> tuple[Difference, ...]:
    """The INT8 tensors of both ways on a few images, in the order in which they are computed."""
    from onnx import helper

    names = [name for name in runner.quantised if name not in runner.output_names]
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    reference = OrtRunner(model)
    values = dict(zip(reference.output_names, reference.run_all(batch), strict=True))
    found = []
    for name, ours in zip(names, runner.run_named(batch, names), strict=True):
        counter = _Counter(name, 1.0)
        counter.add(ours, values[name])
        found.append(counter.result())
    return tuple(found)
