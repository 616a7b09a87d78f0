"""GRU, LSTM and RNN of few steps → 1x1 convolutions and element-wise layers, one set for each step.

With x as (N, I, 1, T) and states as (N, H, 1, 1), gate by gate:

    W x + b of all steps = Conv(x), cut into steps by Slice          R h = Conv(h)
    GRU    z, r = f(W x + R h + b)     n = g(W x + R (r h) + b)      h' = n + z (h - n)
    LSTM   i, f, o = f(W x + R h + P c + b)    c' = f c + i g(W x + R h + b)    h' = o h(c')
    RNN    h' = f(W x + R h + b)

The equations are those of ONNX's operators GRU, LSTM and RNN. A state that begins as zero leaves its terms out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx

from dlaflow.rewrites.axis_selection import unfit_along
from dlaflow.rewrites.base import Bounds, Match, Rewrite
from dlaflow.rewrites.building_blocks import Floats, affine, convolved, sliced
from dlaflow.rewrites.draft import Array, Draft, Edit, attribute, integer, number

_GATES = {"GRU": 3, "LSTM": 4, "RNN": 1}
_DEFAULTS = {"GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh"), "RNN": ("Tanh",)}
_ACTIVATIONS = {name.lower(): name for name in ("Sigmoid", "Tanh", "Relu")}
_LENGTHS, _PEEPHOLES = 4, 7
_MOST_CHANNELS = 8192
_STRANGE = "its weights or first states have other sizes than its directions, steps and states"
_STATES = (5, 6)


@dataclass(frozen=True, eq=False)
class _Node:
    """What a recurrent node says: sizes, weights by direction and gate, activations by direction."""

    node: onnx.NodeProto
    steps: int
    batch: int
    width: int
    hidden: int
    directions: tuple[str, ...]
    weights: Floats
    """(directions, gates, hidden, width)"""
    recurrence: Floats
    """(directions, gates, hidden, hidden)"""
    bias: Floats
    """(directions, 2, gates, hidden): of the input, of the state"""
    peepholes: Floats
    """(directions, 3, hidden): of the gates i, o, f"""
    activations: tuple[tuple[str, ...], ...]

    @property
    def batch_first(self) -> bool:
        """Whether N stands before T and before the directions."""
        return bool(integer(self.node, "layout", 0))


class Unrolling(Rewrite):
    """Recurrences of few steps become convolutions, one set for each step."""

    id = "unrolling"
    answers = ("DLA231", "DLA241", "DLA287")
    operators = tuple(_GATES)

    def __init__(self, most: int) -> None:
        self._most = most

    def match(self, draft: Draft, node: onnx.NodeProto, bounds: Bounds) -> Match:
        found = _read(draft, node)
        if not isinstance(found, _Node):
            return found
        if found.steps > self._most:
            return f"it has {found.steps} steps, asked for are at most {self._most}"
        if found.steps > 1 and bounds.limit("slice.available") is None:
            return "it needs Slice, which runs on the DLA from TensorRT 8.4 on"
        reason = unfit_along(1, [found.width, found.hidden], bounds)
        if reason is not None:
            return reason
        edit = Edit(draft, [node])
        reason = _unrolled(edit, found, bounds.largest("any.dims", _MOST_CHANNELS))
        return reason or edit


def _read(draft: Draft, node: onnx.NodeProto) -> _Node | str | None:
    """The node's sizes and weights; the reason why it has no form here, None where its sizes are open."""
    shape, weights, recurrence = draft.shape(node.input[0]), draft.value(node, 1), draft.value(node, 2)
    if shape is None or len(shape) != 3 or 0 in shape or not draft.is_float(node.input[0]):
        return None
    if weights is None or recurrence is None:
        return "its weights are computed at run time"
    if recurrence.ndim != 3:
        return _STRANGE
    steps, batch = shape[:2] if not integer(node, "layout", 0) else (shape[1], shape[0])
    direction = attribute(node, "direction", "forward")
    directions = ("forward", "reverse") if direction == "bidirectional" else (str(direction),)
    gates, hidden, count = _GATES[node.op_type], recurrence.shape[-1], len(directions)
    lengths = draft.value(node, _LENGTHS)
    if _given(node, _LENGTHS) and (lengths is None or not np.all(lengths == steps)):
        return "its sequences have lengths of their own"
    if integer(node, "input_forget", 0):
        return "its gates are coupled (input_forget)"
    named = [
        name.decode(errors="replace") for each in node.attribute if each.name == "activations" for name in each.strings
    ]
    known = [_ACTIVATIONS.get(name.lower(), "") for name in named or _DEFAULTS[node.op_type] * count]
    if not all(known) or len(known) != count * len(_DEFAULTS[node.op_type]):
        return f"of its activations only {', '.join(_ACTIVATIONS.values())} have a form"
    bias, peepholes = draft.value(node, 3), draft.value(node, _PEEPHOLES)
    if any(_given(node, index) and value is None for index, value in ((3, bias), (_PEEPHOLES, peepholes))):
        return "its biases are computed at run time"
    states = (batch, count, hidden) if integer(node, "layout", 0) else (count, batch, hidden)
    sized: list[tuple[Array | None, tuple[int, ...]]] = [
        (weights, (count, gates * hidden, shape[2])),
        (recurrence, (count, gates * hidden, hidden)),
        (bias, (count, 2 * gates * hidden)),
        (peepholes, (count, 3 * hidden)),
    ]
    given = [draft.shape(node.input[index]) for index in _STATES if _given(node, index)]
    if any(value is not None and value.shape != size for value, size in sized) or set(given) - {states}:
        return _STRANGE
    each = len(known) // count
    return _Node(
        node=node,
        steps=steps,
        batch=batch,
        width=shape[2],
        hidden=hidden,
        directions=directions,
        weights=_shaped(weights, (count, gates, hidden, shape[2])),
        recurrence=_shaped(recurrence, (count, gates, hidden, hidden)),
        bias=_shaped(bias, (count, 2, gates, hidden)),
        peepholes=_shaped(peepholes, (count, 3, hidden)),
        activations=tuple(tuple(known[begin : begin + each]) for begin in range(0, len(known), each)),
    )


