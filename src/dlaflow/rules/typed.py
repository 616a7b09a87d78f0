"""Rules about typed networks (TensorRT 11): the types of layers and ports, and the forms of pairs."""

from __future__ import annotations

from collections.abc import Iterable

from dlaflow.graph.layer import ElementWise, Layer, Pooling, Quantize, Tensor
from dlaflow.graph.typed import PAIR
from dlaflow.rules.base import Example, ModelRule, Rule
from dlaflow.rules.case import Case, dims, rank
from dlaflow.rules.general import RANK_BELOW_4
from dlaflow.rules.limits_of_model import PlacementRule
from dlaflow.rules.model import DOCUMENT
from dlaflow.types import Confidence, Device, Finding, Placement, Remedy, Verdict

_TYPED = "11.4.1"
_HEADER = "NvInfer.h 8.0 to 11.1"
_INT8 = (("s", "float", "0.1"), ("t", "float", "0.2"), ("z", "int8", "0"))
_PAIR = "q = QuantizeLinear(x, s, z)\n{} = DequantizeLinear(q, s, z)"


def _pairs(case: Case) -> list[tuple[Layer, Quantize]]:
    return [
        (layer, layer.attributes)
        for layer in case.network.layers
        if case.network.typed and layer.kind in PAIR and isinstance(layer.attributes, Quantize)
    ]


class AsymmetricPairs(ModelRule):
    """UINT8 and zero points other than 0 need two parser flags, and the DLA of AGX Orin.

    Why: without the flag for them TensorRT's parser refuses a zero point, and reads UINT8 as INT8; NVIDIA's own tests
    build such a model only with the flag that adjusts the network for the DLA as well. The headers still call both
    layers symmetric, and nobody says whether UINT8 computes at the speed of INT8. A QuantizeLinear without a zero
    point is UINT8 to ONNX and INT8 to the parser, which clips at 127 steps instead of 255.
    Use instead: symmetric INT8 with a zero point of int8, as `dlaflow calibrate --qdq` writes it; `dlaflow build
    --scales qdq` passes both flags.
    """

    id = "DLA014"
    remedy = Remedy.DATA
    expected = "symmetric INT8, or --uint8AsymmetricQuantizationDLA and --adjustForDLA together"
    source = "TensorRT 11.3 and 11.4, ONNX parser flags for DLA; NvOnnxParser.h 11.1; tests of onnxruntime-ep-tensorrt"
    good = Example(_PAIR.format("y"), constants=_INT8, tensorrt=_TYPED)
    bad = Example(_PAIR.format("y"), constants=(("s", "float", "0.1"), ("z", "uint8", "128")), tensorrt=_TYPED)

    def examine_model(self, case: Case) -> Finding | None:
        unsigned = [layer for layer, pair in _pairs(case) if pair.unsigned]
        if not unsigned:
            return self._untold([layer for layer, pair in _pairs(case) if pair.bare and layer.kind == "QUANTIZE"])
        return self.says(Verdict.CONDITIONAL, f"{len(unsigned)} UINT8 Q/DQ layers, the first is {unsigned[0].name}")

    def _untold(self, bare: list[Layer]) -> Finding | None:
        """The remark on pairs whose type nothing names: placed as the parser reads them."""
        if not bare:
            return None
        received = f"{len(bare)} QuantizeLinear without a zero point, UINT8 to ONNX and INT8 to TensorRT's parser"
        expected = f"a zero point of int8; the first without is {bare[0].name}"
        return self.says(Verdict.NATIVE, received, expected=expected, source="onnx-tensorrt 10.14, QuantizeLinear")


class ActivationAxis(ModelRule):
    """An activation must have one scale; a scale per channel is for weights.

    Why: TensorRT's parser reads such a pair, and its builder refuses it.
    Use instead: quantise activations per tensor.
    """

    id = "DLA015"
    remedy = Remedy.DATA
    expected = "one scale for an activation"
    source = f"{_HEADER}, IQuantizeLayer and IDequantizeLayer: per channel only for weights rooted at a constant"
    good = Example(_PAIR.format("y"), constants=_INT8, tensorrt=_TYPED)
    bad = Example(
        "q = QuantizeLinear<axis=1>(x, s, z)\ny = DequantizeLinear<axis=1>(q, s, z)",
        x="1,2,8,8",
        constants=(("s", "float[2]", "0.1,0.2"), ("z", "int8[2]", "0,0")),
        tensorrt=_TYPED,
    )

    def examine_model(self, case: Case) -> Finding | None:
        found = [layer for layer, pair in _pairs(case) if pair.axis is not None]
        if not found:
            return None
        return self.says(Verdict.FALLBACK, f"{len(found)} scales per channel, the first at {found[0].name}")


class FloatPorts(PlacementRule):
    """The inputs and outputs of a standalone build must be FP16 or INT8 in the model.

    Why: a typed network keeps the types of its ports, and the DLA has no format for FP32; elsewhere the GPU converts.
    Use instead: `dlaflow calibrate --qdq` or `--fp16` with `--io-types float16`.
    """

    id = "DLA016"
    remedy = Remedy.DATA
    modes = ("standalone",)
    expected = "float16 or int8"
    source = "TensorRT 11.4.1 documentation, DLA runtime configuration: formats of FP16 and INT8"
    good = Example("y = Relu(x)", tensorrt=_TYPED)
    bad = Example(_PAIR.format("y"), constants=_INT8, tensorrt=_TYPED)

    def examine_placement(self, placement: Placement, case: Case) -> Finding | None:
        """The finding that names the ports, None when all are of the DLA's types or still to be converted."""
        ports = (*case.network.inputs, *case.network.outputs) if case.network.typed else ()
        wide = [tensor.name for tensor in ports if tensor.dtype == "float32"]
        return self.says(Verdict.FALLBACK, f"float32 ports: {', '.join(wide)}") if wide else None


