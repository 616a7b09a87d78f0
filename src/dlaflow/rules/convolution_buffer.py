"""The convolution buffer: kernels and the rows that they need must fit 16 banks.

NVIDIA's test in integers, with bpe the bytes per element (1 in INT8, 2 in FP16), C the input channels, W the input
width, kh and kw the kernel:

    weight banks = ceil(roundup(kernels * C * kh * kw * bpe, 128) / 32768)
    entries      = ceil(ceil(C * bpe / 32) * W / 4)                      of one row
    data banks   = ceil(entries * ((kh - 1) * dilation + 1) / 256)
    weight banks + data banks <= 16

The guide tests one kernel. The open NVDLA compiler keeps a group of them in the buffer (32 in INT8 there), and the one
layer that is known to fail agrees with it: 3x3, stride 2, 32 groups, 256 channels, 256 columns in FP16 passes with one
kernel (1 + 12 banks, 1 + 1 within its group) and fails with 32 of them over all channels, as its log counts: 5 + 12.
All narrower forms that build take at most 11 banks so, and RetinaNet's ResNeXt50 at 800x800 in INT8 at most 14. So:

- one kernel that does not fit: refused, as documented (of a grouped convolution one that sees its own group alone);
- a grouped convolution of which 32 kernels over all channels do not fit: refused where builds have shown it (FP16,
  32 groups or more), else `unknown`;
- a dense convolution of which 32 kernels do not fit: a remark, as no known build tells; a depthwise one the same on
  Orin, which has a unit for them (NVIDIA's largest known to build, in SSD-MobileNetV1, takes 10 banks by this count).
"""

from __future__ import annotations

from dataclasses import dataclass

from dlaflow.graph.layer import Convolution, Layer
from dlaflow.rules.base import Example, Rule
from dlaflow.rules.case import Case
from dlaflow.types import Confidence, Device, Finding, Remedy

_BANK_BYTES = 32768
_BANK_ENTRIES = 256
_KERNEL_ROUNDING = 128
_ENTRY_CHANNEL_BYTES = 32
_ENTRY_PIXELS = 4


@dataclass(frozen=True, slots=True)
class Banks:
    """How many banks of the convolution buffer one kernel and its rows take."""

    weights: int
    data: int

    @property
    def total(self) -> int:
        """All banks."""
        return self.weights + self.data


def convolution_banks(channels: int, width: int, conv: Convolution, bytes_per_element: int, kernels: int = 1) -> Banks:
    """The banks that `kernels` of a convolution need with their rows; `channels` are those that one kernel sees."""
    kernel_height, kernel_width = conv.kernel
    kernel_bytes = kernels * channels * kernel_height * kernel_width * bytes_per_element
    rounded = -(-kernel_bytes // _KERNEL_ROUNDING) * _KERNEL_ROUNDING
    entries = -(-(-(-channels * bytes_per_element // _ENTRY_CHANNEL_BYTES) * width) // _ENTRY_PIXELS)
    rows = (kernel_height - 1) * conv.dilation[0] + 1
    return Banks(weights=-(-rounded // _BANK_BYTES), data=-(-entries * rows // _BANK_ENTRIES))


class ConvBuffer(Rule):
    """A convolution's kernels and rows must fit the convolution buffer: {conv.buffer_banks} banks.

    Why: TensorRT tests it before handing the layer to the DLA compiler; wide inputs with many channels fail first. Of
    a grouped convolution 32 kernels over all channels must fit, which TensorRT 8.5 finds out only in the DLA's
    compiler: without fallback the build ends there.
    Use instead: split the input channels into two convolutions and Add them (the groups into two and Concat), lower the
    resolution, or use INT8.
    """

    id = "DLA120"
    remedy = Remedy.EXACT
    kinds = ("CONVOLUTION",)
    limit = "conv.buffer_banks"
    further = ("conv.kernel_group", "conv.depthwise_unit")
    unknown_runs_on = Device.DLA
    good = Example("y = Conv<pads=[1,1,1,1]>(x, w)", x="1,512,8,256", weights=(("w", "8,512,3,3"),))
    bad = Example("y = Conv<pads=[1,1,1,1]>(x, w)", x="1,512,8,256", weights=(("w", "8,512,3,3"),), precision="fp16")

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        limit, group = case.limit(self.limit), case.limit("conv.kernel_group")
        conv = layer.attributes
        shape = layer.inputs[0].shape
        if limit is None or not isinstance(conv, Convolution) or len(conv.kernel) != 2 or not shape or len(shape) != 4:
            return None
        width, channels = shape[3], conv.in_channels
        if width is None or conv.groups < 1:
            return None
        own = convolution_banks(channels // conv.groups, width, conv, case.bytes_of(layer))
        if not limit.allows(own.total):
            return self.breaks(layer, limit, self._text(own))
        if group is None:
            return None
        kernels = min(group.max or 1, conv.out_channels)
        whole = convolution_banks(channels, width, conv, case.bytes_of(layer), kernels)
        if limit.allows(whole.total):
            return None
        received = f"{self._text(whole)} for {kernels} kernels of {channels} channels"
        one = convolution_banks(channels, width, conv, case.bytes_of(layer))
        alone = conv.groups == 1 or (conv.groups == channels and case.limit("conv.depthwise_unit") is not None)
        if alone and limit.allows(one.total):
            expected = f"{limit.text} for one kernel, which takes {one.total}; a grouped convolution would not fit"
            return self.notes(layer, received, expected=expected, source=group.source, confidence=Confidence.INFERRED)
        if case.precision(layer) == "fp16" and kernels <= conv.groups < channels:
            return self.breaks(layer, group, received, expected=limit.text)
        inferred = Confidence.INFERRED
        return self.refuses(layer, received, expected=limit.text, source=group.source, confidence=inferred)

    def _text(self, banks: Banks) -> str:
        return f"{banks.total} banks ({banks.weights} weights + {banks.data} data)"
