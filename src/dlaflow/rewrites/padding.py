"""Pad → the padding of the convolution or pooling behind it, or a convolution of its own.

    Conv(Pad(x, 0), W) = Conv(x, W) with both paddings added up, uneven sides too
    MaxPool(Pad(x, v)) = MaxPool(x) padded, where no v can win: v is not above any x, and every window sees some x
    AveragePool(Pad(x, 0)) = AveragePool(x) padded that counts its padding
    f(Pad(x, 0)) = Pad(f(x), 0)   where f(0) = 0, Q/DQ among them: it may stand between

What other operators read is a depthwise convolution of before + after + 1 rows with a single one, padded by
before + after at both ends. New channels of zeros come from a 1x1 convolution with rows of zeros. A crop (negative
amounts) is a Slice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from dlaflow.graph.tensor_type import TensorType
from dlaflow.rewrites.base import Bounds, Match, Rewrite
from dlaflow.rewrites.building_blocks import convolved
from dlaflow.rewrites.draft import Draft, Edit, attribute, integer, ints, number
from dlaflow.rewrites.known_range import clip_range, known_range
from dlaflow.rewrites.transposed_convolution import crop

Pads = tuple[int, int, int, int]
_WINDOWS = frozenset({"Conv", "MaxPool", "AveragePool"})
_PAD_WITH_INPUTS_SINCE = 11


class Padding(Rewrite):
    """Pad becomes the padding of the next convolution or pooling, or a convolution."""

    id = "padding"
    answers = ("DLA230", "DLA232", "DLA235")
    operators = ("Pad",)

    def match(self, draft: Draft, node: onnx.NodeProto, bounds: Bounds) -> Match:
        image, shape = draft.image(node.input[0]), draft.shape(node.output[0])
        if image is None or shape is None or not draft.is_float(node.input[0]):
            return None
        pad = _padding(draft, node)
        if isinstance(pad, str):
            return pad
        chain = _between(draft, node) if pad.value == 0 else []
        padded = chain[-1].output[0] if chain else node.output[0]
        readers = draft.consumers.get(padded, [])
        if any(reader.op_type == "Pad" for reader in readers):
            return None  # the next one goes first, and then this one can follow it
        if pad.plain and readers and padded not in draft.outputs:
            edit, x = Edit(draft, [node, *chain, *readers]), str(node.input[0])
            for each in chain:
                x = edit.copy(each, [x, *each.input[1:]], image)
                edit.types[x] = TensorType(image, draft.types[each.output[0]].dtype)
            if not any(_join(edit, reader, (padded, x), pad, bounds) for reader in readers):
                return edit
        return _alone(Edit(draft, [node]), node, pad, bounds)


_NOTHING_FROM_NOTHING = frozenset(
    {"Relu", "LeakyRelu", "Tanh", "Abs", "Neg", "Elu", "Selu", "Softsign", "Erf", "HardSwish", "Mish", "Gelu", "Swish"}
)
"""Operators that map each element by itself, and 0 to 0."""


def _between(draft: Draft, pad: onnx.NodeProto) -> list[onnx.NodeProto]:
    """The operators in a row behind a Pad that leave its zeros zero, each the only reader of the one before."""
    chain: list[onnx.NodeProto] = []
    reader = draft.only_reader(pad.output[0])
    while reader is not None and reader.domain in ("", "ai.onnx"):
        op, keeps = reader.op_type, reader.op_type in _NOTHING_FROM_NOTHING
        if op == "Clip":
            low, high = clip_range(draft, reader) or (1.0, 0.0)
            keeps = (low is None or low <= 0) and (high is None or high >= 0)
        elif op in ("QuantizeLinear", "DequantizeLinear"):
            point, given = draft.value(reader, 2), len(reader.input) > 2 and bool(reader.input[2])
            along = integer(reader, "axis", 1) in (1, -3)  # H and W have no scales of their own
            keeps = along and draft.value(reader, 1) is not None and (not given if point is None else not point.any())
        if not keeps:
            break
        chain.append(reader)
        reader = draft.only_reader(reader.output[0])
    return chain


@dataclass(frozen=True)
class _Pad:
    """Rows and columns (top, left, bottom, right) and channels (before, after) of one value."""

    sides: Pads
    channels: tuple[int, int]
    value: float

    @property
    def plain(self) -> bool:
        """Whether it only adds, and only to H and W."""
        return not any(self.channels) and min(self.sides) >= 0


def _padding(draft: Draft, node: onnx.NodeProto) -> _Pad | str:
    """What a Pad adds to an image, or why that has no other form."""
    mode = attribute(node, "mode", "constant")
    if mode != "constant":
        return f"padding of mode {mode} repeats the image, which no convolution does"
    if draft.opset < _PAD_WITH_INPUTS_SINCE:
        amounts, value = ints(node, "pads", ()), number(node, "value", 0.0)
        axes = list(range(4))
    else:
        given = draft.value(node, 1)
        fill, chosen = draft.value(node, 2), draft.value(node, 3)
        if given is None or any(
            draft.value(node, index) is None for index in (2, 3) if index < len(node.input) and node.input[index]
        ):
            return "its amounts or its value are computed at run time"
        amounts = tuple(int(each) for each in given.reshape(-1))
        value = float(fill.reshape(-1)[0]) if fill is not None and fill.size else 0.0
        axes = list(range(4)) if chosen is None else [int(each) % 4 for each in chosen.reshape(-1)]
    if len(amounts) != 2 * len(axes):
        return "its amounts do not fit the image"
    before, after = dict(zip(axes, amounts, strict=False)), dict(zip(axes, amounts[len(axes) :], strict=True))
    if before.get(0, 0) or after.get(0, 0):
        return "it pads the batch"
    top, left, bottom, right = before.get(2, 0), before.get(3, 0), after.get(2, 0), after.get(3, 0)
    return _Pad((top, left, bottom, right), (before.get(1, 0), after.get(1, 0)), value)


def _join(edit: Edit, reader: onnx.NodeProto, names: tuple[str, str], amounts: _Pad, bounds: Bounds) -> str:
    """Append `reader` of the tensors (padded, not padded) with the padding inside; why not, where that differs."""
    draft, op, (padded, x) = edit.draft, reader.op_type, names
    size = draft.image(padded)
    if op not in _WINDOWS or reader.domain not in ("", "ai.onnx") or padded in reader.input[1:] or size is None:
        return f"{op} takes no padding"
    kernel, steps, dilation = _window(draft, reader)
    if (
        {len(kernel), len(steps), len(dilation)} != {2}
        or min(*steps, *dilation) < 1
        or len([name for name in reader.output if name]) != 1
    ):
        return "it has no window on H and W, or tells where it found its maximum"
    own = _own_pads(reader, size, kernel, steps, dilation)
    rest = [(size[a + 2] + own[a] + own[a + 2] - dilation[a] * (kernel[a] - 1) - 1) % steps[a] for a in (0, 1)]
    if integer(reader, "ceil_mode", 0) and any(rest):
        return "ceil_mode adds a window that hangs over the padding"
    sides = tuple(a + b for a, b in zip(amounts.sides, own, strict=True))
    if min(own) < 0 or any(max(sides[axis], sides[axis + 2]) >= kernel[axis] for axis in (0, 1)):
        return "the padding is as large as the window"
    limit = bounds.limit("conv.padding" if op == "Conv" else "pool.padding")
    if limit is not None and not limit.allows(*sides):
        return f"padding {max(sides)}, allowed {limit.text}"
    changed: dict[str, int | list[int]] = {"pads": list(sides)}
    if op == "MaxPool":
        if amounts.value > max(known_range(draft, name)[0] for name in names):
            return f"the padding of {amounts.value:g} may be the maximum"
    elif amounts.value != 0:
        return f"it pads with {amounts.value:g}, a {op} with 0"
    if op == "AveragePool":
        uneven = any(sides[axis] != sides[axis + 2] for axis in (0, 1))
        if any(own) and not integer(reader, "count_include_pad", 0):
            return "the average leaves its own padding out"
        if uneven:
            return _uneven_mean(edit, x, reader, (kernel, steps, sides))
        changed["count_include_pad"] = 1
    kept = {
        each.name: attribute(reader, each.name, 0)
        for each in reader.attribute
        if each.name not in (*changed, "auto_pad", "ceil_mode")
    }
    inputs = [x, *reader.input[1:]]
    edit.add(op, inputs, draft.shape(reader.output[0]) or (), output=reader.output[0], **kept, **changed)
    return ""


def _uneven_mean(
    edit: Edit,
    x: str,
    reader: onnx.NodeProto,
    window: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]],
) -> str:
    """A depthwise convolution with equal weights: old parsers take no average with uneven padding."""
    kernel, steps, sides = window
    channels = edit.image(x)[1]
    weight = np.full((channels, 1, *kernel), 1 / (kernel[0] * kernel[1]))
    shape = edit.draft.shape(reader.output[0]) or ()
    convolved(edit, x, weight, shape, pads=list(sides), strides=list(steps), group=channels)
    edit.nodes[-1].output[0] = reader.output[0]
    return ""


def _window(draft: Draft, reader: onnx.NodeProto) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Kernel, strides and dilation."""
    kernel = ints(reader, "kernel_shape", ())
    if reader.op_type == "Conv":
        kernel = (draft.shape(reader.input[1]) or ())[2:]
    return kernel, ints(reader, "strides", (1, 1)), ints(reader, "dilations", (1, 1))


