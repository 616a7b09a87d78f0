"""From an ONNX file to a draft: weights read, shapes fixed, everything that is known before run time computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from dlaflow.errors import InputError
from dlaflow.fixed_shape import FixedShape, suggested, told_open
from dlaflow.graph.inputs import batch_of, fix_inputs, open_inputs
from dlaflow.graph.load import Model, load_model
from dlaflow.graph.shapes import Shapes, TensorType, infer
from dlaflow.graph.verify import outer_names
from dlaflow.rewrites.draft import Array, Draft, integer

_LOWEST_OPSET = 7
_LARGEST_FOLD = 1 << 24
_READ_TO_MATCH = 4096
_KEPT = frozenset({"QuantizeLinear", "DequantizeLinear"})
_RANDOM = frozenset(
    {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli"}
)
_COPIES = frozenset({"Identity", "Dropout"})


@dataclass(frozen=True)
class Loaded:
    """The draft to start from, the file's sha256, and what was done to it: constants folded, copies removed.

    `frozen` names inputs whose open dimensions were fixed.
    """

    draft: Draft
    sha256: str
    folded: tuple[str, ...]
    copies: tuple[str, ...]
    frozen: tuple[str, ...]


def load_draft(path: Path, batch: int | None, fixed: Sequence[FixedShape] = ()) -> Loaded:
    """Read a model with all its weights; an open batch becomes `batch` (that of `fixed`, 1 without either).

    `fixed` are the shapes of inputs that leave more open. Raises InputError for what is no usable model, for an opset
    below 7, for a node that lacks an input and for inputs whose shape stays open, UsageError for a shape that does not
    fit the model.
    """
    model = load_model(path)
    _refuse_unusable(model)
    graph = model.proto.graph
    frozen, batch = tuple(open_inputs(graph)), batch_of(graph, batch, fixed)
    shapes = infer(model, batch, fixed)
    fix_inputs(graph, batch, fixed)
    for name, dims in open_inputs(graph).items():
        raise InputError(
            f"input {told_open(name, dims)}",
            expected=f"one size, such as --shape {suggested(name, dims)}",
        )
    draft, folded, copies = _drafted(model, _with_inner_weights(model), shapes, model.initializer)
    return Loaded(draft.swept(), model.sha256, folded, copies, frozen)


def draft_to_match(model: Model, batch: int | None, fixed: Sequence[FixedShape] = ()) -> Draft:
    """What `load_draft` gives, for predictions alone: `model` stays as it is, and its large weights are not read.

    These are ones of their shape. Raises InputError for a model that `load_draft` refuses, but for open sizes.
    """
    _refuse_unusable(model)
    graph = model.proto.graph
    batch = batch_of(graph, batch, fixed)
    shapes = infer(model, batch, fixed)

    def value(name: str) -> Array:
        tensor = model.tensors[name]
        if np.prod(tensor.dims) <= _READ_TO_MATCH and tensor.data_location != onnx.TensorProto.EXTERNAL:
            return model.initializer(name)
        return np.broadcast_to(np.ones((), onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)), tuple(tensor.dims))

    draft = _drafted(model, list(graph.node), shapes, value)[0].swept()
    fix_inputs(draft.base.graph, batch, fixed)
    return draft


def _drafted(
    model: Model, nodes: list[onnx.NodeProto], shapes: Shapes, read: Callable[[str], Array]
) -> tuple[Draft, tuple[str, ...], tuple[str, ...]]:
    """The draft of `nodes` with the weights that `read` gives, the constants folded, and the copies dropped."""
    weights = {tensor.name: read(tensor.name) for tensor in model.proto.graph.initializer}
    kept, folded = [], []
    for node in nodes:
        if node.op_type == "Constant" and node.output[0] in model.tensors:
            weights[node.output[0]] = read(node.output[0])
        elif all(name in shapes.values for name in node.output if name):
            weights.update({name: np.asarray(shapes.values[name]) for name in node.output if name})
            folded.append(node.name or node.output[0])
        else:
            kept.append(node)
    kept = _fold_weights(kept, weights, folded, model.opset)
    base = onnx.ModelProto()
    base.CopyFrom(model.proto)
    for part in (base.graph.node, base.graph.initializer, base.graph.value_info):
        del part[:]
    types = dict(shapes.types)
    _declare(base, types, weights)
    draft, copies = _without_copies(Draft(base, tuple(kept), weights, types, model.opset))
    return draft, tuple(folded), copies


def _refuse_unusable(model: Model) -> None:
    if model.opset < _LOWEST_OPSET:
        raise InputError(f"{model.path} is too old to be rewritten", expected="opset 7 or later", received=model.opset)
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
    fewest = onnx.defs.get_schema(node.op_type).min_input
    with suppress(onnx.defs.SchemaError):  # an operator of a later opset
        fewest = min(fewest, onnx.defs.get_schema(node.op_type, model.opset).min_input)
    given = next((place for place, name in enumerate(node.input) if not name), len(node.input))
    if given < fewest or not any(node.output):
        raise InputError(
            f"{model.path}: node {node.name or ' '.join(node.output)!r} ({node.op_type}) is incomplete",
            expected=f"{fewest} inputs and an output",
            received=f"{given} and {len(node.output)}",
            then="The file is broken; export the model again.",
        )


def _with_inner_weights(model: Model) -> list[onnx.NodeProto]:
    """The nodes of the model, those that hold graphs (If, Loop, Scan) with the weights that were left out of these.

    The branches of one If may give different weights the same name, so each such node is taken from the file as it is.
    """
    nodes = list(model.proto.graph.node)
    lacking = [node for node in nodes if any(_lacks_values(tensor) for tensor in _inner_tensors(node))]
    if not lacking:
        return nodes
    whole = onnx.load(str(model.path))
    stored = {tuple(node.output): node for node in whole.graph.node}
    for node in lacking:
        if whole.functions or tuple(node.output) not in stored:
            raise InputError(
                f"node {node.name or node.output[0]!r} ({node.op_type}) of {model.path} holds weights of its own",
                expected="a model without local functions, or weights outside of If, Loop and Scan",
                then="Export it without functions, or simplify it first.",
            )
    taken = {id(node) for node in lacking}
    return [stored[tuple(node.output)] if id(node) in taken else node for node in nodes]


def _inner_tensors(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    """The weights inside the graphs that a node holds."""
    for graph in (attribute.g for attribute in node.attribute if attribute.HasField("g")):
        yield from graph.initializer
        for inner in graph.node:
            yield from (attribute.t for attribute in inner.attribute if attribute.HasField("t"))
            yield from _inner_tensors(inner)


def _lacks_values(tensor: onnx.TensorProto) -> bool:
    fields = {field.name for field, _ in tensor.ListFields()}
    return bool(np.prod(tensor.dims)) and not any(name.endswith("_data") for name in fields)


def _declare(base: onnx.ModelProto, types: dict[str, TensorType], weights: dict[str, Array]) -> None:
    """Write the fixed shapes of the outputs, and take weights off the list of inputs."""
    kept = [value for value in base.graph.input if value.name not in weights]
    del base.graph.input[:]
    base.graph.input.extend(kept)
    for value in base.graph.output:
        known = types.get(value.name)
        if known is not None and known.shape is not None and None not in known.shape:
            shape = value.type.tensor_type.shape
            del shape.dim[:]
            for dim in known.shape:
                shape.dim.add().dim_value = int(dim or 0)


def _fold_weights(
    nodes: list[onnx.NodeProto], weights: dict[str, Array], folded: list[str], opset: int
) -> list[onnx.NodeProto]:
    """Compute what depends on weights alone."""
    kept = []
    for node in nodes:
        known = all(name in weights for name in node.input if name) and any(node.input)
        if not known or node.op_type in _KEPT | _RANDOM or not _fold(node, weights, opset):
            kept.append(node)
        else:
            folded.append(node.name or node.output[0])
    return kept


def evaluate(node: onnx.NodeProto, feeds: Mapping[str, Array], opset: int) -> list[Array] | None:
    """The outputs of one node, computed by ONNX's reference implementation; None where it cannot."""
    from onnx.reference import ReferenceEvaluator  # slow to import

    inputs = [onnx.helper.make_empty_tensor_value_info(name) for name in dict.fromkeys(node.input) if name]
    outputs = [onnx.helper.make_empty_tensor_value_info(name) for name in node.output if name]
    graph = onnx.helper.make_graph([node], "one", inputs, outputs)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    try:
        results = ReferenceEvaluator(model).run(None, dict(feeds))
    except Exception:  # the evaluator raises whatever numpy does
        return None
    if any(not isinstance(value, np.ndarray) and not np.isscalar(value) for value in results):
        return None
    return [np.asarray(value) for value in results]


