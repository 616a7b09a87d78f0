"""From an ONNX file to a draft: weights read, shapes fixed, everything that is known before run time computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from math import prod
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from dlaflow.errors import InputError
from dlaflow.fixed_shape import FixedShape, left_open, suggested
from dlaflow.graph.bounds import largest_made
from dlaflow.graph.fold import fold_node
from dlaflow.graph.inline import subgraphs
from dlaflow.graph.inputs import batch_of, fix_inputs, open_inputs
from dlaflow.graph.load import Model, as_model, lacks_values, stored_tensors
from dlaflow.graph.shapes import Shapes, infer
from dlaflow.graph.tensor_type import UNKNOWN, TensorType
from dlaflow.rewrites.draft import Array, Draft, Edit, declare, integer
from dlaflow.rewrites.motions import bypassed

_LOWEST_OPSET = 7
_LARGEST_FOLD = 1 << 24
_READ_TO_MATCH = 4096
_KEPT = frozenset({"QuantizeLinear", "DequantizeLinear"})
_RANDOM = frozenset(
    {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli"}
)
_COPIES = frozenset({"Identity", "Dropout"})


def load_draft(
    model: Model | Path, batch: int | None, fixed: Sequence[FixedShape] = ()
) -> tuple[Draft, tuple[str, ...]]:
    """The draft of a model with all its weights, and the inputs whose open dimensions were fixed for it.

    An open batch becomes `batch` (that of `fixed`, 1 without either); `fixed` are the shapes of inputs that leave more
    open. Raises InputError for what is no usable model, for an opset below 7, for a node that lacks an input and for
    inputs whose shape stays open, UsageError for a shape that does not fit the model.
    """
    model = as_model(model)
    _refuse_unusable(model)
    graph = model.proto.graph
    frozen, batch = tuple(open_inputs(graph)), batch_of(graph, batch, fixed)
    shapes = infer(model, batch, fixed)
    fix_inputs(graph, batch, fixed)
    for name, dims in open_inputs(graph).items():
        raise InputError(
            f"input {left_open(name, dims)}",
            expected=f"one size, such as --shape {suggested(name, dims)}",
        )
    return _drafted(model, _with_inner_weights(model), shapes, model.initializer), frozen


def draft_to_match(
    model: Model, batch: int | None, fixed: Sequence[FixedShape] = (), shapes: Shapes | None = None
) -> Draft:
    """What `load_draft` gives, for predictions alone: `model` stays as it is, and its large weights are not read.

    These are ones of their shape. `shapes` are what `infer` says of `batch` and `fixed`, where that is known already.
    Raises InputError for a model that `load_draft` refuses, but for open sizes.
    """
    _refuse_unusable(model)
    graph = model.proto.graph
    batch = batch_of(graph, batch, fixed)

    def value(name: str) -> Array:
        tensor = model.tensors[name]
        if prod(tensor.dims) <= _READ_TO_MATCH and tensor.data_location != onnx.TensorProto.EXTERNAL:
            return model.initializer(name)
        return np.broadcast_to(np.ones((), onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)), tuple(tensor.dims))

    draft = _drafted(model, list(graph.node), shapes or infer(model, batch, fixed), value)
    fix_inputs(draft.base.graph, batch, fixed)
    return draft


def _drafted(model: Model, nodes: list[onnx.NodeProto], shapes: Shapes, read: Callable[[str], Array]) -> Draft:
    """The draft of `nodes` with the weights that `read` gives, the constants folded, and the copies dropped."""
    weights = {tensor.name: read(tensor.name) for tensor in model.proto.graph.initializer}
    kept = []
    for node in nodes:
        made = [name for name in node.output if name]
        if node.op_type == "Constant" and node.output[0] in model.tensors:
            weights[node.output[0]] = read(node.output[0])
        elif all(name in shapes.values for name in made):
            weights.update({name: np.asarray(shapes.values[name]) for name in made})
        elif any(_is_large(shapes.type_of(name)) for name in made) or not _fold(node, weights, model.opset):
            kept.append(node)
    base = onnx.ModelProto()
    base.CopyFrom(model.proto)
    for part in (base.graph.node, base.graph.initializer, base.graph.value_info):
        del part[:]
    _declare(base, shapes.types, weights)
    return _without_copies(Draft(base, tuple(kept), weights, dict(shapes.types), model.opset)).swept()


def is_unread(weight: Array) -> bool:
    """Whether a weight is a stand-in of `draft_to_match`, which has the shape alone."""
    return weight.size > _READ_TO_MATCH and not any(weight.strides)


def open_draft(model: Model) -> Draft:
    """The model with its inputs as open as the file leaves them and its constants where they are.

    Shapes are those of a batch of one, so only an edit that holds for any batch may be applied.
    """
    base = model.whole()
    nodes = tuple(base.graph.node)
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in base.graph.initializer}
    types = infer(model, 1).types
    for part in (base.graph.node, base.graph.initializer):
        del part[:]
    return Draft(base, nodes, weights, types, model.opset)


def _refuse_unusable(model: Model) -> None:
    if model.opset < _LOWEST_OPSET:
        raise InputError(
            f"{model.path} is too old to be rewritten",
            expected="opset 7 or later",
            received=model.opset,
            then="Export it again, or bring it to opset 11 with onnx.version_converter.",
        )
    if model.proto.graph.sparse_initializer:
        raise InputError(f"{model.path} holds sparse weights", expected="dense weights", then="Export it without them.")
    for node in model.proto.graph.node:
        _refuse_incomplete(node, model)


def _refuse_incomplete(node: onnx.NodeProto, model: Model) -> None:
    """A node that lacks what its operator cannot do without computes nothing, so that no rewrite could be proven.

    Gemm had to have a bias before opset 11; a later form that does with less is taken.
    """
    if node.domain not in ("", "ai.onnx") or not onnx.defs.has(node.op_type):
        return
    schema = onnx.defs.get_schema(node.op_type)
    fewest = schema.min_input
    with suppress(onnx.defs.SchemaError):  # an operator of a later opset
        fewest = min(fewest, onnx.defs.get_schema(node.op_type, model.opset).min_input)
    wanted = [each.option != onnx.defs.OpSchema.FormalParameterOption.Optional for each in schema.inputs]
    left_out = (place for place, name in enumerate(node.input) if not name and all(wanted[place : place + 1]))
    given = next(left_out, len(node.input))
    if given < fewest or not any(node.output):
        raise InputError(
            f"{model.path}: node {node.name or ' '.join(node.output)!r} ({node.op_type}) is incomplete",
            expected=f"{fewest} inputs and an output",
            received=f"{given} and {len(node.output)}",
            then="The file is broken; export the model again.",
        )


def _with_inner_weights(model: Model) -> list[onnx.NodeProto]:
    """The nodes of the model; those of the whole one where some hold graphs (If, Loop, Scan) with large weights.

    The branches of one If may give different weights the same name, so that a name does not find them.
    """
    nodes = list(model.proto.graph.node)
    inner = (tensor for node in nodes for graph in subgraphs(node) for _, tensor in stored_tensors(graph))
    lacking = any(lacks_values(tensor) for tensor in inner)
    return list(model.whole().graph.node) if lacking else nodes


def _declare(base: onnx.ModelProto, types: Mapping[str, TensorType], weights: dict[str, Array]) -> None:
    """Write the fixed shapes of the outputs, and take weights off the list of inputs."""
    kept = [value for value in base.graph.input if value.name not in weights]
    del base.graph.input[:]
    base.graph.input.extend(kept)
    for value in base.graph.output:
        shape = types.get(value.name, UNKNOWN).shape
        if shape is not None and None not in shape:
            declare(value, [size or 0 for size in shape])


def _is_large(made: TensorType) -> bool:
    return made.shape is not None and prod(size or 0 for size in made.shape) > _LARGEST_FOLD


def evaluate(node: onnx.NodeProto, feeds: Mapping[str, Array], opset: int) -> list[Array] | None:
    """The outputs of one node; ONNX's reference implementation computes what numpy does not. None where it cannot."""
    if largest_made(onnx.GraphProto(node=[node]), feeds)[0] > _LARGEST_FOLD:
        return None
    computed = fold_node(node, {}, feeds, opset)
    if computed:
        return list(computed)
    from onnx.reference import ReferenceEvaluator  # slow to import

    inputs = [onnx.helper.make_empty_tensor_value_info(name) for name in dict.fromkeys(node.input) if name]
    outputs = [onnx.helper.make_empty_tensor_value_info(name) for name in node.output if name]
    graph = onnx.helper.make_graph([node], "one", inputs, outputs)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    try:
        if node.op_type == "ScatterND" and not node.attribute:  # the reference takes a step for each element
            return [_scattered(*(feeds[name] for name in node.input))]
        results = ReferenceEvaluator(model).run(None, dict(feeds))
    except Exception:  # the evaluator raises whatever numpy does
        return None
    if any(not isinstance(value, np.ndarray) and not np.isscalar(value) for value in results):
        return None
    return [np.asarray(value) for value in results]


