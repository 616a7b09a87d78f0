"""The shapes to build for, from the model's inputs and the wishes: a fixed input needs none, an open one needs all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dlaflow.build.config import InputShape, ShapeRange
from dlaflow.errors import InputError, UsageError
from dlaflow.graph.load import load_model


def shapes_for(model: Path, batch: int | None, given: Sequence[str] = ()) -> tuple[InputShape, ...]:
    """One fixed shape for every input with open dimensions; `given` are wishes such as `input:8x3x224x224`.

    An open batch becomes `batch` (1 when None). TensorRT takes no shapes for a model whose inputs are all fixed, so
    none are returned then. Raises InputError when the model cannot be read or has another batch, UsageError for a wish
    that names no input or for dimensions that stay open.
    """
    wishes = dict(map(_parse, given))
    proto = load_model(model).proto
    stored = {tensor.name for tensor in proto.graph.initializer}
    inputs = {value.name: _dims(value.type.tensor_type.shape.dim) for value in proto.graph.input}
    fed = {name: dims for name, dims in inputs.items() if name not in stored}
    strangers = sorted(set(wishes) - set(fed))
    if strangers:
        raise UsageError("the model has no such input", expected=f"one of {', '.join(fed)}", received=strangers[0])
    shapes = [InputShape(name, ShapeRange.fixed(_closed(name, dims, batch, wishes))) for name, dims in fed.items()]
    return tuple(shapes) if any(None in dims for dims in fed.values()) else ()


def _closed(
    name: str, dims: tuple[int | None, ...], batch: int | None, wishes: dict[str, tuple[int, ...]]
) -> tuple[int, ...]:
    if name in wishes:
        wish = wishes[name]
        if len(wish) != len(dims) or any(size not in (None, got) for size, got in zip(dims, wish, strict=True)):
            raise UsageError(f"the shape of {name} does not fit the model", expected=_text(dims), received=_text(wish))
        return wish
    first = dims[0] if dims else 1
    if batch is not None and first not in (None, batch):
        raise InputError(
            f"the model's batch is fixed to {first}",
            expected=f"--batch {first} or none",
            received=batch,
            then="Export it with an open batch, or with the one you want.",
        )
    rest = dims[1:]
    if any(size is None for size in rest):
        raise UsageError(
            f"input {name} leaves more than the batch open: {_text(dims)}",
            expected=f"--shape {name}:AxBxC...",
            received="none",
        )
    return (first or batch or 1, *(size or 0 for size in rest))


def _parse(text: str) -> tuple[str, tuple[int, ...]]:
    # The last colon: names of TensorFlow tensors hold colons themselves.
    name, _, sizes = text.rpartition(":")
    parts = sizes.lower().split("x")
    if not name or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UsageError("cannot read a shape", expected="NAME:AxBxC", received=repr(text))
    return name, tuple(map(int, parts))


def _dims(dims: Sequence[object]) -> tuple[int | None, ...]:
    return tuple(int(getattr(dim, "dim_value", 0)) or None for dim in dims)


def _text(dims: Sequence[int | None]) -> str:
    return "x".join("?" if size is None else str(size) for size in dims)