def _fold(node: onnx.NodeProto, weights: dict[str, Array], opset: int) -> bool:
    feeds = {name: weights[name] for name in node.input if name}
    if sum(value.size for value in feeds.values()) > _LARGEST_FOLD:
        return False
    results = evaluate(node, feeds, opset)
    if results is None:
        return False
    weights.update(zip([name for name in node.output if name], results, strict=False))
    return True


def _without_copies(draft: Draft) -> tuple[Draft, tuple[str, ...]]:
    """Drop Identity, Dropout at inference and Concat of one tensor: the reader takes the original."""
    if any(any(outer_names(node)) for node in draft.nodes):
        return draft, ()
    names: dict[str, str] = {}
    kept, dropped = [], []
    for node in draft.nodes:
        if not _copies(node, draft):
            kept.append(node)
            continue
        source = names.get(node.input[0], node.input[0])
        target = node.output[0]
        if target in draft.outputs:
            if source in draft.inputs or source in draft.outputs or source in draft.weights:
                kept.append(node)
                continue
            names = {name: target if known == source else known for name, known in names.items()} | {source: target}
        else:
            names[target] = source
        dropped.append(node.name or target)
    if not names:
        return draft, ()
    resolved = {name: _last(name, names) for name in names}
    nodes = []
    for node in kept:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = [resolved.get(name, name) for name in node.input]
        copy.output[:] = [resolved.get(name, name) for name in node.output]
        nodes.append(copy)
    return replace(draft, nodes=tuple(nodes)), tuple(dropped)


def _last(name: str, names: dict[str, str]) -> str:
    seen = set()
    while name in names and name not in seen:
        seen.add(name)
        name = names[name]
    return name


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
