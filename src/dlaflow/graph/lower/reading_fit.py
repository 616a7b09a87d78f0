"""Nodes whose own numbers contradict each other: shapes that do not broadcast, volumes that change, axes out of range.

No release takes such a node, and onnx's inference passes over most of them. They come from a size of the input that
the model was not made for, and from broken files. Source: TensorRT-RTX 1.7.1, asked about each of them without a GPU.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from dlaflow.graph.layer import Dims
from dlaflow.graph.lower.context import Context
from dlaflow.graph.lower.reading_case import Check, Objection, before, misfit, opset, words
from dlaflow.graph.lower.reading_case import dims as bound

_BROADCASTS = words("Add Sub Mul Div Pow Max Min Sum Mean And Or Xor Equal Greater Less GreaterOrEqual LessOrEqual Mod")
_BY_AXIS = words("Softmax LogSoftmax Concat Gather Split ArgMax ArgMin TopK Flatten")


def _dims(context: Context, index: int) -> Dims | None:
    """The shape of an input where onnx's inference knows its rank too: behind a contradiction nobody knows one."""
    shape = bound(context, index)
    if shape is None or context.reads_misread or context.operand(index).weights:
        return shape
    inferred = context.inferred(context.node.input[index]).shape
    return shape if inferred is not None and len(inferred) == len(shape) else None


def _known_shapes(context: Context) -> list[Dims]:
    """The shapes of the inputs, without those that nobody knows."""
    return [shape for index in range(len(context.node.input)) if (shape := _dims(context, index)) is not None]


def _differ(one: int | None, other: int | None) -> bool:
    """Whether two sizes are known to differ."""
    return one is not None and other is not None and one != other


def _told(*shapes: Dims) -> str:
    return " and ".join("x".join("?" if size is None else str(int(size)) for size in shape) or "()" for shape in shapes)


def _unlike(one: Dims, other: Dims) -> bool:
    """Whether two shapes do not broadcast."""
    pairs = zip(reversed(one), reversed(other), strict=False)
    return any(_differ(mine, its) and 1 not in (mine, its) for mine, its in pairs)


def check_broadcast(context: Context) -> Objection | None:
    """Elementwise operators: the operands broadcast, as they do from opset 7 on."""
    shapes = _known_shapes(context)
    for number, shape in enumerate(shapes if opset(context) >= 7 else ()):
        for other in shapes[:number]:
            if _unlike(other, shape):
                return misfit(context, f"{_told(other, shape)} do not broadcast")
    return None


def check_slopes(context: Context) -> Objection | None:
    """PRelu: the slopes broadcast to the tensor, and it never to them."""
    x, slopes = _dims(context, 0), _dims(context, 1)
    if x is None or slopes is None or opset(context) < 7:
        return None
    pairs = zip(reversed(x), reversed(slopes), strict=False)
    if all(its == 1 or not _differ(mine, its) for mine, its in pairs):
        return None
    reason = f"slopes of {_told(slopes)} do not broadcast to {_told(x)}"
    return Objection(reason, then="Store the slopes as (channels, 1, 1).")


def check_product(context: Context) -> Objection | None:
    """MatMul: rows meet columns, and what stands before them broadcasts."""
    a, b = _dims(context, 0), _dims(context, 1)
    if not a or not b:
        return None
    if _differ(a[-1], b[-2] if len(b) > 1 else b[0]) or _unlike(a[:-2], b[:-2]):
        return misfit(context, f"{_told(a, b)} cannot be multiplied")
    return None


def check_gemm(context: Context) -> Objection | None:
    """Gemm: rows meet columns, and the bias broadcasts to the product."""
    a, b, bias = (_dims(context, index) for index in range(3))
    if a is None or b is None or len(a) != 2 or len(b) != 2:
        return None
    left = a[::-1] if context.attributes.integer("transA", 0) else a
    right = b[::-1] if context.attributes.integer("transB", 0) else b
    if _differ(left[1], right[0]):
        return misfit(context, f"{_told(left, right)} cannot be multiplied")
    product = (left[0], right[1])
    if bias is not None and opset(context) >= 7 and _unlike(product, bias):
        return misfit(context, f"a bias of {_told(bias)} does not broadcast to {_told(product)}")
    return None


