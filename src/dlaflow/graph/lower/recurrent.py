"""LSTM, GRU and RNN: a loop over the sequence with its matrix products, gates and states."""

from __future__ import annotations

from dlaflow.graph.layer import Concatenation, Dims, Shuffle, Slice, Tensor
from dlaflow.graph.lower.axis_length import axis_length
from dlaflow.graph.lower.broadcast import unsqueeze
from dlaflow.graph.lower.context import Context
from dlaflow.graph.lower.recurrence import Cell

_PEEPHOLES = 7


def import_lstm(context: Context) -> None:
    """LSTM: four gates, two states."""
    cell = Cell(context)
    bias = cell.combined_bias(4)
    shape = cell.state_shape()
    hidden, carry = cell.initial(5, lambda: shape), cell.initial(6, lambda: shape)
    step = cell.enter()
    previous = context.emit("RECURRENCE", [hidden], cell.state)
    memory = context.emit("RECURRENCE", [carry], cell.state, name="")
    gates: Dims = (*cell.state[:2], 4 * cell.hidden)
    fed, recurred = cell.product(step, cell.weights, 4), cell.product(previous, cell.recurrence, 4)
    total = cell.combine("SUM", fed, recurred, gates)
    if bias is not None:
        total = cell.combine("SUM", total, bias, gates)
    peephole = None if context.is_absent(_PEEPHOLES) else context.tensor(_PEEPHOLES)
    entry = cell.activate(_gate(cell, (total, shape), peephole, memory), 0)
    forget = cell.activate(_gate(cell, (total, shape), peephole, memory), 0)
    update = cell.activate(cell.isolated(total, shape), 1)
    fresh = _memory(cell, (entry, update), (forget, memory))
    size = cell.pass_shape(lambda: shape)
    fresh = cell.held(memory, fresh, size)
    leave = cell.activate(_gate(cell, (total, shape), peephole, fresh), 0)
    result = cell.held(previous, cell.combine("PROD", leave, cell.activate(fresh, 2)), size)
    cell.leave([(previous, result), (memory, fresh)], result, size)


def _memory(cell: Cell, admitted: tuple[Tensor, Tensor], kept: tuple[Tensor, Tensor]) -> Tensor:
    """Input gate times candidate plus forget gate times old memory."""
    added = cell.combine("PROD", *admitted)
    rest = cell.combine("PROD", *kept)
    return cell.combine("SUM", rest, added)


def _gate(cell: Cell, gates: tuple[Tensor, Tensor], peephole: Tensor | None, memory: Tensor) -> Tensor:
    """A gate before its activation; with peepholes the memory, weighted, is added to it."""
    context = cell.context
    gate = cell.isolated(*gates)
    if peephole is None:
        return gate
    shape = (cell.directions, cell.hidden)
    weights = context.emit("SLICE", [peephole], shape, Slice((), (), ()), name=cell.own)
    seen = cell.combine("PROD", unsqueeze(context, weights, [1]), memory)
    return cell.combine("SUM", gate, seen)


def import_rnn(context: Context) -> None:
    """RNN: one activation, one state."""
    cell = Cell(context)
    bias = cell.combined_bias(1)
    hidden = cell.initial(5, cell.state_shape)
    step = cell.enter()
    previous = context.emit("RECURRENCE", [hidden], cell.state)
    fed = cell.product(step, cell.weights, 1, cell.own)
    recurred = cell.product(previous, cell.recurrence, 1, cell.own)
    total = cell.combine("SUM", fed, recurred)
    if bias is not None:
        total = cell.combine("SUM", total, bias)
    result = cell.activate(total, 0)
    size = cell.pass_shape(cell.state_shape)
    result = cell.held(previous, result, size)
    cell.leave([(previous, result)], result, size)


