"""Layers that the DLA never takes, and layers that nobody knows."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from dlaflow.graph.layer import Layer, Reading
from dlaflow.rules.base import Example, Rule
from dlaflow.rules.case import Case
from dlaflow.rules.elementwise import Comparison
from dlaflow.types import Confidence, Finding, Remedy, Verdict

MATRIX = "Deep-Learning-Accelerator-SW operators/README.md; absent from every published DLA layer list"
JUDGED_ELSEWHERE = frozenset(
    {
        "ACTIVATION", "CAST", "CONCATENATION", "CONSTANT", "CONVOLUTION", "DECONVOLUTION", "DEQUANTIZE",
        "ELEMENTWISE", "FULLY_CONNECTED", "GATHER", "IDENTITY", "LRN", "MATRIX_MULTIPLY", "NORMALIZATION", "PADDING",
        "PARAMETRIC_RELU", "POOLING", "QUANTIZE", "REDUCE", "RESIZE", "SCALE", "SELECT", "SHUFFLE",
        "SLICE", "SOFTMAX", "SQUEEZE", "UNARY", "UNKNOWN", "UNSQUEEZE",
    }
)  # fmt: skip
"""Kinds that other rules speak about; every further kind is in no DLA layer list."""


class _Never(Rule):
    """Shared frame: a kind that is always refused."""

    source: ClassVar[str] = MATRIX
    expected: ClassVar[str] = "no such layer on the DLA"
    received: ClassVar[str] = "{layer.kind}"

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        return self.refuses(layer, self.received.format(layer=layer))


class GatherLayer(_Never):
    """Gather does not run on the DLA.

    Why: indexed reads have no engine there.
    Use instead: constant indices as a 1x1 selection convolution, between transposes along H and W; the rest behind
    the DLA.
    """

    id = "DLA280"
    remedy = Remedy.EXACT
    otherwise = Remedy.NONE
    kinds = ("GATHER",)
    source = "NvInfer.h IGatherLayer: no DLA support"
    bad = Example("y = Gather<axis=1>(x, i)", constants=(("i", "int64[2]", "0,3"),))


class SelectLayer(_Never):
    """Select (Where) does not run on the DLA.

    Why: seen refused in a log of TensorRT 10.3.
    Use instead: scales or 1x1 convolutions where the condition is constant, one number a channel, row or column.
    """

    id = "DLA281"
    remedy = Remedy.EXACT
    otherwise = Remedy.NONE
    kinds = ("SELECT",)
    source = "build log of TensorRT 10.3.0"
    confidence = Confidence.MEASURED
    bad = Example("y = Where(m, x, x2)", more_inputs=(("m", "bool[1,64,32,32]"), ("x2", "float[1,64,32,32]")))


class IdentityLayer(_Never):
    """Identity does not run on the DLA.

    Why: it is a copy for TensorRT. Marking inner tensors as outputs adds such layers and cuts the graph.
    Use instead: remove it; build a shorter model instead of tapping inner tensors.
    """

    id = "DLA282"
    remedy = Remedy.EXACT
    kinds = ("IDENTITY",)
    source = "an author's logs of INT8 builds with tapped outputs; absent from the DLA layer lists"
    bad = Example("t = Identity(x)\ny = Relu(t)")


class CastLayer(_Never):
    """A Cast does not run on the DLA, except right behind a comparison.

    Why: types are converted where data enters and leaves a loadable, not inside it.
    Use instead: remove integer detours; keep one floating-point type, and FP16 inputs and outputs in a typed model
    (`dlaflow calibrate --io-types float16`).
    """

    id = "DLA283"
    remedy = Remedy.EXACT
    kinds = ("CAST",)
    source = "logs list CAST among the refused layers; the guide allows it behind Equal, Greater and Less"
    confidence = Confidence.MEASURED
    bad = Example("h = Cast<to=10>(x)\nr = Relu(h)\ny = Cast<to=1>(r)", tensorrt="10.3.0")

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        maker = case.producers.get(layer.inputs[0].name)
        compared = Comparison().examine(maker, case) if maker else None
        if compared is None or compared.verdict is Verdict.FALLBACK:
            return super().examine(layer, case)
        return self.refuses(
            layer,
            f"CAST behind {compared.received}",
            expected=compared.expected,
            source=compared.source,
            confidence=Confidence.INFERRED,
        )


class ConstantLayer(_Never):
    """A Constant that reaches run time is refused by the DLA.

    Why: weights live inside layers; a tensor of its own is computed on the GPU. With GPU fallback it folds into its
    consumer or costs nothing; without fallback, and in a standalone build, it ends the build.
    Use instead: fold constants (`--simplify`), keep decode grids out, split a convolution instead of slicing.
    """

    id = "DLA284"
    remedy = Remedy.EXACT
    kinds = ("CONSTANT",)
    received = "a Constant layer"
    expected = "constants inside other layers"
    source = "build logs of TensorRT 8.5.2 and 10.3.0"
    confidence = Confidence.MEASURED
    bad = Example("y = Mul(x, s)", weights=(("s", "1,64,1,1"),))


class NotListed(Rule):
    """This kind of layer is in no list of what the DLA takes, whatever its sizes.

    Why: sorting, searching, loops, recurrent layers, random numbers and plugins have no engine there.
    Use instead: 1x1 convolutions for a scatter by constant indices, `dlaflow fix --unroll 16` for a GRU, LSTM or RNN of
    up to 16 steps. Keep the rest behind the DLA part, for example by cutting the model before its decode step.
    """

    id = "DLA287"
    remedy = Remedy.EXACT
    otherwise = Remedy.NONE
    kinds = ("*",)
    bad = Example("y, i = TopK<axis=1>(x, k)", constants=(("k", "int64[1]", "5"),))

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        if layer.kind in JUDGED_ELSEWHERE or "Normalization" in layer.op:
            return None
        return self.refuses(layer, layer.kind, expected="a kind that the DLA takes", source=MATRIX)


class UnknownOperator(_Never):
    """Nobody knows what TensorRT makes of this operator.

    Why: it is neither an ONNX operator with a TensorRT importer nor a plugin that is known here. One that the release's
    parser refuses (DLA020) has no layer at all.
    Use instead: standard ONNX operators; as a plugin it would run on the GPU.
    """

    id = "DLA288"
    remedy = Remedy.TOLERANCE
    otherwise = Remedy.NONE
    kinds = ("UNKNOWN",)
    received = "operator {layer.op}"
    expected = "an operator of TensorRT's ONNX parser"
    source = "onnx-tensorrt's list of operators"
    confidence = Confidence.INFERRED
    bad = Example("y = my.domain.Mystery(x)")

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        refused = [each for each in case.network.refusals if each.op == layer.op and each.reading is Reading.REFUSED]
        if not refused:
            return super().examine(layer, case)
        received = f"operator {layer.op}, {refused[0].reason}"
        found = self.refuses(layer, received, confidence=Confidence.DOCUMENTED)
        return replace(found, fix=refused[0].then or found.fix)


class QuantizeLayer(Rule):
    """Quantize and Dequantize run on the DLA from TensorRT 11.4.1 on; before, INT8 comes from a calibration cache.

    Why: implicit quantisation was the only form up to 10.10; the layers need DLA software 3.16.
    Use instead: `dlaflow cache from-qdq` turns a Q/DQ model into a plain one, a cache and layer precisions.
    """

    id = "DLA290"
    remedy = Remedy.EXACT
    kinds = ("QUANTIZE", "DEQUANTIZE")
    limit = "quantize.available"
    expected = "a calibration cache"
    source = "Deep-Learning-Accelerator-SW qdq-translator; cuDLA-samples #19 (TensorRT 8.5.2)"
    confidence = Confidence.MEASURED
    bad = Example(
        "q = QuantizeLinear(x, s, z)\ny = DequantizeLinear(q, s, z)",
        constants=(("s", "float", "0.1"), ("z", "int8", "0")),
    )

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        limit = case.limit(self.limit)
        if limit is None:
            return self.refuses(layer, f"{layer.kind} under TensorRT {case.target.version}")
        if limit.confidence is Confidence.INFERRED:
            return self.breaks(layer, limit, layer.kind, expected="a calibration cache")
        return None