def _scattered(data: Array, places: Array, values: Array) -> Array:
    made: Array = data.copy()
    made[tuple(np.moveaxis(places, -1, 0))] = values
    return made


def _fold(node: onnx.NodeProto, weights: dict[str, Array], opset: int) -> bool:
    """Compute a node that depends on weights alone; whether it was one, and could be computed."""
    needed = [name for name in node.input if name]
    if not needed or node.op_type in _KEPT | _RANDOM or any(name not in weights for name in needed):
        return False
    feeds = {name: weights[name] for name in needed}
    if sum(value.size for value in feeds.values()) > _LARGEST_FOLD:
        return False
    results = evaluate(node, feeds, opset)
    weights.update(zip([name for name in node.output if name], results or (), strict=False))
    return results is not None


def _without_copies(draft: Draft) -> Draft:
    """Drop what copies, and Concat of one tensor: the reader takes the original."""
    while True:
        copies = [(node, original) for node in draft.nodes if (original := _original(node, draft)) is not None]
        found = [bypassed(draft, Edit(draft, [node]), original, node.output[0]) for node, original in copies]
        edits = [edit for edit in found if edit is not None]
        if not edits:
            return draft
        draft = draft.apply(edits)


def _original(node: onnx.NodeProto, draft: Draft) -> str | None:
    """The tensor that `node` copies: Identity, Dropout at inference, a Cast to its own type or back to it."""
    if node.op_type != "Cast" or node.domain not in ("", "ai.onnx"):
        return str(node.input[0]) if _copies(node, draft) else None
    types, x = draft.types, str(node.input[0])
    made = types.get(node.output[0], UNKNOWN).dtype
    if made and types.get(x, UNKNOWN).dtype == made:
        return x
    before = draft.producers.get(x)
    if before is None or before.op_type != "Cast" or before.domain not in ("", "ai.onnx"):
        return None
    first = str(before.input[0])
    return first if types.get(first, UNKNOWN).dtype == made and _holds(types.get(x, UNKNOWN).dtype, made) else None


def _holds(wide: str, narrow: str) -> bool:
    """Whether every number of the type `narrow` comes back from the type `wide` as it was."""
    try:
        kinds = np.dtype(wide), np.dtype(narrow)
    except TypeError:  # bfloat16 and the 8-bit floats, of which numpy knows nothing
        return False
    # numpy calls 64-bit integers to float64 safe, too, which has 53 bits
    exact = not (kinds[0].kind == "f" and kinds[1].kind in "iu" and kinds[1].itemsize == 8)
    return exact and np.can_cast(kinds[1], kinds[0], "safe")


def _copies(node: onnx.NodeProto, draft: Draft) -> bool:
    if node.domain not in ("", "ai.onnx"):
        return False
    if node.op_type == "Concat":
        return len(node.input) == 1
    if node.op_type not in _COPIES or len([name for name in node.output if name]) > 1:
        return False
    training = draft.value(node, 2)
    return (
        integer(node, "is_test", 1) == 1
        and (training is None or not bool(training.any()))
        and (len(node.input) < 3 or not node.input[2] or training is not None)
    )