def _own_pads(
    reader: onnx.NodeProto,
    size: tuple[int, ...],
    kernel: tuple[int, ...],
    steps: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Pads:
    """The padding of `reader` on an image of `size`, auto_pad resolved."""
    mode = attribute(reader, "auto_pad", "NOTSET")
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        given = ints(reader, "pads", (0, 0, 0, 0)) if mode == "NOTSET" else (0, 0, 0, 0)
        top, left, bottom, right = given if len(given) == 4 else (-1, -1, -1, -1)
        return top, left, bottom, right
    pads = [0, 0, 0, 0]
    for axis in (0, 1):
        reach = (-(-size[axis + 2] // steps[axis]) - 1) * steps[axis] + dilation[axis] * (kernel[axis] - 1) + 1
        total = max(0, reach - size[axis + 2])
        small, large = total // 2, total - total // 2
        pads[axis], pads[axis + 2] = (small, large) if mode == "SAME_UPPER" else (large, small)
    return pads[0], pads[1], pads[2], pads[3]


def _alone(edit: Edit, node: onnx.NodeProto, pad: _Pad, bounds: Bounds) -> Match:
    """The Pad as convolutions of its own, and a crop."""
    x, (n, c, h, w) = node.input[0], edit.image(node.input[0])
    grown = tuple(max(0, amount) for amount in (*pad.sides, *pad.channels))
    if any(grown) and pad.value != 0:
        return f"it pads with {pad.value:g}, a convolution with 0"
    if min(pad.channels) < 0:
        return "it takes channels away"
    top, left, bottom, right = grown[:4]
    kernel = (top + bottom + 1, left + right + 1)
    for id, values in (("conv.kernel", kernel), ("conv.padding", (top + bottom, left + right))):
        limit = bounds.limit(id)
        if limit is not None and not limit.allows(*values):
            return f"as a convolution it has {id.partition('.')[2]} {max(values)}, allowed {limit.text}"
    if any(pad.channels):
        rows = np.pad(np.eye(c), (pad.channels, (0, 0)))[:, :, None, None]
        c = len(rows)
        x = convolved(edit, x, rows, (n, c, h, w), label="channels")
    if any(grown[:4]):
        # row top of the kernel meets row 0 of the image when the window begins `bottom` rows before its padding ends
        single = np.zeros((c, 1, *kernel))
        single[:, :, bottom, right] = 1
        h, w = h + top + bottom, w + left + right
        pads = [top + bottom, left + right] * 2
        x = convolved(edit, x, single, (n, c, h, w), label="padding", pads=pads, group=c)
    begin = (max(0, -pad.sides[0]), max(0, -pad.sides[1]))
    end = (h - max(0, -pad.sides[2]), w - max(0, -pad.sides[3]))
    if min(end[0] - begin[0], end[1] - begin[1]) < 1:
        return None
    x = crop(edit, x, begin, (end[0] - begin[0], end[1] - begin[1]), bounds)
    return edit.finish(x, node.output[0]) if edit.nodes else None
