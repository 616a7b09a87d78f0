"""Activations: which functions, clip ranges, precision."""

from __future__ import annotations

from dlaflow.graph.layer import Activation, Layer, ParametricRelu
from dlaflow.rules.base import Example, Rule
from dlaflow.rules.case import Case
from dlaflow.types import Confidence, Finding, Remedy


class ActivationType(Rule):
    """The activation must be one of {act.types}.

    Why: TensorRT hands only these to the DLA, although the DLA's own compiler knows more.
    Use instead: ReLU; HardSwish and HardSigmoid as Clip and Mul; SiLU as Sigmoid and Mul, which the DLA takes.
    """

    id = "DLA170"
    remedy = Remedy.EXACT
    otherwise = Remedy.RETRAIN
    kinds = ("ACTIVATION",)
    limit = "act.types"
    bad = Example("y = HardSigmoid(x)")

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        limit = case.limit(self.limit)
        act = layer.attributes
        if limit is None or not isinstance(act, Activation) or act.type in limit.names:
            return None
        return self.breaks(layer, limit, act.type)


class ClipRange(Rule):
    """A clip must run from 0 to {act.clip_max}.

    Why: the DLA knows clipped ReLU, of which ReLU6 is one.
    Use instead: Clip(0, 6), or Max and Min with constants.
    """

    id = "DLA171"
    remedy = Remedy.EXACT
    otherwise = Remedy.RETRAIN
    kinds = ("ACTIVATION",)
    limit = "act.clip_max"
    expected = "0"
    source = "derived from the name clipped ReLU; the guide gives the upper value alone"
    confidence = Confidence.INFERRED
    good = Example("y = Clip(x, low, high)", constants=(("low", "float", "0"), ("high", "float", "6")))
    bad = Example("y = Clip(x, low, high)", constants=(("low", "float", "0"), ("high", "float", "200")))

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        limit = case.limit(self.limit)
        act = layer.attributes
        if limit is None or not isinstance(act, Activation) or act.type != "CLIP":
            return None
        low, high = act.alpha, act.beta
        if high is None or not (limit.min or 1) <= high <= (limit.max or 127):
            return self.breaks(layer, limit, f"clip up to {'an unknown value' if high is None else f'{high:g}'}")
        if low == 0:
            return None
        return self.refuses(layer, f"clip from {'an unknown value' if low is None else f'{low:g}'}")


class SmoothInInt8(Rule):
    """Sigmoid and TanH of an INT8 network are computed in FP16.

    Why: the DLA raises them by itself; they stay on the DLA and cost more than a ReLU.
    Use instead: ReLU where the accuracy allows it.
    """

    id = "DLA172"
    remedy = Remedy.RETRAIN
    kinds = ("ACTIVATION",)
    bad = Example("y = Sigmoid(x)")

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        act = layer.attributes
        if case.precision(layer) != "int8" or not isinstance(act, Activation) or act.type not in {"SIGMOID", "TANH"}:
            return None
        return self.notes(layer, act.type, expected="it runs in FP16 on the DLA", source="TensorRT developer guide")


class PreluSlope(Rule):
    """The slope of a parametric ReLU must be known at build time, from TensorRT 8.4 on.

    Why: the DLA compiler writes it into the loadable.
    Use instead: a constant slope, or LeakyReLU.
    """

    id = "DLA173"
    remedy = Remedy.EXACT
    otherwise = Remedy.RETRAIN
    kinds = ("PARAMETRIC_RELU",)
    limit = "prelu.available"
    expected = "TensorRT 8.4 or later"
    source = "NvInfer.h before 8.4 does not mention the DLA there"
    confidence = Confidence.INFERRED
    good = Example("y = PRelu(x, s)", constants=(("s", "float[1]", "0.25"),))
    bad = Example("y = PRelu(x, s)", more_inputs=(("s", "float[64,1,1]"),))

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        limit = case.limit(self.limit)
        if limit is None:
            return self.refuses(layer, "parametric ReLU")
        if isinstance(layer.attributes, ParametricRelu) and not layer.attributes.constant_slope:
            return self.breaks(layer, limit, "a computed slope", expected="a constant slope")
        return None
