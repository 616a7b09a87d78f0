"""Ranks, sizes and numbers of outputs that the importers insist on, of image operators above all.

Nodes whose numbers contradict each other stand in the middle.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from dlaflow.graph.layer import Dims
from dlaflow.graph.lower.context import Context
from dlaflow.graph.lower.reading_case import (
    BROADCASTS,
    Check,
    Checks,
    Objection,
    all_sizes_known,
    before,
    count,
    dims,
    has,
    is_computed,
    is_one_of,
    is_weights,
    misfit,
    rank,
    seen,
)
from dlaflow.graph.lower.sizes import parser_knows
from dlaflow.graph.lower.windows import stretches

_OUTPUTS = {"TopK": 2, "Dropout": 2, "GRU": 2, "RNN": 2, "LSTM": 3}
_SEVERAL = frozenset({"Split", "If", "Loop", "Scan", "Attention", "GroupQueryAttention", "MaxPool"})
"""Operators with as many outputs as the node asks for, and MaxPool, which has a check of its own."""
MOST_DIMENSIONS = 8
_USE_MATMUL = "Use MatMul and Add; or what comes before it is read in another way by this release."


def check_outputs(context: Context) -> Iterator[Objection]:
    """A node with more outputs than its importer makes; from 8.6 on UINT8 may not stand between two nodes."""
    node = context.node
    most = _OUTPUTS.get(node.op_type, 1)
    if node.op_type not in _SEVERAL and not node.op_type.startswith("TRT_") and len(node.output) > most:
        reason = f"{len(node.output)} outputs, {most} {'is' if most == 1 else 'are'} made"
        yield Objection(reason, then="Export with model.eval(), or drop the outputs that nobody reads.")
    if before(context, "8.6") or not node.output or context.output(0).dtype != "uint8":
        return
    made_of_bytes = any(is_one_of(context, index, "uint8") for index in range(len(node.input)))
    leaves = node.output[0] in {value.name for value in context.model.proto.graph.output}
    if (node.op_type == "Cast" or made_of_bytes) and not leaves:
        yield Objection("a uint8 tensor between two nodes is not taken", then="Keep it in float or int32.")


def check_ranks(context: Context) -> Iterator[Objection]:
    """No tensor has more than eight dimensions."""
    for name in context.node.output:
        shape = context.inferred(name).shape if name else None
        if shape is not None and len(shape) > MOST_DIMENSIONS:
            reason = f"its result has {len(shape)} dimensions, at most {MOST_DIMENSIONS} are taken"
            yield Objection(reason, then="Merge neighbouring dimensions.")


def _check_of_rank(wanted: int, reason: str, then: str = "", inputs: tuple[int, ...] = (0,)) -> Check:
    """A check that inputs have so many dimensions; `reason` may name those that one has instead."""

    def check(context: Context) -> Iterator[Objection]:
        for found in (rank(context, index) for index in inputs):
            if found not in (None, wanted):
                yield Objection(reason.format(found), then=then)

    return check


def check_old_broadcast(context: Context) -> Iterator[Objection]:
    """Operands of several ranks before opset 7; element-wise ones whatever their ranks in the newest, which throws."""
    at = (2,) if context.node.op_type == "Gemm" else range(len(context.node.input))
    ranks = {rank(context, index) for index in at if has(context, index)} | ({2} if len(at) == 1 else set())
    thrown = not seen(context) and context.node.op_type not in ("Gemm", "PRelu")
    if context.model.opset < 7 and (thrown or (None not in ranks and len(ranks) > 1)):
        yield Objection("broadcasting before opset 7 is not taken", then="Export with opset 11 or later.")


def check_channel_vectors(context: Context) -> Iterator[Objection]:
    """BatchNormalization: vectors of one number for each channel."""
    indices = (1,) if before(context, "8.5") else (1, 2, 3, 4)
    if any(rank(context, index) not in (None, 1) for index in indices):
        reason = "its scale, bias, mean and variance must be vectors"
        yield Objection(reason, then="Export it with one value a channel (spatial=1), or write it as Mul and Add.")


def check_normalized(context: Context) -> Iterator[Objection]:
    """Instance and group normalization: at least three dimensions, up to five for the plugin of 8.x."""
    found = rank(context, 0)
    if found is None:
        return
    plugin = context.node.op_type == "InstanceNormalization" and before(context, "10.0")
    if found < 3 or (plugin and found > 5):
        wanted = "3 to 5" if plugin else "3 and more"
        yield Objection(f"{found} dimensions are not taken, only {wanted}", then="Reshape it to four dimensions.")


def check_identity_matrix(context: Context) -> Iterator[Objection]:
    """EyeLike: of a matrix whose size is known."""
    shape = dims(context, 0)
    if shape is not None and len(shape) != 2:
        yield Objection(f"{len(shape)} dimensions are not taken, only 2")
    if shape is not None and not all_sizes_known(shape):
        yield Objection("its size is open", then="Export with a fixed batch.")


def check_triangle(context: Context) -> Iterator[Objection]:
    """Trilu: two or three dimensions in 8.5, two and more afterwards."""
    found = rank(context, 0)
    if found is None:
        return
    if found < 2:
        yield Objection(f"{found} dimensions are not taken, only 2 and more")
    if found > 3 and before(context, "8.6"):
        yield Objection(f"{found} dimensions are not taken, only 2 and 3", "8.6", "Store the mask as a constant.")


def check_unnamed_axes(context: Context) -> Iterator[Objection]:
    """Squeeze without axes: the parser must see which dimensions are 1."""
    named = has(context, 1) if context.model.opset >= 13 else bool(context.attributes.integers("axes"))
    shape = dims(context, 0)
    if not named and shape is not None and seen(context) and not all_sizes_known(shape):
        yield Objection(
            "no axes are given and dimensions are open", then="Name the axes, or export with a fixed batch."
        )


def check_cut(context: Context) -> Iterator[Objection]:
    """Slice: as many starts as axes; from 10.8 on INT32 ones without steps for all dimensions."""
    if context.model.opset < 10:
        return
    starts, ends, own = count(context, 1), count(context, 2), rank(context, 0)
    axes = count(context, 3) if has(context, 3) else own
    if axes is not None and any(length not in (None, axes) for length in (starts, ends)):
        yield Objection(f"{starts} starts and {ends} ends for {axes} axes", then="Give one of each for each axis.")
    if seen(context) or has(context, 4) or starts in (None, own) or context.operand(1).tensor.dtype != "int32":
        return
    fixed = bool(own) and all_sizes_known(dims(context, 0))
    if fixed and all(is_weights(context, index) for index in (1, 2)) and not is_computed(context, 3):
        yield Objection("INT32 starts without steps are not taken", then="Give steps as well, or use INT64.")


def check_scattered(context: Context) -> Iterator[Objection]:
    """ScatterElements: data, indices and updates of one rank, none larger than the data."""
    data, *others = dims(context, 0), dims(context, 1), dims(context, 2)
    if data is None:
        return
    for other in others:
        if other is None:
            continue
        if len(other) != len(data):
            yield Objection("data, indices and updates have different ranks")
        pairs = zip(other, data, strict=True)
        if any(parser_knows(a) and parser_knows(b) and int(a or 0) > int(b or 0) for a, b in pairs):
            yield Objection("its indices are larger than its data")


def check_depth(context: Context) -> Iterator[Objection]:
    """OneHot in 8.5: a depth that is known."""
    if before(context, "8.6") and is_computed(context, 1) and context.value(1) is None:
        yield Objection("its depth is computed", "8.6", "Store the depth as an initializer.")


def check_part_sizes(context: Context) -> Iterator[Objection]:
    """Split: as many sizes as outputs."""
    outputs = len(context.node.output)
    sizes = context.attributes.integers("split")
    given = (
        (count(context, 1) if is_weights(context, 1) else None)
        if context.model.opset >= 13
        else len(sizes or ()) or None
    )
    if given is not None and given != outputs:
        yield Objection(f"{given} sizes for {outputs} outputs")


# Below are nodes whose own numbers contradict each other: shapes that do not broadcast, volumes that change, axes out
# of range. No release takes such a node, and onnx's inference passes over most of them. They come from a size of the
# input that the model was not made for, and from broken files. Source: TensorRT-RTX 1.7.1, asked about each of them
# without a GPU.


def _dims(context: Context, index: int) -> Dims | None:
    """The shape of an input where onnx's inference knows its rank too: behind a contradiction nobody knows one."""
    shape = dims(context, index)
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