def _given(node: onnx.NodeProto, index: int) -> bool:
    return index < len(node.input) and bool(node.input[index])


def _shaped(value: Array | None, shape: tuple[int, ...]) -> Floats:
    return np.zeros(shape) if value is None else np.asarray(value, np.float64).reshape(shape)


def _unrolled(edit: Edit, of: _Node, most: int) -> str | None:
    """Append all steps and write the node's outputs; the reason where a state has no form."""
    x = _images(edit, of)
    ends: list[tuple[str, str]] = []
    rows: list[list[str]] = []
    for place, direction in enumerate(of.directions):
        states = [_initial(edit, of, place, index, x) for index in _STATES]
        if any(state is None for state in states):
            return "its first state is a constant that differs within the batch"
        cell = _Cell(edit, of, place, _inputs(edit, of, place, x))
        order = range(of.steps) if direction == "forward" else reversed(range(of.steps))
        state, made = (states[0] or "", states[1] or ""), [""] * of.steps
        for step in order:
            state = cell.step(step, *state)
            made[step] = state[0]
        ends.append(state)
        rows.append(made)
    parts = [[row[step] for step in range(of.steps) for row in rows], *map(list, zip(*ends, strict=True))]
    for name, some in zip(of.node.output, parts, strict=False):
        if name:
            _write(edit, of, some, name, most)
    return None


