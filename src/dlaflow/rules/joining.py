"""Concatenation and resizing."""

from __future__ import annotations

from dlaflow.graph.layer import Concatenation, Layer, Resize
from dlaflow.rules.base import Example, Rule
from dlaflow.rules.case import Case, dims, rank
from dlaflow.types import Confidence, Finding, Remedy

_NEAREST = 'y = Resize<mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor">(x, roi, s)'
_TWICE = (("roi", "float[0]", ""), ("s", "float[4]", "1,1,2,2"))


class ConcatAxis(Rule):
    """Concatenation runs along C alone, the third axis from the end.

    Why: the DLA writes each input into its channels of one output.
    Use instead: keep four dimensions and concatenate channels; do the rest behind the DLA.
    """

    id = "DLA210"
    remedy = Remedy.EXACT
    otherwise = Remedy.NONE
    kinds = ("CONCATENATION",)
    limit = "concat.axis_from_last"
    good = Example("y = Concat<axis=1>(x, x2)", more_inputs=(("x2", "float[1,8,32,32]"),))
    bad = Example("y = Concat<axis=2>(x, x2)", more_inputs=(("x2", "float[1,64,8,32]"),))

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        limit = case.limit(self.limit)
        found = rank(layer.outputs[0])
        if limit is None or not isinstance(layer.attributes, Concatenation) or found is None:
            return None
        if limit.allows(found - layer.attributes.axis) and found == 4:
            return None
        return self.breaks(layer, limit, f"axis {layer.attributes.axis} of {found}", expected="axis 1 of 4")


class ConcatInputs(Rule):
    """Concatenation needs at least two inputs.

    Why: seen in the logs of TensorRT 5 to 7.
    Use instead: remove a Concat of one tensor.
    """

    id = "DLA211"
    remedy = Remedy.EXACT
    kinds = ("CONCATENATION",)
    expected = "at least 2"
    source = "build logs of TensorRT 5 to 7: Concatenation on DLA requires at least two inputs"
    confidence = Confidence.MEASURED
    good = Example("y = Concat<axis=1>(x, x2)", more_inputs=(("x2", "float[1,8,32,32]"),))
    bad = Example("y = Concat<axis=1>(x)")

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        if len(layer.inputs) >= 2:
            return None
        return self.refuses(layer, f"{len(layer.inputs)} input")


class ConcatConstant(Rule):
    """A constant among the inputs of a Concatenation is not known to be taken.

    Why: the constant stays a layer of its own, which the DLA refuses.
    Use instead: make the constant channels with a convolution that has zero weights and a bias.
    """

    id = "DLA212"
    remedy = Remedy.EXACT
    kinds = ("CONCATENATION",)
    expected = "activations"
    source = "derived from the refusal of Constant layers"
    confidence = Confidence.INFERRED
    good = Example("y = Concat<axis=1>(x, x2)", more_inputs=(("x2", "float[1,8,32,32]"),))
    bad = Example("y = Concat<axis=1>(x, k)", weights=(("k", "1,8,32,32"),))

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        if not any(tensor.constant for tensor in layer.inputs):
            return None
        return self.refuses(layer, "a constant input")


class ConcatOfPoints(Rule):
    """A Concatenation of maps of one pixel may not compile.

    Why: an author's DLA compiler ended with an assertion on dimensions at a Concat of the outputs of two 1x1 heads.
    Use instead: one 1x1 convolution with the output channels of all heads.
    """

    id = "DLA213"
    remedy = Remedy.NONE
    kinds = ("CONCATENATION",)
    expected = "it may end the build"
    source = "arXiv 2608.11770 (ResNet-34 with two heads, INT8, batch 16, TensorRT 10.3 on Orin NX), without the log"
    confidence = Confidence.INFERRED
    good = Example("y = Concat<axis=1>(x, x2)", more_inputs=(("x2", "float[1,8,32,32]"),))
    bad = Example("y = Concat<axis=1>(x, x2)", x="1,64,1,1", more_inputs=(("x2", "float[1,8,1,1]"),))

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        shape = layer.outputs[0].shape
        if not isinstance(layer.attributes, Concatenation) or layer.attributes.axis != 1 or not shape:
            return None
        return self.notes(layer, dims(layer.outputs[0])) if len(shape) == 4 and shape[2:] == (1, 1) else None