def _text(*shapes: Dims) -> str:
    return " and ".join("x".join("?" if size is None else str(int(size)) for size in shape) or "()" for shape in shapes)


def _unlike(one: Dims, other: Dims) -> bool:
    """Whether two shapes do not broadcast."""
    pairs = zip(reversed(one), reversed(other), strict=False)
    return any(_differ(mine, its) and 1 not in (mine, its) for mine, its in pairs)


def check_broadcast(context: Context) -> Iterator[Objection]:
    """Elementwise operators: the operands broadcast, as they do from opset 7 on."""
    shapes = _known_shapes(context)
    for number, shape in enumerate(shapes if context.model.opset >= 7 else ()):
        for other in shapes[:number]:
            if _unlike(other, shape):
                yield misfit(context, f"{_text(other, shape)} do not broadcast")


def check_slopes(context: Context) -> Iterator[Objection]:
    """PRelu: the slopes broadcast to the tensor, and it never to them."""
    x, slopes = _dims(context, 0), _dims(context, 1)
    if x is None or slopes is None or context.model.opset < 7:
        return
    pairs = zip(reversed(x), reversed(slopes), strict=False)
    if any(its != 1 and _differ(mine, its) for mine, its in pairs):
        reason = f"slopes of {_text(slopes)} do not broadcast to {_text(x)}"
        yield Objection(reason, then="Store the slopes as (channels, 1, 1).")


