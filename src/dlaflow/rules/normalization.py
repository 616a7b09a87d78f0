"""Scale, local response normalization and the normalizations that the DLA does not have."""

from __future__ import annotations

from dlaflow.graph.layer import Layer, Lrn, Scale
from dlaflow.rules.base import Example, Rule
from dlaflow.rules.case import Case
from dlaflow.types import Confidence, Finding


class ScaleMode(Rule):
    """A Scale must be uniform, per channel or element-wise, without a power.

    Why: the point-wise engine multiplies and adds.
    Use instead: BatchNormalization in inference form, or Mul and Add per channel.
    Fix safety: exact
    """

    id = "DLA200"
    kinds = ("SCALE",)
    good = Example("y = BatchNormalization(x, s, b, m, v)", weights=tuple((name, "64") for name in "sbmv"))
    bad = Example(
        "y = BatchNormalization<training_mode=1>(x, s, b, m, v)", weights=tuple((name, "64") for name in "sbmv")
    )

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        scale = layer.attributes
        if isinstance(scale, Scale) and scale.mode in {"UNIFORM", "CHANNEL", "ELEMENTWISE"} and scale.power == 1:
            return None
        received = f"{scale.mode} with power {scale.power:g}" if isinstance(scale, Scale) else "computed statistics"
        source = "TensorRT developer guide"
        return self.refuses(layer, received, expected="UNIFORM, CHANNEL or ELEMENTWISE with power 1", source=source)


class TrainingBatchNorm(Rule):
    """BatchNormalization must be in inference form with constant parameters.

    Why: statistics of the batch need a reduction, which the DLA does not have.
    Use instead: export in evaluation mode (`model.eval()`).
    Fix safety: exact
    """

    id = "DLA201"
    kinds = ("*",)
    good = Example("y = BatchNormalization(x, s, b, m, v)", weights=tuple((name, "64") for name in "sbmv"))
    bad = Example(
        "y = BatchNormalization<training_mode=1>(x, s, b, m, v)", weights=tuple((name, "64") for name in "sbmv")
    )

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        if layer.op != "BatchNormalization" or layer.kind == "SCALE":
            return None
        return self.refuses(
            layer,
            "BatchNormalization with computed parameters or in training mode",
            expected="inference form",
            source="derived: only the constant form becomes a Scale",
            confidence=Confidence.INFERRED,
        )


class LrnWindow(Rule):
    """The window of a local response normalization must be {lrn.window}, across channels.

    Why: the LRN engine has these sizes. An INT8 network computes it in FP16.
    Use instead: BatchNormalization.
    Fix safety: retrain
    """

    id = "DLA202"
    kinds = ("LRN",)
    limit = "lrn.window"
    good = Example("y = LRN<size=5>(x)")
    bad = Example("y = LRN<size=11>(x)")

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        limit = case.limit(self.limit)
        if limit is None or not isinstance(layer.attributes, Lrn) or limit.allows(layer.attributes.window):
            return None
        return self.breaks(layer, limit, f"window {layer.attributes.window}")


class NormalizationLayer(Rule):
    """Group, layer and instance normalization do not run on the DLA.

    Why: they compute statistics of each image, and the DLA has no average reduction. Each one hops to the GPU and back.
    Use instead: train with BatchNormalization, which folds into the convolution before it.
    Fix safety: retrain
    """

    id = "DLA203"
    kinds = ("NORMALIZATION", "PLUGIN_V2", "PLUGIN_V3", "PLUGIN")
    good = Example("y = BatchNormalization(x, s, b, m, v)", weights=tuple((name, "64") for name in "sbmv"))
    bad = Example("y = InstanceNormalization(x, s, b)", weights=(("s", "64"), ("b", "64")))

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        if layer.kind != "NORMALIZATION" and "Normalization" not in layer.op:
            return None
        return self.refuses(
            layer,
            layer.op or layer.kind,
            expected="BatchNormalization",
            source="build log of TensorRT 8.4 (InstanceNormalization plugin); absent from every DLA layer list",
            confidence=Confidence.MEASURED,
        )
