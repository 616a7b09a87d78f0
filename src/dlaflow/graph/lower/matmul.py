"""Gemm, MatMul and Einsum: MATRIX_MULTIPLY with the constants, broadcasts and sums around it."""

from __future__ import annotations

from dlaflow.graph.layer import Dims, ElementWise, MatrixMultiply, Tensor
from dlaflow.graph.lower.context import Context, Outputs
from dlaflow.graph.lower.helpers import broadcast_shape, same_rank, squeeze, to_rank, unsqueeze


def import_gemm(context: Context) -> Outputs:
    """Gemm: MATRIX_MULTIPLY, then alpha, then SUM with C (times beta) brought to its rank."""
    left, right = context.tensor(0), context.tensor(1)
    transposed = bool(context.attributes.integer("transA")), bool(context.attributes.integer("transB"))
    out = context.output().shape
    result = context.emit("MATRIX_MULTIPLY", [left, right], out, _attributes(left, right, transposed))
    alpha, beta = context.attributes.number("alpha", 1.0), context.attributes.number("beta", 1.0)
    if alpha != 1.0:
        result = _scaled(context, result)
    if not context.is_absent(2):
        bias = context.tensor(2)
        if beta != 1.0:
            bias = _scaled(context, bias)
        bias = to_rank(context, bias, 2)
        attributes = ElementWise("SUM", 1 if bias.constant else None)
        result = context.emit("ELEMENTWISE", [result, bias], out, attributes, name=context.further_name)
    return result


def _scaled(context: Context, data: Tensor) -> Tensor:
    """alpha or beta times a tensor."""
    factor = to_rank(context, context.constant(() if context.parser.scalar_factors else (1,) * data.rank), data.rank)
    return context.emit("ELEMENTWISE", [factor, data], data.shape, ElementWise("PROD", 0), name=context.further_name)


def import_matmul(context: Context) -> Outputs:
    """MatMul: MATRIX_MULTIPLY; 1-D operands get a dimension that is taken away again."""
    left, right = context.tensor(0), context.tensor(1)
    flat_left = left.shape is not None and len(left.shape) == 1
    flat_right = right.shape is not None and len(right.shape) == 1
    if flat_left:
        left = unsqueeze(context, left, [0])
    if flat_right:
        right = unsqueeze(context, right, [1])
    left, right = same_rank(context, [left, right])
    out: Dims | None = context.output().shape
    if out is not None and flat_left:
        out = (*out[:-1], 1, *out[-1:]) if not flat_right else (*out, 1)
    if out is not None and flat_right:
        out = (*out, 1)
    out = _product_shape(left, right) if out is None else out
    result = context.emit("MATRIX_MULTIPLY", [left, right], out, _attributes(left, right, (False, False)))
    if flat_left and out is not None:
        result = squeeze(context, result, [len(out) - 2])
    if flat_right and result.shape is not None:
        result = squeeze(context, result, [len(result.shape) - 1])
    return result


def _product_shape(left: Tensor, right: Tensor) -> Dims | None:
    """The shape of a product that inference does not know, as within a loop."""
    if left.shape is None or right.shape is None or min(len(left.shape), len(right.shape)) < 2:
        return None
    outer = broadcast_shape([left.shape[:-2], right.shape[:-2]])
    return None if outer is None else (*outer, left.shape[-2], right.shape[-1])


def import_einsum(context: Context) -> Outputs:
    """Einsum: one EINSUM layer."""
    tensors = [context.tensor(index) for index in range(len(context.node.input))]
    return context.emit("EINSUM", tensors, context.output().shape)


def _attributes(left: Tensor, right: Tensor, transposed: tuple[bool, bool]) -> MatrixMultiply:
    rows = _matrix(left, transposed[0])
    columns = _matrix(right, transposed[1])
    inner = rows[1] or columns[0]
    if right.constant:
        return MatrixMultiply(1, inner, columns[1], inner)
    if left.constant:
        return MatrixMultiply(0, inner, rows[0], inner)
    return MatrixMultiply(None, inner=inner)


def _matrix(tensor: Tensor, transposed: bool) -> tuple[int, int]:
    """Rows and columns of the last two dimensions, 0 when unknown."""
    if tensor.shape is None or len(tensor.shape) < 2:
        return 0, 0
    rows, columns = tensor.shape[-2] or 0, tensor.shape[-1] or 0
    return (columns, rows) if transposed else (rows, columns)