def check_product(context: Context) -> Iterator[Objection]:
    """MatMul: rows meet columns, and what stands before them broadcasts."""
    a, b = _dims(context, 0), _dims(context, 1)
    if not a or not b:
        return
    if _differ(a[-1], b[-2] if len(b) > 1 else b[0]) or _unlike(a[:-2], b[:-2]):
        yield misfit(context, f"{_text(a, b)} cannot be multiplied")


def check_gemm(context: Context) -> Iterator[Objection]:
    """Gemm: rows meet columns, and the bias broadcasts to the product."""
    a, b, bias = (_dims(context, index) for index in range(3))
    if a is None or b is None or len(a) != 2 or len(b) != 2:
        return
    left = a[::-1] if context.attributes.integer("transA", 0) else a
    right = b[::-1] if context.attributes.integer("transB", 0) else b
    if _differ(left[1], right[0]):
        yield misfit(context, f"{_text(left, right)} cannot be multiplied")
    product = (left[0], right[1])
    if bias is not None and context.model.opset >= 7 and _unlike(product, bias):
        yield misfit(context, f"a bias of {_text(bias)} does not broadcast to {_text(product)}")


def check_joined(context: Context) -> Iterator[Objection]:
    """Concat: one rank, and the same sizes on all other axes."""
    shapes = _known_shapes(context)
    for other in shapes[1:]:
        first, axis = shapes[0], context.attributes.integer("axis", 1)
        if len(first) != len(other):
            yield misfit(context, f"{_text(first, other)} cannot be joined")
        along = axis % len(first) if first else 0
        if any(_differ(*pair) for place, pair in enumerate(zip(first, other, strict=True)) if place != along):
            yield misfit(context, f"{_text(first, other)} cannot be joined on axis {axis}")


