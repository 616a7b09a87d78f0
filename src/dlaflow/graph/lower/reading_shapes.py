"""Ranks and numbers of outputs that the importers insist on."""

from __future__ import annotations

from dlaflow.graph.lower.context import Context
from dlaflow.graph.lower.reading_case import (
    Check,
    Objection,
    before,
    count,
    dims,
    has,
    is_computed,
    is_one_of,
    is_weights,
    opset,
    rank,
    seen,
    words,
)
from dlaflow.graph.lower.sizes import parser_knows

_OUTPUTS = {"TopK": 2, "Dropout": 2, "GRU": 2, "RNN": 2, "LSTM": 3}
_SEVERAL = frozenset({"Split", "If", "Loop", "Scan", "Attention", "GroupQueryAttention", "MaxPool"})
"""Operators with as many outputs as the node asks for, and MaxPool, which has a check of its own."""
_BROADCASTS = words("Add Sub Mul Div Pow Max Min Sum Mean And Or Xor Equal Greater Less PRelu")
_MOST_DIMENSIONS = 8


def check_outputs(context: Context) -> Objection | None:
    """A node with more outputs than its importer makes."""
    node = context.node
    most = _OUTPUTS.get(node.op_type, 1)
    if node.op_type in _SEVERAL or node.op_type.startswith("TRT_") or len(node.output) <= most:
        return _bytes_between(context)
    return Objection(
        f"{len(node.output)} outputs, {most} is made" if most == 1 else f"{len(node.output)} outputs, {most} are made",
        then="Export with model.eval(), or drop the outputs that nobody reads.",
    )


def _bytes_between(context: Context) -> Objection | None:
    """From 8.6 on UINT8 may enter and leave the network, but not stand between two nodes."""
    node = context.node
    if before(context, "8.6") or not node.output or context.output(0).dtype != "uint8":
        return None
    if node.op_type != "Cast" and not any(is_one_of(context, index, "uint8") for index in range(len(node.input))):
        return None
    if node.output[0] in {value.name for value in context.model.proto.graph.output}:
        return None
    return Objection("a uint8 tensor between two nodes is not taken", then="Keep it in float or int32.")


def check_ranks(context: Context) -> Objection | None:
    """No tensor has more than eight dimensions."""
    for name in context.node.output:
        shape = context.inferred(name).shape if name else None
        if shape is not None and len(shape) > _MOST_DIMENSIONS:
            reason = f"its result has {len(shape)} dimensions, at most {_MOST_DIMENSIONS} are taken"
            return Objection(reason, then="Merge neighbouring dimensions.")
    return None


def check_matrices(context: Context) -> Objection | None:
    """Gemm: two matrices."""
    ranks = rank(context, 0), rank(context, 1)
    for found in ranks:
        if found is not None and found != 2:
            return Objection(
                f"Gemm of {found} dimensions is not taken, only 2",
                then="Use MatMul and Add; or what comes before it is read in another way by this release.",
            )
    return None


def check_old_broadcast(context: Context) -> Objection | None:
    """Operands of several ranks before opset 7."""
    ranks = {rank(context, index) for index in range(len(context.node.input))}
    if opset(context) < 7 and None not in ranks and len(ranks) > 1:
        return Objection("broadcasting before opset 7 is not taken", then="Export with opset 11 or later.")
    return None


def check_channel_vectors(context: Context) -> Objection | None:
    """BatchNormalization: vectors of one number for each channel."""
    indices = (1,) if before(context, "8.5") else (1, 2, 3, 4)
    if any(rank(context, index) not in (None, 1) for index in indices):
        return Objection("its scale, bias, mean and variance must be vectors")
    return None


def check_normalized(context: Context) -> Objection | None:
    """Instance and group normalization: at least three dimensions, up to five for the plugin of 8.x."""
    found = rank(context, 0)
    if found is None:
        return None
    plugin = context.node.op_type == "InstanceNormalization" and before(context, "10.0")
    if found < 3 or (plugin and found > 5):
        wanted = "3 to 5" if plugin else "3 and more"
        return Objection(f"{found} dimensions are not taken, only {wanted}", then="Reshape it to four dimensions.")
    return None


def check_target_shape(context: Context) -> Objection | None:
    """Expand: its shape must be a vector."""
    return Objection("its shape is not a vector") if rank(context, 1) not in (None, 1) else None


