"""Pools: POOLING for windows, REDUCE for the global ones."""

from __future__ import annotations

from dlaflow.graph.layer import Dims, ElementWise, Pooling, Reduce, Tensor, Unary
from dlaflow.graph.lower.broadcast import squeeze, unsqueeze
from dlaflow.graph.lower.context import Context
from dlaflow.graph.lower.window import pool_window


def import_max_pool(context: Context) -> None:
    """MaxPool: POOLING with mode MAX."""
    context.finish(_pool(context, context.tensor(0), "MAX"))


def import_average_pool(context: Context) -> None:
    """AveragePool: POOLING with mode AVERAGE."""
    context.finish(_pool(context, context.tensor(0), "AVERAGE"))


def import_lp_pool(context: Context) -> None:
    """LpPool of order 1 or 2: |x| or x*x, average, times the window's size, root."""
    data = context.tensor(0)
    count = context.constant((1,) * len(data.shape or ()))
    square = context.attributes.integer("p", 2) == 2
    if square:
        powered = context.emit("ELEMENTWISE", [data, data], data.shape, ElementWise("PROD"))
    else:
        powered = context.emit("UNARY", [data], data.shape, Unary("ABS"))
    pooled = _pool(context, powered, "AVERAGE")
    result = context.emit("ELEMENTWISE", [pooled, count], pooled.shape, ElementWise("PROD", 1, True))
    if square:
        result = context.emit("UNARY", [result], result.shape, Unary("SQRT"))
    context.finish(result)


def _pool(context: Context, data: Tensor, mode: str) -> Tensor:
    window = pool_window(context, data.shape)
    line = len(window.kernel) == 1
    if line:
        data = unsqueeze(context, data, [3])
    one, zero = ((1,), (0,)) if line else ((), ())
    attributes = Pooling(
        mode=mode,
        window=(*window.kernel, *one),
        stride=(*window.stride, *one),
        pads_begin=(*window.begin, *zero),
        pads_end=(*window.end, *zero),
        dilation=(*window.dilation, *one),
        count_include_pad=bool(context.attributes.integer("count_include_pad", 0)),
        ceil_mode=bool(context.attributes.integer("ceil_mode", 0)),
    )
    shape: Dims | None = context.output().shape
    if line and shape is not None:
        shape = (*shape, 1)
    result = context.emit("POOLING", [data], shape, attributes)
    return squeeze(context, result, [3]) if line else result


def import_global_average_pool(context: Context) -> None:
    """GlobalAveragePool: REDUCE AVG over the spatial axes."""
    context.finish(_global(context, context.tensor(0), "AVG"))


def import_global_max_pool(context: Context) -> None:
    """GlobalMaxPool: REDUCE MAX over the spatial axes."""
    context.finish(_global(context, context.tensor(0), "MAX"))


def import_global_lp_pool(context: Context) -> None:
    """GlobalLpPool: x to the power p, REDUCE SUM, root."""
    data = context.tensor(0)
    rank = len(data.shape or ())
    power, root = context.constant((1,) * rank), context.constant((1,) * rank)
    raised = context.emit("ELEMENTWISE", [data, power], data.shape, ElementWise("POW", 1, True), name="")
    total = _global(context, raised, "SUM")
    context.finish(context.emit("ELEMENTWISE", [total, root], total.shape, ElementWise("POW", 1, True), name=""))


def _global(context: Context, data: Tensor, operation: str) -> Tensor:
    axes = tuple(range(2, len(data.shape or (0, 0, 0, 0))))
    return context.emit("REDUCE", [data], context.output().shape, Reduce(operation, axes, True))
