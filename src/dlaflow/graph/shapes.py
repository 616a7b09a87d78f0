"""The shape, the type and, where it is known before run time, the value of each tensor.

ONNX's own shape inference does the operators; between its rounds this module folds shape arithmetic (fold.py) and feeds
the results back as initializers, until nothing changes. What stays unknown is None.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from dlaflow.fixed_shape import FixedShape
from dlaflow.graph.bounds import check_elements
from dlaflow.graph.fold import MAX_ELEMENTS, fold
from dlaflow.graph.inference import infer_shapes
from dlaflow.graph.inline import all_nodes
from dlaflow.graph.inputs import fix_inputs, open_inputs
from dlaflow.graph.layer import Dims, elements
from dlaflow.graph.load import Model
from dlaflow.graph.tensor_type import UNKNOWN, TensorType, elem_of, read_type, stored_type, symbolic
from dlaflow.graph.verify import DEFAULT_DOMAINS, outer_names, replace_nodes

if TYPE_CHECKING:
    import numpy as np
    import onnx

_ROUNDS = 200
ANY_RANK = 8
"""TensorRT's own limit of dimensions."""


@dataclass(frozen=True)
class Shapes:
    """What is known of the tensors: types by name, values of constants and of folded arithmetic.

    `dynamic_inputs` still have open dimensions; `was_open` tells that the model leaves more open than these.
    """

    types: Mapping[str, TensorType]
    values: Mapping[str, np.ndarray]
    inputs: tuple[str, ...]
    dynamic_inputs: tuple[str, ...]
    was_open: bool = False
    only_declared: frozenset[str] = frozenset()

    def type_of(self, name: str) -> TensorType:
        """The type of a tensor; UNKNOWN for a name that inference said nothing of."""
        return self.types.get(name, UNKNOWN)


def infer(model: Model, batch: int | None, fixed: Sequence[FixedShape] = (), deepest: int = ANY_RANK) -> Shapes:
    """Infer all shapes with `fixed` put in, and `batch` in place of each input's open first dimension.

    `batch` None leaves open what the model leaves open; `deepest` leaves open what a value of more dimensions would be
    needed for. Raises InputError when the shapes of the model contradict each other so that nothing can be inferred,
    and for tensors that no board could hold; UsageError when one of `fixed` does not fit the model.
    """
    import onnx

    scratch = onnx.ModelProto()
    scratch.CopyFrom(model.proto)
    written = _declared(scratch.graph)
    before = open_inputs(scratch.graph)
    symbols = {} if batch is None else fix_inputs(scratch.graph, batch, fixed)
    was_open = open_inputs(scratch.graph) != before
    declared = {name: _with_symbols(value, symbols) for name, value in written.items()}
    _normalise_domains(scratch)
    names = {tensor.name for tensor in scratch.graph.initializer}
    inputs = tuple(value.name for value in scratch.graph.input if value.name not in names)
    rounds = _Rounds(scratch, model, declared, deepest)
    types, values, only_declared = rounds.types, rounds.values, frozenset(rounds.only_declared)
    for name, known in types.items():
        check_elements(known.shape or (), name, model.path)
    dynamic = tuple(name for name in inputs if None in (types.get(name, UNKNOWN).shape or ()))
    return Shapes(types, values, inputs, dynamic, was_open, only_declared)


