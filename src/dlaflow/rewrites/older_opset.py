"""A model in an opset and in operators that a release's parser reads: each node in the form that it had then.

What a later opset made an input (axes, sizes of a Split) becomes an attribute again; attributes that it added go where
they have their default; operators that it added, or that the parser has no importer for, are written out. A parser that
does not know the later form passes it over without a word. A Softmax from before opset 13, which the parser flattens
on the GPU, becomes that of 13, which the DLA takes over one axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx

from dlaflow.graph.inline import subgraphs
from dlaflow.graph.lower.naming import node_name
from dlaflow.graph.lower.reading import has_importer
from dlaflow.graph.lower.reading_case import numbers
from dlaflow.graph.tensor_type import UNKNOWN
from dlaflow.rewrites.base import Safety
from dlaflow.rewrites.building_blocks import scalar
from dlaflow.rewrites.draft import Draft, Edit, Value, attribute, integer, ints, number
from dlaflow.rewrites.records import Applied, Gain, Refused
from dlaflow.targets.target import Target

_OLDEST = 11
"""Below it Clip, Pad and Slice have attributes for inputs: no release that is asked for reads only those."""
_AXES_AS_INPUT = 13
_FLATTENED = frozenset({"Softmax", "LogSoftmax", "Hardmax"})
"""Operators that before opset 13 took all axes from theirs on for one row."""
_REDUCTIONS = {"ReduceSum": 13} | {
    f"Reduce{name}": 18 for name in ("Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSum", "LogSumExp")
}
"""Reductions, with the opset that made their axes an input."""
_NAMES = {"float32": "float", "float64": "double"}
"""What the types of operators call two of ours."""
_NOTHING_TO_REDUCE = frozenset({"ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd"})
"""Reductions that give each element itself where no axis is left."""


@dataclass(frozen=True)
class Older:
    """The draft in the older opset with the nodes that changed; the draft as it was where `refused` tells why not."""

    draft: Draft
    sites: tuple[str, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()

    @property
    def applied(self) -> list[Applied]:
        """What a report tells of it: a change that moves no layer by itself."""
        title = f"Operators take forms that the release reads, of opset {self.draft.opset}"
        return [Applied("opset", title, Safety.EXACT.value, list(self.sites), Gain(0, 0, 0, 0))] if self.sites else []

    @property
    def refusals(self) -> list[Refused]:
        """The nodes that have no older form."""
        return [Refused("opset", site, reason) for site, reason in self.refused]


def as_read_by(draft: Draft, target: Target) -> Older:
    """The draft in the newest opset and the operators that the target's parser reads."""
    version, newest = numbers(str(target.version)), target.release.max_opset
    missing = {node.op_type for node in draft.nodes if not has_importer(node.op_type, version)}
    raised = _with_softmax_over_one_axis(draft) if newest >= _AXES_AS_INPUT else Older(draft)
    found = in_opset(raised.draft, newest, missing & _WRITTEN_OUT.keys())
    return replace(found, sites=(*raised.sites, *found.sites))


def _with_softmax_over_one_axis(draft: Draft) -> Older:
    """A draft from before opset 13 with a Softmax in opset 13; as it is where a node has no such form."""
    flattened = any(node.op_type in _FLATTENED and not node.domain for node in draft.nodes)
    if not flattened or draft.opset >= _AXES_AS_INPUT:
        return Older(draft)
    edits: list[Edit] = []
    for node in draft.nodes:
        edit = Edit(draft, [node])
        if node.domain not in ("", "ai.onnx"):
            continue
        if any(True for _ in subgraphs(node)) or not _newer(edit, node):
            return Older(draft)
        if edit.nodes:
            edits.append(edit)
        if _unknown(edit, edit.nodes[-1] if edit.nodes else node, _AXES_AS_INPUT):
            return Older(draft)
    return Older(_numbered(draft.apply(edits), _AXES_AS_INPUT), tuple(edit.site for edit in edits))


