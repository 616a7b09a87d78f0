"""Convolutions: kernel, padding, stride, dilation, channels, groups."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from dlaflow.graph.layer import Convolution, Layer
from dlaflow.rules.base import AttributeRule, Bound, Example
from dlaflow.rules.case import Case
from dlaflow.targets.version import Version
from dlaflow.types import Confidence, Finding, Remedy

_W3 = (("w", "64,64,3,3"),)


class _ConvolutionRule(AttributeRule[Convolution]):
    kinds: ClassVar[tuple[str, ...]] = ("CONVOLUTION",)
    attributes = Convolution
    good = Example("y = Conv<pads=[1,1,1,1]>(x, w)", weights=_W3)


class _ConvolutionBound(_ConvolutionRule, Bound[Convolution]):
    """A bound on convolutions."""


class ConvKernelSize(_ConvolutionBound):
    """Convolution kernels must lie in {conv.kernel} on each side.

    Why: the convolution engine's buffers are sized for it.
    Use instead: two stacked smaller kernels, or run this layer on the GPU.
    """

    id = "DLA110"
    remedy = Remedy.RETRAIN
    limit = "conv.kernel"
    noun = "kernel"
    bad = Example("y = Conv(x, w)", x="1,4,64,64", weights=(("w", "4,4,33,33"),))
    fields = ("kernel",)


class ConvPadding(_ConvolutionBound):
    """Convolution padding must lie in {conv.padding} on each side.

    Why: the padding field of the convolution engine.
    Use instead: a smaller kernel or dilation, which needs less padding.
    """

    id = "DLA111"
    remedy = Remedy.RETRAIN
    limit = "conv.padding"
    noun = "padding"
    bad = Example("y = Conv<pads=[32,32,32,32], dilations=[32,32]>(x, w)", weights=_W3)
    fields = ("pads_begin", "pads_end")


class ConvPaddingBelowKernel(_ConvolutionRule):
    """Convolution padding must be smaller than the kernel in the same direction.

    Why: otherwise a window would see padding alone.
    Use instead: crop the surplus padding; for a dilated kernel use two convolutions with less dilation.
    """

    id = "DLA112"
    remedy = Remedy.EXACT
    limit = "conv.padding_below_kernel"
    bad = Example("y = Conv<pads=[1,1,1,1]>(x, w)", weights=(("w", "64,64,1,1"),))

    def look(self, layer: Layer, conv: Convolution, case: Case) -> Finding | None:
        limit = case.limit(self.limit)
        if limit is None:
            return None
        for kernel, begin, end in zip(conv.kernel, conv.pads_begin, conv.pads_end, strict=False):
            if max(begin, end) >= kernel:
                received = f"padding {max(begin, end)} with kernel {kernel}"
                return self.breaks(layer, limit, received, expected=f"at most {kernel - 1}")
        return None


class ConvStride(_ConvolutionBound):
    """Convolution strides must lie in {conv.stride}.

    Why: the stride field of the convolution engine.
    Use instead: a stride within the bound followed by pooling or another strided convolution.
    """

    id = "DLA113"
    remedy = Remedy.RETRAIN
    limit = "conv.stride"
    noun = "stride"
    good = Example("y = Conv<strides=[8,8]>(x, w)", weights=_W3)
    bad = Example("y = Conv<strides=[16,16]>(x, w)", weights=(("w", "64,64,16,16"),))
    fields = ("stride",)


class ConvDilation(_ConvolutionBound):
    """Convolution dilation must lie in {conv.dilation}.

    Why: the dilation field of the convolution engine.
    Use instead: a smaller dilation, or pooling before the convolution.
    """

    id = "DLA114"
    remedy = Remedy.RETRAIN
    limit = "conv.dilation"
    noun = "dilation"
    good = Example("y = Conv<dilations=[2,2]>(x, w)", weights=_W3)
    bad = Example("y = Conv<dilations=[33,33]>(x, w)", x="1,64,80,80", weights=_W3)
    fields = ("dilation",)


class ConvOutputChannels(_ConvolutionBound):
    """A convolution must have {conv.out_channels} output channels.

    Why: the DLA's descriptors hold 13-bit sizes.
    Use instead: several convolutions over parts of the output channels, then Concat.
    """

    id = "DLA115"
    remedy = Remedy.EXACT
    limit = "conv.out_channels"
    noun = "output channels"
    good = Example("y = Conv(x, w)", weights=(("w", "128,64,1,1"),))
    bad = Example("y = Conv(x, w)", x="1,1,8,8", weights=(("w", "8193,1,1,1"),))
    fields = ("out_channels",)


class ConvInputChannels(_ConvolutionBound):
    """A convolution must have {conv.in_channels} input channels.

    Why: the DLA's descriptors hold 13-bit sizes.
    Use instead: several convolutions over parts of the input channels, then Add.
    """

    id = "DLA116"
    remedy = Remedy.EXACT
    limit = "conv.in_channels"
    noun = "input channels"
    good = Example("y = Conv(x, w)", weights=(("w", "128,64,1,1"),))
    bad = Example("y = Conv(x, w)", x="1,8193,1,1", weights=(("w", "1,8193,1,1"),))
    fields = ("in_channels",)


class ConvGroups(_ConvolutionBound):
    """A convolution must have {conv.groups} groups.

    Why: the limit of the DLA compiler.
    Use instead: split the channels, convolve each part, then Concat.
    """

    id = "DLA117"
    remedy = Remedy.EXACT
    limit = "conv.groups"
    noun = "groups"
    good = Example("y = Conv<group=64>(x, w)", weights=(("w", "64,1,3,3"),))
    bad = Example("y = Conv<group=8193>(x, w)", x="1,8193,1,1", weights=(("w", "8193,1,1,1"),))
    fields = ("groups",)


class ConvTwoDimensional(_ConvolutionRule):
    """Only two-dimensional convolutions run on the DLA.

    Why: the convolution engine walks over H and W. TensorRT 8.6 and later lifts some one-dimensional ones itself.
    Use instead: a 1-D convolution as a 2-D one with height 1; 3-D work has no form on the DLA.
    """

    id = "DLA118"
    remedy = Remedy.EXACT
    good = Example("y = Conv(x, w)", weights=_W3)
    bad = Example("y = Conv(x, w)", x="1,8,16,16,16", weights=(("w", "8,8,3,3,3"),))

    def look(self, layer: Layer, conv: Convolution, case: Case) -> Finding | None:
        seen = Confidence.DOCUMENTED if len(conv.kernel) == 3 else Confidence.INFERRED
        return self.two_dimensional(layer, len(conv.kernel), "NvInfer.h IConvolutionLayer::setKernelSizeNd", seen)


_FOLD = "fold constants (`dlaflow export --simplify`, onnxslim), which gives each convolution its own weights."
_FROM_QDQ = "`dlaflow cache from-qdq`, which gives each convolution its own weights and writes the scales into a cache."
_INPUT = "an initializer, where it is the same in every run; a kernel that changes has no form on the DLA."
_COMPUTED = (
    "a kernel that is a weighted sum of fixed ones as one convolution for each, whose outputs are weighted and summed; "
    "else leave it to the GPU."
)
"""What helps where a kernel or bias is known before run time, behind Q/DQ, given from outside, or computed."""


class ConvConstantWeights(_ConvolutionRule):
    """A convolution's kernel and bias must be its own weights, not tensors from other layers or inputs of the network.

    Why: the DLA compiler lays them out when it builds the loadable. Exporters store equal biases once and hand them to
    the other convolutions through Identity nodes: TensorRT keeps these as layers, and each such convolution falls back.
    Use instead: fold constants (`dlaflow export --simplify`, onnxslim), which gives each convolution its own weights;
    an input of the network that never changes as an initializer; a computed kernel stays on the GPU.
    """

    id = "DLA119"
    remedy = Remedy.EXACT
    kinds = ("CONVOLUTION", "DECONVOLUTION")
    good = Example("y = Conv(x, w)", weights=_W3)
    bad = Example("i = Identity(b)\ny = Conv(x, w, i)", weights=(*_W3, ("b", "64")))

    def look(self, layer: Layer, conv: Convolution, case: Case) -> Finding | None:
        if len(layer.inputs) == 1:
            return None
        # Weights are no inputs of the layer: whatever is, comes from elsewhere, even when its value is known.
        given = next((tensor for tensor in layer.inputs[1:] if not tensor.constant), layer.inputs[-1])
        maker = case.producers.get(given.name)
        if given.constant:
            received = "from another layer"
            advice = _FROM_QDQ if maker is not None and maker.kind == "DEQUANTIZE" else _FOLD
        else:
            received, advice = ("computed at run time", _COMPUTED) if maker else ("an input of the network", _INPUT)
        # What 8.5.2 refuses of a constant, every release refuses of what is not even one.
        seen = not given.constant or case.target.version < Version.parse("8.6")
        found = self.refuses(
            layer,
            f"{given.name} {received}",
            expected="its own weights",
            source="eight builds of TensorRT 8.5.2 on Xavier (PaceSeg), whose biases come from Identity nodes",
            confidence=Confidence.MEASURED if seen else Confidence.INFERRED,
        )
        return replace(found, fix=advice, remedy=Remedy.NONE if advice is _COMPUTED else self.remedy)
