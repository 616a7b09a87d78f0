"""Transposed convolutions."""

from __future__ import annotations

from typing import ClassVar

from dlaflow.graph.layer import Convolution, Layer
from dlaflow.rules.base import AttributeRule, Bound, Example
from dlaflow.rules.case import Case, by
from dlaflow.rules.moving import SliceMode
from dlaflow.targets.limits import Limit
from dlaflow.types import Finding, Remedy

_W2 = (("w", "64,32,2,2"),)


class _DeconvolutionRule(AttributeRule[Convolution]):
    kinds: ClassVar[tuple[str, ...]] = ("DECONVOLUTION",)
    attributes = Convolution
    good = Example("y = ConvTranspose<strides=[2,2]>(x, w)", weights=_W2)


class _DeconvolutionBound(_DeconvolutionRule, Bound[Convolution]):
    """A bound on transposed convolutions."""


class _LongBound(_DeconvolutionBound):
    """Both sides lie within the range, or one is one of the long values with 1 beside it."""

    def fits(self, limit: Limit, numbers: tuple[int, ...]) -> bool:
        low, high = limit.min or 1, limit.max or 1
        return all(low <= number <= high for number in numbers) or (min(numbers) == 1 and max(numbers) in limit.values)


class DeconvKernelSize(_LongBound):
    """Transposed convolution kernels must lie in {deconv.kernel} on each side.

    Why: long kernels are taken only in one direction, with 1 in the other.
    Use instead: a kernel that equals the stride, or a Resize followed by a convolution.
    """

    id = "DLA130"
    remedy = Remedy.RETRAIN
    limit = "deconv.kernel"
    bad = Example("y = ConvTranspose<strides=[2,2]>(x, w)", x="1,4,8,8", weights=(("w", "4,4,40,40"),))
    fields = ("kernel",)
    noun = "kernel"


class DeconvStride(_LongBound):
    """Transposed convolution strides must lie in {deconv.stride} on each side.

    Why: long strides are taken only in one direction, with 1 in the other.
    Use instead: two transposed convolutions with smaller strides.
    """

    id = "DLA131"
    remedy = Remedy.RETRAIN
    limit = "deconv.stride"
    bad = Example("y = ConvTranspose<strides=[33,33]>(x, w)", x="1,64,4,4", weights=_W2)
    fields = ("stride",)
    noun = "stride"


class DeconvLargeSquare(_DeconvolutionRule):
    """Square transposed convolutions with kernel and stride of {deconv.square_off} are switched off.

    Why: they take too long to compile.
    Use instead: two transposed convolutions with smaller strides.
    """

    id = "DLA132"
    remedy = Remedy.RETRAIN
    limit = "deconv.square_off"
    bad = Example("y = ConvTranspose<strides=[24,24]>(x, w)", x="1,4,4,4", weights=(("w", "4,4,24,24"),))

    def look(self, layer: Layer, conv: Convolution, case: Case) -> Finding | None:
        limit = case.limit(self.limit)
        square = len(set(conv.kernel)) == 1 and len(set(conv.stride)) == 1
        if limit is None or not square or not limit.allows(*conv.kernel, *conv.stride):
            return None
        return self.breaks(
            layer, limit, f"kernel {by(conv.kernel)} with stride {by(conv.stride)}", expected="not both in 23..32"
        )


class DeconvPadding(_DeconvolutionBound):
    """Transposed convolution padding must be {deconv.padding}.

    Why: the DLA writes the whole output; cropping it is another operation.
    Use instead: kernel equal to stride without padding, or padding 0 and a Slice that crops (TensorRT 8.4 and later).
    """

    id = "DLA133"
    remedy = Remedy.EXACT
    limit = "deconv.padding"
    bad = Example("y = ConvTranspose<strides=[2,2], pads=[1,1,1,1]>(x, w)", weights=(("w", "64,32,4,4"),))
    fields = ("pads_begin", "pads_end")
    noun = "padding"


