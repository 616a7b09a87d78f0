"""What the release's ONNX parser makes of a model before it makes layers: what it refuses, and what it misreads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

from dlaflow.graph.layer import Reading, Refusal, Tensor
from dlaflow.graph.lower import (
    reading_attributes,
    reading_images,
    reading_misread,
    reading_operators,
    reading_shapes,
    reading_types,
)
from dlaflow.graph.lower.context import Context, Operand
from dlaflow.graph.lower.naming import place_of
from dlaflow.graph.lower.reading_case import Check, before, numbers
from dlaflow.graph.lower.reading_shapes import MOST_DIMENSIONS

if TYPE_CHECKING:
    import onnx

_MODULES = (reading_types, reading_attributes, reading_images, reading_shapes, reading_misread)
_TYPES_SINCE = {"uint8": "8.5", "bfloat16": "9.0", "float8e4m3fn": "9.0", "int4": "10.0", "float64": "8.0"}
_TYPES = frozenset({"", "float32", "float16", "int8", "bool", "int32", "int64"})
_ENDS = frozenset({Reading.REFUSED, Reading.CONTRADICTION})
_WEIGHTS_SINCE = {**_TYPES_SINCE, "uint8": "8.0"}


def _by_operator() -> dict[str, list[Check]]:
    found: dict[str, list[Check]] = defaultdict(list)
    for module in _MODULES:
        for operators, check in module.CHECKS:
            for operator in operators.split():
                found[operator].append(check)
    return found


CHECKS = _by_operator()


def refusals_of(context: Context) -> list[Refusal]:
    """What the parser refuses or misreads in the node at hand; without an importer nothing else is looked at."""
    missing = reading_operators.check_operator(context)
    checks = (*CHECKS.get(context.node.op_type, ()), reading_shapes.check_outputs, reading_shapes.check_ranks)
    objections = [missing] if missing is not None else [each for check in checks for each in islice(check(context), 1)]
    refused = [each for each in objections if each.reading in _ENDS]
    # One refusal is enough: the parser stops at its first, and a node that is refused is not misread.
    return [
        Refusal(context.node_name, context.node.op_type, each.reason, each.reading, each.since, each.then)
        for each in (refused[:1] or objections)
    ]


def stand_in(context: Context) -> None:
    """Bind the outputs of a node that is not read as ONNX means them, so that what follows can be lowered."""
    for name in context.node.output:
        if name:
            context.bind(name, Operand(context.inferred(name)))


def refused_graph(context: Context) -> list[Refusal]:
    """What a release passes over in the graph as a whole: functions of the model's own, sparse initializers."""
    found = [
        Refusal(tensor.values.name, "initializer", "it is sparse", then="Store it as a dense tensor.")
        for tensor in context.model.proto.graph.sparse_initializer
    ]
    if not before(context, "9.0"):
        return found
    for node, function in context.model.functions:
        if not reading_operators.has_importer(function, context.parser.version):
            reason = "it calls a function of the model's own, which this release takes for a plugin"
            then = "Inline the functions: onnx.inliner.inline_local_functions, or torch's own optimizer."
            found.append(Refusal(node, function, reason, since="9.0", then=then))
    return found


def refused_values(context: Context, tensors: Iterable[Tensor], what: str) -> list[Refusal]:
    """Network inputs or outputs of a type or a rank that the parser does not have."""
    found = []
    for tensor in tensors:
        reason, since = _type_problem(tensor.dtype, context, _TYPES_SINCE)
        if not reason and tensor.shape is not None and len(tensor.shape) > MOST_DIMENSIONS:
            reason = f"it has {len(tensor.shape)} dimensions, at most {MOST_DIMENSIONS} are taken"
        if reason:
            found.append(Refusal(tensor.name, what, reason, since=since, then=_type_advice(tensor.dtype)))
    return found


def refused_weights(context: Context, tensors: Iterable[onnx.TensorProto]) -> list[Refusal]:
    """Initializers of a type that the parser cannot bring into one of its own: they end the build even unused."""
    import onnx

    found = []
    for tensor in tensors:
        known = onnx.TensorProto.DataType.values()
        dtype = onnx.TensorProto.DataType.Name(tensor.data_type).lower() if tensor.data_type in known else "undefined"
        dtype = {"float": "float32", "double": "float64"}.get(dtype, dtype)
        reason, since = _type_problem(dtype, context, _WEIGHTS_SINCE)
        if reason:
            found.append(Refusal(tensor.name, "initializer", reason, since=since, then=_type_advice(dtype)))
        elif tensor.data_location == onnx.TensorProto.EXTERNAL and (missing := _missing_file(context, tensor)):
            then = f"Copy {missing} beside the model."
            found.append(Refusal(tensor.name, "initializer", f"its data file {missing!r} is not there", then=then))
    return found


def _missing_file(context: Context, tensor: onnx.TensorProto) -> str:
    """The file that should hold a tensor's data, "" where it is there or the tensor is a placeholder."""
    location, _ = place = place_of(tensor)
    if place in context.placeholders:
        return ""
    return location if location and not (context.model.path.parent / location).is_file() else ""


def _type_problem(dtype: str, context: Context, since: dict[str, str]) -> tuple[str, str]:
    if dtype in _TYPES or (dtype in since and context.parser.version >= numbers(since[dtype])):
        return "", ""
    if dtype in since:
        return f"type {dtype} is not known before {since[dtype]}", since[dtype]
    # Types that came to ONNX late may be known to releases whose sources nobody saw.
    late = dtype.startswith(("float4", "float8", "int2", "uint2", "uint4"))
    return ("", "") if late and not before(context, "10.8") else (f"type {dtype} is not known to TensorRT", "")


def _type_advice(dtype: str) -> str:
    if dtype == "uint8":
        return "Take the image as float32 or float16 and convert it outside the engine."
    return "Use float32, float16 or int32 instead."