class ResizeAvailable(Rule):
    """Resize runs on the DLA from TensorRT 8.2 on.

    Why: added by that release.
    Use instead: a transposed convolution with kernel equal to stride and constant weights.
    """

    id = "DLA220"
    remedy = Remedy.EXACT
    kinds = ("RESIZE",)
    limit = "resize.available"
    expected = "TensorRT 8.2 or later"
    source = "NvInfer.h before 8.2 does not mention it"
    confidence = Confidence.INFERRED
    good = Example(_NEAREST, constants=_TWICE)
    bad = Example(_NEAREST, constants=_TWICE, board="xavier-nx", tensorrt="7.1.3")

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        if case.limit(self.limit) is not None:
            return None
        return self.refuses(layer, f"Resize under TensorRT {case.target.version}")


class ResizeMode(Rule):
    """Resize must be nearest (asymmetric with floor; half_pixel with round_prefer_floor or round_prefer_ceil from 8.4)
    or, from 8.4, linear with half_pixel or pytorch_half_pixel.

    Why: the resampler has these forms; align_corners and cubic are none of them.
    Use instead: nearest with asymmetric coordinates and floor, or a transposed convolution.
    """

    id = "DLA221"
    remedy = Remedy.EXACT
    otherwise = Remedy.RETRAIN
    kinds = ("RESIZE",)
    expected = "nearest asymmetric floor, nearest half_pixel, linear half_pixel or pytorch_half_pixel"
    source = "NvInfer.h IResizeLayer"
    good = ResizeAvailable.good
    bad = Example(
        'y = Resize<mode="linear", coordinate_transformation_mode="align_corners">(x, roi, s)', constants=_TWICE
    )

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        resize = layer.attributes
        if not isinstance(resize, Resize):
            return None
        forms = {("nearest", "asymmetric", "floor")}
        if case.limit("resize.linear_scale") is not None:
            forms |= {("nearest", "half_pixel", "round_prefer_floor"), ("nearest", "half_pixel", "round_prefer_ceil")}
            # NvInfer.h lists HALF_PIXEL with kUPPER for linear alone; that is how the parser reads pytorch_half_pixel.
            forms |= {("linear", form, resize.rounding) for form in ("half_pixel", "pytorch_half_pixel")}
        if (resize.mode, resize.coordinates, resize.rounding) in forms:
            return None
        received = f"{resize.mode}, {resize.coordinates}" + (f", {resize.rounding}" if resize.mode == "nearest" else "")
        return self.refuses(layer, received)


class ResizeScales(Rule):
    """Resize factors must be whole: {resize.nearest_scale} for nearest, {resize.linear_scale} for linear; 1 for N, C.

    Why: the resampler repeats or interpolates by whole steps and does not shrink.
    Use instead: whole factors; shrink by pooling or a strided convolution.
    """

    id = "DLA222"
    remedy = Remedy.EXACT
    otherwise = Remedy.RETRAIN
    kinds = ("RESIZE",)
    good = ResizeAvailable.good
    bad = Example(_NEAREST, constants=(("roi", "float[0]", ""), ("s", "float[4]", "1,1,1.5,1.5")))

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        resize = layer.attributes
        limit = case.limit("resize.nearest_scale")
        if not isinstance(resize, Resize) or limit is None or not resize.scales:
            return None
        if resize.mode == "linear":
            limit = case.limit("resize.linear_scale") or limit
        whole = all(float(scale).is_integer() for scale in resize.scales)
        kept = len(resize.scales) == 4 and resize.scales[:2] == (1, 1)
        if kept and whole and limit.allows(*(int(scale) for scale in resize.scales[2:])):
            return None
        received = " ".join(f"{scale:g}" for scale in resize.scales)
        return self.breaks(layer, limit, f"factors {received}", expected=f"1 1 and whole numbers in {limit.text}")


class ResizeBySize(Rule):
    """Resize must be given by scales, not by an output size.

    Why: the DLA refuses setOutputDimensions; exporters write sizes when the scale factor was not named.
    Use instead: `interpolate(scale_factor=2)` instead of `size=...`; `dlaflow fix` turns sizes into scales.
    """

    id = "DLA223"
    remedy = Remedy.EXACT
    kinds = ("RESIZE",)
    good = ResizeAvailable.good
    bad = Example(
        'y = Resize<mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor">(x, roi, e, n)',
        constants=(("roi", "float[0]", ""), ("e", "float[0]", ""), ("n", "int64[4]", "1,64,64,64")),
    )

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        if not isinstance(layer.attributes, Resize) or not layer.attributes.sizes_given:
            return None
        source = "NvInfer.h IResizeLayer::setOutputDimensions"
        return self.refuses(layer, "an output size", expected="scales", source=source)