class DeconvOutputPadding(SliceMode):
    """Transposed convolutions must not have output padding.

    Why: the ONNX parser takes it off the padding; what is left over becomes a Slice behind the layer that fills up with
    zeros. The transposed convolution itself is a plain one and runs on the DLA.
    Use instead: kernel equal to stride, which needs none.
    """

    id = "DLA134"
    behind_deconvolution = True
    good = _DeconvolutionRule.good
    bad = Example("y = ConvTranspose<strides=[2,2], output_padding=[1,1]>(x, w)", weights=(("w", "64,32,3,3"),))


class DeconvGroups(_DeconvolutionBound):
    """Transposed convolutions must have {deconv.groups} group.

    Why: grouped transposed convolution is not made.
    Use instead: split the channels, one transposed convolution each, then Concat.
    """

    id = "DLA135"
    remedy = Remedy.EXACT
    limit = "deconv.groups"
    bad = Example("y = ConvTranspose<strides=[2,2], group=64>(x, w)", weights=(("w", "64,1,2,2"),))
    fields = ("groups",)
    noun = "groups"


class DeconvDilation(_DeconvolutionBound):
    """Transposed convolutions must not be dilated.

    Why: dilated transposed convolution is not made.
    Use instead: an undilated kernel with zeros in it.
    """

    id = "DLA136"
    remedy = Remedy.EXACT
    limit = "deconv.dilation"
    bad = Example("y = ConvTranspose<dilations=[2,2]>(x, w)", weights=_W2)
    fields = ("dilation",)
    noun = "dilation"


class DeconvChannels(_DeconvolutionRule):
    """Transposed convolutions must have {deconv.channels} input and output channels.

    Why: the DLA's descriptors hold 13-bit sizes.
    Use instead: several layers over parts of the channels.
    """

    id = "DLA137"
    remedy = Remedy.EXACT
    limit = "deconv.channels"
    bad = Example("y = ConvTranspose(x, w)", x="1,8193,1,1", weights=(("w", "8193,1,1,1"),))

    def look(self, layer: Layer, conv: Convolution, case: Case) -> Finding | None:
        limit = case.limit(self.limit)
        if limit is None or limit.allows(conv.in_channels, conv.out_channels):
            return None
        return self.breaks(layer, limit, f"{conv.in_channels} to {conv.out_channels} channels")


class DeconvStrideIsKernel(_DeconvolutionRule):
    """In TensorRT 8.2 a transposed convolution's stride had to equal its kernel.

    Why: a limit of that release.
    Use instead: TensorRT 8.4 or later, or a kernel that equals the stride.
    """

    id = "DLA138"
    remedy = Remedy.ELSEWHERE
    limit = "deconv.stride_is_kernel"
    good = Example("y = ConvTranspose<strides=[2,2]>(x, w)", weights=_W2, board="xavier-nx", tensorrt="8.2.1")
    bad = Example(
        "y = ConvTranspose<strides=[2,2]>(x, w)", weights=(("w", "64,32,3,3"),), board="xavier-nx", tensorrt="8.2.1"
    )

    def look(self, layer: Layer, conv: Convolution, case: Case) -> Finding | None:
        limit = case.limit(self.limit)
        if limit is None or conv.kernel == conv.stride:
            return None
        return self.breaks(
            layer, limit, f"stride {by(conv.stride)} with kernel {by(conv.kernel)}", expected="stride equal to kernel"
        )


class DeconvTwoDimensional(_DeconvolutionRule):
    """Only two-dimensional transposed convolutions run on the DLA.

    Why: the engine walks over H and W.
    Use instead: a 1-D layer as a 2-D one with height 1.
    """

    id = "DLA139"
    remedy = Remedy.EXACT
    bad = Example("y = ConvTranspose(x, w)", x="1,4,4,4,4", weights=(("w", "4,4,2,2,2"),))

    def look(self, layer: Layer, conv: Convolution, case: Case) -> Finding | None:
        return self.two_dimensional(layer, len(conv.kernel), "NvInfer.h IDeconvolutionLayer::setKernelSizeNd")
