"""Matrix products and fully connected layers."""

from __future__ import annotations

from dlaflow.graph.layer import Layer, MatrixMultiply
from dlaflow.rules.base import Example, Rule
from dlaflow.rules.case import Case, dims, rank
from dlaflow.types import Confidence, Device, Finding, Remedy


class ConstantMatrix(Rule):
    """A matrix product runs on the DLA only when its second operand is a constant.

    Why: TensorRT turns such a product into a 1x1 convolution; the DLA has no product of two activations.
    Use instead: a convolution; attention has no form on the DLA and stays on the GPU.
    """

    id = "DLA190"
    remedy = Remedy.EXACT
    otherwise = Remedy.NONE
    kinds = ("MATRIX_MULTIPLY",)
    expected = "a constant second operand"
    source = "build logs of TensorRT 8.5.2 and 10.3.0: MatMul is unsupported on DLA"
    confidence = Confidence.MEASURED
    good = Example("y = MatMul(x, w)", x="1,512", weights=(("w", "512,10"),))
    bad = Example("y = MatMul(x, k)", x="1,4,16,16", more_inputs=(("k", "float[1,4,16,16]"),))

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        if not isinstance(layer.attributes, MatrixMultiply) or layer.attributes.constant_input == 1:
            return None
        received = "two activations" if layer.attributes.constant_input is None else "a constant first operand"
        return self.refuses(layer, received)


class FeatureCount(Rule):
    """A fully connected layer must have {conv.in_channels} features on either side.

    Why: it becomes a convolution with that many channels.
    Use instead: a convolution with a full-size window instead of Flatten and Gemm, or pooling before it.
    """

    id = "DLA191"
    remedy = Remedy.EXACT
    kinds = ("MATRIX_MULTIPLY", "FULLY_CONNECTED")
    limit = "conv.in_channels"
    good = Example("y = MatMul(x, w)", x="1,512", weights=(("w", "512,10"),))
    bad = Example("y = MatMul(x, w)", x="1,8193", weights=(("w", "8193,10"),))

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        limit = case.limit(self.limit)
        product = layer.attributes
        if limit is None or not isinstance(product, MatrixMultiply) or product.constant_input is None:
            return None
        if limit.allows(product.in_features, product.out_features):
            return None
        return self.breaks(layer, limit, f"{product.in_features} to {product.out_features} features")


class ProductRank(Rule):
    """A product over more than two dimensions becomes a convolution whose batch is the rows.

    Why: TensorRT reshapes (1, L, C) to (L, C, 1, 1) around it, and these reshapes run on the GPU.
    Use instead: a 1x1 convolution on N, C, H, W.
    """

    id = "DLA192"
    of_rank = True
    remedy = Remedy.EXACT
    kinds = ("MATRIX_MULTIPLY",)
    unknown_runs_on = Device.DLA
    expected = "(N, C), or (N, C, 1, 1) through a convolution"
    source = "build logs show the conversion for Gemm; longer shapes are derived"
    confidence = Confidence.INFERRED
    good = Example("y = MatMul(x, w)", x="1,512", weights=(("w", "512,10"),))
    bad = Example("y = MatMul(x, w)", x="1,49,512", weights=(("w", "512,10"),))

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        product = layer.attributes
        if not isinstance(product, MatrixMultiply) or product.constant_input != 1:
            return None
        found = rank(layer.inputs[0])
        if found is None or found <= 2:
            return None
        return self.refuses(layer, dims(layer.inputs[0]))