def _newer(edit: Edit, node: onnx.NodeProto) -> bool:
    """Append the form of opset 13 where it is another one; whether there is one."""
    before = edit.draft.opset < _OLDEST
    if before and node.op_type in ("Resize", "Upsample", "TopK", "Slice"):
        return False
    lists = {"Split": "split", "Squeeze": "axes", "Unsqueeze": "axes", "ReduceSum": "axes"}
    shape = edit.draft.shape(node.input[0]) if node.input else None
    if node.op_type in _FLATTENED:
        if not shape:
            return False
        axis = integer(node, "axis", 1) % len(shape)
        if math.prod(shape[axis + 1 :]) != 1:
            return False
        _again(edit, node, node.input, axis=axis)
    elif node.op_type in lists and (given := ints(node, lists[node.op_type], ())):
        values = edit.weight(lists[node.op_type], np.array(given, np.int64))
        _again(edit, node, [node.input[0], values], gone={lists[node.op_type]})
    elif before and node.op_type == "Clip":
        x, given_ends = node.input[0], {each.name: each.f for each in node.attribute}
        ends = [scalar(edit, end, given_ends[end], x) if end in given_ends else "" for end in ("min", "max")]
        _again(edit, node, [x, *ends], gone={"min", "max"})
    elif before and node.op_type == "Pad":
        amounts = edit.weight("pads", np.array(ints(node, "pads", ()), np.int64))
        value = scalar(edit, "value", number(node, "value", 0.0), node.input[0])
        _again(edit, node, [node.input[0], amounts, value], gone={"pads", "value"})
    return True


def _numbered(draft: Draft, opset: int) -> Draft:
    """The draft as one of that opset."""
    base = onnx.ModelProto()
    base.CopyFrom(draft.base)
    for entry in base.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = opset
    return replace(draft, base=base, opset=opset)


def in_opset(draft: Draft, newest: int, missing: Collection[str] = ()) -> Older:
    """The draft in opset `newest` where its own is newer, and without the operators `missing`.

    An opset is that of all nodes or none, so that one node without an older form leaves it as it is.
    """
    older = draft.opset > newest >= _OLDEST
    edits: list[Edit] = []
    refused: dict[str, str] = {}
    for node in draft.nodes if older or missing else ():
        found = _older(draft, node, newest if older else draft.opset, missing)
        if isinstance(found, Edit):
            edits.append(found)
        elif found is not None:
            refused[node_name(node)] = found
    if older and refused:
        return Older(draft, (), tuple(refused.items()))
    changed = _numbered(draft.apply(edits), newest if older else draft.opset) if edits or older else draft
    return Older(changed, tuple(edit.site for edit in edits), tuple(refused.items()))


def _older(draft: Draft, node: onnx.NodeProto, newest: int, missing: Collection[str]) -> Edit | str | None:
    """The edit that gives a node its older form, why there is none, or None where it has that form."""
    if node.domain not in ("", "ai.onnx"):
        return None
    if any(True for _ in subgraphs(node)):
        return "it holds graphs of its own"
    edit = Edit(draft, [node])
    since, write_out = _WRITTEN_OUT.get(node.op_type, (0, None))
    special = _FORMS.get(node.op_type)
    if write_out and (newest < since or node.op_type in missing):
        found = write_out(edit, node)
    else:
        found = special(edit, node, newest) if special else None
    if isinstance(found, str):
        return found
    if edit.nodes or edit.rename:
        return next((why for each in edit.nodes if (why := _unknown(edit, each, newest))), edit)
    return _without_defaults(edit, node, newest)


def _unknown(edit: Edit, node: onnx.NodeProto, newest: int) -> str:
    """What the older opset does not know of a node; empty where it knows all of it."""
    try:
        schema = onnx.defs.get_schema(node.op_type, newest)
    except onnx.defs.SchemaError:
        schema = None
    if schema is None or schema.deprecated:
        return f"{node.op_type} has no form in opset {newest}"
    strange = [each.name for each in node.attribute if each.name not in schema.attributes]
    if strange or len(node.input) > schema.max_input:
        return f"opset {newest} knows no {strange[0] if strange else f'input {len(node.input)}'} of {node.op_type}"
    for place, name in enumerate(node.input):
        kind = (edit.types.get(name) or edit.draft.types.get(name, UNKNOWN)).dtype
        taken = schema.inputs[min(place, len(schema.inputs) - 1)].types
        if kind and f"tensor({_NAMES.get(kind, kind)})" not in taken:
            return f"{node.op_type} takes no {kind} in opset {newest}"
    return ""


