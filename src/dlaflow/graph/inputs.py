"""The sizes of a model's inputs: which are open, and how given shapes and the batch are put in, in this one place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dlaflow.errors import UsageError, unknown_name
from dlaflow.fixed_shape import FixedShape, OpenDims, as_text, suggested

if TYPE_CHECKING:
    import onnx


def fed_inputs(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """The inputs that are fed, without initializers that older files list as inputs too."""
    stored = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in stored]


def dims_of(value: onnx.ValueInfoProto) -> OpenDims | None:
    """The declared dimensions of an input, None where they are open; None when even the rank is not declared."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return tuple(None if _is_open(dim) else int(dim.dim_value) for dim in tensor.shape.dim)


def symbol_of(dim: onnx.TensorShapeProto.Dimension) -> str:
    """The name that a dimension shares with its equals, "" without one. Paddle's exporter calls all of them `?`."""
    name = str(dim.dim_param)
    return name if any(character.isalnum() for character in name) else ""


def open_inputs(graph: onnx.GraphProto) -> dict[str, OpenDims]:
    """The inputs with open dimensions, the batch among them."""
    found = {value.name: dims_of(value) for value in fed_inputs(graph)}
    return {name: dims for name, dims in found.items() if dims is not None and None in dims}


def batch_of(graph: onnx.GraphProto, batch: int | None, shapes: Sequence[FixedShape] = ()) -> int:
    """What an open first dimension becomes: `batch`, else that of the first of `shapes`, else 1 as with trtexec.

    Raises UsageError when both are there and differ, and where no input can have `batch`.
    """
    given = [(name, dims) for name, dims in _given(graph, shapes).items() if dims]
    if batch is None:
        return given[0][1][0] if given else 1
    for name, dims in given:
        if dims[0] != batch:
            raise UsageError(
                "--shape and --batch contradict each other",
                expected=f"--shape {name}:{as_text((batch, *dims[1:]))}",
                received=as_text(dims),
                then="Leave --batch out: the shape holds the batch.",
            )
    inputs = [dims_of(value) for value in fed_inputs(graph)]
    firsts = [dims[0] if dims else None for dims in inputs if dims != ()]
    if firsts and None not in firsts and batch not in firsts:
        raise UsageError(
            f"the model's batch is fixed to {firsts[0]}",
            expected=f"--batch {firsts[0]} or none",
            received=batch,
            then="Export it with an open batch, or with the one you want.",
        )
    return batch


def fix_inputs(graph: onnx.GraphProto, batch: int, shapes: Sequence[FixedShape] = ()) -> dict[str, int]:
    """Write `shapes` into the inputs, and `batch` into each first dimension that is still open.

    An input that shares a symbol with one of them takes its size too. Returns what each symbol stands for.
    Raises UsageError for a shape that does not fit the model.
    """
    given, symbols = _given(graph, shapes), dict[str, int]()
    inputs = fed_inputs(graph)
    for value in inputs:
        if value.name in given:
            _write(value, given[value.name], symbols)
    for value in inputs:
        dims = value.type.tensor_type.shape.dim
        if dims and _is_open(dims[0]) and symbol_of(dims[0]) not in symbols:
            if symbol_of(dims[0]):
                symbols[symbol_of(dims[0])] = batch
            dims[0].dim_value = batch
    for value in inputs:
        for dim in value.type.tensor_type.shape.dim:
            if symbol_of(dim) in symbols:
                dim.dim_value = symbols[symbol_of(dim)]
            elif dim.HasField("dim_value") and dim.dim_value <= 0:
                dim.ClearField("dim_value")
    return symbols


def behind_batch(graph: onnx.GraphProto, dims: tuple[int, ...], batch: int | None) -> FixedShape:
    """The shape of the first input from the dimensions behind the batch, such as (3, 224, 224).

    Raises UsageError for a model without inputs.
    """
    inputs = fed_inputs(graph)
    if not inputs:
        raise UsageError("the model has no input that a shape could be for", received=as_text(dims))
    known = dims_of(inputs[0])
    return FixedShape(inputs[0].name, ((known[0] if known else None) or batch or 1, *dims))


def _is_open(dim: onnx.TensorShapeProto.Dimension) -> bool:
    return not (dim.HasField("dim_value") and dim.dim_value > 0)


def _given(graph: onnx.GraphProto, shapes: Sequence[FixedShape]) -> dict[str, tuple[int, ...]]:
    """The shapes by the names of the inputs, in the model's order. Raises UsageError for one that does not fit."""
    fed = {value.name: value for value in fed_inputs(graph)} if shapes else {}
    found: dict[str, tuple[int, ...]] = {}
    for shape in shapes:
        name = shape.name or _only(fed, shape)
        if name not in fed:
            raise unknown_name("input", name, fed)
        if name in found:
            raise UsageError(f"{name} has two shapes", expected="one --shape an input", received=as_text(shape.dims))
        _refuse_misfit(fed[name], shape.dims)
        found[name] = shape.dims
    return {name: found[name] for name in fed if name in found}


def _only(fed: dict[str, onnx.ValueInfoProto], shape: FixedShape) -> str:
    if len(fed) == 1:
        return next(iter(fed))
    raise UsageError(
        f"the model has {len(fed)} inputs, so a shape needs a name",
        expected=f"NAME:{shape}, NAME one of {', '.join(fed)}",
        received=str(shape),
    )


def _refuse_misfit(value: onnx.ValueInfoProto, requested: tuple[int, ...]) -> None:
    if value.type.WhichOneof("value") not in ("tensor_type", None):
        raise UsageError(f"input {value.name} is no tensor and has no shape", received=as_text(requested))
    dims = dims_of(value)
    if dims is None:
        return
    if len(requested) != len(dims):
        raise UsageError(
            f"the shape of {value.name} has {len(requested)} dimensions",
            expected=f"{len(dims)}, {as_text(dims)}",
            received=as_text(requested),
            then=f"Name all of them, the batch too: --shape {suggested(value.name, dims)}." if dims else None,
        )
    for place, (size, got) in enumerate(zip(dims, requested, strict=True)):
        if size not in (None, got):
            raise UsageError(
                f"the model fixes dimension {place} of {value.name}",
                expected=as_text(dims),
                received=as_text(requested),
            )


def _write(value: onnx.ValueInfoProto, requested: tuple[int, ...], symbols: dict[str, int]) -> None:
    shape = value.type.tensor_type.shape
    if not value.type.tensor_type.HasField("shape"):
        for _ in requested:
            shape.dim.add()
    for dim, size in zip(shape.dim, requested, strict=True):
        if symbol_of(dim) and symbols.setdefault(symbol_of(dim), size) != size:
            raise UsageError(
                f"the model gives two dimensions one name, {dim.dim_param!r}, so they must be equal",
                expected=symbols[dim.dim_param],
                received=f"{size} in {value.name}:{as_text(requested)}",
            )
        dim.dim_value = size
