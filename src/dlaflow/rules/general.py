"""Rules for every layer: batch, sizes, dynamic shapes, types, rank."""

from __future__ import annotations

from dlaflow.graph.layer import Layer
from dlaflow.rules.base import Example, Rule
from dlaflow.rules.case import Case, channel_and_space, data_of, dims, effective_batch, rank
from dlaflow.targets.version import Version
from dlaflow.types import Confidence, Device, Finding, Remedy

GUIDE = "TensorRT developer guide, DLA general restrictions"
# TensorRT's parser reads float64 as float32.
_FLOATS = frozenset({"float64", "float32", "float16", "int8", "uint8", "undefined", ""})
_OWN_TYPE_RULE = frozenset(
    {"CAST", "QUANTIZE", "DEQUANTIZE", "CONSTANT", "SHAPE", "GATHER", "SELECT", "TOPK", "NON_ZERO"}
)
RANK_BELOW_4 = frozenset(
    {"ELEMENTWISE", "ACTIVATION", "MATRIX_MULTIPLY", "FULLY_CONNECTED", "UNARY", "SCALE", "SOFTMAX"}
)
"""Kinds whose tensors TensorRT lifts to four dimensions by helper shuffles."""
_JUDGE_RANK_THEMSELVES = frozenset(
    {"SHUFFLE", "SQUEEZE", "UNSQUEEZE", "SLICE", "CONVOLUTION", "DECONVOLUTION", "POOLING"}
)


class EffectiveBatch(Rule):
    """The product of all dimensions before C, H, W must be {any.batch}.

    Why: the DLA takes that product as its batch.
    Use instead: split the batch, or keep rows and tokens in H or W instead of folding them into the batch.
    """

    id = "DLA101"
    remedy = Remedy.EXACT
    kinds = ("*",)
    limit = "any.batch"
    good = Example("y = Relu(x)", x="4096,8,2,2")
    bad = Example("y = Relu(x)", x="4097,8,2,2")

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        limit = case.limit(self.limit)
        batches = [batch for tensor in data_of(layer) if (batch := effective_batch(tensor))]
        if limit is None or limit.allows(*batches):
            return None
        return self.breaks(layer, limit, f"batch {max(batches)}")


class Dimensions(Rule):
    """Each of C, H and W must be {any.dims}.

    Why: the DLA's descriptors hold 13-bit sizes.
    Use instead: tile the tensor, or move a part of the long axis into another one with a reshape.
    """

    id = "DLA102"
    remedy = Remedy.EXACT
    kinds = ("*",)
    limit = "any.dims"
    good = Example("y = Relu(x)", x="1,8,1,8192")
    bad = Example("y = Relu(x)", x="1,8,1,8193")

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        limit = case.limit(self.limit)
        if limit is None:
            return None
        for tensor in data_of(layer):
            if not limit.allows(*channel_and_space(tensor)):
                return self.breaks(layer, limit, f"{tensor.name} is {dims(tensor)}")
        return None


class StaticShapes(Rule):
    """All dimensions must be fixed when the engine is built.

    Why: a loadable is compiled for one shape; a wildcard is taken only when minimum, optimum and maximum agree.
    Use instead: name the size of each open input with --shape, or export with fixed height and width.
    """

    id = "DLA103"
    remedy = Remedy.ELSEWHERE
    kinds = ("*",)
    bad = Example("y = Relu(x)", x="1,64,h,w")

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        for tensor in data_of(layer):
            if tensor.shape is not None and None in tensor.shape:
                received, expected = f"{tensor.name} is {dims(tensor)}", "fixed dimensions"
                if case.network.dynamic_inputs:
                    return self.depends(layer, received, expected=f"{expected} (--shape)", source=GUIDE)
                return self.refuses(layer, received, expected=expected, source=GUIDE)
        return None


