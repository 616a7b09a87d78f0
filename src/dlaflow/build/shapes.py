"""The shapes to build for, from its inputs and what was asked: a fixed input needs none, an open one needs all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dlaflow.build.config import InputShape, ShapeRange
from dlaflow.errors import InputError, UsageError
from dlaflow.fixed_shape import FixedShape, suggested, told_open
from dlaflow.graph.inputs import batch_of, dims_of, fed_inputs, fix_inputs, open_inputs
from dlaflow.graph.load import load_model


def shapes_for(model: Path, batch: int | None, given: Sequence[FixedShape] = ()) -> tuple[InputShape, ...]:
    """One fixed shape (minimum = optimum = maximum) for every input, where any of them has open dimensions.

    An open batch becomes `batch` (that of `given`, 1 when neither tells one). TensorRT takes no shapes for a model
    whose inputs are all fixed, so none are returned then. Raises InputError when the model cannot be read or has
    another batch, UsageError for a shape that does not fit the model or for dimensions that stay open.
    """
    graph = load_model(model).proto.graph
    was_open = open_inputs(graph)
    wanted = batch_of(graph, batch, given)
    _refuse_other_batch(batch, {value.name: dims_of(value) or () for value in fed_inputs(graph)})
    fix_inputs(graph, wanted, given)
    for name, dims in open_inputs(graph).items():
        raise UsageError(
            f"input {told_open(name, dims)}",
            expected=f"one size, such as --shape {suggested(name, dims)}",
            then="The DLA takes one shape: it becomes minimum, optimum and maximum of the build.",
        )
    fixed = [(value.name, dims_of(value)) for value in fed_inputs(graph)] if was_open else []
    return tuple(InputShape(name, ShapeRange.fixed(_whole(dims))) for name, dims in fixed if dims is not None)


def _refuse_other_batch(batch: int | None, inputs: dict[str, tuple[int | None, ...]]) -> None:
    for dims in inputs.values():
        if batch is not None and dims and dims[0] not in (None, batch):
            raise InputError(
                f"the model's batch is fixed to {dims[0]}",
                expected=f"--batch {dims[0]} or none",
                received=batch,
                then="Export it with an open batch, or with the one you want.",
            )


def _whole(dims: Sequence[int | None]) -> tuple[int, ...]:
    return tuple(size for size in dims if size is not None)