def _images(edit: Edit, of: _Node) -> str:
    """The sequence as (N, I, 1, T)."""
    x = of.node.input[0]
    if not of.batch_first and of.batch > 1:
        x = edit.add("Transpose", [x], (of.batch, of.steps, of.width), perm=[1, 0, 2])
    if of.steps == 1:
        return edit.reshape(x, (of.batch, of.width, 1, 1))
    x = edit.reshape(x, (of.batch, of.steps, 1, of.width))
    return edit.add("Transpose", [x], (of.batch, of.width, 1, of.steps), perm=[0, 3, 2, 1])


def _initial(edit: Edit, of: _Node, place: int, index: int, x: str) -> str | None:
    """The first state of a direction as (N, H, 1, 1), empty where it is zero; None for a constant unlike in N."""
    if not _given(of.node, index):
        return ""
    name, shape, count = of.node.input[index], (of.batch, of.hidden, 1, 1), len(of.directions)
    value = edit.draft.weights.get(name)
    if value is not None:
        own: Floats = np.moveaxis(np.asarray(value, np.float64), 1 if of.batch_first else 0, 0)[place]
        if not np.all(own == own[:1]):
            return None
        if not own.any():
            return ""
        # A constant would be a layer of its own, which the DLA refuses: the bias of a convolution of zeros is none.
        first = _step(edit, x, 0, of.steps)
        return convolved(edit, first, np.zeros((of.hidden, of.width, 1, 1)), shape, bias=("state", own[0]))
    if count == 1:
        return edit.reshape(name, shape)
    if not of.batch_first and of.batch > 1:
        name = edit.add("Transpose", [name], (of.batch, count, of.hidden), perm=[1, 0, 2])
    both = edit.reshape(name, (of.batch, count * of.hidden, 1, 1))
    return sliced(edit, both, {1: (place * of.hidden, (place + 1) * of.hidden)}, shape)


def _step(edit: Edit, x: str, step: int, steps: int) -> str:
    """One step of (N, C, 1, T)."""
    return x if steps == 1 else sliced(edit, x, {3: (step, step + 1)}, (*edit.image(x)[:3], 1))


def _inputs(edit: Edit, of: _Node, place: int, x: str) -> list[list[str]]:
    """W x + b of each gate and step; the state's bias is in it where nothing stands between them."""
    found = []
    for gate in range(_GATES[of.node.op_type]):
        apart = gate == 2 and of.node.op_type == "GRU" and integer(of.node, "linear_before_reset", 0)
        bias = of.bias[place, 0, gate] + (0 if apart else of.bias[place, 1, gate])
        kernel = of.weights[place, gate][:, :, None, None]
        made = convolved(edit, x, kernel, (of.batch, of.hidden, 1, of.steps), bias=("bias", bias))
        found.append([_step(edit, made, step, of.steps) for step in range(of.steps)])
    return found


