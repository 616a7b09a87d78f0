"""The shape, the type and, where it is known before run time, the value of each tensor.

ONNX's own shape inference does the operators; between its rounds this module folds shape arithmetic (fold.py) and feeds
the results back as initializers, until nothing changes. What stays unknown is None.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dlaflow.fixed_shape import FixedShape
from dlaflow.graph.bounds import check_elements
from dlaflow.graph.fold import MAX_ELEMENTS, fold
from dlaflow.graph.inference import infer_shapes
from dlaflow.graph.inline import all_nodes
from dlaflow.graph.inputs import fix_inputs, open_inputs
from dlaflow.graph.layer import Dims
from dlaflow.graph.load import Model
from dlaflow.graph.ranks import open_shape
from dlaflow.graph.verify import DEFAULT_DOMAINS

if TYPE_CHECKING:
    import numpy as np
    import onnx

_ROUNDS = 12


@dataclass(frozen=True)
class TensorType:
    """`shape` is None when the rank is unknown; `dtype` is ONNX's lower-case name, '' when unknown."""

    shape: Dims | None
    dtype: str


UNKNOWN = TensorType(None, "")


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


def infer(model: Model, batch: int | None, fixed: Sequence[FixedShape] = ()) -> Shapes:
    """Infer all shapes with `fixed` put in, and `batch` in place of each input's open first dimension.

    `batch` None leaves all open that the model leaves open. Raises InputError when the shapes of the model contradict
    each other so that nothing can be inferred, and for tensors that no board could hold; UsageError when one of `fixed`
    does not fit the model.
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
    types, values, only_declared = _rounds(scratch, model, declared)
    for name, known in types.items():
        check_elements(known.shape or (), name, model.path)
    dynamic = tuple(name for name in inputs if None in (types.get(name, UNKNOWN).shape or ()))
    return Shapes(types, values, inputs, dynamic, was_open, only_declared)


def _rounds(
    scratch: onnx.ModelProto, model: Model, declared: Mapping[str, TensorType]
) -> tuple[dict[str, TensorType], dict[str, np.ndarray], frozenset[str]]:
    from onnx import numpy_helper

    values = _small_constants(model)
    types: dict[str, TensorType] = {}
    only_declared: set[str] = set()
    for _ in range(_ROUNDS):
        inferred = infer_shapes(scratch, values, model.path)
        before = len(types), sum(None in (known.shape or (None,)) for known in types.values())
        types = _collect(inferred, declared, only_declared)
        fresh = fold(scratch.graph.node, types, values, model.opset)
        for name, value in fresh.items():
            values[name] = value
            types[name] = TensorType(tuple(value.shape), dtype_name(value))
        now = len(types), sum(None in (known.shape or (None,)) for known in types.values())
        if not fresh and now == before:
            break
        if not _open(types, scratch):
            break
        kept = [node for node in scratch.graph.node if not (node.output and all(o in fresh for o in node.output if o))]
        for name, value in fresh.items():
            if value.size <= MAX_ELEMENTS:
                scratch.graph.initializer.append(numpy_helper.from_array(value, name))
        _replace_nodes(scratch.graph, kept, fresh)
        _remember(scratch.graph, types)
    return types, values, frozenset(only_declared)


def _open(types: Mapping[str, TensorType], scratch: onnx.ModelProto) -> bool:
    """Whether any node's output still has an unknown shape, so that another round could help."""
    for node in scratch.graph.node:
        for name in node.output:
            if name and None in (types.get(name, UNKNOWN).shape or (None,)) and types.get(name, UNKNOWN).shape != ():
                return True
    return False


def _replace_nodes(graph: onnx.GraphProto, kept: list[onnx.NodeProto], fresh: Mapping[str, np.ndarray]) -> None:
    if len(kept) == len(graph.node):
        return
    copies = [type(node).FromString(node.SerializeToString()) for node in kept]
    del graph.node[:]
    graph.node.extend(copies)
    outputs = [value for value in graph.output if value.name not in fresh]
    if len(outputs) != len(graph.output):
        copied = [type(value).FromString(value.SerializeToString()) for value in outputs]
        del graph.output[:]
        graph.output.extend(copied)