class KnownShapes(Rule):
    """The shapes of a layer must be known to be judged.

    Why: nothing can be said of a layer whose shapes follow from data or from an operator that nobody knows.
    Use instead: simplify the model (`dlaflow export --simplify` or onnxslim), or fix the input shapes.
    """

    id = "DLA104"
    remedy = Remedy.EXACT
    kinds = ("*",)
    expected = "known shapes"
    source = GUIDE
    confidence = Confidence.INFERRED
    bad = Example("m = my.domain.Mystery(x)\ny = Relu(m)")

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        for tensor in data_of(layer):
            if tensor.shape is None and tensor.dtype in _FLOATS:
                return self.refuses(layer, f"the shape of {tensor.name} is unknown")
        return None


class NumberTypes(Rule):
    """A layer must compute in FP16 or INT8.

    Why: the DLA has no FP32, integer index or boolean arithmetic.
    Use instead: keep index arithmetic and masks out of the graph, or leave this part to the GPU behind the DLA.
    """

    id = "DLA105"
    remedy = Remedy.NONE
    kinds = ("*",)
    expected = "float16 or int8 (float32 is converted)"
    source = "build log: DLA only supports FP16 and Int8 precision type"
    confidence = Confidence.MEASURED
    good = Example("y = Add(x, x2)", more_inputs=(("x2", "float[1,64,32,32]"),))
    bad = Example("i = Cast<to=7>(x)\nj = Add(i, i)\ny = Cast<to=1>(j)")

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        if layer.kind in _OWN_TYPE_RULE or (layer.kind == "ELEMENTWISE" and layer.outputs[0].dtype == "bool"):
            return None
        if layer.precision not in _FLOATS:
            return self.refuses(layer, f"pairs of {layer.precision}")
        for tensor in data_of(layer):
            if tensor.dtype not in _FLOATS:
                return self.refuses(layer, f"{tensor.name} is {tensor.dtype}")
        return None


class FourDimensions(Rule):
    """Tensors must have four dimensions, N, C, H, W.

    Why: two spatial dimensions is all that the DLA knows.
    Use instead: rewrite 1-D work as Hx1 and 3-D work as folded channels; keep NCHW through reshapes.
    """

    id = "DLA106"
    of_rank = True
    remedy = Remedy.EXACT
    kinds = ("*",)
    bad = Example("y = Relu(x)", x="1,8,4,4,4")

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        if layer.kind in _JUDGE_RANK_THEMSELVES:
            return None
        for tensor in data_of(layer):
            found = rank(tensor)
            if found is None or found == 4 or (found < 4 and layer.kind in RANK_BELOW_4):
                continue
            if layer.kind == "CONCATENATION" and found < 4:
                continue
            return self.refuses(layer, f"{tensor.name} is {dims(tensor)}", expected="four dimensions", source=GUIDE)
        return None


_LIFTING_SEEN = Version.parse("10.0")


class LiftedRank(Rule):
    """A tensor of fewer than four dimensions is lifted by helper shuffles, which run on the GPU.

    Why: TensorRT inserts a Shuffle before and after such a layer; the DLA refuses it, so the loadable ends there.
    Use instead: keep four dimensions, for instance (N, C, 1, 1) instead of (N, C).
    """

    id = "DLA107"
    of_rank = True
    remedy = Remedy.EXACT
    kinds = ("ELEMENTWISE", "ACTIVATION", "UNARY", "SCALE")
    unknown_runs_on = Device.DLA
    bad = Example("y = Relu(x)", x="1,64,49")

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        found = [rank(tensor) for tensor in data_of(layer)]
        low = [number for number in found if number is not None and number < 4]
        if not low or case.producers.get(layer.inputs[0].name, layer).kind in {"MATRIX_MULTIPLY", "FULLY_CONNECTED"}:
            return None
        received = f"{min(low)} dimensions"
        if case.target.version >= _LIFTING_SEEN:
            return self.notes(
                layer,
                received,
                expected="helper shuffles on the GPU around it",
                source="build log of TensorRT 10.3.0 (DETR): Add, ReLU and Sigmoid of three dimensions on the DLA",
                confidence=Confidence.MEASURED,
            )
        return self.refuses(
            layer,
            received,
            expected="four dimensions; helper shuffles on the GPU cut the graph here",
            source="build logs of TensorRT 8.4 and later: at least one shuffle layer will be inserted",
            confidence=Confidence.INFERRED,
        )
