"""Shapes as the parser computes with them: numbers while it knows them, layers of the network when it does not.

With a static model everything folds and no layer appears; with an open batch each gather, concatenation and
element-wise step on a shape becomes layers, which is why numbers in `(Unnamed Layer* N)` jump. A ShapeTensor remembers
the layer that was made of it; what a function hands back unchanged is a copy, which remembers from then on by itself.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice

from dlaflow.graph.layer import Cast, Concatenation, Dims, ElementWise, Shuffle, Slice, Tensor
from dlaflow.graph.lower.context import SHAPE_CONSTANT, Context
from dlaflow.graph.lower.sizes import OpenSize, combined, parser_knows

_LARGE = 2**62
MOST = 64
"""Elements that a tensor with which TensorRT computes sizes may have (developer guide, shape tensors)."""


@dataclass(slots=True)
class ShapeTensor:
    """A vector (rank 1) or scalar (rank 0) of sizes.

    `tensor` holds the values at run time when `depth` is 0; with depth 1 the values are the tensor's shape.
    """

    values: tuple[int | None, ...]
    rank: int = 1
    tensor: Tensor | None = None
    depth: int = 0

    def copy(self) -> ShapeTensor:
        """The same values; a layer made of one of the two is not the other's."""
        return replace(self)

    @property
    def known(self) -> bool:
        """Whether the parser has all values."""
        return all(parser_knows(value) for value in self.values)

    def materialise(self, context: Context) -> Tensor:
        """The network tensor with these values; adds a CONSTANT, or SHAPE and CAST, when there is none yet."""
        if self.tensor is not None and self.depth == 0:
            return self.tensor
        shape: Dims = (len(self.values),) if self.rank else ()
        dtype = "int64" if context.parser.int64 else "int32"
        if self.known or self.tensor is None:
            self.tensor = context.constant(shape, dtype, SHAPE_CONSTANT if context.parser.names_helpers else "")
        else:
            self.tensor = context.helper("SHAPE", [self.tensor], shape, None, "ONNXTRT_ShapeTensor", dtype=dtype)
            if context.parser.int64:
                self.tensor = context.helper("CAST", [self.tensor], shape, Cast("int64"), "ONNXTRT_castHelper")
        self.depth = 0
        return self.tensor


def vector(*values: int) -> ShapeTensor:
    """Sizes that the parser knows."""
    return ShapeTensor(values)


def scalar(value: int) -> ShapeTensor:
    """One size that the parser knows, as a scalar."""
    return ShapeTensor((value,), rank=0)


def shape_of(tensor: Tensor) -> ShapeTensor:
    """The shape of a tensor; a layer only when it is needed and open."""
    return ShapeTensor(tuple(tensor.shape or ()), tensor=tensor, depth=1)


def unknown(count: int, tensor: Tensor, rank: int = 1) -> ShapeTensor:
    """As many sizes as a tensor holds, none of them known; TensorRT takes no more than `MOST` of them."""
    return ShapeTensor((None,) * min(count, MOST), rank, tensor)


def from_input(context: Context, index: int, length: int = 0) -> ShapeTensor:
    """An input of the node as sizes: numbers when it is weights, a tensor otherwise."""
    operand = context.operand(index)
    value = context.value(index)
    shape = operand.tensor.shape
    rank = len(shape) if shape is not None else 1
    if value is None:
        count = (shape[0] if shape and shape[0] is not None else length) if rank else 1
        return unknown(count, context.as_tensor(operand), rank)
    numbers = tuple(int(entry) for entry in value.reshape(-1))
    if operand.weights and not operand.tensor.dtype.startswith("float"):
        return ShapeTensor(numbers, rank)
    return ShapeTensor(tuple(OpenSize(number) for number in numbers), rank, context.as_tensor(operand))


def concat(context: Context, left: ShapeTensor, right: ShapeTensor) -> ShapeTensor:
    """Two vectors one after the other."""
    if not left.values:
        return right.copy()
    if not right.values:
        return left.copy()
    values = left.values + right.values
    if left.known and right.known:
        return ShapeTensor(values)
    parts = [left.materialise(context), right.materialise(context)]
    joined = context.helper("CONCATENATION", parts, (len(values),), Concatenation(0), "ONNXTRT_ShapeConcat")
    return ShapeTensor(opened(values), tensor=joined)


def gather(context: Context, data: ShapeTensor, indices: ShapeTensor) -> ShapeTensor:
    """Some of the values. Indices that are used again take the constant of the first time."""
    picked = tuple(data.values[index] for index in indices.values if index is not None)
    if all(parser_knows(value) for value in picked):
        return ShapeTensor(picked)
    where = indices.materialise(context)
    source = data.materialise(context)
    made = context.helper("GATHER", [source, where], (len(picked),), None, "ONNXTRT_ShapeGather")
    return ShapeTensor(opened(picked), tensor=made)


def replacing(rank: int, axis: int) -> ShapeTensor:
    """Subscripts for `interlace` that put the only value on the right in place of one on the left."""
    return ShapeTensor(tuple(rank if index == axis else index for index in range(rank)))