def check_volume(context: Context) -> Iterator[Objection]:
    """Reshape: as many elements behind it as before."""
    x = _dims(context, 0)
    given = context.attributes.integers("shape") if context.model.opset < 5 else context.integers(1)
    if x is None or given is None or None in x:
        return
    copies = not context.attributes.integer("allowzero", 0)
    if copies and any(size == 0 and place >= len(x) for place, size in enumerate(given)):
        yield misfit(context, f"{_text(x)} has nothing to copy to {_text(given)}")
    wanted = [int(x[place] or 0) if copies and size == 0 else size for place, size in enumerate(given)]
    volume, rest = math.prod(int(size or 0) for size in x), math.prod(size for size in wanted if size != -1)
    fits = volume == rest if -1 not in wanted else rest and volume % rest == 0
    if volume and not fits:
        yield misfit(context, f"{_text(x)} cannot be reshaped to {_text(given)}")


def check_dropped(context: Context) -> Iterator[Objection]:
    """Squeeze: only axes of size one go."""
    x = _dims(context, 0)
    axes = context.attributes.integers("axes") if context.model.opset < 13 else context.integers(1)
    for axis in axes or ():
        if x is not None and -len(x) <= axis < len(x) and _differ(x[axis], 1):
            yield misfit(context, f"axis {axis} of {_text(x)} is not of size 1")


def check_groups(context: Context) -> Iterator[Objection]:
    """Conv: the groups divide the outputs."""
    group, w = context.attributes.integer("group", 1), _dims(context, 1)
    if group < 1 or (w and int(w[0] or 0) % group):
        yield misfit(context, f"{group} groups for {_text(w[:1]) if w else 'these'} outputs")


def check_transposed_channels(context: Context) -> Iterator[Objection]:
    """ConvTranspose: as many channels as the weights have, in groups that divide them."""
    group, x, w = context.attributes.integer("group", 1), _dims(context, 0), _dims(context, 1)
    if x is None or w is None or len(x) < 2 or not w:
        return
    if group < 1 or int(x[1] or 0) % group:
        yield misfit(context, f"{group} groups for {_text(x[1:2])} channels")
    if _differ(x[1], w[0]):
        yield misfit(context, f"{x[1]} channels do not fit weights for {w[0]}")


def check_reach(context: Context) -> Iterator[Objection]:
    """Convolutions and pools: the window moves, and what it moves over is not smaller.

    Of a pool that misses by less than a step an empty tensor is made; a convolution is refused at once.
    """
    x, attributes = _dims(context, 0), context.attributes
    w = _dims(context, 1) if context.node.op_type == "Conv" else None
    kernel: Sequence[int | None] = attributes.integers("kernel_shape") or (w or ())[2:]
    if min(attributes.integers("strides") or (1,)) < 1 or min(attributes.integers("dilations") or (1,)) < 1:
        yield misfit(context, "strides and dilations below 1")
    mode = attributes.text("auto_pad", "NOTSET")
    if x is None or len(x) != len(kernel) + 2 or mode.startswith("SAME"):
        return
    pads = (attributes.integers("pads") if mode != "VALID" else None) or (0,) * (2 * len(kernel))
    strides, dilations = (attributes.integers(name) or (1,) * len(kernel) for name in ("strides", "dilations"))
    if len(pads) != 2 * len(kernel) or len(dilations) != len(kernel) or len(strides) != len(kernel):
        return
    rounded_up = attributes.integer("ceil_mode", 0)
    spare = [0 if w is not None else 2 * stride - 1 if rounded_up else stride for stride in strides]
    for axis, (size, window) in enumerate(zip(x[2:], kernel, strict=True)):
        if size is None or window is None:
            continue
        missing = (window - 1) * dilations[axis] + 1 - int(size) - pads[axis] - pads[axis + len(kernel)]
        if missing > spare[axis]:
            yield misfit(context, f"a window of {_text(tuple(kernel))} does not fit {_text(x[2:])}, padding included")


def check_normalized_channels(context: Context) -> Iterator[Objection]:
    """BatchNormalization: one scale, bias, mean and variance for each channel."""
    x = _dims(context, 0)
    for index in range(1, 5):
        values = _dims(context, index)
        if x is not None and len(x) > 1 and values is not None and len(values) == 1 and _differ(x[1], values[0]):
            yield misfit(context, f"{values[0]} scales for {x[1]} channels")


