"""Local response normalization, and the normalizations that the DLA does not have."""

from __future__ import annotations

from dlaflow.graph.layer import Layer, Lrn
from dlaflow.rules.base import Bound, Example, Rule
from dlaflow.rules.case import Case
from dlaflow.types import Confidence, Finding, Remedy


class LrnWindow(Bound[Lrn]):
    """The window of a local response normalization must be {lrn.window}, across channels.

    Why: the LRN engine has these sizes. An INT8 network computes it in FP16.
    Use instead: BatchNormalization.
    """

    id = "DLA202"
    remedy = Remedy.RETRAIN
    kinds = ("LRN",)
    limit = "lrn.window"
    good = Example("y = LRN<size=5>(x)")
    bad = Example("y = LRN<size=11>(x)")
    attributes = Lrn
    fields = ("window",)
    noun = "window"


class NormalizationLayer(Rule):
    """Group, layer and instance normalization do not run on the DLA.

    Why: they compute statistics of each image, and the DLA has no average reduction. Each one hops to the GPU and back.
    Use instead: train with BatchNormalization, which folds into the convolution before it.
    """

    id = "DLA203"
    remedy = Remedy.DATA
    otherwise = Remedy.RETRAIN
    kinds = ("NORMALIZATION", "PLUGIN_V2", "PLUGIN_V3", "PLUGIN")
    expected = "BatchNormalization"
    source = "build log of TensorRT 8.4 (InstanceNormalization plugin); absent from every DLA layer list"
    confidence = Confidence.MEASURED
    good = Example("y = BatchNormalization(x, s, b, m, v)", weights=tuple((name, "64") for name in "sbmv"))
    bad = Example("y = InstanceNormalization(x, s, b)", weights=(("s", "64"), ("b", "64")))

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        if layer.kind != "NORMALIZATION" and "Normalization" not in layer.op:
            return None
        return self.refuses(layer, layer.op or layer.kind)
