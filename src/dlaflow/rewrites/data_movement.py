"""Channel shuffle, focus, pixel shuffle, splits, gathers and repeats → convolutions with ones and zeros, or a Resize.

What a chain of Reshape, Transpose, Slice, Split, Gather, Expand and Concat does is found by running it on the numbers
0, 1, 2, ... in place of its source. These outcomes have a form on the DLA:

    out[c, y, x] = in[p(c), s y + dy(c), s x + dx(c)]     a convolution of stride s whose kernel holds a single one
    out[c, y, x] = in[p(c, y mod b, x mod b), y/b, x/b]   a transposed convolution with kernel = stride = b
    out[c, y, x] = in[c, y/b, x/b]                        a nearest Resize by b
    out[c, y, x] = in[c + dc, y + dy, x + dx]             a Slice

A selection of channels of a convolution is that convolution with a part of its weights: no further layer is needed.
"""

from __future__ import annotations

from collections import ChainMap
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from dlaflow.rewrites.base import Bounds, Match, Rewrite
from dlaflow.rewrites.broadcasting import repeated_to
from dlaflow.rewrites.building_blocks import convolved, sliced, spread
from dlaflow.rewrites.draft import Draft, Edit, integer
from dlaflow.rewrites.load import evaluate, is_unread
from dlaflow.rewrites.motions import bypassed
from dlaflow.rewrites.transposed import UNARY
from dlaflow.rules.case import by

Indices = NDArray[np.int64]
Image = tuple[int, int, int, int]
_DOUBTFUL = frozenset({"Expand", "GatherElements", "GatherND", "Tile"})
"""Movements of which few have a form, so that what they read leaves a chain, too."""
MOVEMENTS = _DOUBTFUL | {
    *("Reshape", "Transpose", "Slice", "Split", "Concat", "Gather", "DepthToSpace", "SpaceToDepth", "Squeeze"),
    *("Unsqueeze", "Flatten"),
}
_LARGEST = 1 << 23
_VECTORS = {"BatchNormalization": 4} | dict.fromkeys(UNARY, 0)
"""Operators on each channel by itself, with how many constants of one number a channel they take."""


@dataclass(frozen=True)
class _Gather:
    """out[c, y, x] = in[channels[c], stride y + rows[c], stride x + columns[c]], rows and columns below `kernel`."""

    channels: Indices
    rows: Indices
    columns: Indices
    stride: tuple[int, int]
    kernel: tuple[int, int]

    @property
    def selects(self) -> bool:
        """Whether only channels are chosen."""
        return self.kernel == (1, 1) and self.stride == (1, 1)

    @property
    def crops(self) -> bool:
        """Whether a Slice of rows and columns gives the same."""
        apart = (np.diff(values) for values in (self.rows, self.columns, self.channels - np.arange(len(self.channels))))
        return self.stride == (1, 1) and not self.selects and not any(steps.any() for steps in apart)


class DataMovement(Rewrite):
    """Shuffles, splits and rearrangements of channels become convolutions."""

    id = "data-movement"
    answers = (
        "DLA106",
        "DLA107",
        "DLA230",
        "DLA232",
        "DLA234",
        "DLA235",
        "DLA236",
        "DLA240",
        "DLA241",
        "DLA242",
        "DLA243",
        "DLA280",
    )
    operators = tuple(sorted(MOVEMENTS))

    def match(self, draft: Draft, node: onnx.NodeProto, bounds: Bounds) -> Match:
        memo: dict[str, str] = {}
        outputs = [name for name in node.output if name and _leaves(draft, name, memo)]
        if not outputs or any(draft.image(name) is None or not draft.is_float(name) for name in outputs):
            return None
        edit = Edit(draft, [node])
        for name in outputs:
            source = _source(draft, name, memo)
            indices = _trace(draft, name, source)
            if indices is None or draft.image(source) is None:
                return None
            if _is_identity(indices, draft.shape(source)):
                return bypassed(draft, edit, source, name) if len(outputs) == 1 else None
            made = _made(edit, source, indices, bounds)
            if node.input[0] == source and any(each.op_type == "Slice" for each in edit.nodes):
                return None  # it is one already
            if made is None or isinstance(made, _Refusal):
                return made.reason if made is not None else None
            edit.finish(made, name)
        if len(outputs) < len([name for name in node.output if name in draft.consumers]):
            return None
        return edit


@dataclass(frozen=True)
class _Refusal:
    reason: str


