"""What a check of the parser's reading may ask of a node, and how it objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from dlaflow.graph.layer import Dims, Reading
from dlaflow.graph.lower.context import Context
from dlaflow.graph.lower.sizes import parser_knows

REDUCTIONS = (
    "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare"
)
BROADCASTS = "Add Sub Mul Div Pow Max Min Sum Mean And Or Xor Equal Greater Less"
TYPES = frozenset({"", "float32", "float16", "int8", "bool", "int32", "int64"})
TYPES_SINCE = {
    "float64": "8.0",
    "uint8": "8.5",
    "bfloat16": "9.0",
    "float8e4m3fn": "9.0",
    "int4": "10.0",
    "float4e2m1": "10.8",
}
"""Types by the first release that knows them: TensorRT's change log, and its newest parser, which refuses the rest."""
_LONGEST_NAME = 4095
TESTED_RELEASE = "11.4"
"""The release whose parser was asked where neither the sources (to 10.1) nor the change log (to 10.6) know."""
UNSEEN = (10, 8)
"""From here on nobody saw the sources; what holds up to here is not claimed of later releases."""


@dataclass(frozen=True, slots=True)
class Objection:
    """Why the parser does not read a node, from which release on it does, and what to do meanwhile."""

    reason: str
    since: str = ""
    then: str = ""
    reading: Reading = Reading.REFUSED


Check = Callable[[Context], Iterator[Objection]]
"""What looks at a node: it yields what it objects to, of which the first counts."""
Checks = tuple[tuple[str, Check], ...]
"""Checks with the operators that they are for."""
_MISREAD = "Check what comes before it: an operator that this release reads in another way changes the shape."
_CONTRADICTION = "Check the sizes of its inputs (--shape), or export it again."


def misfit(context: Context, reason: str) -> Objection:
    """That the shapes of a node do not go together: because of what the release misread before it, or in themselves."""
    if context.reads_misread:
        return Objection(reason, then=_MISREAD)
    return Objection(reason, then=_CONTRADICTION, reading=Reading.CONTRADICTION)


def operator_names(names: str) -> frozenset[str]:
    """Operators, written as a line of names."""
    return frozenset(names.split())


@cache
def numbers(release: str) -> tuple[int, ...]:
    """`8.5` as (8, 5)."""
    return tuple(int(part) for part in release.split("."))


def before(context: Context, release: str) -> bool:
    """Whether the target's release is older."""
    return context.parser.version < numbers(release)


def seen(context: Context) -> bool:
    """Whether the target's release is one of those whose parser is known line by line."""
    return context.parser.version < UNSEEN


def has(context: Context, index: int) -> bool:
    """Whether the node has this optional input."""
    return not context.is_absent(index)


def is_weights(context: Context, index: int) -> bool:
    """Whether an input is there and is an initializer or a Constant."""
    return has(context, index) and context.operand(index).weights


def is_computed(context: Context, index: int) -> bool:
    """Whether an input is there and is a tensor of the network: an Identity or a Cast makes one of a constant."""
    return has(context, index) and not context.operand(index).weights


def parser_type(context: Context, index: int) -> str:
    """The type that an input has in TensorRT, '' when unknown: before INT64 came, INT32 took its place."""
    if not has(context, index):
        return ""
    operand = context.operand(index)
    dtype = operand.tensor.dtype
    if dtype == "uint8" and operand.tensor.name not in context.shapes.inputs:
        # Weights become INT32, and what QuantizeLinear makes is INT8 whatever ONNX calls it.
        return "int32" if operand.weights else ""
    if dtype == "float64":
        return "float32"
    if dtype == "int64" and not context.parser.int64:
        return "int32"
    return dtype


def long_name(names: Iterable[str]) -> str:
    """What is wrong with names that NvInfer.h bounds to 4096 bytes with their end, "" for nothing."""
    longest = max((len(name.encode()) for name in names), default=0)
    return f"a name of {longest} bytes, at most {_LONGEST_NAME} are taken" if longest > _LONGEST_NAME else ""


def type_problem(context: Context, dtype: str, *, weights: bool = False) -> tuple[str, str]:
    """What is wrong with a type for an input, an output or `weights`, and since when it is known; "" for nothing."""
    since = "8.0" if weights and dtype == "uint8" else TYPES_SINCE.get(dtype, "")
    if dtype in TYPES or (since and not before(context, since)):
        return "", ""
    return f"type {dtype} is not known {f'before {since}' if since else 'to TensorRT'}", since


def type_advice(dtype: str) -> str:
    """What to do about such a type."""
    if dtype == "uint8":
        return "Take the image as float32 or float16 and convert it outside the engine."
    return "Use float32, float16 or int32 instead."


def is_one_of(context: Context, index: int, *types: str) -> bool:
    """Whether an input is known to have one of these types in TensorRT."""
    return parser_type(context, index) in types


def dims(context: Context, index: int) -> Dims | None:
    """The shape of an input, None when it is absent or not known."""
    return context.shape(index) if has(context, index) else None


def rank(context: Context, index: int) -> int | None:
    """The rank of an input, None when it is absent or not known."""
    shape = dims(context, index)
    return None if shape is None else len(shape)


def count(context: Context, index: int) -> int | None:
    """How many values a 1-D input holds, None when that is not known."""
    shape = dims(context, index)
    if shape is None or len(shape) > 1 or None in shape:
        return None
    return int(shape[0] or 0) if shape else 1


def all_sizes_known(shape: Dims | None) -> bool:
    """Whether the parser knows all dimensions."""
    return shape is not None and all(parser_knows(size) for size in shape)