def _remember(graph: onnx.GraphProto, types: Mapping[str, TensorType]) -> None:
    """Give inference what earlier rounds found, so that operators that it does not know do not stop it."""
    from onnx import helper

    del graph.value_info[:]
    outputs = {value.name for value in graph.output}
    for node in graph.node:
        for name in node.output:
            known = types.get(name)
            if name not in outputs and known is not None and known.shape is not None and known.dtype:
                graph.value_info.append(helper.make_tensor_value_info(name, _elem(known.dtype), list(known.shape)))


def _small_constants(model: Model) -> dict[str, np.ndarray]:
    values: dict[str, np.ndarray] = {}
    for name, tensor in model.tensors.items():
        count = 1
        for size in tensor.dims:
            count *= size
        if count <= MAX_ELEMENTS and name not in model.spans and tensor.data_type != 8:
            external = tensor.data_location == 1
            if not external or tensor.data_type in (6, 7):
                values[name] = model.initializer(name)
    return values


def _collect(
    inferred: onnx.ModelProto, declared: Mapping[str, TensorType], only_declared: set[str]
) -> dict[str, TensorType]:
    graph = inferred.graph
    types = {tensor.name: TensorType(tuple(tensor.dims), elem_name(tensor.data_type)) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        if value.name not in types:
            types[value.name] = read_type(value.type)
    for node in graph.node:
        _own_rule(node, types)
    for name, known in declared.items():
        have = types.get(name, UNKNOWN)
        if have.shape is None and known.shape is not None:
            only_declared.add(name)
        types[name] = _merge(have, known)
    for node in graph.node:
        if node.op_type == "Constant" and node.output and node.output[0] not in types:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    tensor = attribute.t
                    types[node.output[0]] = TensorType(tuple(tensor.dims), elem_name(tensor.data_type))
    return types


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
    if node.output and have.shape is None and (shape := open_shape(node, types)) is not None:
        types[node.output[0]] = TensorType(shape, have.dtype)
    for attribute in node.attribute:
        if attribute.HasField("g"):
            for value in (*attribute.g.input, *attribute.g.value_info, *attribute.g.output):
                types.setdefault(value.name, read_type(value.type))


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
    found = {value.name: _Declared(_symbolic(value.type), read_type(value.type).dtype) for value in graph.value_info}
    for value in graph.output:
        found[value.name] = _Declared(_symbolic(value.type), read_type(value.type).dtype)
    del graph.value_info[:]
    for value in graph.output:
        value.ClearField("type")
    return found


def _symbolic(type_proto: onnx.TypeProto) -> tuple[int | str | None, ...] | None:
    tensor = type_proto.tensor_type
    if not tensor.HasField("shape"):
        return None
    dims: list[int | str | None] = []
    for dim in tensor.shape.dim:
        which = dim.WhichOneof("value")
        if which == "dim_value" and dim.dim_value >= 0:
            dims.append(dim.dim_value)
        else:
            dims.append(dim.dim_param if which == "dim_param" and dim.dim_param else None)
    return tuple(dims)


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


def read_type(type_proto: onnx.TypeProto) -> TensorType:
    """A TypeProto as a record; symbolic dimensions become None."""
    tensor = type_proto.tensor_type
    dims = _symbolic(type_proto)
    shape = None if dims is None else tuple(dim if isinstance(dim, int) else None for dim in dims)
    return TensorType(shape, elem_name(tensor.elem_type))


def elem_name(elem_type: int) -> str:
    """ONNX's lower-case name of an element type, '' for undefined."""
    from onnx import TensorProto

    if elem_type == 0:
        return ""
    try:
        name = str(TensorProto.DataType.Name(elem_type)).lower()
    except ValueError:
        return ""
    return "float32" if name == "float" else "float64" if name == "double" else name


def _elem(dtype: str) -> int:
    from onnx import TensorProto

    name = {"float32": "FLOAT", "float64": "DOUBLE"}.get(dtype, dtype.upper())
    return int(TensorProto.DataType.Value(name))


def dtype_name(array: np.ndarray) -> str:
    """ONNX's lower-case name of an array's element type."""
    return str(array.dtype)