def _without_defaults(edit: Edit, node: onnx.NodeProto, newest: int) -> Edit | str | None:
    """Drop the attributes that the older opset lacks where they have the value that it takes without a word."""
    if not _unknown(edit, node, newest):
        return None
    schema = onnx.defs.get_schema(node.op_type, edit.draft.opset)
    gone = {each.name for each in node.attribute if each.name in schema.attributes and _is_default(each, schema)}
    _again(edit, node, node.input, gone=gone)
    return _unknown(edit, edit.nodes[-1], newest) or edit


def _is_default(given: onnx.AttributeProto, schema: onnx.defs.OpSchema) -> bool:
    default, read = schema.attributes[given.name].default_value, onnx.helper.get_attribute_value
    return bool(default.type and read(given) == read(default))


def _again(
    edit: Edit, node: onnx.NodeProto, inputs: Sequence[str], *, gone: set[str] | None = None, **attributes: Value
) -> None:
    """Append `node` with other inputs, without the attributes `gone`, with those that are given."""
    while inputs and not inputs[-1]:
        inputs = inputs[:-1]
    edit.add(node.op_type, inputs, edit.draft.shape(node.output[0]) or (), output=node.output[0], **attributes)
    made = edit.nodes[-1]
    made.attribute.extend(each for each in node.attribute if each.name not in {*(gone or ()), *attributes})
    made.output[:] = node.output
    made.name = node.name or made.name
    known = edit.draft.types.get(node.output[0])
    if known is not None:
        edit.types[node.output[0]] = known


def _named_axes(edit: Edit, node: onnx.NodeProto, newest: int) -> str | None:
    """Reductions, Squeeze and Unsqueeze: the axes as an attribute."""
    reduces = node.op_type in _REDUCTIONS
    if newest >= _REDUCTIONS.get(node.op_type, _AXES_AS_INPUT):
        return None
    axes = edit.draft.value(node, 1)
    given = len(node.input) > 1 and bool(node.input[1])
    if given and axes is None:
        return "its axes are computed at run time"
    if reduces and integer(node, "noop_with_empty_axes", 0) and (axes is None or not axes.size):
        if node.op_type not in _NOTHING_TO_REDUCE:
            return "noop_with_empty_axes leaves its function without the reduction"
        _again(edit, onnx.NodeProto(op_type="Identity", output=node.output), node.input[:1])
    elif axes is not None and axes.size:
        chosen = [int(axis) for axis in axes.reshape(-1)]
        _again(edit, node, node.input[:1], gone={"noop_with_empty_axes"}, axes=chosen)
    elif given:
        _again(edit, node, node.input[:1], gone={"noop_with_empty_axes"})
    return None