def check_blocks(context: Context) -> Iterator[Objection]:
    """DepthToSpace and SpaceToDepth: the block divides what it takes apart."""
    x, size = _dims(context, 0), context.attributes.integer("blocksize", 1)
    if x is None or len(x) != 4:
        return
    divided = [(x[1], size * size)] if context.node.op_type == "DepthToSpace" else [(x[2], size), (x[3], size)]
    if size < 1 or any(int(length or 0) % part for length, part in divided):
        yield misfit(context, f"blocks of {size} do not divide {_text(x)}")


def check_permutation(context: Context) -> Iterator[Objection]:
    """Transpose: each axis once."""
    order = context.attributes.integers("perm") or ()
    if len(set(order)) != len(order):
        yield misfit(context, f"perm {list(order)} names an axis twice")


def check_steps(context: Context) -> Iterator[Objection]:
    """Slice: it goes somewhere."""
    steps = context.integers(4) if context.model.opset >= 10 else None
    if steps and 0 in steps:
        yield misfit(context, "a step of 0")


def check_axis(context: Context) -> Iterator[Objection]:
    """The attribute axis lies within the tensor; from 8.5 on one behind it is taken too."""
    x, axis = _dims(context, 0), context.attributes.integer("axis", 0)
    if x is None:
        return
    length = len(x)
    if -length <= axis < length + (0 if before(context, "8.5") else 1) or axis == length == 0:
        return
    if context.node.op_type == "Flatten" and axis == length:
        return
    yield misfit(context, f"axis {axis} of a tensor of {length} dimensions")


# Image operators: convolutions, pools, Resize and Pad that do not fit.


def _spatial(shape: Dims) -> list[int | None]:
    """The spatial dimensions as the parser counts them: one becomes two."""
    return [*shape[2:], 1] if len(shape) == 3 else list(shape[2:])


def check_convolution(context: Context) -> Iterator[Objection]:
    """Conv: the ranks, the kernel and the channels must fit."""
    x, w = dims(context, 0), dims(context, 1)
    computed = is_computed(context, 1) or (is_computed(context, 2) and not before(context, "8.5"))
    if computed and "kernel_shape" not in context.attributes and before(context, "10.4"):
        what = "weights" if is_computed(context, 1) else "a bias"
        reason = f"{what} from another node and no attribute kernel_shape"
        yield Objection(reason, "10.4", "Fold the weights, or set kernel_shape.")
    if x is None or w is None or len(x) < 3 or len(w) < 3:
        return
    yield from _ranks(context, x, w)
    group = context.attributes.integer("group", 1)
    if parser_knows(x[1]) and parser_knows(w[1]) and int(w[1] or 0) * group != x[1]:
        yield misfit(context, f"{x[1]} channels do not fit weights for {int(w[1] or 0) * group}")
    yield from _kernel_and_bias(context, w, w[0])


def check_transposed_convolution(context: Context) -> Iterator[Objection]:
    """ConvTranspose: up to three spatial dimensions, a kernel and a bias that fit."""
    x, w = dims(context, 0), dims(context, 1)
    if x is not None and not 3 <= len(x) <= 5:
        yield Objection(f"{len(x)} dimensions are not taken, only 3 to 5")
    if x is None or w is None or len(w) < 3:
        return
    yield from _ranks(context, x, w)
    yield from _kernel_and_bias(
        context, w, None if w[1] is None else int(w[1]) * context.attributes.integer("group", 1)
    )


def _ranks(context: Context, x: Dims, w: Dims) -> Iterator[Objection]:
    if len(_spatial(x)) != len(_spatial(w)):
        yield misfit(context, f"{len(x)} dimensions do not fit a kernel of {len(w)}")


def _kernel_and_bias(context: Context, w: Dims, outputs: int | None) -> Iterator[Objection]:
    kernel, real = context.attributes.integers("kernel_shape"), _spatial(w)
    if kernel is not None:
        stated = [*kernel, *([1] * (len(real) - len(kernel)))][: len(real)]
        if any(size not in (None, own) for size, own in zip(real, stated, strict=True)):
            yield Objection("kernel_shape is not that of the weights", then="Leave the attribute away.")
    bias = dims(context, 2)
    if bias is None or not is_weights(context, 2):
        return
    length = bias[0] if len(bias) == 1 else 1
    if len(bias) > 1 or (length is not None and outputs is not None and length != outputs):
        yield Objection("its bias is not one number for each output", then="Store the bias as (outputs,).")


