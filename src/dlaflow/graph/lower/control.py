"""If, Loop and Scan: their bodies become layers of the same network between the layers that steer them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from dlaflow.graph.inline import all_nodes, subgraphs
from dlaflow.graph.layer import Dims, ElementWise, Tensor
from dlaflow.graph.lower.context import Context, Draft, Operand, Outputs
from dlaflow.graph.lower.helpers import axis_length, to_scalar
from dlaflow.graph.lower.tensors import import_unknown
from dlaflow.graph.tensor_type import UNKNOWN, TensorType, elem_name, read_type

if TYPE_CHECKING:
    import numpy as np
    import onnx

_LARGEST = 2**31 - 1


def import_if(context: Context) -> Outputs:
    """If: only the branch that is taken when the condition is weights, else both between conditional layers."""
    branches = context.attributes.graph("then_branch"), context.attributes.graph("else_branch")
    if branches[0] is None or branches[1] is None:
        return import_unknown(context)
    value = context.value(0)
    if context.operand(0).weights and value is not None and value.size == 1:
        taken = branches[0] if bool(value.reshape(-1)[0]) else branches[1]
        inside = _body(context, taken)
        return [operand if operand.weights else operand.tensor for operand in inside]
    condition = to_scalar(context, context.tensor(0))
    context.emit_last("CONDITION", condition)
    start = len(context.drafts)
    first = _body(context, branches[0])
    middle = len(context.drafts)
    second = _body(context, branches[1])
    _connect(context, context.drafts[start:middle], context.drafts[middle:])
    likely = None if value is None or value.size != 1 else not bool(value.reshape(-1)[0])
    return [_merged(context, pair, likely) for pair in zip(first, second, strict=False)]


def import_loop(context: Context) -> Outputs:
    """Loop: TRIP_LIMIT, a RECURRENCE for each state, the body, a LOOP_OUTPUT for each result."""
    body = context.attributes.graph("body")
    if body is None or len(body.input) < len(context.node.input):
        return import_unknown(context)
    names = [value.name for value in body.input]
    bound = {name: Operand(Tensor(name, (), dtype)) for name, dtype in zip(names, ("int64", "bool"), strict=False)}
    limit = None if context.is_absent(0) or _is_endless(context) else _limit(context)
    if limit is not None:
        context.emit_last("TRIP_LIMIT", limit)
        counter = loop_counter(context)
        counter = to_scalar(context, counter) if context.parser.version >= (8, 6) else counter
        bound[names[0]] = _registered(context, counter, names[0])
    condition = None if context.is_absent(1) else to_scalar(context, context.tensor(1))
    if condition is not None:
        bound[names[1]] = Operand(condition)
        context.names.tensor(names[1])
    states = _states(context, range(2, len(context.node.input)), names[2:], bound)
    results = _body(context, body, bound)
    if condition is not None:
        state = context.emit("RECURRENCE", [condition], (), name="")
        context.drafts[-1].inputs.append(to_scalar(context, context.as_tensor(results[0])))
        context.emit_last("TRIP_LIMIT", state)
    last = _last_values(context, states, results[1:])
    steps = context.integers(0) if limit is not None else None
    count = steps[0] if steps else None
    scans = [_scanned(context, result, (0, count), limit) for result in results[1 + len(states) :]]
    return [*last, *scans]


def _is_endless(context: Context) -> bool:
    """Whether the trip count is the largest number there is: from 8.5 on the condition alone ends such a loop."""
    count = context.integers(0)
    known = context.operand(0).weights and count is not None and len(count) == 1
    return known and context.parser.version >= (8, 5) and (count or (0,))[0] >= _LARGEST


def _limit(context: Context) -> Tensor:
    limit = to_scalar(context, context.tensor(0))
    return context.cast(limit, "int32") if context.parser.names_helpers else limit


def loop_counter(context: Context) -> Tensor:
    """The number of the iteration: a RECURRENCE that starts with zero and grows by one."""
    dtype = "int64" if context.parser.names_helpers else "int32"
    first, one = context.constant((1,), dtype), context.constant((1,), dtype)
    state = context.emit("RECURRENCE", [first], (1,), name="")
    draft = context.drafts[-1]
    draft.inputs.append(context.emit("ELEMENTWISE", [state, one], (1,), ElementWise("SUM", 1), name=""))
    return state


def import_scan(context: Context) -> Outputs:
    """Scan: TRIP_LIMIT, a RECURRENCE for each state, an ITERATOR for each scanned input, the body, its outputs."""
    body = context.attributes.graph("body")
    offset = 1 if context.model.opset == 8 else 0  # sequence_lens comes first there, and the batch is the first axis
    count = len(context.node.input) - offset
    scanned = context.attributes.integer("num_scan_inputs")
    if body is None or not 0 < scanned <= count <= len(body.input):
        return import_unknown(context)
    first = count - scanned
    axes = context.attributes.integers("scan_input_axes") or (offset,) * scanned
    outputs = max(len(context.node.output) - first, 0)
    out_axes = context.attributes.integers("scan_output_axes") or (offset,) * outputs
    data = context.tensor(len(context.node.input) - 1)
    axis = _positive(axes[-1], data)
    limit = axis_length(context, data, axis, scalar=True)
    context.emit_last("TRIP_LIMIT", limit)
    steps = data.shape[axis] if data.shape is not None and axis < len(data.shape) else None
    names = [value.name for value in body.input]
    bound: dict[str, Operand] = {}
    states = _states(context, range(offset, offset + first), names, bound)
    if states:
        states[0].name = context.names.layer(context.node_name)
    for number, axis in enumerate(axes[:scanned], start=first):
        bound[names[number]] = _iterator(context, context.tensor(offset + number), axis, names[number])
    results = _body(context, body, bound, declared=not offset)
    last = _last_values(context, states, results)
    pairs = zip(results[first : first + outputs], out_axes, strict=False)
    return [*last, *(_scanned(context, result, (axis, steps), limit) for result, axis in pairs)]


def _positive(axis: int, data: Tensor) -> int:
    return axis + data.rank if axis < 0 else axis


def _iterator(context: Context, data: Tensor, axis: int, name: str) -> Operand:
    axis = _positive(axis, data)
    rest = None
    if data.shape is not None:
        rest = tuple(size for number, size in enumerate(data.shape) if number != axis)
    return _registered(context, context.emit("ITERATOR", [data], rest, name=""), name)


def _states(context: Context, indices: Sequence[int], names: Sequence[str], bound: dict[str, Operand]) -> list[Draft]:
    """A RECURRENCE for each state, registered as the body's input."""
    drafts = []
    for index, name in zip(indices, names, strict=False):
        initial = context.tensor(index)
        state = context.emit("RECURRENCE", [initial], initial.shape, name="")
        drafts.append(context.drafts[-1])
        bound[name] = _registered(context, state, name)
    return drafts