class _Rounds:
    """Inference and folding in turn, until neither finds anything new."""

    def __init__(
        self, scratch: onnx.ModelProto, model: Model, declared: Mapping[str, TensorType], deepest: int
    ) -> None:
        self.scratch = scratch
        self.model = model
        self.declared = declared
        self.deepest = deepest
        constants = _small_constants(model)
        self.values = {name: value for name, value in constants.items() if value.ndim <= self.deepest}
        self.types: dict[str, TensorType] = {}
        self.only_declared: set[str] = set()
        self._outer = _outer_names(model.proto.graph)
        if model.types and not self._starts_from(model.types):
            return
        for _ in range(_ROUNDS):
            if not self._round():
                break

    def _starts_from(self, types: Mapping[str, TensorType]) -> bool:
        """Take types that are known already as the first round; whether another one could find more."""
        graph = self.scratch.graph
        self.types.update(types)
        self.types |= {tensor.name: stored_type(tensor) for tensor in graph.initializer}
        self._fold()
        return self._shrink()

    def _round(self) -> bool:
        """One turn; whether another one could find more."""
        before = self._known()
        self._take_in(infer_shapes(self.scratch, self.values, self.model.path).graph)
        if not self._fold() and self._known() == before:
            return False
        return self._shrink()

    def _fold(self) -> bool:
        """Compute the values that follow from those that are known; whether there are any."""
        fresh = fold(self.scratch.graph.node, self.types, self.values, self.model.opset, self.deepest)
        self.values |= fresh
        self.types |= {name: TensorType(tuple(value.shape), str(value.dtype)) for name, value in fresh.items()}
        return bool(fresh)

    def _take_in(self, graph: onnx.GraphProto) -> None:
        """What inference says, earlier rounds where it says less, then what the exporter wrote down."""
        types = self.types
        stored = {tensor.name: tensor for tensor in graph.initializer}
        types |= {name: stored_type(tensor) for name, tensor in stored.items()}
        for value in (*graph.input, *graph.value_info, *graph.output):
            if value.name not in stored:
                types[value.name] = _merge(read_type(value.type), types.get(value.name, UNKNOWN))
        for node in graph.node:
            _own_rule(node, types)
            _inner_types(node, types, self._outer)
        for name, known in self.declared.items():
            have = types.get(name, UNKNOWN)
            if have.shape is None and known.shape is not None:
                self.only_declared.add(name)
            # to the parser a size that it cannot compute is open, whatever the exporter noted
            if have.shape is None or self.deepest == ANY_RANK:
                types[name] = _merge(have, known)
        for node in graph.node:
            if node.op_type == "Constant" and node.output and node.output[0] not in types:
                for attribute in node.attribute:
                    if attribute.HasField("t"):
                        types[node.output[0]] = stored_type(attribute.t)

    def _known(self) -> tuple[int, int]:
        return len(self.types), sum(None in (known.shape or (None,)) for known in self.types.values())

    def _shrink(self) -> bool:
        """Leave in the graph only what is still open, so that a further round costs little; whether anything is."""
        from onnx import numpy_helper

        graph = self.scratch.graph
        kept = [node for node in graph.node if not self._is_wholly_known(node)]
        if not kept:
            return False
        stored = {tensor.name for tensor in graph.initializer}
        made = {name for node in kept for name in node.output}
        for name in dict.fromkeys(name for node in kept for name in _taken(node)):
            if name in self.values and name not in stored and name not in made:
                graph.initializer.append(numpy_helper.from_array(self.values[name], name))
        _keep(graph, kept)
        _remember(graph, self.types)
        return True

    def _is_wholly_known(self, node: onnx.NodeProto) -> bool:
        """Whether nothing more can be learnt of a node: all its outputs are known, and so is each small value."""
        return all(not name or self._is_complete(name) for name in node.output)

    def _is_complete(self, name: str) -> bool:
        known = self.types.get(name, UNKNOWN)
        if known.shape is None or None in known.shape or not known.dtype:
            return False
        if name in self.values or len(known.shape) > self.deepest:
            return True
        # sizes and what they are computed from: numbers that a later round may find
        integers = known.dtype.startswith(("int", "uint", "bool"))
        return elements(known.shape) > MAX_ELEMENTS or not (integers or len(known.shape) <= 1)


def _taken(node: onnx.NodeProto) -> Iterator[str]:
    """What a node takes in, its subgraphs included."""
    yield from node.input
    yield from outer_names(node)


def _keep(graph: onnx.GraphProto, kept: list[onnx.NodeProto]) -> None:
    """Keep these nodes, and the outputs that they make."""
    if len(kept) == len(graph.node):
        return
    replace_nodes(graph, kept)
    made = {name for node in kept for name in node.output}
    outputs = [value for value in graph.output if value.name in made]
    del graph.output[:]
    graph.output.extend(outputs)


def _remember(graph: onnx.GraphProto, types: Mapping[str, TensorType]) -> None:
    """Give inference what earlier rounds found, so that operators that it does not know do not stop it."""
    from onnx import helper

    stored = {tensor.name for tensor in graph.initializer} | {value.name for value in (*graph.output, *graph.input)}
    del graph.value_info[:]
    for name in dict.fromkeys(name for node in graph.node for name in (*_taken(node), *node.output)):
        known = types.get(name)
        if name and name not in stored and known is not None and known.shape is not None and known.dtype:
            graph.value_info.append(helper.make_tensor_value_info(name, elem_of(known.dtype), list(known.shape)))


_TAKES_SIZES = frozenset(
    {"Pad", "Reshape", "Expand", "Slice", "Tile", "Resize", "Upsample", "ConstantOfShape", "Split", "Range"}
)


def sizes_from_matrices(model: Model, values: Mapping[str, np.ndarray]) -> bool:
    """Whether a node takes sizes that were computed by way of a matrix, as torch's exporter does for Pad."""
    deep: set[str] = set()
    for node in model.proto.graph.node:
        if any(name in deep or (name in values and values[name].ndim > 1) for name in node.input):
            if node.op_type in _TAKES_SIZES and any(name in deep for name in node.input[node.op_type != "Range" :]):
                return True
            deep.update(name for name in node.output if name in values)
    return False


def _small_constants(model: Model) -> dict[str, np.ndarray]:
    values: dict[str, np.ndarray] = {}
    for name, tensor in model.tensors.items():
        small = prod(tensor.dims) <= MAX_ELEMENTS and name not in model.spans
        beside = tensor.data_location == 1 and tensor.data_type not in (6, 7)
        if small and tensor.data_type != 8 and not beside:
            values[name] = model.initializer(name)
    return values


_SAME_AS_INPUT = frozenset(
    {"GroupNormalization", "MeanVarianceNormalization", "InstanceNormalization", "LayerNormalization", "Gelu", "Swish"}
    | {"FastGelu", "QuickGelu", "BiasGelu", "Mish", "HardSwish", "Silu", "ScaledTanh", "ParametricSoftplus"}
)


