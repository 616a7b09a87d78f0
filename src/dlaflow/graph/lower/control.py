"""If, Loop and Scan: their bodies become layers of the same network between the layers that steer them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dlaflow.graph.layer import Dims, ElementWise, Tensor
from dlaflow.graph.lower.axis_length import axis_length
from dlaflow.graph.lower.branches import common_shape, connect, merged
from dlaflow.graph.lower.broadcast import to_scalar
from dlaflow.graph.lower.context import Context, Draft, Operand
from dlaflow.graph.lower.subgraph import lower_body
from dlaflow.graph.lower.tensors import import_unknown

_LARGEST = 2**31 - 1


def import_if(context: Context) -> None:
    """If: only the branch that is taken when the condition is weights, else both between conditional layers."""
    branches = context.attributes.graph("then_branch"), context.attributes.graph("else_branch")
    if branches[0] is None or branches[1] is None:
        import_unknown(context)
        return
    value = context.value(0)
    if context.operand(0).weights and value is not None and value.size == 1:
        taken = branches[0] if bool(value.reshape(-1)[0]) else branches[1]
        inside = lower_body(context, taken)
        context.finish(*(operand if operand.weights else operand.tensor for operand in inside))
        return
    condition = to_scalar(context, context.tensor(0))
    context.emit("CONDITION", [condition], (), name="")
    context.drafts[-1].outputs.clear()
    starts = [len(context.drafts)]
    results = [lower_body(context, branches[0])]
    starts.append(len(context.drafts))
    results.append(lower_body(context, branches[1]))
    connect(context, context.drafts[starts[0] : starts[1]], context.drafts[starts[1] :])
    likely = None if value is None or value.size != 1 else not bool(value.reshape(-1)[0])
    context.finish(*(merged(context, pair, likely) for pair in zip(*results, strict=False)))


def import_loop(context: Context) -> None:
    """Loop: TRIP_LIMIT, a RECURRENCE for each state, the body, a LOOP_OUTPUT for each result."""
    body = context.attributes.graph("body")
    if body is None or len(body.input) < len(context.node.input):
        import_unknown(context)
        return
    names = [value.name for value in body.input]
    bound = {name: Operand(Tensor(name, (), dtype)) for name, dtype in zip(names, ("int64", "bool"), strict=False)}
    limit = None if context.is_absent(0) or _is_endless(context) else _limit(context)
    if limit is not None:
        _steer(context, limit)
        bound[names[0]] = _registered(context, _counter(context), names[0])
    condition = None if context.is_absent(1) else to_scalar(context, context.tensor(1))
    if condition is not None:
        bound[names[1]] = Operand(condition)
        context.names.tensor(names[1])
    states = _states(context, range(2, len(context.node.input)), names[2:], bound)
    results = lower_body(context, body, bound)
    if condition is not None:
        state = context.emit("RECURRENCE", [condition], (), name="")
        context.drafts[-1].inputs.append(to_scalar(context, context.as_tensor(results[0])))
        _steer(context, state)
    last = _last_values(context, states, results[1:])
    steps = context.integers(0) if limit is not None else None
    count = steps[0] if steps else None
    scans = [_scanned(context, result, (0, count), limit) for result in results[1 + len(states) :]]
    context.finish(*last, *scans)


def _is_endless(context: Context) -> bool:
    """Whether the trip count is the largest number there is: from 8.5 on the condition alone ends such a loop."""
    count = context.integers(0)
    known = context.operand(0).weights and count is not None and len(count) == 1
    return known and context.parser.version >= (8, 5) and (count or (0,))[0] >= _LARGEST


def _limit(context: Context) -> Tensor:
    limit = to_scalar(context, context.tensor(0))
    return context.cast(limit, "int32") if context.parser.names_helpers else limit


def _counter(context: Context) -> Tensor:
    state = loop_counter(context)
    return to_scalar(context, state) if context.parser.version >= (8, 6) else state


def loop_counter(context: Context) -> Tensor:
    """The number of the iteration: a RECURRENCE that starts with zero and grows by one."""
    dtype = "int64" if context.parser.names_helpers else "int32"
    first, one = context.constant((1,), dtype), context.constant((1,), dtype)
    state = context.emit("RECURRENCE", [first], (1,), name="")
    draft = context.drafts[-1]
    draft.inputs.append(context.emit("ELEMENTWISE", [state, one], (1,), ElementWise("SUM", 1, True), name=""))
    return state


def import_scan(context: Context) -> None:
    """Scan: TRIP_LIMIT, a RECURRENCE for each state, an ITERATOR for each scanned input, the body, its outputs."""
    body = context.attributes.graph("body")
    offset = 1 if context.model.opset == 8 else 0  # sequence_lens comes first there, and the batch is the first axis
    count = len(context.node.input) - offset
    scanned = context.attributes.integer("num_scan_inputs")
    if body is None or not 0 < scanned <= count <= len(body.input):
        import_unknown(context)
        return
    first = count - scanned
    axes = context.attributes.integers("scan_input_axes") or (offset,) * scanned
    outputs = max(len(context.node.output) - first, 0)
    out_axes = context.attributes.integers("scan_output_axes") or (offset,) * outputs
    data = context.tensor(len(context.node.input) - 1)
    axis = _positive(axes[-1], data)
    limit = axis_length(context, data, axis, scalar=True)
    _steer(context, limit)
    steps = data.shape[axis] if data.shape is not None and axis < len(data.shape) else None
    names = [value.name for value in body.input]
    bound: dict[str, Operand] = {}
    states = _states(context, range(offset, offset + first), names, bound)
    if states:
        states[0].name = context.names.layer(context.node_name)
    for number, axis in enumerate(axes[:scanned], start=first):
        bound[names[number]] = _iterator(context, context.tensor(offset + number), axis, names[number])
    results = lower_body(context, body, bound, declared=not offset)
    last = _last_values(context, states, results)
    pairs = zip(results[first : first + outputs], out_axes, strict=False)
    context.finish(*last, *(_scanned(context, result, (axis, steps), limit) for result, axis in pairs))


def _positive(axis: int, data: Tensor) -> int:
    return axis + len(data.shape or ()) if axis < 0 else axis


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
    named = replace(tensor, name=context.names.tensor(name))
    for draft in reversed(context.drafts):
        if tensor in draft.outputs:
            draft.outputs = [named if out is tensor else out for out in draft.outputs]
            break
    for draft in context.drafts:
        draft.inputs = [named if given is tensor else given for given in draft.inputs]
    return Operand(named)


def _last_values(context: Context, states: Sequence[Draft], results: Sequence[Operand]) -> list[Tensor]:
    """What each state is when the loop ends."""
    outputs = []
    for draft, result in zip(states, results, strict=False):
        fresh = context.as_tensor(result)
        state = draft.outputs[0]
        draft.inputs.append(fresh)
        shape = common_shape(state.shape, fresh.shape)
        outputs.append(context.emit("LOOP_OUTPUT", [state], shape, name=""))
    return outputs


def _steer(context: Context, limit: Tensor) -> None:
    context.emit("TRIP_LIMIT", [limit], (), name="")
    context.drafts[-1].outputs.clear()


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