def check_negative_pads(context: Context) -> Iterator[Objection]:
    """Convolutions that crop: only the newest parser was asked."""
    if not seen(context) and min(context.attributes.integers("pads") or (0,)) < 0:
        yield Objection("negative pads are not taken", then="Crop with a Slice instead.")


def check_window(context: Context) -> Iterator[Objection]:
    """Pools: two or three spatial dimensions, one where the tensor has three in all."""
    kernel, x = context.attributes.integers("kernel_shape"), dims(context, 0)
    if kernel is None or x is None or len(kernel) in (2, 3) or (len(kernel) == 1 and len(x) == 3):
        return
    yield Objection(f"a window of {len(kernel)} dimensions on a tensor of {len(x)} is not taken")


def check_uneven_average(context: Context) -> Iterator[Objection]:
    """Up to 8.4 averages take one row or column more of padding behind, and nothing else that is uneven."""
    pads, kernel = context.attributes.integers("pads"), context.attributes.integers("kernel_shape") or ()
    if not before(context, "8.5") or not pads or context.attributes.text("auto_pad").startswith("SAME"):
        return
    half = len(pads) // 2
    uneven = [pads[half + axis] - pads[axis] for axis in range(min(half, len(kernel), 2))]
    if any(step not in (0, 1) for step in uneven):
        yield Objection("an average with these uneven pads is not taken", "8.5", "Put a Pad before it.")


def check_padded_average(context: Context) -> Iterator[Objection]:
    """An average that leaves padding out may not have a window that could hold nothing else."""
    kernel = context.attributes.integers("kernel_shape") or ()
    if context.attributes.integer("count_include_pad", 0):
        return
    if any(max(axis.begin, axis.end) >= width for axis, width in zip(stretches(context), kernel, strict=False)):
        reason = "an average without its padding takes no padding as large as its window"
        yield Objection(reason, then="Use smaller pads, no ceil_mode, or count_include_pad.")


def check_doubled_padding(context: Context) -> Iterator[Objection]:
    """`pads` beside auto_pad SAME: refused from 10.0 on."""
    same = context.attributes.text("auto_pad") in ("SAME_UPPER", "SAME_LOWER")
    if same and "pads" in context.attributes and not before(context, "10.0"):
        yield Objection("pads beside auto_pad is not taken", then="Leave one of the two away.")


_MAPPINGS = ("align_corners", "tf_half_pixel_for_nn", "pytorch_half_pixel", "half_pixel", "asymmetric")


def check_resize(context: Context) -> Iterator[Objection]:
    """Resize: modes, mappings of coordinates, and scales that fit the rank."""
    mode = context.attributes.text("mode", "nearest")
    if before(context, "8.5") and mode == "cubic" and context.model.opset >= 11:
        yield Objection("mode cubic is not taken", "8.5", "Use linear, or export with another interpolation.")
    if mode not in ("nearest", "linear", "cubic"):
        yield Objection(f"mode {mode} is not taken")
    if context.model.opset >= 11:
        yield from _mapping(context)
        yield from _newer_attributes(context)
    if dims(context, 0) == ():
        yield Objection("a scalar is not taken")
    elif context.model.opset >= 11 and has(context, 3):
        yield from _sizes(context)
    else:
        yield from _scales(context, 2 if context.model.opset >= 11 else 1)


def _mapping(context: Context) -> Iterator[Objection]:
    mapping = context.attributes.text("coordinate_transformation_mode", "half_pixel")
    if mapping not in _MAPPINGS:
        then = "Export with align_corners=False (half_pixel), or crop with a Slice first."
        yield Objection(f"coordinate_transformation_mode {mapping} is not taken", then=then)
    if mapping != "tf_half_pixel_for_nn":
        return
    if context.attributes.text("nearest_mode", "round_prefer_floor") != "round_prefer_floor":
        yield Objection("tf_half_pixel_for_nn with another nearest_mode than round_prefer_floor is not taken")
    if has(context, 3) and not before(context, "8.5"):
        yield Objection("tf_half_pixel_for_nn with sizes is not taken", then="Give scales instead of sizes.")