def interlace(context: Context, left: ShapeTensor, right: ShapeTensor, subscripts: ShapeTensor) -> ShapeTensor:
    """Values of both vectors in the order of `subscripts` into their concatenation."""
    return gather(context, concat(context, left, right), subscripts)


Arithmetic = Callable[[Context, ShapeTensor, ShapeTensor], ShapeTensor]


def _element_wise(kind: str, identity: int, compute: Callable[[int, int], int], *, commutes: bool = True) -> Arithmetic:
    """An ELEMENTWISE of two vectors of sizes; an operand that is all `identity` makes no layer."""

    def run(context: Context, left: ShapeTensor, right: ShapeTensor) -> ShapeTensor:
        if not left.values or not right.values:
            return (left if not left.values else right).copy()
        if _is_all(right, identity) and len(right.values) <= len(left.values):
            return left.copy()
        if commutes and _is_all(left, identity) and len(left.values) <= len(right.values):
            return right.copy()
        count = max(len(left.values), len(right.values))
        pairs = islice(zip(cycle(left.values), cycle(right.values), strict=False), count)
        values = tuple(None if x is None or y is None else combined((x, y), compute(int(x), int(y))) for x, y in pairs)
        if left.known and right.known:
            return ShapeTensor(values, left.rank)
        second = right.materialise(context)  # the compiler that built the parser takes arguments from the right
        first = left.materialise(context)
        shape: Dims = (count,) if left.rank else ()
        made = context.helper("ELEMENTWISE", [first, second], shape, ElementWise(kind), "ONNXTRT_ShapeElementWise")
        return ShapeTensor(opened(values), left.rank, made)

    return run


add = _element_wise("SUM", 0, operator.add)
subtract = _element_wise("SUB", 0, operator.sub, commutes=False)
multiply = _element_wise("PROD", 1, operator.mul)
minimum = _element_wise("MIN", _LARGE, min)
maximum = _element_wise("MAX", -_LARGE, max)
floor_divide = _element_wise("FLOOR_DIV", 1, lambda x, y: x // y if y else 0, commutes=False)


def product(context: Context, data: ShapeTensor, first: int, last: int) -> ShapeTensor:
    """The product of the values from `first` to `last`, as a vector of one."""
    result = vector(1)
    for index in range(first, last):
        result = multiply(context, result, gather(context, data, vector(index)))
    return result


def _is_all(shape: ShapeTensor, value: int) -> bool:
    return shape.known and all(entry == value for entry in shape.values)


def opened(values: Sequence[int | None]) -> tuple[int | None, ...]:
    """Sizes that the parser computes in the network."""
    return tuple(None if value is None else OpenSize(value) for value in values)


def add_shuffle(context: Context, data: Tensor, shape: ShapeTensor, name: str | None = "") -> Tensor:
    """A SHUFFLE to `shape`. `name` None is the node's, "" none, else that of a helper."""
    dims = resolved(data.shape, shape.values)
    made = context.emit("SHUFFLE", [data], dims, Shuffle(reshape=dims, helper=name is not None), name="")
    return _named(context, (shape,), "ONNXTRT_ShapeShuffle", name, made)


def add_slice(
    context: Context,
    data: Tensor,
    bounds: tuple[ShapeTensor, ShapeTensor, ShapeTensor],
    attributes: Slice,
    name: str | None = "",
) -> Tensor:
    """A SLICE with the given start, size and stride; names as in `add_shuffle`."""
    made = context.emit("SLICE", [data], tuple(bounds[1].values), attributes, name="")
    return _named(context, bounds, "ONNXTRT_ShapeSlice", name, made)


def _named(context: Context, given: Sequence[ShapeTensor], base: str, name: str | None, made: Tensor) -> Tensor:
    """Give the layer that was added last its inputs and then its name, as the parser does.

    What the parser does not know of a shape becomes a further input. Newer parsers call the layer a helper first and
    then what it is: both names are used up.
    """
    draft = context.drafts[-1]
    draft.inputs.extend(shape.materialise(context) for shape in given if not shape.known)
    if context.parser.names_helpers:
        made = context.rename_layer(draft, context.names.layer(base))
        if name != "":
            made = context.rename_layer(draft, context.names.layer(name or context.node_name))
    elif name is None:
        made = context.rename_layer(draft, context.names.layer(context.node_name))
    return made


def resolved(data: Dims | None, wanted: Sequence[int | None]) -> Dims:
    """A reshape's result with 0 (copy) and -1 (the rest) replaced where the input's size is known."""
    dims = [
        (data[axis] if data is not None and axis < len(data) else None) if size == 0 else size
        for axis, size in enumerate(wanted)
    ]
    if -1 in dims:
        where = dims.index(-1)
        rest = [size for axis, size in enumerate(dims) if axis != where]
        if data is None or None in data or None in rest:
            dims[where] = None
        else:
            total = math.prod(size or 0 for size in data)
            part = math.prod(size or 0 for size in rest)
            dims[where] = combined(data, total // part if part else 0)
    return tuple(dims)


def reshape(context: Context, data: Tensor, shape: ShapeTensor) -> Tensor:
    """The tensor itself when it has that shape already, else a helper SHUFFLE."""
    if tuple(shape.values) == tuple(data.shape or ()) and (shape.known or shape.tensor is data):
        return data
    return add_shuffle(context, data, shape)