def import_gru(context: Context) -> None:
    """GRU: update and reset gates together, the new state, one state."""
    cell = Cell(context)
    cell.own = ""
    weights, recurrence = _gru_weights(cell)
    biases = _gru_biases(cell)
    shape = cell.state_shape()
    step = cell.enter()
    hidden = cell.initial(5, lambda: shape)
    previous = context.emit("RECURRENCE", [hidden], cell.state)
    both: Dims = (*cell.state[:2], 2 * cell.hidden)
    total = cell.combine("SUM", cell.product(step, weights[0], 2), cell.product(previous, recurrence[0], 2), both)
    if biases:
        total = cell.combine("SUM", cell.combine("SUM", total, biases[0], both), biases[2], both)
    total = cell.activate(total, 0)
    update, reset = cell.isolated(total, shape), cell.isolated(total, shape)
    fed = cell.product(step, weights[1], 1)
    if context.attributes.integer("linear_before_reset"):
        inner = cell.product(previous, recurrence[1], 1)
        inner = cell.combine("SUM", inner, biases[3]) if biases else inner
        inner = cell.combine("PROD", reset, inner)
        inner = cell.combine("SUM", inner, biases[1]) if biases else inner
        fresh = cell.combine("SUM", fed, inner)
    else:
        inner = cell.product(cell.combine("PROD", reset, previous), recurrence[1], 1)
        fresh = cell.combine("SUM", fed, inner)
        if biases:
            extra = cell.combine("SUM", biases[3], biases[1], (cell.directions, 1, cell.hidden))
            fresh = cell.combine("SUM", fresh, extra)
    result = _mixed(cell, update, cell.activate(fresh, 1), previous)
    size = cell.pass_shape(lambda: shape)
    result = cell.held(previous, result, size)
    cell.leave([(previous, result)], result, size)


def _mixed(cell: Cell, update: Tensor, fresh: Tensor, previous: Tensor) -> Tensor:
    """(1 - z) * fresh + z * previous; the constant comes first in newer releases, behind one product before."""
    if cell.context.parser.names_every_layer:
        one = cell.context.constant((1, 1, 1))
        kept = cell.combine("PROD", update, previous)
    else:
        kept = cell.combine("PROD", update, previous)
        one = cell.context.constant((1, 1, 1))
    rest = cell.combine("SUB", one, update)
    return cell.combine("SUM", cell.combine("PROD", rest, fresh), kept)


def _gru_weights(cell: Cell) -> tuple[list[Tensor], list[Tensor]]:
    """Weights and recurrence weights, each for both gates and for the new state."""
    context = cell.context
    counts = [context.constant((1,), "int32") for _ in range(3)]
    width = axis_length(context, cell.data, 2, scalar=False)
    fed = []
    for gates, count in ((2, counts[2]), (1, counts[1])):
        start = context.constant((3,), "int32")
        size = context.emit("CONCATENATION", [counts[0], count, width], (3,), Concatenation(0), name="")
        shape: Dims = (cell.directions, gates * cell.hidden, (cell.weights.shape or (None,))[-1])
        fed.append(context.emit("SLICE", [cell.weights, start, size], shape, Slice((), (), ()), name=""))
    recurred = []
    for gates in (2, 1):
        shape = (cell.directions, gates * cell.hidden, cell.hidden)
        recurred.append(context.emit("SLICE", [cell.recurrence], shape, Slice((), (), ()), name=""))
    return fed, recurred


def _gru_biases(cell: Cell) -> list[Tensor]:
    context = cell.context
    if context.is_absent(3):
        return []
    whole: Dims = (cell.directions, 1, 6 * cell.hidden)
    bias = context.emit("SHUFFLE", [context.tensor(3)], whole, Shuffle(reshape=whole, helper=True), name="")
    parts = []
    for gates in (2, 1, 2, 1):
        shape: Dims = (cell.directions, 1, gates * cell.hidden)
        parts.append(context.emit("SLICE", [bias], shape, Slice((), (), ()), name=""))
    return parts