def _newer_attributes(context: Context) -> Iterator[Objection]:
    """Attributes of opset 18, which 10.0 began to look at; before, they are passed over."""
    if before(context, "10.0"):
        return
    if context.attributes.integer("antialias"):
        yield Objection("antialias is not taken", then="Export with antialias=False, or resize outside the engine.")
    policy = context.attributes.text("keep_aspect_ratio_policy", "stretch")
    if policy != "stretch":
        yield Objection(f"keep_aspect_ratio_policy {policy} is not taken")


def _chosen_axes(context: Context) -> int:
    """How many axes the attribute chooses; 0 when that is all of them in order, or when the release passes it over."""
    axes, own = context.attributes.integers("axes"), dims(context, 0)
    if before(context, "10.0") or not axes or own is None:
        return 0
    whole = [axis % len(own) for axis in axes] == list(range(len(own)))
    return 0 if whole else len(axes)


def _sizes(context: Context) -> Iterator[Objection]:
    own, given, chosen = dims(context, 0), dims(context, 3), _chosen_axes(context)
    if before(context, "10.0") or own is None or given is None or len(given) != 1 or given[0] is None:
        return
    wanted = chosen or len(own)
    if (is_weights(context, 3) or chosen) and given[0] != wanted:
        yield Objection(f"{given[0]} sizes for {wanted} dimensions are not taken")


def _scales(context: Context, index: int) -> Iterator[Objection]:
    """One scale for each dimension; linear ones reach the last three dimensions, cubic ones the last two."""
    own, given, chosen = dims(context, 0), dims(context, index), _chosen_axes(context)
    if own is None or given is None or not is_weights(context, index) or None in given:
        return
    wanted = chosen or len(own)
    if len(given) != 1 or given[0] != wanted:
        since = "10.0" if "axes" in context.attributes and before(context, "10.0") else ""
        received = given[0] if len(given) == 1 else 0
        yield Objection(f"{received} scales for {wanted} dimensions", since, "Give one scale for each dimension.")
    reach = {"linear": 3, "bilinear": 3, "cubic": 2}.get(context.attributes.text("mode", "nearest"))
    scales = context.value(index)
    if chosen or reach is None or scales is None or bool((scales.reshape(-1)[:-reach] == 1.0).all()):
        return
    yield Objection(f"scales beyond the last {reach} dimensions are not taken", then="Resize those in another step.")


def check_upsample(context: Context) -> Iterator[Objection]:
    """Upsample: one scale for each dimension."""
    own, scales = dims(context, 0), context.attributes.numbers("scales")
    if own == ():
        yield Objection("a scalar is not taken")
    elif context.model.opset >= 9:
        yield from _scales(context, 1)
    elif own is not None and scales is not None and len(scales) != len(own):
        yield Objection(f"{len(scales)} scales for {len(own)} dimensions")


def check_pad(context: Context) -> Iterator[Objection]:
    """Pad: its mode, its axes, and amounts that only add."""
    if context.model.opset >= 11 and has(context, 3) and not before(context, "8.5") and before(context, "10.0"):
        yield Objection("the input axes is not taken", "10.0", "Export with opset 17.")
    amounts = _amounts(context)
    if amounts is not None and not any(amounts):
        return
    if amounts is not None and min(amounts) < 0 and seen(context):
        yield Objection("negative amounts are not taken", "11.4", "Crop with a Slice instead.")
    if before(context, "8.2"):
        yield from _old_pad(context, amounts or ())
    mode = context.attributes.text("mode", "constant")
    if mode == "wrap" and before(context, "10.0"):
        yield Objection(f"mode {mode} is not taken", "10.0", "Join slices with Concat instead.")
    elif mode not in ("constant", "reflect", "edge", "wrap"):
        yield Objection(f"mode {mode} is not taken")