def check_joined(context: Context) -> Objection | None:
    """Concat: one rank, and the same sizes on all other axes."""
    shapes = _known_shapes(context)
    for other in shapes[1:]:
        first, axis = shapes[0], context.attributes.integer("axis", 1)
        if len(first) != len(other):
            return misfit(context, f"{_told(first, other)} cannot be joined")
        along = axis % len(first) if first else 0
        if any(_differ(*pair) for place, pair in enumerate(zip(first, other, strict=True)) if place != along):
            return misfit(context, f"{_told(first, other)} cannot be joined on axis {axis}")
    return None


def check_volume(context: Context) -> Objection | None:
    """Reshape: as many elements behind it as before."""
    x = _dims(context, 0)
    given = context.attributes.integers("shape") if opset(context) < 5 else context.integers(1)
    if x is None or given is None or None in x:
        return None
    copies = not context.attributes.integer("allowzero", 0)
    if copies and any(size == 0 and place >= len(x) for place, size in enumerate(given)):
        return misfit(context, f"{_told(x)} has nothing to copy to {_told(given)}")
    wanted = [int(x[place] or 0) if copies and size == 0 else size for place, size in enumerate(given)]
    volume, rest = math.prod(int(size or 0) for size in x), math.prod(size for size in wanted if size != -1)
    fits = volume == rest if -1 not in wanted else rest and volume % rest == 0
    return None if fits or not volume else misfit(context, f"{_told(x)} cannot be reshaped to {_told(given)}")


def check_dropped(context: Context) -> Objection | None:
    """Squeeze: only axes of size one go."""
    x = _dims(context, 0)
    axes = context.attributes.integers("axes") if opset(context) < 13 else context.integers(1)
    for axis in axes or ():
        if x is not None and -len(x) <= axis < len(x) and _differ(x[axis], 1):
            return misfit(context, f"axis {axis} of {_told(x)} is not of size 1")
    return None


def check_groups(context: Context) -> Objection | None:
    """Conv: the groups divide the outputs."""
    group, w = context.attributes.integer("group", 1), _dims(context, 1)
    if group < 1 or (w and int(w[0] or 0) % group):
        return misfit(context, f"{group} groups for {_told(w[:1]) if w else 'these'} outputs")
    return None


def check_transposed_channels(context: Context) -> Objection | None:
    """ConvTranspose: as many channels as the weights have, in groups that divide them."""
    group, x, w = context.attributes.integer("group", 1), _dims(context, 0), _dims(context, 1)
    if x is None or w is None or len(x) < 2 or not w:
        return None
    if group < 1 or int(x[1] or 0) % group:
        return misfit(context, f"{group} groups for {_told(x[1:2])} channels")
    return misfit(context, f"{x[1]} channels do not fit weights for {w[0]}") if _differ(x[1], w[0]) else None


