"""LSTM, GRU and RNN: a loop over the sequence with its matrix products, gates, states, masks and outputs."""

from __future__ import annotations

from collections.abc import Callable

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
    Unary,
)
from dlaflow.graph.lower.context import Context, Outputs
from dlaflow.graph.lower.control import loop_counter
from dlaflow.graph.lower.helpers import axis_length, stretched, unsqueeze

_DEFAULTS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
_ACTIVATIONS = {
    "leakyrelu": "LEAKY_RELU",
    "thresholdedrelu": "THRESHOLDED_RELU",
    "scaledtanh": "SCALED_TANH",
    "hardsigmoid": "HARD_SIGMOID",
}
_LENGTHS = 4
"""The input with the length of each sequence."""
_PEEPHOLES = 7


class Cell:
    """One recurrent node: its sizes, and the layers that the three operators have in common."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.direction = context.attributes.text("direction", "forward")
        self.directions = 2 if self.direction == "bidirectional" else 1
        self.data = context.tensor(0)
        self.weights = context.tensor(1)
        self.recurrence = context.tensor(2)
        self.hidden = context.attributes.integer("hidden_size", (self.recurrence.shape or (0,))[-1] or 0)
        dims = self.data.shape if self.data.shape is not None and len(self.data.shape) == 3 else (None, None, None)
        self.steps, self.batch, self.width = dims
        self.state: Dims = (self.directions, self.batch, self.hidden)
        self.kinds = context.attributes.texts("activations") or _DEFAULTS[context.node.op_type]
        self.clip = context.attributes.number("clip", -1.0)
        if context.attributes.integer("layout"):
            context.misreads()
        self.named = context.further_name
        self.own = self.named

    @property
    def is_ragged(self) -> bool:
        """Whether the sequences have lengths of their own."""
        return not self.context.is_absent(_LENGTHS)

    def length(self) -> Tensor:
        """The length of the longest sequence."""
        return axis_length(self.context, self.data, 0, scalar=True)

    def state_shape(self) -> Tensor:
        """(directions, batch, hidden) as a tensor of the network."""
        first, last = self.context.constant((1,), "int32"), self.context.constant((1,), "int32")
        batch = axis_length(self.context, self.data, 1)
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

    def initial(self, index: int, shape: Callable[[], Tensor]) -> Tensor:
        """The initial state: an input, or zeros of a shape that is computed only then."""
        if not self.context.is_absent(index):
            return self.context.tensor(index)
        size = shape()
        return stretched(self.context, self.context.constant((1,)), size, self.state)

    def enter(self) -> Tensor:
        """The loop, and the input of one step."""
        context = self.context
        context.emit_last("TRIP_LIMIT", self.length())
        step: Dims = (self.batch, self.width)
        iterators = [context.emit("ITERATOR", [self.data], step, name="") for _ in range(self.directions)]
        steps = [unsqueeze(context, iterator, [0]) for iterator in iterators]
        if self.is_ragged:
            steps = self._cleared_steps(steps)
        if self.directions == 1:
            return steps[0]
        return context.emit("CONCATENATION", steps, (2, *step), Concatenation(0), name="")

    def _cleared_steps(self, steps: list[Tensor]) -> list[Tensor]:
        self.context.tensor(_LENGTHS)
        if self.directions == 1:
            return [self._cleared(steps[0], self.length(), reverse=self.direction == "reverse")]
        counter = loop_counter(self.context)
        length = self.length()
        return [
            self._cleared(step, length, reverse=reverse, counter=counter)
            for step, reverse in zip(steps, (False, True), strict=True)
        ]

    def _cleared(self, data: Tensor, length: Tensor, *, reverse: bool, counter: Tensor | None = None) -> Tensor:
        """Zeros where a sequence has ended."""
        zero = self.context.constant((1, 1, 1))
        valid = self._valid(length, counter, reverse=reverse)
        return self.context.emit("SELECT", [valid, data, zero], data.shape, name="", dtype=data.dtype)

    def _valid(self, length: Tensor, counter: Tensor | None, *, reverse: bool) -> Tensor:
        """Which sequences have not ended yet."""
        context = self.context
        counter = loop_counter(context) if counter is None else counter
        lengths = context.tensor(_LENGTHS)
        if context.parser.names_helpers:
            counter = context.cast(counter, "int32")
        if not reverse:
            valid = self.combine("LESS", counter, lengths, (self.batch,))
        else:
            line = unsqueeze(context, length, [0])
            left = context.emit("ELEMENTWISE", [line, counter], (1,), ElementWise("SUB"), name="")
            ended = self.combine("LESS", lengths, left, (self.batch,))
            valid = context.emit("UNARY", [ended], (self.batch,), Unary("NOT"), name="", dtype="bool")
        return unsqueeze(context, valid, [0, 2])

    def _held(self, pair: tuple[Tensor, Tensor], length: Tensor, *, reverse: bool, counter: Tensor | None) -> Tensor:
        """The previous state where a sequence has ended, the fresh one elsewhere."""
        previous, fresh = pair
        valid = self._valid(length, counter, reverse=reverse)
        return self.context.emit("SELECT", [valid, fresh, previous], fresh.shape, name="", dtype=fresh.dtype)

    def held(self, previous: Tensor, fresh: Tensor, size: Tensor) -> Tensor:
        """A state as the next step sees it; `size` is the shape of one direction's."""
        if not self.is_ragged:
            return fresh
        context = self.context
        context.tensor(_LENGTHS)
        length = self.length()
        if self.directions == 1:
            return self._held((previous, fresh), length, reverse=self.direction == "reverse", counter=None)
        starts = [context.constant((3,), "int32") for _ in range(2)]
        parts = [[self._part(whole, start, size, "") for start in starts] for whole in (fresh, previous)]
        counter = loop_counter(context)
        both = [
            self._held((parts[1][number], parts[0][number]), length, reverse=number == 1, counter=counter)
            for number in range(2)
        ]
        return context.emit("CONCATENATION", both, self.state, Concatenation(0), name="")

    def _part(self, whole: Tensor, start: Tensor, size: Tensor, name: str | None) -> Tensor:
        """One direction of a state."""
        one: Dims = (1, *self.state[1:])
        return self.context.emit("SLICE", [whole, start, size], one, Slice(), name=name)

    def product(self, left: Tensor, right: Tensor, gates: int, name: str | None = "") -> Tensor:
        """left * right^T."""
        shape: Dims = (*self.state[:2], gates * self.hidden)
        inner = (right.shape or (0,))[-1] or 0
        side = 1 if right.constant else None
        attributes = MatrixMultiply(side, inner if side else 0, gates * self.hidden if side else 0, inner)
        return self.context.emit("MATRIX_MULTIPLY", [left, right], shape, attributes, name=name)

    def combine(self, operation: str, left: Tensor, right: Tensor, shape: Dims | None = None) -> Tensor:
        """An unnamed element-wise layer."""
        attributes = ElementWise(operation, 1 if right.constant else 0 if left.constant else None)
        dtype = "bool" if operation == "LESS" else None
        return self.context.emit("ELEMENTWISE", [left, right], shape or self.state, attributes, name="", dtype=dtype)

    def isolated(self, all_gates: Tensor, size: Tensor) -> Tensor:
        """One gate: a SLICE of the intermediate result."""
        gate = self.context.emit("SLICE", [all_gates, size], self.state, Slice(), name=self.own)
        draft = self.context.drafts[-1]
        draft.inputs.insert(1, self.context.constant((3,), "int32"))
        return gate

    def activate(self, data: Tensor, number: int) -> Tensor:
        """The cell's activation number `number`, behind a clip when the node has one."""
        if self.clip >= 0:
            clip = Activation("CLIP", -self.clip, self.clip)
            data = self.context.emit("ACTIVATION", [data], data.shape, clip, name="")
        name = self.kinds[number] if number < len(self.kinds) else _DEFAULTS[self.context.node.op_type][number]
        activation = Activation(_ACTIVATIONS.get(name.lower(), name.upper()))
        return self.context.emit("ACTIVATION", [data], data.shape, activation, name=self.own)

    def pass_shape(self, shape: Callable[[], Tensor]) -> Tensor:
        """The shape of one direction's state, computed in the network."""
        constant = self.context.constant((3,), "int32")
        return self.context.emit("ELEMENTWISE", [shape(), constant], (3,), ElementWise("DIV", 1), name="")

    def leave(self, states: list[tuple[Tensor, Tensor]], sequence: Tensor, size: Tensor) -> Outputs:
        """The loop's outputs: the whole sequence, and the last of each state. `states` are the old and the new."""
        whole = self._sequence(sequence, size) if self._is_wanted(0) else sequence
        last = []
        for number, (old, new) in enumerate(states, start=1):
            self._close(old, new)
            wanted = self._is_wanted(number)
            last.append(self.context.emit("LOOP_OUTPUT", [old], self.state, name="") if wanted else whole)
        return [whole, *last]

    def _sequence(self, sequence: Tensor, size: Tensor) -> Tensor:
        """The state of every step, of both directions."""
        context = self.context
        length = self.length()
        parts = [sequence]
        if self.directions == 2:
            starts = [context.constant((3,), "int32") for _ in range(2)]
            parts = [self._part(sequence, start, size, self.named) for start in starts]
        if self.is_ragged:
            context.tensor(_LENGTHS)
            reverse = (self.direction == "reverse", True)
            parts = [self._cleared(part, length, reverse=reverse[number]) for number, part in enumerate(parts)]
        outputs = [
            context.emit("LOOP_OUTPUT", [part, length], (self.steps, *(part.shape or ())), name="") for part in parts
        ]
        whole = outputs[0]
        if len(outputs) > 1:
            shape: Dims = (self.steps, 2, *self.state[1:])
            whole = context.emit("CONCATENATION", outputs, shape, Concatenation(1), name=self.named)
        return whole

    def _is_wanted(self, number: int) -> bool:
        """Newer parsers make the outputs that the node names, older ones all."""
        names = self.context.node.output
        return not self.context.parser.names_every_layer or (number < len(names) and bool(names[number]))

    def _close(self, old: Tensor, new: Tensor) -> None:
        """Lead a state's new value back into its RECURRENCE."""
        for draft in self.context.drafts:
            if draft.kind == "RECURRENCE" and draft.outputs[0] is old:
                draft.inputs.append(new)