class FloatLayer(Rule):
    """In a model with FP16 types or Q/DQ pairs, a float32 layer runs in FP32, and so on the GPU.

    Why: from TensorRT 11 on types come from the model, layer by layer; a pair elsewhere does not change this one.
    Use instead: a pair on all that it reads and makes (`dlaflow calibrate --qdq`), or FP16 for what has none
    (`dlaflow calibrate --fp16` takes Q/DQ models too).
    """

    id = "DLA108"
    remedy = Remedy.DATA
    kinds = ("*",)
    source = DOCUMENT
    good = Example("y = Relu(x)", tensorrt=_TYPED)
    bad = Example(_PAIR.format("d") + "\nr = Relu(d)\ny = Ceil(r)", constants=_INT8, tensorrt=_TYPED)

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        if layer.precision != "float32":
            return None
        return self.depends(
            layer, "float32", expected="float16, or Q/DQ around it", source=f"{DOCUMENT}: strongly typed networks"
        )


class UnequalScales(Rule):
    """INT8 pooling wants equal scales before and behind it, an INT8 element-wise layer equal ones of its operands.

    Why: the DLA does not rescale there. With a calibration cache TensorRT's calibrator saw to it; in a typed network
    nobody does, and what the builder makes of unequal pairs is not documented.
    Use instead: the largest scale for all of them, as `dlaflow calibrate --qdq` writes it.
    """

    id = "DLA291"
    remedy = Remedy.DATA
    kinds = ("POOLING", "ELEMENTWISE")
    source = f"{_HEADER}, IPoolingLayer and IElementWiseLayer: INT8 ranges must be equal on the DLA"
    good = Example("y = Relu(x)", tensorrt=_TYPED)
    bad = Example(
        _PAIR.format("d") + "\np = MaxPool<kernel_shape=[2,2]>(d)\n"
        "r = QuantizeLinear(p, t, z)\ny = DequantizeLinear(r, t, z)",
        constants=_INT8,
        tensorrt=_TYPED,
    )

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        if layer.precision != "int8" or not isinstance(layer.attributes, (Pooling, ElementWise)):
            return None
        around = [tensor for tensor in layer.inputs if not tensor.constant]
        if isinstance(layer.attributes, Pooling):
            around += layer.outputs
        scales = {tensor.scale for tensor in around if tensor.scale is not None}
        if len(scales) < 2:
            return None
        return self.notes(
            layer, f"scales {', '.join(f'{scale:.6g}' for scale in sorted(scales))}", expected="one scale"
        )


class PairRank(Rule):
    """A pair belongs on tensors of four dimensions.

    Why: the DLA knows (N, C, H, W) alone, so that a pair on (N, C) may cut the graph; whether TensorRT's parser, which
    may reshape for the DLA from 10.16 on, brings it to four dimensions is not documented.
    Use instead: no pair there (`dlaflow calibrate --qdq` writes none), or (N, C, 1, 1) through a 1x1 convolution.
    """

    id = "DLA292"
    remedy = Remedy.DATA
    kinds = tuple(sorted(RANK_BELOW_4))
    unknown_runs_on = Device.DLA
    expected = "four dimensions"
    source = "build logs of TensorRT 8.5.2 and 10.3.0 for other layers; nothing is published on pairs"
    confidence = Confidence.INFERRED
    good = Example("y = Relu(x)", tensorrt=_TYPED)
    bad = Example(
        _PAIR.format("d") + "\nr = Relu(d)\np = QuantizeLinear(r, s, z)\ny = DequantizeLinear(p, s, z)",
        x="1,8",
        constants=_INT8,
        tensorrt=_TYPED,
    )

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        around: Iterable[Tensor] = (*layer.inputs, *layer.outputs)
        low = [tensor for tensor in around if tensor.scale is not None and rank(tensor) not in {4, None}]
        return self.refuses(layer, f"a pair on {low[0].name} ({dims(low[0])})") if low else None


class DoubtfulPair(Rule):
    """A pair is INT8, with one finite constant scale for both halves, and nothing between them.

    Why: TensorRT's documentation and headers describe Q and DQ of the same scale, known at build time, INT8 between
    them, weights with a scale for each output channel. What the DLA's builder makes of FP8, INT4, blocks, computed or
    infinite scales, halves that differ, and of layers on the 8-bit tensor itself is not documented.
    Use instead: pairs as `dlaflow calibrate --qdq` writes them: around each layer, the same constants in both halves.
    """

    id = "DLA293"
    remedy = Remedy.DATA
    kinds = ("*",)
    expected = "INT8 with one constant scale in both halves of a pair, weights by output channel"
    source = f"{_HEADER}, IQuantizeLayer and IDequantizeLayer; nothing is published on other forms on the DLA"
    confidence = Confidence.INFERRED
    good = Example(
        _PAIR.format("d") + "\nr = Relu(d)\np = QuantizeLinear(r, s, z)\ny = DequantizeLinear(p, s, z)",
        constants=_INT8,
        tensorrt=_TYPED,
    )
    bad = Example(
        "c = Relu(x)\nq = QuantizeLinear(c, s, z)\nd = DequantizeLinear(q, t, z)\ny = Relu(d)",
        constants=_INT8,
        tensorrt=_TYPED,
    )

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        return self.refuses(layer, layer.doubt) if layer.doubt else None
