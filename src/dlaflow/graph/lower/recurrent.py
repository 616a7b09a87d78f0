"""LSTM, GRU and RNN: a loop over the sequence with its matrix products, gates and states.

Peepholes, clipping and sequence lengths add element-wise layers inside the loop that are not listed here: nothing of a
loop can leave the GPU, so they change no placement.
"""

from __future__ import annotations

from dlaflow.graph.layer import (
    Activation,
    Concatenation,
    Dims,
    ElementWise,
    MatrixMultiply,
    Reduce,
    Shuffle,
    Slice,
    Tensor,
)
from dlaflow.graph.lower.axis_length import axis_length
from dlaflow.graph.lower.broadcast import unsqueeze
from dlaflow.graph.lower.context import Context

_NAMED = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}


class Cell:
    """What the three operators share: sizes, the loop and its input."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.direction = context.attributes.text("direction", "forward")
        self.directions = 2 if self.direction == "bidirectional" else 1
        self.hidden = context.attributes.integer("hidden_size")
        self.data = context.tensor(0)
        self.weights = context.tensor(1)
        self.recurrence = context.tensor(2)
        self.state: Dims = (self.directions, self.data.shape[1] if self.data.shape else None, self.hidden)
        self.kinds = _NAMED[context.node.op_type]
        self.own = None if context.parser.names_every_layer else ""

    def state_shape(self) -> Tensor:
        """(directions, batch, hidden) as a tensor of the network."""
        first, last = self.context.constant((1,), "int32"), self.context.constant((1,), "int32")
        batch = axis_length(self.context, self.data, 1, scalar=False)
        return self.context.emit("CONCATENATION", [first, batch, last], (3,), Concatenation(0), name=self.own)

    def combined_bias(self, gates: int) -> Tensor | None:
        """Wb + Rb: a reshape and a REDUCE."""
        if self.context.is_absent(3):
            return None
        bias = self.context.tensor(3)
        shape = (self.directions, 2, gates * self.hidden)
        split = self.context.emit("SHUFFLE", [bias], shape, Shuffle(reshape=shape, helper=True), name=self.own)
        small = (self.directions, 1, gates * self.hidden)
        return self.context.emit("REDUCE", [split], small, Reduce("SUM", (1,), True), name=self.own)

    def initial(self, index: int, shape: Tensor) -> Tensor:
        """The initial state: an input, or zeros."""
        context = self.context
        if not context.is_absent(index):
            return context.tensor(index)
        zero = context.constant((1,))
        ones = (1, 1, 1)
        flat = context.helper("SHUFFLE", [zero], ones, Shuffle(reshape=ones, helper=True), "ONNXTRT_ShapeShuffle")
        if context.parser.names_helpers:
            return context.helper("SLICE", [flat, shape], self.state, Slice((), (), ()), "ONNXTRT_ShapeSlice")
        start = context.constant((3,), "int32")
        return context.emit("SLICE", [flat, start, shape], self.state, Slice((), (), ()))

    def enter(self) -> Tensor:
        """The loop, and the input of one step."""
        context = self.context
        length = axis_length(context, self.data, 0, scalar=True)
        context.emit("TRIP_LIMIT", [length], (), name="")
        context.drafts[-1].outputs.clear()
        step: Dims = (self.data.shape or (None, None, None))[1:]
        iterators = [context.emit("ITERATOR", [self.data], step, name="") for _ in range(self.directions)]
        steps = [unsqueeze(context, iterator, [0]) for iterator in iterators]
        if self.directions == 1:
            return steps[0]
        joined: Dims = (2, *step)
        return context.emit("CONCATENATION", steps, joined, Concatenation(0), name="")

    def product(self, left: Tensor, right: Tensor, gates: int, name: str | None = "") -> Tensor:
        """left * right^T."""
        shape: Dims = (*self.state[:2], gates * self.hidden)
        inner = (right.shape or (0,))[-1] or 0
        side = 1 if right.constant else None
        attributes = MatrixMultiply(side, inner if side else 0, gates * self.hidden if side else 0, inner)
        return self.context.emit("MATRIX_MULTIPLY", [left, right], shape, attributes, name=name)

    def combine(self, operation: str, left: Tensor, right: Tensor, shape: Dims | None = None) -> Tensor:
        """An unnamed element-wise layer."""
        constant = 1 if right.constant else 0 if left.constant else None
        attributes = ElementWise(operation, constant)
        return self.context.emit("ELEMENTWISE", [left, right], shape or self.state, attributes, name="")

    def gate(self, all_gates: Tensor, size: Tensor, kind: int | None) -> Tensor:
        """One gate: a SLICE of the intermediate result and its activation."""
        context = self.context
        gate = context.emit("SLICE", [all_gates, size], self.state, Slice((), (), ()), name=self.own)
        draft = context.drafts[-1]
        draft.inputs.insert(1, context.constant((3,), "int32"))
        return gate if kind is None else self.activate(gate, kind)

    def activate(self, data: Tensor, kind: int) -> Tensor:
        """The cell's activation number `kind`."""
        activation = Activation(self.kinds[kind].upper())
        return self.context.emit("ACTIVATION", [data], data.shape, activation, name=self.own)

    def pass_shape(self, shape: Tensor) -> None:
        """The shape of one direction's state, computed in the network."""
        constant = self.context.constant((3,), "int32")
        self.context.emit("ELEMENTWISE", [shape, constant], (3,), ElementWise("DIV", 1), name="")

    def leave(self, states: list[Tensor], sequence: Tensor) -> None:
        """The loop's outputs: the whole sequence, and the last of each state."""
        context = self.context
        length = axis_length(context, self.data, 0, scalar=True)
        parts = [sequence]
        if self.directions == 2:
            one: Dims = (1, *self.state[1:])
            own = None if context.parser.names_every_layer else ""
            starts = [context.constant((3,), "int32") for _ in range(2)]
            parts = [context.emit("SLICE", [sequence, start], one, Slice((), (), ()), name=own) for start in starts]
        steps = (self.data.shape or (None,))[0]
        outputs = [context.emit("LOOP_OUTPUT", [part, length], (steps, *(part.shape or ())), name="") for part in parts]
        whole = outputs[0]
        if len(outputs) > 1:
            shape: Dims = (steps, 2, *self.state[1:])
            whole = context.emit("CONCATENATION", outputs, shape, Concatenation(1), name=own)
        last = [context.emit("LOOP_OUTPUT", [state], self.state, name="") for state in states]
        context.finish(whole, *last)


