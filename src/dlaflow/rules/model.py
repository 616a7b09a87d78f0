"""Rules about the whole model and the target."""

from __future__ import annotations

from dlaflow.fixed_shape import left_open, suggested
from dlaflow.graph.layer import PRODUCTS
from dlaflow.rules.base import Example, ModelRule
from dlaflow.rules.case import Case
from dlaflow.rules.reading import READING_RULES
from dlaflow.targets.features import find_feature, has
from dlaflow.types import Confidence, Finding, Remedy, Verdict


def _slice(kind: str) -> tuple[tuple[str, str, str], ...]:
    """The numbers of a slice that takes half of the channels."""
    return tuple((name, f"{kind}[1]", value) for name, value in (("a", "0"), ("b", "32"), ("c", "1"), ("d", "1")))


DOCUMENT = "TensorRT 11.4.1 documentation, working with DLA"


class BoardHasDla(ModelRule):
    """The board must have a DLA.

    Why: Orin Nano, Thor and all desktop GPUs have none.
    Use instead: Xavier NX, AGX Xavier, Orin NX or AGX Orin, or build for the GPU.
    """

    id = "DLA001"
    remedy = Remedy.ELSEWHERE
    bad = Example("y = Relu(x)", board="orin-nano", tensorrt="10.3.0")

    def examine_model(self, case: Case) -> Finding | None:
        board = case.target.board
        if board.dla_cores:
            return None
        source = "NVIDIA Deep-Learning-Accelerator-SW FAQ; TensorRT 11.4.1 documentation"
        return self.says(Verdict.FALLBACK, f"{board.name} has no DLA", expected="a board with one", source=source)


class ReleaseHasDla(ModelRule):
    """The release's TensorRT must be able to build for the DLA.

    Why: TensorRT 11.0 to 11.4.0 have none on Jetson; 10.7 was the last 10.x, although later headers keep the switches.
    Use instead: JetPack 6.1 or 6.2 (TensorRT 10.3), or AGX Orin with JetPack 7.2.2, on which the Linux SBSA package of
    TensorRT 11.4.1 is to be installed: what JetPack itself brings may be without DLA.
    """

    id = "DLA002"
    remedy = Remedy.ELSEWHERE
    expected = "up to 10.7, or 11.4.1 and later"
    source = DOCUMENT
    bad = Example("y = Relu(x)", tensorrt="11.0.0")

    def examine_model(self, case: Case) -> Finding | None:
        release = case.target.release
        if release.usable == "yes":
            return None
        uncertain = release.usable == "uncertain"
        known = find_feature("dla_on_jetson", release.version)
        return self.says(
            Verdict.UNKNOWN if uncertain else Verdict.FALLBACK,
            f"TensorRT {release.tensorrt} {'may be' if uncertain else 'is'} without DLA",
            confidence=known.confidence if known else None,
        )


class GenerationOnRelease(ModelRule):
    """Xavier's DLA ends with TensorRT 8.5; from 11.4.1 on AGX Orin is the only Jetson with a DLA.

    Why: JetPack 6 left Xavier; the 11.4.1 documentation names AGX Orin with JetPack 7.2.2.
    Use instead: JetPack 5.1.x on Xavier, JetPack 6.2 on Orin NX.
    """

    id = "DLA003"
    remedy = Remedy.ELSEWHERE
    bad = Example("y = Relu(x)", board="xavier-nx", tensorrt="10.3.0")

    def examine_model(self, case: Case) -> Finding | None:
        target = case.target
        if target.dla == "v1" and not has("xavier", target.version):
            return self.says(
                Verdict.FALLBACK,
                f"{target.board.name} with TensorRT {target.version}",
                expected="TensorRT 8.5 or earlier",
                source="the 10.0 headers dropped every Xavier remark",
                confidence=Confidence.INFERRED,
            )
        if target.dla == "v2" and "agx-orin" not in target.board.id and not has("orin_nx", target.version):
            return self.says(
                Verdict.UNKNOWN,
                f"{target.board.name} with TensorRT {target.version}",
                expected="AGX Orin",
                source=DOCUMENT,
            )
        return None


_BLOCKING = frozenset({BoardHasDla.id, ReleaseHasDla.id, GenerationOnRelease.id})


def nothing_runs(findings: list[Finding]) -> bool:
    """Whether board and release rule out a DLA, whatever the model is."""
    return any(finding.verdict is Verdict.FALLBACK and finding.rule in _BLOCKING for finding in findings)


def holds_without_dla(finding: Finding) -> bool:
    """Whether a finding on a model says something of a target without a DLA too: open sizes, what the parser reads."""
    return finding.rule in _BLOCKING or finding.rule in {FixedInputs.id, *(rule.id for rule in READING_RULES)}


class FixedInputs(ModelRule):
    """All inputs must have fixed sizes besides the batch, in the model or by `--shape`.

    Why: a loadable is compiled for one shape.
    Use instead: name the size with --shape, here and for `dlaflow build`, which makes it minimum, optimum and maximum;
    or export with fixed sizes. A build with a real range of shapes puts nothing on the DLA that depends on them.
    """

    id = "DLA004"
    remedy = Remedy.ELSEWHERE
    bad = Example("y = Relu(x)", x="1,3,h,w")

    def examine_model(self, case: Case) -> Finding | None:
        names = case.network.dynamic_inputs
        if not names:
            return None
        source = "TensorRT developer guide, DLA general restrictions: wildcards only with min = opt = max"
        inputs = [(tensor.name, tensor.shape or ()) for tensor in case.network.inputs if tensor.name in names]
        received = "; ".join(left_open(name, dims) for name, dims in inputs)
        options = " ".join(f"--shape {suggested(name, dims, case.target.batch)}" for name, dims in inputs)
        return self.says(Verdict.CONDITIONAL, received, expected=f"one size, such as {options}", source=source)


