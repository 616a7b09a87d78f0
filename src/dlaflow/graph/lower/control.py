"""If, Loop and Scan: their bodies become layers of the same network between the layers that steer them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlaflow.graph.layer import Shuffle, Tensor
from dlaflow.graph.lower.axis_length import axis_length
from dlaflow.graph.lower.context import Context, Operand
from dlaflow.graph.lower.tensors import import_unknown

if TYPE_CHECKING:
    import onnx


def import_if(context: Context) -> None:
    """If: only the branch that is taken when the condition is weights, else both between conditional layers."""
    branches = context.attributes.graph("then_branch"), context.attributes.graph("else_branch")
    if branches[0] is None or branches[1] is None:
        import_unknown(context)
        return
    value = context.value(0)
    if context.operand(0).weights and value is not None and value.size == 1:
        taken = branches[0] if bool(value.reshape(-1)[0]) else branches[1]
        context.finish(*_inside(context, taken))
        return
    condition = context.tensor(0)
    if condition.shape:
        condition = context.emit("SHUFFLE", [condition], (), Shuffle(helper=True), name="")
    context.emit("CONDITION", [condition], (), name="")
    context.drafts[-1].outputs.clear()
    first = len(context.drafts)
    then_results = [context.as_tensor(operand) for operand in _inside(context, branches[0])]
    else_results = [context.as_tensor(operand) for operand in _inside(context, branches[1])]
    _conditional_inputs(context, first)
    outputs = []
    for chosen, other in zip(then_results, else_results, strict=False):
        likely = other if value is not None and not bool(value.reshape(-1)[0]) else chosen
        shape = likely.shape if value is not None or chosen.shape == other.shape else None
        label = f"{context.node_name}_OutputLayer"
        outputs.append(context.emit("CONDITIONAL_OUTPUT", [chosen, other], shape, name=label))
    context.finish(*outputs)


def _conditional_inputs(context: Context, first: int) -> None:
    """One CONDITIONAL_INPUT for each tensor that the branches take from around them."""
    inside = context.drafts[first:]
    own = {tensor.name for draft in inside for tensor in draft.outputs}
    made: dict[str, Tensor] = {}
    for draft in inside:
        for tensor in draft.inputs:
            if tensor.name not in own and tensor.name not in made:
                label = f"{tensor.name}_InputLayer"
                made[tensor.name] = context.emit("CONDITIONAL_INPUT", [tensor], tensor.shape, name=label)
    for draft in inside:
        draft.inputs = [made.get(tensor.name, tensor) for tensor in draft.inputs]


def import_loop(context: Context) -> None:
    """Loop: TRIP_LIMIT, a RECURRENCE for each state, the body, a LOOP_OUTPUT for each result."""
    body = context.attributes.graph("body")
    if body is None:
        import_unknown(context)
        return
    if not context.is_absent(0):
        _steer(context, context.tensor(0))
    bound: dict[str, Operand] = {}
    names = [value.name for value in body.input]
    for index, name in enumerate(names[:2]):
        dtype = "int64" if index == 0 else "bool"
        counter = context.constant((), dtype) if context.is_absent(index) else context.tensor(index)
        bound[name] = Operand(context.emit("RECURRENCE", [counter], (), name="", dtype=dtype))
    states = []
    for index, name in enumerate(names[2:], start=2):
        initial = context.tensor(index)
        states.append(context.emit("RECURRENCE", [initial], initial.shape, name=""))
        bound[name] = Operand(states[-1])
    results = _inside(context, body, bound)
    last = [context.emit("LOOP_OUTPUT", [state], state.shape, name="") for state in states]
    scans = [context.as_tensor(result) for result in results[1 + len(states) :]]
    context.finish(*last, *(_scanned(context, scan) for scan in scans))


def import_scan(context: Context) -> None:
    """Scan: TRIP_LIMIT, a RECURRENCE for each state, an ITERATOR for each scanned input, the body, its outputs."""
    body = context.attributes.graph("body")
    if body is None:
        import_unknown(context)
        return
    scanned = context.attributes.integer("num_scan_inputs")
    first = len(context.node.input) - scanned
    axes = context.attributes.integers("scan_input_axes") or (0,) * scanned
    _steer(
        context, axis_length(context, context.tensor(len(context.node.input) - 1), axes[-1] if axes else 0, scalar=True)
    )
    bound: dict[str, Operand] = {}
    states = []
    for index, value in enumerate(body.input):
        data = context.tensor(index)
        if index < first:
            states.append(context.emit("RECURRENCE", [data], data.shape, name=""))
            bound[value.name] = Operand(states[-1])
            continue
        axis = axes[index - first]
        rest = tuple(size for number, size in enumerate(data.shape or ()) if number != axis)
        bound[value.name] = Operand(context.emit("ITERATOR", [data], rest, name=""))
    results = _inside(context, body, bound)
    last = [context.emit("LOOP_OUTPUT", [state], state.shape, name="") for state in states]
    scans = [context.as_tensor(result) for result in results[len(states) :]]
    context.finish(*last, *(_scanned(context, scan) for scan in scans))


def _steer(context: Context, limit: Tensor) -> None:
    context.emit("TRIP_LIMIT", [limit], (), name="")
    context.drafts[-1].outputs.clear()


def _scanned(context: Context, step: Tensor) -> Tensor:
    shape = None if step.shape is None else (None, *step.shape)
    return context.emit("LOOP_OUTPUT", [step], shape, name="")


def _inside(context: Context, body: onnx.GraphProto, bound: dict[str, Operand] | None = None) -> list[Operand]:
    """Lower a subgraph in place; names that it defines hide outer ones while it lasts."""
    with context.scope():
        for name, operand in (bound or {}).items():
            context.bind(name, operand)
        for tensor in body.initializer:
            context.converts(tensor)
            context.names.tensor(tensor.name)
            known = context.shapes.type_of(tensor.name)
            shape = known.shape if known.shape is not None else tuple(tensor.dims)
            context.bind(tensor.name, Operand(Tensor(tensor.name, shape, known.dtype, True), weights=True))
        for node in body.node:
            context.importer(node)
        return [context.bound(value.name) for value in body.output]