def _write(edit: Edit, of: _Node, parts: Sequence[str], name: str, most: int) -> None:
    """`parts` of (N, H, 1, 1), step by step and in it by direction, as an output in the order of the node.

    A Concat has at most `most` channels; several are joined behind the DLA.
    """
    count, is_sequence, joined = len(of.directions), name == of.node.output[0], []
    group = max(1, most // (count * of.hidden)) * count
    for begin in range(0, len(parts), group):
        some = parts[begin : begin + group]
        channels = (of.batch, len(some) * of.hidden, 1, 1)
        x = edit.add("Concat", some, channels, axis=1) if len(some) > 1 else some[0]
        joined.append(edit.reshape(x, (of.batch, len(some) // count, count, of.hidden)))
    steps = len(parts) // count
    x = edit.add("Concat", joined, (of.batch, steps, count, of.hidden), axis=1) if len(joined) > 1 else joined[0]
    order = [of.batch, steps, count] if of.batch_first else [steps, count, of.batch]
    if not of.batch_first and of.batch > 1 and steps * count > 1:
        x = edit.add("Transpose", [x], [*order, of.hidden], output=name if is_sequence else "", perm=[1, 2, 0, 3])
        if is_sequence:
            return
    if not is_sequence:
        del order[1 if of.batch_first else 0]  # the one step
    edit.reshape(x, [*order, of.hidden], output=name)


@dataclass
class _Cell:
    """One direction of a node: appends a step after the other. States are names, empty where they are zero."""

    edit: Edit
    of: _Node
    place: int
    inputs: list[list[str]]
    shape: tuple[int, ...] = field(init=False)
    kernels: dict[int, str] = field(default_factory=dict)
    """The weights of the state by gate, which all steps share."""

    def __post_init__(self) -> None:
        self.shape = (self.of.batch, self.of.hidden, 1, 1)

    def step(self, step: int, hidden: str, cell: str) -> tuple[str, str]:
        """The states after one step."""
        if self.of.node.op_type == "LSTM":
            return self._lstm(step, hidden, cell)
        if self.of.node.op_type == "GRU":
            return self._gru(step, hidden), ""
        return self._gate(step, 0, 0, [self._r(0, hidden)]), ""

    def _gru(self, step: int, hidden: str) -> str:
        update, reset = (self._gate(step, gate, 0, [self._r(gate, hidden)]) for gate in (0, 1))
        if integer(self.of.node, "linear_before_reset", 0):
            bias = self.of.bias[self.place, 1, 2]
            inner = (
                self._with("Mul", reset, self._r(2, hidden, bias)) if hidden else affine(self.edit, reset, bias, 0.0)
            )
        else:
            inner = self._r(2, self._with("Mul", reset, hidden) if hidden else "")
        new = self._gate(step, 2, 1, [inner])
        if not hidden:
            return self._with("Sub", new, self._with("Mul", update, new))
        return self._with("Add", new, self._with("Mul", update, self._with("Sub", hidden, new)))

    def _lstm(self, step: int, hidden: str, cell: str) -> tuple[str, str]:
        enters = self._gate(step, 0, 0, [self._r(0, hidden), self._peep(0, cell)])
        kept = self._gate(step, 2, 0, [self._r(2, hidden), self._peep(2, cell)]) if cell else ""
        new = self._with("Mul", enters, self._gate(step, 3, 1, [self._r(3, hidden)]))
        after = self._with("Add", self._with("Mul", kept, cell), new) if cell else new
        leaves = self._gate(step, 1, 0, [self._r(1, hidden), self._peep(1, after)])
        return self._with("Mul", leaves, self._activated(after, 2)), after

    def _gate(self, step: int, gate: int, activation: int, terms: Sequence[str]) -> str:
        total = self.inputs[gate][step]
        for term in terms:
            total = self._with("Add", total, term) if term else total
        clip = number(self.of.node, "clip", 0.0)
        if clip > 0:
            low, high = (
                self.edit.weight(label, np.array(value), total) for label, value in (("low", -clip), ("high", clip))
            )
            total = self.edit.add("Min", [self.edit.add("Max", [total, low], self.shape), high], self.shape)
        return self._activated(total, activation)

    def _activated(self, x: str, activation: int) -> str:
        return self.edit.add(self.of.activations[self.place][activation], [x], self.shape)

    def _r(self, gate: int, hidden: str, bias: Floats | None = None) -> str:
        """R h of a gate, nothing where h is zero."""
        if not hidden:
            return ""
        if gate not in self.kernels:
            kernel = self.of.recurrence[self.place, gate][:, :, None, None]
            self.kernels[gate] = self.edit.weight("state", kernel, hidden)
        inputs = [hidden, self.kernels[gate]]
        if bias is not None:
            inputs.append(self.edit.weight("bias", bias, hidden))
        return self.edit.add("Conv", inputs, self.shape, kernel_shape=[1, 1])

    def _peep(self, gate: int, cell: str) -> str:
        factor = self.of.peepholes[self.place, gate]
        return affine(self.edit, cell, factor, 0.0) if cell and factor.any() else ""

    def _with(self, op: str, first: str, second: str) -> str:
        return self.edit.add(op, [first, second], self.shape)