def import_lstm(context: Context) -> Outputs:
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
    return cell.leave([(previous, result), (memory, fresh)], result, size)


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
    weights = context.emit("SLICE", [peephole], shape, Slice(), name=cell.own)
    seen = cell.combine("PROD", unsqueeze(context, weights, [1]), memory)
    return cell.combine("SUM", gate, seen)


def import_rnn(context: Context) -> Outputs:
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
    return cell.leave([(previous, result)], result, size)


def import_gru(context: Context) -> Outputs:
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
    return cell.leave([(previous, result)], result, size)


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
    width = axis_length(context, cell.data, 2)
    fed = []
    for gates, count in ((2, counts[2]), (1, counts[1])):
        start = context.constant((3,), "int32")
        size = context.emit("CONCATENATION", [counts[0], count, width], (3,), Concatenation(0), name="")
        shape: Dims = (cell.directions, gates * cell.hidden, (cell.weights.shape or (None,))[-1])
        fed.append(context.emit("SLICE", [cell.weights, start, size], shape, Slice(), name=""))
    shapes = [(cell.directions, gates * cell.hidden, cell.hidden) for gates in (2, 1)]
    return fed, [context.emit("SLICE", [cell.recurrence], shape, Slice(), name="") for shape in shapes]


def _gru_biases(cell: Cell) -> list[Tensor]:
    context = cell.context
    if context.is_absent(3):
        return []
    whole: Dims = (cell.directions, 1, 6 * cell.hidden)
    bias = context.emit("SHUFFLE", [context.tensor(3)], whole, Shuffle(reshape=whole, helper=True), name="")
    shapes = [(cell.directions, 1, gates * cell.hidden) for gates in (2, 1, 2, 1)]
    return [context.emit("SLICE", [bias], shape, Slice(), name="") for shape in shapes]