def import_lstm(context: Context) -> None:
    """LSTM: four gates, two states."""
    cell = Cell(context)
    bias = cell.combined_bias(4)
    shape = cell.state_shape()
    hidden, carry = cell.initial(5, shape), cell.initial(6, shape)
    step = cell.enter()
    previous = context.emit("RECURRENCE", [hidden], cell.state)
    memory = context.emit("RECURRENCE", [carry], cell.state, name="")
    gates: Dims = (*cell.state[:2], 4 * cell.hidden)
    fed, recurred = cell.product(step, cell.weights, 4), cell.product(previous, cell.recurrence, 4)
    total = cell.combine("SUM", fed, recurred, gates)
    if bias is not None:
        total = cell.combine("SUM", total, bias, gates)
    entry, forget, update = cell.gate(total, shape, 0), cell.gate(total, shape, 0), cell.gate(total, shape, 1)
    admitted = cell.combine("PROD", entry, update)
    kept = cell.combine("PROD", forget, memory)
    fresh = cell.combine("SUM", kept, admitted)
    cell.pass_shape(shape)
    leave = cell.gate(total, shape, 0)
    result = cell.combine("PROD", leave, cell.activate(fresh, 2))
    cell.leave([previous, memory], result)


def import_rnn(context: Context) -> None:
    """RNN: one activation, one state."""
    cell = Cell(context)
    bias = cell.combined_bias(1)
    hidden = cell.initial(5, cell.state_shape())
    step = cell.enter()
    previous = context.emit("RECURRENCE", [hidden], cell.state)
    fed = cell.product(step, cell.weights, 1, cell.own)
    recurred = cell.product(previous, cell.recurrence, 1, cell.own)
    total = cell.combine("SUM", fed, recurred)
    if bias is not None:
        total = cell.combine("SUM", total, bias)
    result = cell.activate(total, 0)
    if context.parser.names_every_layer:
        constant = context.constant((3,), "int32")
        shape = cell.state_shape()
        context.emit("ELEMENTWISE", [shape, constant], (3,), ElementWise("DIV", 1), name="")
    else:
        cell.pass_shape(cell.state_shape())
    cell.leave([previous], result)


def import_gru(context: Context) -> None:
    """GRU: update and reset gates together, the new state, one state."""
    cell = Cell(context)
    cell.own = ""
    weights, recurrence = _gru_weights(cell)
    biases = _gru_biases(cell)
    shape = cell.state_shape()
    step = cell.enter()
    hidden = cell.initial(5, shape)
    previous = context.emit("RECURRENCE", [hidden], cell.state)
    both: Dims = (*cell.state[:2], 2 * cell.hidden)
    total = cell.combine("SUM", cell.product(step, weights[0], 2), cell.product(previous, recurrence[0], 2), both)
    if biases:
        total = cell.combine("SUM", cell.combine("SUM", total, biases[0], both), biases[2], both)
    total = cell.activate(total, 0)
    update, reset = cell.gate(total, shape, None), cell.gate(total, shape, None)
    fed = cell.product(step, weights[1], 1)
    if context.attributes.integer("linear_before_reset"):
        inner = cell.product(previous, recurrence[1], 1)
        inner = cell.combine("SUM", inner, biases[3]) if biases else inner
        inner = cell.combine("PROD", reset, inner)
        fresh = cell.combine("SUM", fed, inner)
        fresh = cell.combine("SUM", fresh, biases[1]) if biases else fresh
    else:
        inner = cell.product(cell.combine("PROD", reset, previous), recurrence[1], 1)
        fresh = cell.combine("SUM", fed, inner)
        if biases:
            fresh = cell.combine(
                "SUM", fresh, cell.combine("SUM", biases[3], biases[1], (cell.directions, 1, cell.hidden))
            )
    fresh = cell.activate(fresh, 1)
    one = context.constant((1, 1, 1))
    kept = cell.combine("PROD", update, previous)
    rest = cell.combine("SUB", one, update)
    result = cell.combine("SUM", cell.combine("PROD", rest, fresh), kept)
    cell.pass_shape(shape)
    cell.leave([previous], result)


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