def check_reach(context: Context) -> Objection | None:
    """Convolutions and pools: the window moves, and what it moves over is not smaller.

    Of a pool that misses by less than a step an empty tensor is made; a convolution is refused at once.
    """
    x, attributes = _dims(context, 0), context.attributes
    w = _dims(context, 1) if context.node.op_type == "Conv" else None
    kernel: Sequence[int | None] = attributes.integers("kernel_shape") or (w or ())[2:]
    if min(attributes.integers("strides") or (1,)) < 1 or min(attributes.integers("dilations") or (1,)) < 1:
        return misfit(context, "strides and dilations below 1")
    mode = attributes.text("auto_pad", "NOTSET")
    if x is None or len(x) != len(kernel) + 2 or mode.startswith("SAME"):
        return None
    pads = (attributes.integers("pads") if mode != "VALID" else None) or (0,) * (2 * len(kernel))
    strides, dilations = (attributes.integers(name) or (1,) * len(kernel) for name in ("strides", "dilations"))
    if len(pads) != 2 * len(kernel) or len(dilations) != len(kernel) or len(strides) != len(kernel):
        return None
    rounded_up = attributes.integer("ceil_mode", 0)
    spare = [0 if w is not None else 2 * stride - 1 if rounded_up else stride for stride in strides]
    for axis, (size, window) in enumerate(zip(x[2:], kernel, strict=True)):
        if size is None or window is None:
            continue
        missing = (window - 1) * dilations[axis] + 1 - int(size) - pads[axis] - pads[axis + len(kernel)]
        if missing > spare[axis]:
            return misfit(context, f"a window of {_told(tuple(kernel))} does not fit {_told(x[2:])}, padding included")
    return None


def check_normalized_channels(context: Context) -> Objection | None:
    """BatchNormalization: one scale, bias, mean and variance for each channel."""
    x = _dims(context, 0)
    for index in range(1, 5):
        values = _dims(context, index)
        if x is not None and len(x) > 1 and values is not None and len(values) == 1 and _differ(x[1], values[0]):
            return misfit(context, f"{values[0]} scales for {x[1]} channels")
    return None


def check_blocks(context: Context) -> Objection | None:
    """DepthToSpace and SpaceToDepth: the block divides what it takes apart."""
    x, size = _dims(context, 0), context.attributes.integer("blocksize", 1)
    if x is None or len(x) != 4:
        return None
    divided = [(x[1], size * size)] if context.node.op_type == "DepthToSpace" else [(x[2], size), (x[3], size)]
    if size < 1 or any(int(length or 0) % part for length, part in divided):
        return misfit(context, f"blocks of {size} do not divide {_told(x)}")
    return None


def check_permutation(context: Context) -> Objection | None:
    """Transpose: each axis once."""
    order = context.attributes.integers("perm") or ()
    return None if len(set(order)) == len(order) else misfit(context, f"perm {list(order)} names an axis twice")


def check_steps(context: Context) -> Objection | None:
    """Slice: it goes somewhere."""
    steps = context.integers(4) if opset(context) >= 10 else None
    return misfit(context, "a step of 0") if steps and 0 in steps else None


def check_axis(context: Context) -> Objection | None:
    """The attribute axis lies within the tensor; from 8.5 on one behind it is taken too."""
    x, axis = _dims(context, 0), context.attributes.integer("axis", 0)
    if x is None:
        return None
    length = len(x)
    if -length <= axis < length + (0 if before(context, "8.5") else 1) or axis == length == 0:
        return None
    if context.node.op_type == "Flatten" and axis == length:
        return None
    return misfit(context, f"axis {axis} of a tensor of {length} dimensions")


CHECKS: dict[str, tuple[Check, ...]] = {
    **dict.fromkeys((*_BROADCASTS, "Where"), (check_broadcast,)),
    **dict.fromkeys(_BY_AXIS, (check_axis,)),
    "AveragePool": (check_reach,),
    "BatchNormalization": (check_normalized_channels,),
    "Concat": (check_axis, check_joined),
    "Conv": (check_groups, check_reach),
    "ConvTranspose": (check_transposed_channels,),
    "DepthToSpace": (check_blocks,),
    "Gemm": (check_gemm,),
    "LpPool": (check_reach,),
    "MatMul": (check_product,),
    "MaxPool": (check_reach,),
    "PRelu": (check_slopes,),
    "Reshape": (check_volume,),
    "Slice": (check_steps,),
    "SpaceToDepth": (check_blocks,),
    "Squeeze": (check_dropped,),
    "Transpose": (check_permutation,),
}
