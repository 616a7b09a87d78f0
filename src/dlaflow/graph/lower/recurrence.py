"""What LSTM, GRU and RNN share: the loop over the sequence, its input, states, masks and outputs."""

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
from dlaflow.graph.lower.axis_length import axis_length
from dlaflow.graph.lower.broadcast import unsqueeze
from dlaflow.graph.lower.context import Context
from dlaflow.graph.lower.control import loop_counter
from dlaflow.graph.lower.filling import stretched

_DEFAULTS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
_ACTIVATIONS = {
    "leakyrelu": "LEAKY_RELU",
    "thresholdedrelu": "THRESHOLDED_RELU",
    "scaledtanh": "SCALED_TANH",
    "hardsigmoid": "HARD_SIGMOID",
}
_LENGTHS = 4
"""The input with the length of each sequence."""


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
        self.named = None if context.parser.names_every_layer else ""
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

    def initial(self, index: int, shape: Callable[[], Tensor]) -> Tensor:
        """The initial state: an input, or zeros of a shape that is computed only then."""
        if not self.context.is_absent(index):
            return self.context.tensor(index)
        size = shape()
        return stretched(self.context, self.context.constant((1,)), size, self.state)

    def enter(self) -> Tensor:
        """The loop, and the input of one step."""
        context = self.context
        context.emit("TRIP_LIMIT", [self.length()], (), name="")
        context.drafts[-1].outputs.clear()
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
            valid = self._compare(counter, lengths)
        else:
            line = unsqueeze(context, length, [0])
            left = context.emit("ELEMENTWISE", [line, counter], (1,), ElementWise("SUB"), name="")
            ended = self._compare(lengths, left)
            valid = context.emit("UNARY", [ended], (self.batch,), Unary("NOT"), name="", dtype="bool")
        return unsqueeze(context, valid, [0, 2])

    def _compare(self, left: Tensor, right: Tensor) -> Tensor:
        attributes = ElementWise("LESS", 1 if right.constant else 0 if left.constant else None)
        return self.context.emit("ELEMENTWISE", [left, right], (self.batch,), attributes, name="", dtype="bool")

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
        return self.context.emit("SLICE", [whole, start, size], one, Slice((), (), ()), name=name)

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

    def isolated(self, all_gates: Tensor, size: Tensor) -> Tensor:
        """One gate: a SLICE of the intermediate result."""
        gate = self.context.emit("SLICE", [all_gates, size], self.state, Slice((), (), ()), name=self.own)
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

    def leave(self, states: list[tuple[Tensor, Tensor]], sequence: Tensor, size: Tensor) -> None:
        """The loop's outputs: the whole sequence, and the last of each state. `states` are the old and the new."""
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
        outputs = [self._stacked(part, length) for part in parts]
        whole = outputs[0]
        if len(outputs) > 1:
            shape: Dims = (self.steps, 2, *self.state[1:])
            whole = context.emit("CONCATENATION", outputs, shape, Concatenation(1), name=self.named)
        last = []
        for number, (old, new) in enumerate(states, start=1):
            self._close(old, new)
            last.append(self._last(old) if self._is_wanted(number) else whole)
        context.finish(whole, *last)

    def _is_wanted(self, number: int) -> bool:
        """Newer parsers make the outputs that the node names, older ones all."""
        names = self.context.node.output
        return not self.context.parser.names_every_layer or (number < len(names) and bool(names[number]))

    def _last(self, state: Tensor) -> Tensor:
        return self.context.emit("LOOP_OUTPUT", [state], self.state, name="")

    def _stacked(self, part: Tensor, length: Tensor) -> Tensor:
        return self.context.emit("LOOP_OUTPUT", [part, length], (self.steps, *(part.shape or ())), name="")

    def _close(self, old: Tensor, new: Tensor) -> None:
        """Lead a state's new value back into its RECURRENCE."""
        for draft in self.context.drafts:
            if draft.kind == "RECURRENCE" and draft.outputs[0] is old:
                draft.inputs.append(new)