def _registered(context: Context, tensor: Tensor, name: str) -> Operand:
    """The last layer's output under the name that the body has for it."""
    return Operand(context.replace(tensor, replace(tensor, name=context.names.tensor(name))))


def _last_values(context: Context, states: Sequence[Draft], results: Sequence[Operand]) -> list[Tensor]:
    """What each state is when the loop ends."""
    outputs = []
    for draft, result in zip(states, results, strict=False):
        fresh = context.as_tensor(result)
        state = draft.outputs[0]
        draft.inputs.append(fresh)
        shape = _common_shape(state.shape, fresh.shape)
        outputs.append(context.emit("LOOP_OUTPUT", [state], shape, name=""))
    return outputs


def _scanned(context: Context, result: Operand, stacked: tuple[int, int | None], limit: Tensor | None) -> Tensor:
    """All iterations' results, stacked along an axis; without a trip limit up to a length that the parser makes up."""
    step = context.as_tensor(result)
    axis, steps = stacked
    shape: Dims | None = None
    if step.shape is not None:
        axis = axis + len(step.shape) + 1 if axis < 0 else axis
        shape = (*step.shape[:axis], steps, *step.shape[axis:])
    whole = context.emit("LOOP_OUTPUT", [step], shape, name="")
    draft = context.drafts[-1]
    draft.inputs.append(limit if limit is not None else context.constant((), "int32"))
    return whole


def _connect(context: Context, *branches: Sequence[Draft]) -> None:
    """One CONDITIONAL_INPUT for each tensor that the branches take from around them, as far as the parser sees it.

    Up to 8.4 it finds none of them. 8.5 looks a layer up by a name that its own begins with; 8.6 to 10.7 look for
    a tensor whose name the layer's begins with, and so miss nearly all.
    """
    made: dict[str, Tensor] = {}
    for branch in branches:
        own = {tensor.name for draft in branch for tensor in draft.outputs}
        outside = {
            id(draft): [number for number, tensor in enumerate(draft.inputs) if tensor.name not in own]
            for draft in branch
        }
        by_name: dict[str, set[int]] = {}
        for draft in branch:
            for number in outside[id(draft)]:
                key = draft.name if context.parser.version < (8, 6) else draft.inputs[number].name
                by_name.setdefault(key, set()).add(number)
        for draft in branch:
            if draft.kind != "CONDITIONAL_OUTPUT":
                _replace(context, draft, _ports(context, draft, outside[id(draft)], by_name), made)