class ExplicitQuantization(ModelRule):
    """Up to TensorRT 10.x a model for the DLA must not hold Q/DQ nodes.

    Why: the DLA takes INT8 scales from a calibration cache there; an explicit model is refused, also in its constants.
    Use instead: `dlaflow cache from-qdq` turns it into a plain model, a cache and a --layerPrecisions list.
    """

    id = "DLA005"
    remedy = Remedy.EXACT
    bad = Example(
        "q = QuantizeLinear(x, s, z)\ny = DequantizeLinear(q, s, z)",
        constants=(("s", "float", "0.1"), ("z", "int8", "0")),
    )

    def examine_model(self, case: Case) -> Finding | None:
        if has("qdq_on_dla", case.target.version):
            return None
        count = sum(layer.kind in {"QUANTIZE", "DEQUANTIZE"} for layer in case.network.layers)
        if not count:
            return None
        source = "Deep-Learning-Accelerator-SW qdq-translator; cuDLA-samples #19"
        return self.says(Verdict.FALLBACK, f"{count} Q/DQ layers", expected="a calibration cache", source=source)


class StronglyTyped(ModelRule):
    """TensorRT 11 takes every type from the model: float32 layers do not run on its DLA.

    Why: the flags for FP16 and INT8 and the calibrators are gone. Of a wholly float32 model the prediction assumes that
    it is converted; in one that holds FP16 types or pairs, each float32 layer stays on the GPU (DLA108).
    Use instead: `dlaflow calibrate --qdq` for INT8, or `--fp16`, which takes Q/DQ models too.
    """

    id = "DLA006"
    remedy = Remedy.DATA
    good = Example("y = Relu(x)", tensorrt="10.3.0")
    bad = Example("y = Relu(x)", tensorrt="11.4.1")

    def examine_model(self, case: Case) -> Finding | None:
        if not has("typed_only", case.target.version):
            return None
        floats = [layer for layer in case.network.layers if layer.precision == "float32"]
        whole = not case.network.typed and any(tensor.dtype == "float32" for tensor in case.network.inputs)
        if not floats and not whole:
            return None
        received = f"{len(floats)} layers in float32, the first is {floats[0].name}" if floats else "a float32 model"
        expected = "Q/DQ nodes or float16 types in the model"
        return self.says(Verdict.CONDITIONAL, received, expected=expected, source=DOCUMENT)


class Fp16OnOrin(ModelRule):
    """Convolutions in FP16 are slow on Orin's DLA.

    Why: Orin traded FP16 for INT8: ResNet-50 took 17.7 ms in FP16 and 1.28 ms in INT8 on one core, the same placement.
    Use instead: INT8 before judging the DLA on Orin.
    """

    id = "DLA007"
    remedy = Remedy.DATA
    expected = "INT8 for speed"
    source = "build logs of TensorRT 10.3.0 on AGX Orin"
    confidence = Confidence.MEASURED
    bad = Example("y = Conv(x, w)", weights=(("w", "64,64,3,3"),), precision="fp16")

    def examine_model(self, case: Case) -> Finding | None:
        if case.target.dla != "v2":
            return None
        products = [layer for layer in case.network.layers if layer.kind in PRODUCTS and not layer.folded]
        halves = sum(case.precision(layer) == "fp16" for layer in products)
        if not halves:
            return None
        part = f" in {halves} of {len(products)} convolutions and products" if halves < len(products) else ""
        return self.says(Verdict.NATIVE, f"FP16 on Orin's DLA{part}")


class SliceNumbers(ModelRule):
    """For a standalone build the bounds of a Slice must be numbers that the parser reads, not layers that compute them.

    Why: from TensorRT 9.3 on its parser takes starts and ends as numbers only where they are INT32 and the sizes of the
    input fixed; of INT64, as torch writes them, it makes about 30 layers a slice. They fold in a hybrid build, but a
    standalone one ends at the first of them.
    Use instead: write starts, ends, axes and steps of each Slice as INT32 initializers, all four of them, and fix the
    batch.
    """

    id = "DLA013"
    remedy = Remedy.EXACT
    expected = "INT32 starts, ends, axes and steps as initializers"
    source = "onnx-tensorrt 10.0 and 10.1, importer of Slice; layers that NVIDIA's parser made"
    good = Example("y = Slice(x, a, b, c, d)", tensorrt="10.3.0", constants=_slice("int32"))
    bad = Example("y = Slice(x, a, b, c, d)", tensorrt="10.3.0", constants=_slice("int64"))

    def examine_model(self, case: Case) -> Finding | None:
        if case.target.mode != "standalone":
            return None
        computed = [
            layer
            for layer in case.network.layers
            if layer.kind == "SLICE" and layer.op == "Slice" and not layer.folded and len(layer.inputs) > 1
        ]
        if not computed:
            return None
        return self.says(
            Verdict.FALLBACK, f"{len(computed)} slices whose bounds are layers, the first is {computed[0].name}"
        )