def _leaves(draft: Draft, name: str, memo: dict[str, str]) -> bool:
    """Whether a tensor leaves the chain of movements: it is an output, or a reader does more than move it."""
    readers = draft.consumers.get(name, [])
    return name in draft.outputs or any(
        reader.op_type not in MOVEMENTS - _DOUBTFUL or _source(draft, reader.output[0], memo) == reader.output[0]
        for reader in readers
    )


def _source(draft: Draft, name: str, memo: dict[str, str]) -> str:
    """The tensor that a chain of movements starts from. A Concat of several sources starts a chain itself."""
    if name not in memo:
        node = draft.producers.get(name)
        if node is None or node.op_type not in MOVEMENTS or node.domain not in ("", "ai.onnx"):
            memo[name] = name
        elif node.op_type != "Concat":
            memo[name] = _source(draft, node.input[0], memo)
        else:
            sources = {_source(draft, each, memo) for each in node.input}
            memo[name] = sources.pop() if len(sources) == 1 else name
    return memo[name]


def _trace(draft: Draft, name: str, source: str) -> Indices | None:
    """Where in `source` each element of `name` comes from; None where the chain cannot be run."""
    shape = draft.shape(source)
    if shape is None or len(shape) != 4 or int(np.prod(shape)) > _LARGEST or name == source:
        return None
    start = np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)
    return _computed(draft, name, ChainMap({source: start}, dict(draft.weights)))


def _computed(draft: Draft, name: str, known: ChainMap[str, np.ndarray]) -> Indices | None:
    """A tensor from those that are known, which grow on the way."""
    node = draft.producers.get(name)
    if name not in known and node is not None and node.op_type in MOVEMENTS:
        needed = [each for each in node.input if each]
        if any((found := _computed(draft, each, known)) is None or is_unread(found) for each in needed):
            return None
        results = evaluate(node, {each: known[each] for each in needed}, draft.opset)
        known.update(zip([each for each in node.output if each], results or (), strict=False))
    return known.get(name)


def _made(edit: Edit, source: str, indices: Indices, bounds: Bounds) -> str | _Refusal | None:
    if not indices.size:
        return None
    shape = edit.draft.image(source) or (0, 0, 0, 0)
    gather = _as_gather(indices, shape)
    if gather is not None and gather.crops and bounds.limit("slice.available") is not None:
        first = (int(each[0]) for each in (gather.channels, gather.rows, gather.columns))
        cuts = {axis: (begin, begin + indices.shape[axis]) for axis, begin in enumerate(first, 1)}
        return sliced(edit, source, cuts, indices.shape)
    if gather is not None:
        return _convolution(edit, source, gather, indices.shape, bounds)
    blocks = _as_spread(indices, shape)
    if blocks is None:
        return None
    if len(blocks) == shape[1] and (blocks == np.arange(shape[1])[:, None, None]).all():
        repeated = repeated_to(edit, source, (indices.shape[2], indices.shape[3]), bounds)
        return repeated or _Refusal(f"no factors make up {by(indices.shape[2:])}")
    return _transposed(edit, source, blocks, indices.shape, bounds)


def _is_identity(indices: Indices, shape: tuple[int, ...] | None) -> bool:
    return indices.shape == shape and np.array_equal(indices.reshape(-1), np.arange(indices.size))


def _as_gather(indices: Indices, shape: Image) -> _Gather | None:
    _, chosen, rows, columns = np.unravel_index(indices[0, :, 0, 0], shape)
    _, _, height, width = indices.shape
    steps = (
        int(indices[0, 0, 1, 0] - indices[0, 0, 0, 0]) // shape[3] if height > 1 else 1,
        int(indices[0, 0, 0, 1] - indices[0, 0, 0, 0]) if width > 1 else 1,
    )
    kernel = (shape[2] - steps[0] * (height - 1), shape[3] - steps[1] * (width - 1))
    if min(steps) < 1 or kernel[0] <= rows.max() or kernel[1] <= columns.max():
        return None
    y = rows[:, None, None] + steps[0] * np.arange(height)[:, None]
    x = columns[:, None, None] + steps[1] * np.arange(width)
    same = _comes_from(indices, shape, chosen[:, None, None], y, x)
    return _Gather(chosen, rows, columns, steps, kernel) if same else None


def _comes_from(indices: Indices, shape: Image, channel: Indices, y: Indices, x: Indices) -> bool:
    """Whether every image of `indices` takes its elements from that channel, row and column of the same image."""
    inside: Indices = (channel * shape[2] + y) * shape[3] + x
    size = shape[1] * shape[2] * shape[3]
    return len(indices) == shape[0] and all(
        np.array_equal(image - number * size, inside) for number, image in enumerate(indices)
    )