def _split(edit: Edit, node: onnx.NodeProto, newest: int) -> str | None:
    """num_outputs becomes sizes, an input from opset 13 on and an attribute before."""
    sizes, shape = edit.draft.value(node, 1), edit.draft.shape(node.input[0])
    if len(node.input) > 1 and node.input[1] and sizes is None:
        return "its sizes are computed at run time"
    counted = any(each.name == "num_outputs" for each in node.attribute)
    if not counted and (newest >= _AXES_AS_INPUT or sizes is None):
        return None
    if sizes is None:
        if not shape:
            return "its input has no fixed shape"
        length, parts = shape[integer(node, "axis", 0) % len(shape)], len(node.output)
        part = -(-length // parts)
        sizes = np.array([part] * (parts - 1) + [length - part * (parts - 1)], np.int64)
    if newest >= _AXES_AS_INPUT:
        _again(edit, node, [node.input[0], edit.weight("sizes", sizes)], gone={"num_outputs"})
    else:
        _again(edit, node, node.input[:1], gone={"num_outputs"}, split=[int(each) for each in sizes])
    return None


def _pad(edit: Edit, node: onnx.NodeProto, newest: int) -> str | None:
    """The axes of opset 18: amounts for all axes."""
    if newest < 19 and attribute(node, "mode", "constant") == "wrap":
        return "wrap has no form before opset 19"
    axes, amounts, shape = edit.draft.value(node, 3), edit.draft.value(node, 1), edit.draft.shape(node.input[0])
    if newest >= 18 or len(node.input) < 4 or not node.input[3]:
        return None
    if axes is None or amounts is None or shape is None:
        return "its axes or amounts are computed at run time"
    if amounts.size != 2 * axes.size or not shape:
        return "its amounts do not fit its axes"
    whole = np.zeros((2, len(shape)), np.int64)
    whole[:, axes.reshape(-1) % len(shape)] = amounts.reshape(2, -1)
    _again(edit, node, [node.input[0], edit.weight("pads", whole.reshape(-1)), *node.input[2:3]])
    return None


def _resize(edit: Edit, node: onnx.NodeProto, newest: int) -> str | None:
    """The axes of opset 18: scales or sizes for all axes. Before 13 the inputs in front of them had to be there."""
    axes, shape, inputs = ints(node, "axes", ()), edit.draft.shape(node.input[0]), list(node.input)
    if newest < 19 and attribute(node, "coordinate_transformation_mode", "") == "half_pixel_symmetric":
        return "half_pixel_symmetric has no form before opset 19"
    whole = newest < 18 and bool(axes)
    if not whole and newest >= _AXES_AS_INPUT:
        return None
    if whole and len(inputs) > 1 and inputs[1]:
        return "its region of interest has axes"
    for index in range(2, len(inputs)):
        value = edit.draft.value(node, index)
        if whole and inputs[index]:
            if value is None or not shape or value.size != len(axes):
                return "its sizes are computed at run time, or do not fit its axes"
            filled = np.array(shape if index == 3 else (1,) * len(shape), value.dtype)
            filled[[axis % len(shape) for axis in axes]] = value
            inputs[index] = edit.weight("sizes", filled)
    if newest < _AXES_AS_INPUT:
        empty = edit.weight("empty", np.zeros(0, np.float32))
        inputs = [name or empty for name in inputs]
    plain = not integer(node, "antialias", 0) and attribute(node, "keep_aspect_ratio_policy", "stretch") == "stretch"
    _again(edit, node, inputs, gone={"axes", *(("antialias", "keep_aspect_ratio_policy") if plain else ())})
    return None


def _softmax(edit: Edit, node: onnx.NodeProto, newest: int) -> str | None:
    """Over one axis; before opset 13 over all from the axis on, which is the same where nothing lies behind it."""
    shape = edit.draft.shape(node.input[0])
    if newest >= _AXES_AS_INPUT:
        return None
    if not shape:
        return "its input has no fixed shape"
    axis = integer(node, "axis", -1) % len(shape)
    if math.prod(shape[axis + 1 :]) != 1:
        return f"before opset 13 it is taken over all axes from {axis} on"
    _again(edit, node, node.input, axis=axis)
    return None


def _hard_swish(edit: Edit, node: onnx.NodeProto) -> None:
    gate = edit.add("HardSigmoid", node.input, edit.draft.shape(node.input[0]) or (), alpha=1 / 6, beta=0.5)
    _finish(edit, node, "Mul", [node.input[0], gate])


def _mish(edit: Edit, node: onnx.NodeProto) -> None:
    shape = edit.draft.shape(node.input[0]) or ()
    inner = edit.add("Tanh", [edit.add("Softplus", node.input, shape)], shape)
    _finish(edit, node, "Mul", [node.input[0], inner])


def _swish(edit: Edit, node: onnx.NodeProto) -> None:
    """x sigmoid(alpha x)"""
    shape, x, alpha = edit.draft.shape(node.input[0]) or (), node.input[0], number(node, "alpha", 1.0)
    scaled = x if alpha == 1 else edit.add("Mul", [x, scalar(edit, "alpha", alpha, x)], shape)
    _finish(edit, node, "Mul", [x, edit.add("Sigmoid", [scaled], shape)])


def _gelu(edit: Edit, node: onnx.NodeProto) -> str | None:
    """x (1 + erf(x / sqrt 2)) / 2"""
    if attribute(node, "approximate", "none") != "none":
        return "Gelu by tanh is not written out"
    shape, x = edit.draft.shape(node.input[0]) or (), node.input[0]
    inner = edit.add("Erf", [edit.add("Mul", [x, scalar(edit, "root", math.sqrt(0.5), x)], shape)], shape)
    whole = edit.add("Mul", [x, edit.add("Add", [inner, scalar(edit, "one", 1.0, x)], shape)], shape)
    _finish(edit, node, "Mul", [whole, scalar(edit, "half", 0.5, x)])
    return None


def _layer_normalization(edit: Edit, node: onnx.NodeProto) -> str | None:
    """(x - mean) / sqrt(mean of squares + epsilon) scale + bias, as PyTorch writes it up to opset 16."""
    shape, x = edit.draft.shape(node.input[0]), node.input[0]
    if not shape or len([name for name in node.output if name]) > 1:
        return "its shape is open, or its mean is an output"
    axes = list(range(integer(node, "axis", -1) % len(shape), len(shape)))
    small = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    centred = edit.add("Sub", [x, edit.add("ReduceMean", [x], small, axes=axes)], shape)
    square = edit.add("Pow", [centred, scalar(edit, "two", 2.0, x)], shape)
    variance = edit.add("ReduceMean", [square], small, axes=axes)
    shifted = edit.add("Add", [variance, scalar(edit, "epsilon", number(node, "epsilon", 1e-5), x)], small)
    normal = edit.add("Div", [centred, edit.add("Sqrt", [shifted], small)], shape)
    if len(node.input) > 2 and node.input[2]:
        _finish(edit, node, "Add", [edit.add("Mul", [normal, node.input[1]], shape), node.input[2]])
    else:
        _finish(edit, node, "Mul", [normal, node.input[1]])
    return None


def _finish(edit: Edit, node: onnx.NodeProto, op: str, inputs: Sequence[str]) -> None:
    edit.add(op, inputs, edit.draft.shape(node.output[0]) or (), output=node.output[0])


def _average(edit: Edit, node: onnx.NodeProto, newest: int) -> str | None:
    if newest < 19 and any(each.name == "dilations" for each in node.attribute):
        if any(step != 1 for step in ints(node, "dilations", ())):
            return "a dilated average has no form before opset 19"
        _again(edit, node, node.input, gone={"dilations"})
    return None


def _grid(edit: Edit, node: onnx.NodeProto, newest: int) -> str | None:
    older = {"linear": "bilinear", "cubic": "bicubic"}.get(str(attribute(node, "mode", "linear")))
    if newest < 20 and older:
        _again(edit, node, node.input, mode=older)
    return None


def _dropout(edit: Edit, node: onnx.NodeProto, newest: int) -> str | None:
    return "its mask is another one before opset 12" if newest < 12 <= edit.draft.opset and node.output[1:] else None


def _roi_align(edit: Edit, node: onnx.NodeProto, newest: int) -> str | None:
    """Opset 16 named the place of a pixel's centre, and took another one where nothing is said."""
    if newest < 16 <= edit.draft.opset:
        if attribute(node, "coordinate_transformation_mode", "half_pixel") != "output_half_pixel":
            return "half_pixel has no form before opset 16"
        _again(edit, node, node.input, gone={"coordinate_transformation_mode"})
    return None


def _quantize(edit: Edit, node: onnx.NodeProto, newest: int) -> str | None:
    several = edit.draft.shape(node.input[1]) not in ((), (1,))
    return "scales of channels have no form before opset 13" if newest < _AXES_AS_INPUT and several else None


_FORMS: dict[str, Callable[[Edit, onnx.NodeProto, int], str | None]] = {
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), _quantize),
    "Dropout": _dropout,
    "RoiAlign": _roi_align,
    **dict.fromkeys((*_REDUCTIONS, "Squeeze", "Unsqueeze"), _named_axes),
    **dict.fromkeys(_FLATTENED, _softmax),
    "AveragePool": _average,
    "GridSample": _grid,
    "Pad": _pad,
    "Resize": _resize,
    "Split": _split,
}
_WRITTEN_OUT: dict[str, tuple[int, Callable[[Edit, onnx.NodeProto], str | None]]] = {
    "Gelu": (20, _gelu),
    "HardSwish": (14, _hard_swish),
    "LayerNormalization": (17, _layer_normalization),
    "Mish": (18, _mish),
    "Swish": (24, _swish),
}
"""Operators of several others, with the opset that has them."""
