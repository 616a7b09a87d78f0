"""Folding of shape arithmetic: the values of small tensors that are known before run time, computed with numpy.

Only operators that exporters use to compute shapes, indices and grids are here; a tensor with more than MAX_ELEMENTS
elements is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dlaflow.graph.tensor_type import TensorType, elem_name

if TYPE_CHECKING:
    import onnx

Array = np.ndarray
MAX_ELEMENTS = 65_536
MAX_TOTAL = 1 << 24
"""Elements of all folded tensors together: thousands of nodes could make one of the largest each."""

_CASTS = frozenset(
    {"bool", "float16", "float32", "float64", "int8", "int16", "int32", "int64"}
    | {"uint8", "uint16", "uint32", "uint64"}
)
"""Types, under the name that ONNX and numpy both give them, that a Cast is followed to."""
_TYPES = _CASTS | {"bfloat16"}
"""A result of another type (text, 8-bit floats) has no use here."""


class _CannotFold(Exception):
    """This node's value is not known, or too large to be worth it."""


def fold(
    nodes: Iterable[onnx.NodeProto],
    types: Mapping[str, TensorType],
    values: Mapping[str, Array],
    opset: int,
    deepest: int = 8,
) -> dict[str, Array]:
    """The values of at most `deepest` dimensions that one pass over `nodes` adds to `values`, by tensor name."""
    known = dict(values)
    fresh: dict[str, Array] = {}
    room = MAX_TOTAL - sum(value.size for value in known.values())
    for node in nodes:
        if not node.output or node.output[0] in known:
            continue
        for name, result in zip(node.output, fold_node(node, types, known, opset), strict=False):
            small = result.size <= min(MAX_ELEMENTS, room) and np.ndim(result) <= deepest
            if name and small and result.dtype.name in _TYPES:
                known[name] = fresh[name] = np.asarray(result)
                room -= result.size
    return fresh


class _Call:
    """One node with the values of its inputs at hand."""

    def __init__(
        self, node: onnx.NodeProto, known: Mapping[str, Array], types: Mapping[str, TensorType], opset: int
    ) -> None:
        self.node = node
        self.known = known
        self.types = types
        self.opset = opset
        self.attributes = {attribute.name: attribute for attribute in node.attribute}

    def value(self, index: int) -> Array:
        found = self.optional(index)
        if found is None:
            raise _CannotFold
        return found

    def optional(self, index: int) -> Array | None:
        if index >= len(self.node.input) or not self.node.input[index]:
            return None
        if self.node.input[index] not in self.known:
            raise _CannotFold
        return self.known[self.node.input[index]]

    def integer(self, name: str, default: int) -> int:
        return int(self.attributes[name].i) if name in self.attributes else default

    def ints(self, name: str) -> list[int] | None:
        return list(self.attributes[name].ints) if name in self.attributes else None

    def axes(self, index: int) -> list[int] | None:
        """Axes as an attribute or, in newer opsets, as an input."""
        found = self.ints("axes")
        if found is not None:
            return found
        given = self.optional(index)
        return None if given is None else [int(axis) for axis in given.reshape(-1)]

    def shape(self, index: int) -> tuple[int, ...]:
        known = self.types.get(self.node.input[index])
        if known is None or known.shape is None or None in known.shape:
            value = self.known.get(self.node.input[index])
            if value is None:
                raise _CannotFold
            return value.shape
        return tuple(size for size in known.shape if size is not None)


def fold_node(
    node: onnx.NodeProto, types: Mapping[str, TensorType], values: Mapping[str, Array], opset: int
) -> Sequence[Array]:
    """The outputs of one node from `values`; none where they cannot be computed here, or are not worth it."""
    folder = FOLDERS.get(node.op_type)
    if folder is None or node.domain not in ("", "ai.onnx"):
        return []
    try:
        with np.errstate(all="ignore"):
            result = folder(_Call(node, values, types, opset))
    except (_CannotFold, ArithmeticError, LookupError, MemoryError, TypeError, ValueError):
        return []
    return result if isinstance(result, list) else [result]


def _limited(count: float) -> None:
    if not count <= MAX_ELEMENTS:  # what is no number is not smaller either
        raise _CannotFold


def _spread(*arrays: Array) -> None:
    """Refuse operands that broadcast to more than is worth it."""
    _limited(float(np.prod(np.broadcast_shapes(*(array.shape for array in arrays)), dtype=np.float64)))


def _shape(call: _Call) -> Array:
    node = call.node
    if "start" in call.attributes or "end" in call.attributes:
        known = call.types.get(node.input[0])
        if known is None or known.shape is None:
            raise _CannotFold
        part = known.shape[call.integer("start", 0) : call.integer("end", len(known.shape))]
        if None in part:
            raise _CannotFold
        return np.array(part, np.int64)
    return np.array(call.shape(0), np.int64)