def _amounts(context: Context) -> tuple[int, ...] | None:
    """The padding that the parser knows while it parses."""
    if context.model.opset < 11:
        return context.attributes.integers("pads")
    return context.integers(1) if is_weights(context, 1) else None


def _old_pad(context: Context, amounts: tuple[int, ...]) -> Iterator[Objection]:
    """Up to 8.0: zeros on two dimensions."""
    value = context.value(2) if context.model.opset >= 11 else None
    filled = context.attributes.number("value", 0.0) != 0.0 or (value is not None and bool(value.any()))
    if context.attributes.text("mode", "constant") != "constant" or filled:
        yield Objection("only zeros are padded", "8.2", "Let the convolution pad.")
    half = len(amounts) // 2
    if sum(1 for axis in range(half) if amounts[axis] or amounts[half + axis]) > 2:
        yield Objection("only two dimensions are padded", "8.2", "Use two Pad nodes.")


def check_grid(context: Context) -> Iterator[Objection]:
    """GridSample: image and grid of one rank."""
    image, grid = dims(context, 0), dims(context, 1)
    if image is not None and grid is not None and len(image) != len(grid):
        yield Objection(f"an image of {len(image)} dimensions with a grid of {len(grid)} is not taken")


def check_regions(context: Context) -> Iterator[Objection]:
    """RoiAlign: regions as (number, 4)."""
    regions = dims(context, 1)
    if regions is not None and (len(regions) != 2 or regions[1] not in (4, None)):
        yield Objection("its regions are not of the shape (number, 4)")


CHECKS: Checks = (
    ("AveragePool LpPool MaxPool", check_window),
    ("AveragePool LpPool", check_uneven_average),
    ("AveragePool", check_padded_average),
    ("Conv", check_convolution),
    ("ConvTranspose", check_transposed_convolution),
    ("AveragePool Conv ConvTranspose LpPool MaxPool", check_doubled_padding),
    ("Conv", check_negative_pads),
    ("DepthToSpace SpaceToDepth", _check_of_rank(4, "{} dimensions are not taken, only 4")),
    ("GridSample", check_grid),
    ("Pad", check_pad),
    ("Resize", check_resize),
    ("RoiAlign", check_regions),
    ("Upsample", check_upsample),
    (f"{BROADCASTS} PRelu Gemm LpNormalization ReduceLogSumExp", check_old_broadcast),
    ("BatchNormalization", check_channel_vectors),
    ("Expand", _check_of_rank(1, "its shape is not a vector", inputs=(1,))),
    ("EyeLike", check_identity_matrix),
    ("Gemm", _check_of_rank(2, "Gemm of {} dimensions is not taken, only 2", _USE_MATMUL, (0, 1))),
    ("GroupNormalization InstanceNormalization", check_normalized),
    ("NonMaxSuppression", _check_of_rank(3, "its boxes and scores must have 3 dimensions", inputs=(0, 1))),
    ("OneHot", check_depth),
    ("Scatter ScatterElements", check_scattered),
    ("Slice", check_cut),
    ("Split", check_part_sizes),
    ("Squeeze", check_unnamed_axes),
    ("Trilu", check_triangle),
    (f"{BROADCASTS} GreaterOrEqual LessOrEqual Mod Where", check_broadcast),
    ("Softmax LogSoftmax Concat Gather Split ArgMax ArgMin TopK Flatten", check_axis),
    ("BatchNormalization", check_normalized_channels),
    ("Concat", check_joined),
    ("Conv", check_groups),
    ("AveragePool Conv LpPool MaxPool", check_reach),
    ("ConvTranspose", check_transposed_channels),
    ("DepthToSpace SpaceToDepth", check_blocks),
    ("Gemm", check_gemm),
    ("MatMul", check_product),
    ("PRelu", check_slopes),
    ("Reshape", check_volume),
    ("Slice", check_steps),
    ("Squeeze", check_dropped),
    ("Transpose", check_permutation),
)