def check_identity_matrix(context: Context) -> Objection | None:
    """EyeLike: of a matrix whose size is known."""
    shape = dims(context, 0)
    if shape is None:
        return None
    if len(shape) != 2:
        return Objection(f"{len(shape)} dimensions are not taken, only 2")
    known = all(parser_knows(size) for size in shape)
    return None if known else Objection("its size is open", then="Export with a fixed batch.")


def check_triangle(context: Context) -> Objection | None:
    """Trilu: two or three dimensions in 8.5, two and more afterwards."""
    found = rank(context, 0)
    if found is None:
        return None
    if found < 2:
        return Objection(f"{found} dimensions are not taken, only 2 and more")
    if found > 3 and before(context, "8.6"):
        return Objection(f"{found} dimensions are not taken, only 2 and 3", "8.6", "Store the mask as a constant.")
    return None


def check_unnamed_axes(context: Context) -> Objection | None:
    """Squeeze without axes: the parser must see which dimensions are 1."""
    named = has(context, 1) if opset(context) >= 13 else bool(context.attributes.integers("axes"))
    shape = dims(context, 0)
    if named or shape is None or not seen(context) or all(parser_knows(size) for size in shape):
        return None
    return Objection("no axes are given and dimensions are open", then="Name the axes, or export with a fixed batch.")


def check_cut(context: Context) -> Objection | None:
    """Slice: as many starts as axes; from 10.8 on INT32 ones without steps for all dimensions."""
    if opset(context) < 10:
        return None
    starts, ends, own = count(context, 1), count(context, 2), rank(context, 0)
    axes = count(context, 3) if has(context, 3) else own
    if axes is not None and any(length not in (None, axes) for length in (starts, ends)):
        return Objection(f"{starts} starts and {ends} ends for {axes} axes", then="Give one of each for each axis.")
    if seen(context) or has(context, 4) or starts in (None, own) or context.operand(1).tensor.dtype != "int32":
        return None
    fixed = all(parser_knows(size) for size in dims(context, 0) or (None,))
    if fixed and all(is_weights(context, index) for index in (1, 2)) and not is_computed(context, 3):
        return Objection("INT32 starts without steps are not taken", then="Give steps as well, or use INT64.")
    return None


def check_scattered(context: Context) -> Objection | None:
    """ScatterElements: data, indices and updates of one rank, none larger than the data."""
    data, *others = dims(context, 0), dims(context, 1), dims(context, 2)
    if data is None:
        return None
    for other in others:
        if other is None:
            continue
        if len(other) != len(data):
            return Objection("data, indices and updates have different ranks")
        pairs = zip(other, data, strict=True)
        if any(parser_knows(a) and parser_knows(b) and int(a or 0) > int(b or 0) for a, b in pairs):
            return Objection("its indices are larger than its data")
    return None


def check_boxes(context: Context) -> Objection | None:
    """NonMaxSuppression: boxes and scores of three dimensions."""
    if any(rank(context, index) not in (None, 3) for index in (0, 1)):
        return Objection("its boxes and scores must have 3 dimensions")
    return None


def check_depth(context: Context) -> Objection | None:
    """OneHot in 8.5: a depth that is known."""
    if not before(context, "8.6") or not is_computed(context, 1) or context.value(1) is not None:
        return None
    return Objection("its depth is computed", "8.6", "Store the depth as an initializer.")


def check_part_sizes(context: Context) -> Objection | None:
    """Split: as many sizes as outputs."""
    outputs = len(context.node.output)
    sizes = context.attributes.integers("split")
    given = (
        (count(context, 1) if is_weights(context, 1) else None) if opset(context) >= 13 else len(sizes or ()) or None
    )
    if given is not None and given != outputs:
        return Objection(f"{given} sizes for {outputs} outputs")
    return None


CHECKS: dict[str, tuple[Check, ...]] = {
    **dict.fromkeys(_BROADCASTS, (check_old_broadcast,)),
    "BatchNormalization": (check_channel_vectors,),
    "Expand": (check_target_shape,),
    "EyeLike": (check_identity_matrix,),
    "Gemm": (check_matrices,),
    "GroupNormalization": (check_normalized,),
    "InstanceNormalization": (check_normalized,),
    "NonMaxSuppression": (check_boxes,),
    "OneHot": (check_depth,),
    "Scatter": (check_scattered,),
    "ScatterElements": (check_scattered,),
    "Slice": (check_cut,),
    "Split": (check_part_sizes,),
    "Squeeze": (check_unnamed_axes,),
    "Trilu": (check_triangle,),
}
