"""An operator behind a transpose → the operator on what stands in front of it, and the transpose behind.

    f(T(x)) = T(f'(x))       T(x)[i0, i1, ...] has axis a where x has axis perm[a]

f' is f with its axes, amounts and constants in the order of x: axis a becomes perm[a]. Where f takes axes away, the
transpose behind orders the rest, and goes when that is in order already.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx

from dlaflow.graph.tensor_type import TensorType
from dlaflow.rewrites.draft import Array, Draft, Edit, Shape, Value, attribute, integer, ints

Perm = tuple[int, ...]
UNARY = frozenset(
    {"Relu", "LeakyRelu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Elu", "Selu", "Celu", "Softplus"}
    | {"Mish", "Gelu", "Erf", "Exp", "Log", "Sqrt", "Abs", "Neg", "Reciprocal", "Softsign", "ThresholdedRelu", "Swish"}
)
"""Operators that map each element by itself; further inputs are scalars."""
BINARY = frozenset({"Add", "Sub", "Mul", "Div", "Max", "Min", "Pow"})
_ELEMENTWISE = (
    UNARY
    | BINARY
    | {"PRelu", "Sum", "Mean", "Where", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "And", "Or", "Xor"}
    | {"Not", "Cast", "Identity", "Floor", "Ceil", "Round", "Sign", "Sin", "Cos"}
)
_RESHAPES = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze"})
_SLICE_WITH_INPUTS_SINCE = 10
_PAD_WITH_INPUTS_SINCE = 11
_SOFTMAX_OF_ONE_AXIS_SINCE = 13


@dataclass(frozen=True)
class _Form:
    """The operator on the source: its inputs, the attributes that change, and the transpose behind it."""

    inputs: list[str]
    perm: Perm
    attributes: dict[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class _Place:
    """An operator, and the transpose in front of its first input (of several inputs, for element-wise ones)."""

    edit: Edit
    node: onnx.NodeProto
    perm: Perm
    sources: Mapping[str, str]
    """Transposed input → what it was made of."""

    @property
    def rank(self) -> int:
        return len(self.perm)

    @property
    def rest(self) -> list[str]:
        """The source of the first input, and the other inputs as they are."""
        return [self.sources[self.node.input[0]], *self.node.input[1:]]

    def constant(self, index: int) -> Array | None:
        """A constant input."""
        return self.edit.draft.value(self.node, index)

    def given(self, index: int) -> bool:
        """Whether an input is there."""
        return index < len(self.node.input) and bool(self.node.input[index])

    def axes(self, chosen: Sequence[int]) -> list[int]:
        """The axes of the source that are axes of the transposed tensor."""
        return [self.perm[axis % self.rank] for axis in chosen]

    def before(self, values: Sequence[int | float]) -> list[int | float]:
        """One value an axis, in the order of the source."""
        return [values[place] for place in np.argsort(self.perm)]


def perm_of(node: onnx.NodeProto, rank: int) -> Perm:
    """The order that a Transpose gives the axes; nothing where a broken file has none that fits."""
    perm = ints(node, "perm", tuple(reversed(range(rank))))
    return perm if sorted(perm) == list(range(rank)) else ()


def is_reshape(shape: Shape, perm: Perm) -> bool:
    """Whether a transpose of a tensor of that shape moves axes of length 1 alone, so that a reshape does the same."""
    lasting = [axis for axis in perm if shape[axis] != 1]
    return lasting == sorted(lasting)


def below_transpose(draft: Draft, node: onnx.NodeProto, found: Mapping[str, onnx.NodeProto]) -> Edit | None:
    """The edit that moves the transposes `found` (input of `node` → its Transpose) behind `node`; None if it stays."""
    shapes = [draft.shape(motion.input[0]) for motion in found.values()]
    perms = {perm_of(motion, len(shape or ())) for motion, shape in zip(found.values(), shapes, strict=True)}
    outputs = [name for name in node.output if name]
    if len(perms) != 1 or None in shapes or any(draft.shape(name) is None for name in outputs):
        return None
    sources = {name: str(motion.input[0]) for name, motion in found.items()}
    place = _Place(Edit(draft, [node]), node, perms.pop(), sources)
    if node.op_type in _ELEMENTWISE:
        form = _elementwise(place)
    elif node.op_type in _RESHAPES and node.input[0] in found and is_reshape(shapes[0] or (), place.perm):
        place.edit.reshape(sources[node.input[0]], draft.shape(outputs[0]) or (), output=outputs[0])
        return place.edit
    else:
        make = _FORMS.get(node.op_type)
        form = make(place) if make and (node.input[0] in found or node.op_type == "Concat") else None
    if form is None:
        return None
    _append(place, form)
    return place.edit


def _append(place: _Place, form: _Form) -> None:
    edit, node, draft = place.edit, place.node, place.edit.draft
    kept = {each.name: each for each in node.attribute if each.name not in form.attributes}
    moves = form.perm != tuple(range(len(form.perm)))
    first = edit.add(node.op_type, form.inputs, (), output="" if moves else node.output[0], **form.attributes)
    made = edit.nodes[-1]
    made.attribute.extend(kept.values())
    del made.output[:], edit.types[first]
    for number, output in enumerate(node.output):
        shape, known = draft.shape(output), draft.types.get(output)
        name = output if not (moves and output) else f"{first.removesuffix('0')}{number}"
        made.output.append(name)
        if not output or shape is None or known is None:
            continue
        source = tuple(shape[place] for place in np.argsort(form.perm))
        edit.types[name] = TensorType(source, known.dtype)
        if moves:
            edit.add("Transpose", [name], shape, output=output, perm=list(form.perm))
            edit.moved.add(output)


def _elementwise(place: _Place) -> _Form | None:
    draft, node = place.edit.draft, place.node
    if len(draft.shape(node.output[0]) or ()) != place.rank:
        return None
    inputs: list[str] = []
    like = next(iter(place.sources.values()))
    for name in node.input:
        shape, value = draft.shape(name), draft.weights.get(name)
        if name in place.sources:
            inputs.append(place.sources[name])
        elif not name or (shape is not None and np.prod(shape) == 1 and len(shape) <= place.rank):
            inputs.append(name)
        elif shape is None or len(shape) > place.rank:
            return None
        else:
            full = (1,) * (place.rank - len(shape)) + shape
            source = tuple(full[axis] for axis in np.argsort(place.perm))
            if value is not None:
                moved = value.reshape(full).transpose(np.argsort(place.perm))
                inputs.append(place.edit.weight("constant", moved, like))
            elif is_reshape(source, place.perm):
                inputs.append(place.edit.reshape(_unshaped(draft, name), source))
            else:
                return None
    return _Form(inputs, place.perm)


def _unshaped(draft: Draft, name: str) -> str:
    """What a tensor is a reshape of, or itself."""
    maker = draft.producers.get(name)
    while maker is not None and maker.op_type in _RESHAPES and draft.shape(maker.input[0]) is not None:
        name = maker.input[0]
        maker = draft.producers.get(name)
    return name


def _along(place: _Place) -> _Form | None:
    """One axis in an attribute, and the rank stays."""
    default = {"Softmax": -1, "LogSoftmax": -1, "Split": 0, "Gather": 0}.get(place.node.op_type, 1)
    return _Form(place.rest, place.perm, {"axis": place.axes([integer(place.node, "axis", default)])[0]})


def _softmax(place: _Place) -> _Form | None:
    if place.edit.draft.opset >= _SOFTMAX_OF_ONE_AXIS_SINCE:
        return _along(place)
    # Before, everything from the axis on is one row: the same only where nothing lies behind the axis on either side.
    shape, axis = place.edit.draft.shape(place.node.input[0]) or (), integer(place.node, "axis", 1) % place.rank
    source, moved = place.before(shape), place.perm[axis]
    if any(size != 1 for size in (*shape[axis + 1 :], *source[moved + 1 :])):
        return None
    return _Form(place.rest, place.perm, {"axis": moved})


def _quantize(place: _Place) -> _Form | None:
    scale = place.constant(1)
    return _Form(place.rest, place.perm) if scale is not None and scale.size == 1 else _along(place)


def _concat(place: _Place) -> _Form | None:
    inputs: list[str] = []
    like = next(iter(place.sources.values()))
    for name in place.node.input:
        value = place.edit.draft.weights.get(name)
        if name in place.sources:
            inputs.append(place.sources[name])
        elif value is not None and value.ndim == place.rank:
            inputs.append(place.edit.weight("constant", value.transpose(np.argsort(place.perm)), like))
        else:
            return None
    return _Form(inputs, place.perm, {"axis": place.axes([integer(place.node, "axis", 1)])[0]})


def _slice(place: _Place) -> _Form | None:
    if place.edit.draft.opset < _SLICE_WITH_INPUTS_SINCE:
        chosen = ints(place.node, "axes", range(len(ints(place.node, "starts", ()))))
        return _Form(place.rest, place.perm, {"axes": place.axes(chosen)})
    starts, axes = place.constant(1), place.constant(3)
    if starts is None or (axes is None and place.given(3)):
        return None
    chosen = tuple(range(starts.size)) if axes is None else tuple(int(axis) for axis in axes.reshape(-1))
    moved = place.edit.weight("axes", np.array(place.axes(chosen), starts.dtype))
    rest = place.rest
    return _Form([*rest[:3], moved, *rest[4:]], place.perm)


def _pad(place: _Place) -> _Form | None:
    if place.edit.draft.opset < _PAD_WITH_INPUTS_SINCE:
        amounts = ints(place.node, "pads", ())
        if len(amounts) != 2 * place.rank:
            return None
        return _Form(place.rest, place.perm, {"pads": [int(each) for each in _ends(place, amounts)]})
    rest, axes, given = place.rest, place.constant(3), place.constant(1)
    if axes is not None:
        rest[3] = place.edit.weight("axes", np.array(place.axes([int(axis) for axis in axes]), axes.dtype))
    elif place.given(3) or given is None or given.size != 2 * place.rank:
        return None
    else:
        rest[1] = place.edit.weight("pads", np.array(_ends(place, [int(each) for each in given]), np.int64))
    return _Form(rest, place.perm)


def _ends(place: _Place, amounts: Sequence[int]) -> list[int | float]:
    return [*place.before(amounts[: place.rank]), *place.before(amounts[place.rank :])]


def _reduced(place: _Place) -> _Form | None:
    """Axes in an attribute or an input, that stay as 1 or go."""
    node, rest = place.node, place.rest
    value = place.constant(1)
    if place.given(1) and value is None:
        return None
    chosen = ints(node, "axes", ()) if value is None else tuple(int(axis) for axis in value.reshape(-1))
    if not chosen:
        return None
    moved = sorted(place.axes(chosen))
    attributes: dict[str, Value] = {}
    if value is None:
        attributes["axes"] = moved
    else:
        rest[1] = place.edit.weight("axes", np.array(moved, np.int64))
    stays = node.op_type != "Squeeze" and integer(node, "keepdims", 1)
    return _Form(rest, place.perm if stays else _without(place, moved), attributes)


def _best(place: _Place) -> _Form | None:
    """ArgMax and ArgMin."""
    moved = place.axes([integer(place.node, "axis", 0)])
    stays = integer(place.node, "keepdims", 1)
    return _Form(place.rest, place.perm if stays else _without(place, moved), {"axis": moved[0]})


def _gather(place: _Place) -> _Form | None:
    indices = place.constant(1)
    if indices is None or indices.ndim > 1:
        return None
    form = _along(place)
    if form is None or indices.ndim:
        return form
    return _Form(form.inputs, _without(place, place.axes([integer(place.node, "axis", 0)])), form.attributes)


def _without(place: _Place, gone: Sequence[int]) -> Perm:
    """The order of the axes that are left when the axes `gone` of the source go."""
    left = [axis for axis in place.perm if axis not in gone]
    return tuple(sorted(left).index(axis) for axis in left)


def _per_axis(place: _Place) -> _Form | None:
    """Constants with one value an axis: the repeats of Tile, the sizes of Expand."""
    given = place.constant(1)
    if given is None or given.size != place.rank:
        return None
    moved = np.array(place.before(given.tolist()), given.dtype)
    return _Form([place.rest[0], place.edit.weight("amounts", moved)], place.perm)


def _resize(place: _Place) -> _Form | None:
    rest, node = place.rest, place.node
    if any(each.name in ("axes", "keep_aspect_ratio_policy") for each in node.attribute):
        return None
    if attribute(node, "coordinate_transformation_mode", "") == "tf_crop_and_resize":
        return None
    for index in range(1, len(rest)):
        value = place.constant(index)
        if not place.given(index) or (value is not None and not value.size):
            continue
        if value is None or value.size not in (place.rank, 2 * place.rank):
            return None
        moved = place.before(value.tolist()) if value.size == place.rank else _ends(place, value.tolist())
        rest[index] = place.edit.weight("sizes", np.array(moved, value.dtype))
    return _Form(rest, place.perm)


_FORMS: dict[str, Callable[[_Place], _Form | None]] = {
    **dict.fromkeys(("Softmax", "LogSoftmax"), _softmax),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), _quantize),
    **dict.fromkeys(("ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum", "ReduceProd", "ReduceL1"), _reduced),
    **dict.fromkeys(("ReduceL2", "ReduceSumSquare", "ReduceLogSumExp", "Squeeze"), _reduced),
    **dict.fromkeys(("ArgMax", "ArgMin"), _best),
    **dict.fromkeys(("Tile", "Expand"), _per_axis),
    **dict.fromkeys(("Resize", "Upsample"), _resize),
    "Concat": _concat,
    "Split": _along,
    "Slice": _slice,
    "Pad": _pad,
    "Gather": _gather,
}
MOVABLE = _ELEMENTWISE | _FORMS.keys()
"""Operators that a transpose can move behind."""
