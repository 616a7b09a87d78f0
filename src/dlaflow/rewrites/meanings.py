"""What the channels of a detector's maps mean, told by what the decode part does with them and by nothing else.

Labels run through the decode part in place of numbers: each element of a map carries its channel, reshapes and slices
carry the labels along, and an operator that computes leaves its name on those that it meets. A channel that meets a
softmax over k and then a sum is a distribution over k bins, one that meets additions and products with constants is a
coordinate, one that meets a sigmoid alone is a score. What fits none of these is `unknown`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import groupby
from math import prod

import numpy as np
import onnx
from numpy.typing import NDArray

from dlaflow.rewrites.draft import SOFTMAX_ON_ONE_AXIS, Draft, integer, softmax_axis
from dlaflow.rewrites.load import evaluate
from dlaflow.rewrites.records import Channels, CutTensor

_MOST = 1 << 23
"""Elements of a tensor that labels are carried through; maps of detectors have some hundred thousand."""
_MOST_LABELS = 1 << 16
MOVES = frozenset({"Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Concat", "Split", "Slice", "Gather"})
TWO = {"Add": "shift", "Sub": "shift", "Mul": "scale", "Div": "scale", "Pow": "power"}
_ONE = {"Sigmoid": "sigmoid", "Exp": "exp", "Neg": "scale", "Relu": "relu", "Clip": "clip", "Identity": "", "Cast": ""}
"""What a channel is said to have met at an operator of two operands and at one of one."""
SUMS = frozenset({"Conv", "MatMul", "Gemm", "ReduceSum", "ReduceMean"})
_BOX = 4

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Label:
    """The channels that an element was made of, as (name of the map, channel), and what they met on the way."""

    channels: frozenset[tuple[str, int]]
    met: frozenset[str] = frozenset()


@dataclass
class Tracer:
    """Carries labels through nodes. An array holds indices into `labels`; the first label stands for constants."""

    draft: Draft
    labels: list[Label] = field(default_factory=lambda: [Label(frozenset())])
    arrays: dict[str, Labels] = field(default_factory=dict)
    numbers: dict[Label, int] = field(default_factory=dict)

    def number(self, label: Label) -> int:
        """The index of a label, a new one where it is met first."""
        if label not in self.numbers:
            self.numbers[label] = len(self.labels)
            self.labels.append(label)
        return self.numbers[label]

    def seed(self, name: str, made_in: Draft) -> None:
        """Give each channel (axis 1) of a tensor its own label, with what it met in the network that makes it."""
        shape = made_in.shape(name) or ()
        if len(shape) > 1 and 0 < prod(shape) <= _MOST and shape[1] <= _MOST_LABELS:
            met = _before(made_in, name, shape[1])
            row = [self.number(Label(frozenset({(name, channel)}), met[channel])) for channel in range(shape[1])]
            self.arrays[name] = np.broadcast_to(np.array(row, np.int64).reshape(-1, *(1 for _ in shape[2:])), shape)

    def run(self, nodes: Sequence[onnx.NodeProto]) -> None:
        """Carry labels through nodes in order to the outputs; behind an operator that is not known there are none."""
        last = {name: index for index, node in enumerate(nodes) for name in node.input}
        for index, node in enumerate(nodes):
            self._carry(node)
            for name in node.input:  # all of a transformer's would be gigabytes
                if last[name] == index and name not in self.draft.outputs:
                    self.arrays.pop(name, None)

    def _carry(self, node: onnx.NodeProto) -> None:
        if any(name in self.arrays for name in node.output) or not any(name in self.arrays for name in node.input):
            return
        sizes = [self.draft.shape(name) for name in node.output if name]
        if any(size is None or prod(size) > _MOST for size in sizes) or len(self.labels) > _MOST_LABELS:
            return
        made: Sequence[Labels] = ()
        with suppress(ValueError):  # shapes that do not go together here: the labels end
            made = self._made(node)
        fits = len(made) == len(sizes) and all(one.shape == size for one, size in zip(made, sizes, strict=True))
        self.arrays.update(zip(filter(None, node.output), made if fits else (), strict=False))

    def _made(self, node: onnx.NodeProto) -> Sequence[Labels]:
        inputs = [self.arrays.get(name) for name in node.input]
        first = inputs[0]
        if node.op_type in MOVES:
            return self._moved(node)
        if node.op_type in TWO and len(inputs) == 2:
            return [self._pairs(node, first, inputs[1])]
        if first is None or not first.ndim:
            return []
        if node.op_type in _ONE:
            return [self._marked(first, _ONE[node.op_type])]
        if node.op_type == "Softmax":
            axis = softmax_axis(node, self.draft.opset) % first.ndim
            if axis < first.ndim - 1 and self.draft.opset < SOFTMAX_ON_ONE_AXIS:
                return []  # over all axes behind it together
            return [np.broadcast_to(self._joined(first, axis, f"softmax {first.shape[axis]}"), first.shape)]
        if node.op_type in SUMS and not any(array is not None for array in inputs[1:]):
            return [self._summed(node, first)]
        return []

    def _summed(self, node: onnx.NodeProto, first: Labels) -> Labels:
        """Sums along one axis: that of the channels for a convolution, else the one whose size is another behind it."""
        shape = self.draft.shape(node.output[0]) or ()
        sizes = [*shape, *(0 for _ in first.shape)]
        changed = (axis for axis, size in enumerate(first.shape) if size != sizes[axis])
        axis = 1 if node.op_type == "Conv" else next(changed, first.ndim - 1)
        joined = self._joined(first, axis, "sum")
        return np.broadcast_to(joined if len(shape) == first.ndim else joined.squeeze(axis), shape)

    def _moved(self, node: onnx.NodeProto) -> Sequence[Labels]:
        feeds: dict[str, NDArray[np.generic]] = {}
        for place, name in enumerate(filter(None, node.input)):
            if name in self.arrays:
                feeds[name] = self.arrays[name]
            elif name not in self.draft.weights:
                return []
            elif place == 0 or node.op_type == "Concat":
                feeds[name] = np.zeros(self.draft.weights[name].shape, np.int64)
            else:
                feeds[name] = self.draft.weights[name]
        return [np.asarray(one, np.int64) for one in evaluate(node, feeds, self.draft.opset) or ()]

    def _marked(self, array: Labels, mark: str) -> Labels:
        """The labels of an array with one more thing met."""
        found, places = np.unique(array, return_inverse=True)
        fresh = [self._union((number,), mark) for number in found]
        return np.array(fresh, np.int64)[places].reshape(array.shape)

    def _pairs(self, node: onnx.NodeProto, one: Labels | None, two: Labels | None) -> Labels:
        """An operator of two operands: with a constant, with itself, or with another computed tensor."""
        kind = TWO[node.op_type]
        if one is None or two is None:
            labelled, other = (one, node.input[1]) if one is not None else (two, node.input[0])
            assert labelled is not None
            shape = np.broadcast_shapes(labelled.shape, self.draft.shape(other) or ())
            return self._marked(np.broadcast_to(labelled, shape), kind if other in self.draft.weights else "mixed")
        if node.input[0] == node.input[1]:
            return self._marked(one, "power" if kind == "scale" else kind)
        left, right = np.broadcast_arrays(one, two)
        count = len(self.labels)
        found, places = np.unique(left * count + right, return_inverse=True)
        fresh = [self._union((pair // count, pair % count), "mixed") for pair in found]
        return np.array(fresh, np.int64)[places].reshape(left.shape)

    def _joined(self, array: Labels, axis: int, mark: str) -> Labels:
        """One label for all elements along an axis, which stays with one element."""
        rows = np.moveaxis(array, axis, -1)
        found, places = np.unique(rows.reshape(-1, rows.shape[-1]), axis=0, return_inverse=True)
        fresh = [self._union(row, mark) for row in found]
        return np.expand_dims(np.array(fresh, np.int64)[places].reshape(rows.shape[:-1]), axis)

    def _union(self, numbers: Iterable[int], mark: str) -> int:
        """The index of the label for what several elements become together; a mark of "" is none."""
        parts = [self.labels[number] for number in set(map(int, numbers))]
        channels = frozenset(channel for part in parts for channel in part.channels)
        met = frozenset(each for part in parts for each in part.met)
        return self.number(Label(channels, met | {mark} if mark else met))


def meanings(whole: Draft, post: Draft, tensors: Sequence[str]) -> list[CutTensor]:
    """What each of `tensors`, where `whole` is cut from its decode part `post`, has in its channels (axis 1)."""
    tracer = Tracer(post)
    shapes = {name: whole.shape(name) or () for name in tensors}
    for name in tensors:
        tracer.seed(name, whole)
    tracer.run(post.nodes)
    met_by: dict[tuple[str, int], set[str]] = {}
    for label in tracer.labels:
        for channel in label.channels:
            met_by.setdefault(channel, set()).update(label.met)
    sized = any({"power", "exp"} & met for met in met_by.values())
    found = [
        _in_runs(name, shape, [met_by.get((name, channel), set()) for channel in range((*shape, 0, 0)[1])], sized=sized)
        for name, shape in shapes.items()
    ]
    boxes = {
        tuple(each.shape[2:]) for each in found if [run.meaning for run in each.channels] in (["box"], ["box sides"])
    }
    return [_beside_boxes(each) if not sized and tuple(each.shape[2:]) in boxes else each for each in found]


def _before(draft: Draft, name: str, channels: int) -> list[frozenset[str]]:
    """What the channels of a map met already: a sigmoid or a softmax over them on the DLA, joined by Concat."""
    maker = draft.producers.get(name)
    if maker is not None and maker.op_type == "Sigmoid":
        return [frozenset({"sigmoid"})] * channels
    rank = len(draft.shape(name) or ())
    if maker is not None and maker.op_type == "Softmax" and rank > 1 and integer(maker, "axis", -1) % rank == 1:
        return [frozenset({f"softmax {channels}"})] * channels
    if maker is not None and maker.op_type == "Concat" and integer(maker, "axis", 1) == 1:
        parts = [met for part in maker.input for met in _before(draft, part, (*(draft.shape(part) or ()), 0, 0)[1])]
        return parts if len(parts) == channels else [frozenset()] * channels
    return [frozenset()] * channels


def meaning_of(met: set[str]) -> tuple[str, str]:
    """The meaning of a channel and the activation that belongs to it."""
    softmax = next((mark for mark in sorted(met) if mark.startswith("softmax")), "")
    if softmax and "sum" in met:
        return "distribution", softmax
    if met & {"shift", "scale", "power", "exp"} and not softmax:
        return "coordinates", "sigmoid" if "sigmoid" in met else "exp" if "exp" in met else ""
    if softmax or "sigmoid" in met:
        return "scores", softmax or "sigmoid"
    return "unknown", ""


def _in_runs(name: str, shape: Sequence[int], met: list[set[str]], *, sized: bool) -> CutTensor:
    """Channels of one meaning in a row as one run; where the row of runs repeats itself, it is told once."""
    told = [meaning_of(each) for each in met]
    sizes = (size for size in range(2, len(told) + 1) if told == told[:size] * (len(told) // size))
    size = len(told) if len(set(told)) < 2 else next(sizes)
    runs: list[Channels] = []
    for (meaning, through), group in groupby(told[:size]):
        first = runs[-1].last + 1 if runs else 0
        runs.append(Channels(first, first + len(list(group)) - 1, meaning, through))
    named = [each for run in runs for each in _named(run, runs, sized=sized)]
    return CutTensor(name, list(shape), len(told) // size if size else 1, named)


def _named(run: Channels, runs: list[Channels], *, sized: bool) -> list[Channels]:
    """A run in a detector's words, where its length bears it out.

    Four coordinates are a box (those of several activations in a row, too), four distributions its sides. Scores behind
    a box are classes; where sizes of boxes are squares or powers of e (YOLOv3 to v7, X), the first is the objectness.
    """
    coordinates = [each for each in runs if each.meaning == "coordinates"]
    box = coordinates and coordinates[-1].last - coordinates[0].first + 1 == _BOX
    sides = any(_are_sides(each) for each in runs)
    if run.meaning == "coordinates" and box:
        return [replace(run, meaning="box")]
    if _are_sides(run):
        return [replace(run, meaning="box sides")]
    if run.meaning == "scores" and run is runs[-1] and len(runs) > 1 and (sides or box):
        if not sized:
            return [replace(run, meaning="classes")]
        if run.last > run.first:
            rest = Channels(run.first + 1, run.last, "classes", run.through)
            return [Channels(run.first, run.first, "objectness", run.through), rest]
    return [run]


def _are_sides(run: Channels) -> bool:
    """Whether a run holds a distribution for each side of a box."""
    return run.meaning == "distribution" and run.last - run.first + 1 == _BOX * int(run.through.partition(" ")[2])


def _beside_boxes(tensor: CutTensor) -> CutTensor:
    """Scores alone, of the same cells as boxes in another tensor, are their classes."""
    alone = [run.meaning for run in tensor.channels] == ["scores"]
    return replace(tensor, channels=[replace(tensor.channels[0], meaning="classes")]) if alone else tensor