def _own_rule(node: onnx.NodeProto, types: dict[str, TensorType]) -> None:
    """Operators that ONNX's inference leaves open although an input tells the output's shape, or at least its rank."""
    if node.op_type in _SAME_AS_INPUT and node.input and node.output:
        have, source = types.get(node.output[0], UNKNOWN), types.get(node.input[0], UNKNOWN)
        if have.shape is None and source.shape is not None:
            types[node.output[0]] = TensorType(source.shape, have.dtype or source.dtype)
    have = types.get(node.output[0], UNKNOWN) if node.output else UNKNOWN
    if node.output and have.shape is None and (shape := _open_shape(node, types)) is not None:
        types[node.output[0]] = TensorType(shape, have.dtype)


_LIST_AT = {"Reshape": 1, "Expand": 1, "ConstantOfShape": 0}
"""Which input lists the sizes of the output."""
_HIGHEST_RANK = 64


def _open_shape(node: onnx.NodeProto, types: Mapping[str, TensorType]) -> Dims | None:
    """The output of a node that takes a list of sizes, all dimensions open; None when the list's length is open too.

    ONNX's inference leaves the rank open where it cannot follow the values, in older opsets most of all.
    """
    if node.op_type == "GridSample":
        return _sampled(node, types)
    at = _LIST_AT.get(node.op_type)
    if at is None or len(node.input) <= at or node.input[at] not in types:
        return None
    listed = types[node.input[at]].shape
    if listed is None or len(listed) != 1 or listed[0] is None or listed[0] > _HIGHEST_RANK:
        return None
    rank = listed[0]
    if node.op_type == "Expand":
        data = types[node.input[0]].shape if node.input[0] in types else None
        if data is None:
            return None
        rank = max(rank, len(data))
    return (None,) * rank


def _sampled(node: onnx.NodeProto, types: Mapping[str, TensorType]) -> Dims | None:
    """Batch and channels of the data, places of the grid: opsets before 16 have the operator in another domain only."""
    shapes = [types[name].shape for name in node.input[:2] if name in types]
    if len(shapes) < 2 or shapes[0] is None or shapes[1] is None:
        return None
    return (*shapes[0][:2], *shapes[1][1:-1])


def _outer_names(graph: onnx.GraphProto) -> frozenset[str]:
    """The tensors of a graph, without those of its subgraphs."""
    names = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    return frozenset(names.union(*(node.output for node in graph.node)))


def _inner_types(node: onnx.NodeProto, types: dict[str, TensorType], outer: frozenset[str]) -> None:
    """What subgraphs say of their own tensors; a name that the graph around them has too keeps its type there."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            for value in (*attribute.g.input, *attribute.g.value_info, *attribute.g.output):
                if value.name not in outer:
                    types[value.name] = _merge(read_type(value.type), types.get(value.name, UNKNOWN))
            for inner in attribute.g.node:
                _inner_types(inner, types, outer)


def _merge(have: TensorType, known: TensorType) -> TensorType:
    """What inference found, with gaps filled from what the exporter declared."""
    dtype = have.dtype or known.dtype
    if have.shape is None:
        return TensorType(known.shape, dtype)
    if known.shape is None or len(known.shape) != len(have.shape):
        return TensorType(have.shape, dtype)
    pairs = zip(have.shape, known.shape, strict=True)
    return TensorType(tuple(mine if mine is not None else other for mine, other in pairs), dtype)


@dataclass(frozen=True)
class _Declared:
    dims: tuple[int | str | None, ...] | None
    dtype: str


def _declared(graph: onnx.GraphProto) -> dict[str, _Declared]:
    """What the exporter wrote down: used only where inference finds nothing."""
    values = (*graph.value_info, *graph.output)
    found = {value.name: _Declared(symbolic(value.type), read_type(value.type).dtype) for value in values}
    del graph.value_info[:]
    for value in graph.output:
        value.ClearField("type")
    return found


def _with_symbols(declared: _Declared, symbols: Mapping[str, int]) -> TensorType:
    if declared.dims is None:
        return TensorType(None, declared.dtype)
    dims = tuple(symbols.get(dim) if isinstance(dim, str) else dim for dim in declared.dims)
    return TensorType(dims, declared.dtype)


_CONTRIB_AS_STANDARD = frozenset({"DequantizeLinear", "QuantizeLinear", "Gelu", "Einsum", "GridSample"})


def _normalise_domains(scratch: onnx.ModelProto) -> None:
    """TensorRT's parser looks at the operator's name and not at its domain; so does inference here."""
    imported = {entry.domain for entry in scratch.opset_import}
    for node, _ in all_nodes(scratch.graph.node):
        if node.domain and node.op_type in _CONTRIB_AS_STANDARD:
            node.domain = ""
        if node.domain not in imported and node.domain not in DEFAULT_DOMAINS:
            scratch.opset_import.add(domain=node.domain, version=1)
            imported.add(node.domain)