def _ports(context: Context, draft: Draft, outside: Sequence[int], by_name: dict[str, set[int]]) -> Sequence[int]:
    """Which inputs of a layer the parser takes for tensors from outside, of those that are."""
    if context.parser.version < (8, 5):
        return []
    if context.parser.version >= (10, 8):
        return outside
    found = by_name.get(draft.name)
    if found is None:
        keys = sorted(key for key in by_name if draft.name.startswith(key))
        found = by_name[keys[-1]] if keys else set()
    return [number for number in sorted(found) if number < len(draft.inputs)]


def _replace(context: Context, draft: Draft, numbers: Sequence[int], made: dict[str, Tensor]) -> None:
    for number in numbers:
        tensor = draft.inputs[number]
        if tensor.name not in made:
            label = f"{tensor.name}_InputLayer"
            context.emit("CONDITIONAL_INPUT", [tensor], tensor.shape, name=label)
            last = context.drafts[-1]
            last.outputs = [replace(last.outputs[0], name=context.names.tensor(f"{label}_output"))]
            made[tensor.name] = last.outputs[0]
        draft.inputs[number] = made[tensor.name]


def _merged(context: Context, pair: tuple[Operand, ...], taken: int | None) -> Tensor:
    """CONDITIONAL_OUTPUT of both branches' results; `taken` is the branch that is known to be taken."""
    tensors = [context.as_tensor(operand) for operand in pair]
    shape = tensors[taken].shape if taken is not None else _common_shape(tensors[0].shape, tensors[1].shape)
    return context.emit("CONDITIONAL_OUTPUT", tensors, shape, name=f"{context.node_name}_OutputLayer")


def _common_shape(left: Dims | None, right: Dims | None) -> Dims | None:
    """What two shapes that a tensor may have agree on."""
    if left is None or right is None or len(left) != len(right):
        return None
    return tuple(one if one == other else None for one, other in zip(left, right, strict=True))


def _body(
    context: Context, body: onnx.GraphProto, bound: dict[str, Operand] | None = None, *, declared: bool = True
) -> list[Operand]:
    """Lower a subgraph in place; names that it defines hide outer ones while it lasts. `bound` are its inputs.

    `declared` false means that the parser's shapes are not those that the subgraph declares.
    """
    with context.scope():
        _hide(context, body, declared=declared)
        for name, operand in (bound or {}).items():
            context.bind(name, operand)
        for tensor in body.initializer:
            context.converts(tensor)
            known = context.inferred(tensor.name)
            shape = known.shape if known.shape is not None else tuple(tensor.dims)
            weights = Operand(Tensor(tensor.name, shape, known.dtype, True), weights=True)
            context.bind(tensor.name, context.named(weights, tensor.name))
        for node in body.node:
            context.importer(node)
        return [context.bound(value.name) for value in body.output]


def _hide(context: Context, body: onnx.GraphProto, *, declared: bool) -> None:
    """Names that other graphs of the model define too: what inference knows of them may be about those."""
    repeated = _repeated(context.model.proto.graph)
    mine = [name for name in _defined(body) if name in repeated or not declared]
    if not mine:
        return
    types = {value.name: read_type(value.type) for value in (*body.input, *body.value_info, *body.output)}
    tensors = dict(_constants(body))
    for name in mine:
        known = types.get(name, UNKNOWN)
        known = known if declared else TensorType(None, known.dtype)
        if name in tensors:
            known = TensorType(tuple(tensors[name].dims), known.dtype or elem_name(tensors[name].data_type))
        context.local[name] = Tensor(name, known.shape, known.dtype, name in tensors)
        context.local_values[name] = _value(tensors.get(name))


def _repeated(graph: onnx.GraphProto) -> frozenset[str]:
    inner = (one for node, _ in all_nodes(graph.node) for one in subgraphs(node))
    counts = Counter(name for one in (graph, *inner) for name in set(_defined(one)))
    return frozenset(name for name, count in counts.items() if count > 1)


def _defined(graph: onnx.GraphProto) -> Iterator[str]:
    yield from (value.name for value in graph.input)
    yield from (tensor.name for tensor in graph.initializer)
    for node in graph.node:
        yield from (name for name in node.output if name)


def _constants(graph: onnx.GraphProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    for tensor in graph.initializer:
        yield tensor.name, tensor
    for node in graph.node:
        if node.op_type == "Constant" and node.output:
            for attribute in node.attribute:
                if attribute.name == "value" and attribute.HasField("t"):
                    yield node.output[0], attribute.t


def _value(tensor: onnx.TensorProto | None) -> np.ndarray | None:
    """The values of a tensor that stands in the file; large ones were left out when it was read."""
    from onnx import numpy_helper

    if tensor is None or tensor.data_location == 1:
        return None
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError):
        return None
