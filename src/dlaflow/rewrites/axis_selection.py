"""Whole channels, rows or columns picked from images and constants: what an operator picks, and layers that do.

An operator whose indices are known is run on the numbers 0, 1, 2, ... in place of what it picks from. Along C

    out = sum over the images of W x + constants      W a 1x1 convolution of ones and zeros, a Scale where nothing moves

and along H and W the same between two transposes, or a Slice where the rows follow each other. Ones and zeros are exact
in every precision. Where an image holds an infinity, 0 * inf makes its pixel nan in all that is picked there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import onnx
from numpy.typing import NDArray

from dlaflow.rewrites.base import Bounds
from dlaflow.rewrites.building_blocks import Floats, affine, convolved, sliced
from dlaflow.rewrites.draft import Array, Draft, Edit, Shape
from dlaflow.rewrites.load import evaluate, is_unread

Indices = NDArray[np.int64]
Number = TypeVar("Number", bound=np.generic)
_LARGEST = 1 << 23
LARGEST_CONSTANT = 65504.0
"""The largest number of FP16: a constant beyond it would be an infinity there."""
_AXES = "NCHW"


@dataclass(frozen=True, eq=False)
class Selection:
    """out[..., k, ...] = sources[source[k]][..., place[k], ...] along `axis`, or constant[k] where `source` is -1."""

    axis: int
    source: Indices
    place: Indices
    constant: Floats

    @property
    def run(self) -> tuple[int, int] | None:
        """Where the slices begin and end that follow each other in the first source; None where they do not."""
        first, count = int(self.place[0]), len(self.place)
        alike = not self.source.any() and np.array_equal(self.place, np.arange(first, first + count))
        return (first, first + count) if alike else None


def picked(draft: Draft, node: onnx.NodeProto, sources: Sequence[int]) -> Indices | None:
    """Where each element that `node` makes comes from, in its inputs `sources` laid flat one behind the other.

    None where something else is not known before run time, or is too large.
    """
    feeds = {name: value for name in node.input if name and (value := draft.weights.get(name)) is not None}
    if any(is_unread(value) for value in feeds.values()):
        return None
    begin, named = 0, onnx.NodeProto()
    named.CopyFrom(node)
    for index in sources:
        shape = draft.shape(node.input[index])
        if shape is None or begin + int(np.prod(shape)) > _LARGEST:
            return None
        named.input[index] = f"numbers {index}"  # the same tensor may stand in two places
        feeds[named.input[index]] = begin + np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)
        begin += feeds[named.input[index]].size
    if any(name and name not in feeds for name in named.input):
        return None
    results = evaluate(named, {name: feeds[name] for name in named.input if name}, draft.opset)
    return np.asarray(results[0], np.int64) if results else None


def of_one(numbers: Indices, shape: Shape) -> list[Selection] | str:
    """The selections, axis by axis, that make `numbers` of one image of `shape`; a reason where there are none."""
    places = [np.unravel_index(_fibre(numbers, axis), shape)[axis] for axis in range(4)]
    if not np.array_equal(numbers, _at(shape, places)):
        return "what it picks differs from row to row"
    if not np.array_equal(places[0], np.arange(shape[0])):
        return "it picks images of the batch"
    return [
        Selection(axis, np.zeros_like(place), place, np.zeros(len(place)))
        for axis, place in enumerate(places)
        if not np.array_equal(place, np.arange(shape[axis]))
    ]


def of_several(numbers: Indices, sources: Sequence[Shape | Array]) -> Selection | str:
    """The selection that makes `numbers` of images (their shapes) and constants; a reason where there is none."""
    shapes = [source.shape if isinstance(source, np.ndarray) else source for source in sources]
    begins = np.cumsum([0, *(int(np.prod(shape)) for shape in shapes)])
    which = np.searchsorted(begins, numbers, side="right") - 1
    values, fixed = np.zeros(numbers.shape), np.zeros(numbers.shape, bool)
    for index, source in enumerate(sources):
        if isinstance(source, np.ndarray):
            here = which == index
            fixed |= here
            values[here] = np.asarray(source, np.float64).reshape(-1)[numbers[here] - begins[index]]
    if not np.all(np.abs(values) <= LARGEST_CONSTANT):
        return f"a constant is no number of FP16, which end at {LARGEST_CONSTANT:g}"
    picks = np.where(fixed, -1, numbers)
    for axis in (1, 2, 3):
        origin: Indices = np.where(_fibre(fixed, axis), -1, _fibre(which, axis)).astype(np.int64)
        constant = _fibre(values, axis)
        place, expected = np.zeros(len(origin), np.int64), np.full(numbers.shape, -1)
        for index in set(origin.tolist()) - {-1}:
            shape, chosen = shapes[index], origin == index
            if len(shape) != 4 or any(shape[each] != numbers.shape[each] for each in range(4) if each != axis):
                break
            place[chosen] = np.unravel_index(_fibre(numbers, axis)[chosen] - begins[index], shape)[axis]
            along = [place[chosen] if each == axis else np.arange(shape[each]) for each in range(4)]
            np.moveaxis(expected, axis, 0)[chosen] = np.moveaxis(begins[index] + _at(shape, along), axis, 0)
        alike = np.array_equal(values, np.broadcast_to(_wide(constant, axis), values.shape))
        if alike and np.array_equal(picks, expected):
            return Selection(axis, origin, place, constant)
    return "what it picks differs along more than one axis, or an operand is broadcast"


def unfit(selection: Selection, lengths: Sequence[int], bounds: Bounds) -> str | None:
    """Why the DLA takes no layers for a selection from images with these lengths along its axis; None where it does."""
    if selection.axis > 1 and bounds.limit("slice.available") is not None and selection.run is not None:
        return None
    return unfit_along(selection.axis, [*lengths, len(selection.place)], bounds)


def unfit_along(axis: int, lengths: Sequence[int], bounds: Bounds) -> str | None:
    """Why the DLA takes no 1x1 convolution along an axis between images with these lengths; None where it does."""
    limit = bounds.limit("conv.in_channels")
    if limit is not None and not limit.allows(*lengths):
        return f"as a convolution it has {max(lengths)} channels, allowed {limit.text}"
    if axis > 1 and bounds.limit("shuffle.available") is None:
        return f"along {_AXES[axis]} it needs transposes, which run on the DLA from TensorRT 8.5 on"
    return None


def append(edit: Edit, selection: Selection, images: Mapping[int, str], bounds: Bounds) -> str:
    """The layers of a selection from `images`, by their number among its sources, which `unfit` has nothing against."""
    axis, first, run = selection.axis, next(iter(images.values())), selection.run
    if axis > 1 and run is not None and bounds.limit("slice.available") is not None:
        shape = [len(selection.place) if each == axis else size for each, size in enumerate(edit.image(first))]
        return sliced(edit, first, {axis: run}, shape)
    turned = {index: turn(edit, name, axis) for index, name in images.items()}
    return turn_back(edit, _terms(edit, selection, turned), axis)


def turn(edit: Edit, x: str, axis: int) -> str:
    """`x` with C and an axis exchanged, which is its own inverse."""
    perm = [{1: axis, axis: 1}.get(each, each) for each in range(4)]
    return x if axis == 1 else edit.add("Transpose", [x], [edit.image(x)[each] for each in perm], perm=perm)


def turn_back(edit: Edit, x: str, axis: int) -> str:
    """The same for what was made of a turned tensor; this motion may move on and cancel."""
    result = turn(edit, x, axis)
    edit.moved |= {result} - {x}
    return result


def _terms(edit: Edit, selection: Selection, images: Mapping[int, str]) -> str:
    """The sum over the images of what is picked from each along C; the constants come with the first."""
    total, constant = "", selection.constant
    for index, x in images.items():
        term = _term(edit, x, np.where(selection.source == index, selection.place, -1), constant)
        total = edit.add("Add", [total, term], edit.image(term)) if total else term
        constant = np.zeros_like(constant)
    return total


def _term(edit: Edit, x: str, place: Indices, constant: Floats) -> str:
    """Channel place[k] of `x`, nothing where that is -1, plus constant[k]."""
    n, channels, h, w = edit.image(x)
    stays, own = place >= 0, np.arange(len(place))
    if len(place) == channels and np.array_equal(place[stays], own[stays]):
        return affine(edit, x, stays.astype(np.float64), constant)
    kernel = np.zeros((len(place), channels, 1, 1))
    kernel[own[stays], place[stays]] = 1
    bias = ("constants", constant) if constant.any() else None
    return convolved(edit, x, kernel, (n, len(place), h, w), label="selection", bias=bias)


def _fibre(values: NDArray[Number], axis: int) -> NDArray[Number]:
    """The values along one axis at the first place of all others."""
    return values[tuple(slice(None) if each == axis else 0 for each in range(4))]


def _wide(values: Floats, axis: int) -> Floats:
    return values.reshape([-1 if each == axis else 1 for each in range(4)])


def _at(shape: Shape, places: Sequence[NDArray[np.generic]]) -> Indices:
    """The numbers of the elements at all combinations of `places` in an image of `shape`."""
    return np.ravel_multi_index(np.ix_(*places), shape).astype(np.int64)