def _convolution(edit: Edit, source: str, gather: _Gather, shape: tuple[int, ...], bounds: Bounds) -> str | _Refusal:
    if gather.selects:
        part = _part_of_convolution(edit, source, gather.channels)
        if part is not None:
            return part
    channels = edit.draft.shape(source) or ()
    for what, values, limit in (
        ("kernel", gather.kernel, bounds.limit("conv.kernel")),
        ("stride", gather.stride, bounds.limit("conv.stride")),
        ("channels", (channels[1], shape[1]), bounds.limit("conv.in_channels")),
    ):
        if limit is not None and not limit.allows(*values):
            return _Refusal(f"as a convolution it has {what} {values[0]}x{values[1]}, allowed {limit.text}")
    weights = np.zeros((shape[1], channels[1], *gather.kernel))
    weights[np.arange(shape[1]), gather.channels, gather.rows, gather.columns] = 1
    return convolved(edit, source, weights, shape, label="selection", strides=list(gather.stride))


def _part_of_convolution(edit: Edit, x: str, channels: Indices) -> str | None:
    """The chosen channels of `x` from a convolution with a part of its weights; None where `x` is none."""
    draft = edit.draft
    node = draft.producers.get(x)
    shape = draft.image(x)
    if node is None or shape is None or x in draft.outputs:
        return None
    out = (shape[0], len(channels), *shape[2:])
    if node.op_type == "Conv" and integer(node, "group", 1) == 1:
        kernel, bias = draft.value(node, 1), draft.value(node, 2)
        if kernel is None or (bias is None and len(node.input) > 2 and node.input[2]):
            return None
        if any(value is not None and len(value) != shape[1] for value in (kernel, bias)):
            return None  # the model contradicts itself
        inputs = [node.input[0], edit.weight("part", kernel[channels], x)]
        if bias is not None:
            inputs.append(edit.weight("bias", bias[channels], x))
        return edit.copy(node, inputs, out)
    if _VECTORS.get(node.op_type) == len(node.input) - 1 and len(draft.consumers.get(node.input[0], [])) == 1:
        inner = _part_of_convolution(edit, node.input[0], channels)
        values = [value for i in range(1, len(node.input)) if (value := draft.value(node, i)) is not None]
        if inner is None or len(values) < len(node.input) - 1 or any(len(value) != shape[1] for value in values):
            return None
        return edit.copy(node, [inner, *(edit.weight("part", value[channels], x) for value in values)], out)
    if node.op_type == "Mul":
        return _part_of_gated(edit, node, channels, out)
    return None


def _part_of_gated(edit: Edit, node: onnx.NodeProto, channels: Indices, out: tuple[int, ...]) -> str | None:
    """x * Sigmoid(x), the form of SiLU."""
    draft = edit.draft
    for x, gate in (tuple(node.input), tuple(reversed(node.input))):
        maker = draft.producers.get(gate)
        if maker is None or maker.op_type not in {"Sigmoid", "HardSigmoid"} or maker.input[0] != x:
            continue
        if len(draft.consumers.get(x, [])) != 2:
            return None
        inner = _part_of_convolution(edit, x, channels)
        if inner is None:
            return None
        return edit.add("Mul", [inner, edit.copy(maker, [inner], out)], out)
    return None


def _as_spread(indices: Indices, shape: Image) -> Indices | None:
    """p[c, dy, dx] of out[c, y, x] = in[p[c, y mod bh, x mod bw], y / bh, x / bw]."""
    _, _, height, width = indices.shape
    if height % shape[2] or width % shape[3]:
        return None
    bh, bw = height // shape[2], width // shape[3]
    if bh * bw == 1:
        return None
    blocks: Indices = np.unravel_index(indices[0, :, :bh, :bw], shape)[1]
    channel = np.tile(blocks, (1, shape[2], shape[3]))
    y, x = (np.arange(height) // bh)[:, None], np.arange(width) // bw
    return blocks if _comes_from(indices, shape, channel, y, x) else None


def _transposed(edit: Edit, source: str, blocks: Indices, shape: tuple[int, ...], bounds: Bounds) -> str | _Refusal:
    sides, limit = blocks.shape[1:], bounds.limit("deconv.stride")
    if limit is not None and not limit.allows(*sides):
        return _Refusal(f"as a transposed convolution it has stride {by(sides)}, allowed {limit.text}")
    kernel = np.zeros((edit.image(source)[1], shape[1], *sides))
    c, dy, dx = np.indices(blocks.shape)
    kernel[blocks, c, dy, dx] = 1
    return spread(edit, source, kernel, shape, "spread")