def _size(call: _Call) -> Array:
    return np.array(np.prod(call.shape(0), dtype=np.int64))


def _constant(call: _Call) -> Array:
    from onnx import numpy_helper

    for name, attribute in call.attributes.items():
        if name in ("value_int", "value_ints"):
            return np.array(attribute.i if name == "value_int" else attribute.ints, np.int64)
        if name in ("value_float", "value_floats"):
            return np.array(attribute.f if name == "value_float" else attribute.floats, np.float32)
        if name == "value":
            _limited(float(np.prod(list(attribute.t.dims), dtype=np.float64)))
            return numpy_helper.to_array(attribute.t)
    raise _CannotFold


def _constant_of_shape(call: _Call) -> Array:
    from onnx import numpy_helper

    shape = [int(size) for size in call.value(0)]
    _limited(float(np.prod(shape, dtype=np.float64)))
    fill = np.zeros(1, np.float32)
    if "value" in call.attributes:
        fill = numpy_helper.to_array(call.attributes["value"].t)
    return np.full(shape, fill.reshape(-1)[0], fill.dtype)


def _gather(call: _Call) -> Array:
    axis = call.integer("axis", 0)
    data, indices = call.value(0), call.value(1)
    _limited(float(data.size) / max(1, data.shape[axis]) * indices.size)
    return np.asarray(np.take(data, indices.astype(np.int64), axis=axis))


def _slice(call: _Call) -> Array:
    data = call.value(0)
    if call.opset < 10:
        starts, ends = call.ints("starts") or [], call.ints("ends") or []
        axes, steps = call.ints("axes"), None
    else:
        starts, ends = call.value(1).reshape(-1).tolist(), call.value(2).reshape(-1).tolist()
        axes = call.axes(3)
        given = call.optional(4)
        steps = None if given is None else given.reshape(-1).tolist()
    index: list[slice] = [slice(None)] * data.ndim
    for number, (start, last) in enumerate(zip(starts, ends, strict=True)):
        axis = axes[number] if axes is not None else number
        step = steps[number] if steps is not None else 1
        end = None if step < 0 and last < -data.shape[axis] else last
        index[axis] = slice(start, end, step)
    return data[tuple(index)]


def _unsqueeze(call: _Call) -> Array:
    axes = call.axes(1)
    if axes is None:
        raise _CannotFold
    data = call.value(0)
    rank = data.ndim + len(axes)
    return np.expand_dims(data, tuple(axis % rank for axis in axes))


def _squeeze(call: _Call) -> Array:
    axes = call.axes(1)
    data = call.value(0)
    return np.squeeze(data, None if axes is None else tuple(axis % data.ndim for axis in axes))


def _reshape(call: _Call) -> Array:
    data = call.value(0)
    wanted = call.ints("shape") or [int(size) for size in call.value(1)]
    if not call.integer("allowzero", 0):
        wanted = [data.shape[axis] if size == 0 else size for axis, size in enumerate(wanted)]
    return data.reshape(wanted)


def _cast(call: _Call) -> Array:
    name = elem_name(call.integer("to", 0))
    if name not in _CASTS:
        raise _CannotFold
    return call.value(0).astype(name)


def _range(call: _Call) -> Array:
    start, limit, step = (call.value(index).reshape(()) for index in range(3))
    _limited(abs(float(limit - start)) / abs(float(step)))
    return np.arange(start.item(), limit.item(), step.item()).astype(start.dtype)


def _expand(call: _Call) -> Array:
    data = call.value(0)
    shape = np.broadcast_shapes(data.shape, tuple(int(size) for size in call.value(1)))
    _limited(float(np.prod(shape, dtype=np.float64)))
    return np.array(np.broadcast_to(data, shape))


def _tile(call: _Call) -> Array:
    data, repeats = call.value(0), call.value(1)
    _limited(float(data.size * np.prod(repeats, dtype=np.float64)))
    return np.asarray(np.tile(data, repeats.tolist()))


def _concat(call: _Call) -> Array:
    parts = [call.value(index) for index in range(len(call.node.input))]
    _limited(float(sum(part.size for part in parts)))
    return np.concatenate(parts, axis=call.integer("axis", 0))


def _transpose(call: _Call) -> Array:
    return np.transpose(call.value(0), call.ints("perm"))


def _split(call: _Call) -> list[Array]:
    data, axis = call.value(0), call.integer("axis", 0)
    sizes = call.ints("split")
    if sizes is None:
        given = call.optional(1)
        count = len(call.node.output)
        if given is not None:
            sizes = [int(size) for size in given]
        else:
            chunk = -(-data.shape[axis] // count)
            sizes = [min(chunk, data.shape[axis] - chunk * number) for number in range(count)]
    return [np.asarray(part) for part in np.split(data, np.cumsum(sizes)[:-1], axis=axis)]


def _div(call: _Call) -> Array:
    left, right = call.value(0), call.value(1)
    _spread(left, right)
    if np.issubdtype(left.dtype, np.integer):
        quotient = np.abs(left) // np.abs(right)
        return np.asarray(quotient * np.sign(left) * np.sign(right)).astype(left.dtype)
    return np.asarray(left / right)


def _mod(call: _Call) -> Array:
    operation = np.fmod if call.integer("fmod", 0) else np.mod
    _spread(call.value(0), call.value(1))
    return np.asarray(operation(call.value(0), call.value(1)))


def _where(call: _Call) -> Array:
    _spread(call.value(0), call.value(1), call.value(2))
    return np.where(call.value(0), call.value(1), call.value(2))


def _clip(call: _Call) -> Array:
    data = call.value(0)
    for index, name, bounded in ((1, "min", np.maximum), (2, "max", np.minimum)):
        bound = np.array(call.attributes[name].f) if name in call.attributes else call.optional(index)
        data = data if bound is None else np.asarray(bounded(data, bound.reshape(()))).astype(data.dtype)
    return data


def _nonzero(call: _Call) -> Array:
    return np.array(np.nonzero(call.value(0)), np.int64)


def _one(function: Callable[[Array], Array]) -> Callable[[_Call], Array]:
    return lambda call: np.asarray(function(call.value(0))).astype(call.value(0).dtype)


def _test(function: Callable[[Array, Array], Array]) -> Callable[[_Call], Array]:
    def run(call: _Call) -> Array:
        _spread(call.value(0), call.value(1))
        return np.asarray(function(call.value(0), call.value(1)))

    return run


def _many(function: Callable[[Array, Array], Array]) -> Callable[[_Call], Array]:
    def run(call: _Call) -> Array:
        result = call.value(0)
        for index in range(1, len(call.node.input)):
            _spread(result, call.value(index))
            result = np.asarray(function(result, call.value(index))).astype(result.dtype)
        return result

    return run


def _reduce(function: Callable[..., Array]) -> Callable[[_Call], Array]:
    def run(call: _Call) -> Array:
        data = call.value(0)
        axes = call.axes(1)
        if not axes and call.integer("noop_with_empty_axes", 0):
            return data
        result = function(data, axis=tuple(axes) if axes else None, keepdims=bool(call.integer("keepdims", 1)))
        return np.asarray(result).astype(data.dtype)

    return run


FOLDERS: dict[str, Callable[[_Call], Array | list[Array]]] = {
    "Shape": _shape,
    "Size": _size,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Identity": _one(lambda x: x),
    "Gather": _gather,
    "Slice": _slice,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Reshape": _reshape,
    "Flatten": lambda call: call.value(0).reshape(int(np.prod(call.shape(0)[: call.integer("axis", 1)])), -1),
    "Cast": _cast,
    "Range": _range,
    "Expand": _expand,
    "Tile": _tile,
    "Concat": _concat,
    "Transpose": _transpose,
    "Split": _split,
    "Add": _many(np.add),
    "Sub": _many(np.subtract),
    "Mul": _many(np.multiply),
    "Div": _div,
    "Mod": _mod,
    "Pow": _many(np.power),
    "Min": _many(np.minimum),
    "Max": _many(np.maximum),
    "Sum": _many(np.add),
    "Clip": _clip,
    "Floor": _one(np.floor),
    "Ceil": _one(np.ceil),
    "Round": _one(np.rint),
    "Neg": _one(np.negative),
    "Abs": _one(np.abs),
    "Sqrt": _one(np.sqrt),
    "Exp": _one(np.exp),
    "Log": _one(np.log),
    "Reciprocal": _one(np.reciprocal),
    "Sign": _one(np.sign),
    "Not": _one(np.logical_not),
    "And": _test(np.logical_and),
    "Or": _test(np.logical_or),
    "Xor": _test(np.logical_xor),
    "Equal": _test(np.equal),
    "Greater": _test(np.greater),
    "GreaterOrEqual": _test(np.greater_equal),
    "Less": _test(np.less),
    "LessOrEqual": _test(np.less_equal),
    "Where": _where,
    "NonZero": _nonzero,
    "ReduceProd": _reduce(np.prod),
    "ReduceSum": _reduce(np.sum),
    "ReduceMax": _reduce(np.max),
    "ReduceMin": _reduce(np.min),
    "ReduceMean": _reduce(np.mean),
}
