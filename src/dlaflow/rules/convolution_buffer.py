"""The convolution buffer: one kernel and the rows that it needs must fit 16 banks.

NVIDIA's test in integers, with bpe the bytes per element (1 in INT8, 2 in FP16), C the input channels that one kernel
sees, W the input width and kh, kw the kernel:

    weight banks = ceil(roundup(C * kh * kw * bpe, 128) / 32768)
    entries      = ceil(ceil(C * bpe / 32) * W / 4)                      of one row
    data banks   = ceil(entries * ((kh - 1) * dilation + 1) / 256)
    weight banks + data banks <= 16

For grouped convolutions the text does not say whether C is that of a group; a layer that passes only with the group's C
is answered with `unknown`.
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


def convolution_banks(channels: int, width: int, conv: Convolution, bytes_per_element: int) -> Banks:
    """The banks that a convolution needs; `channels` are those that one kernel sees."""
    kernel_height, kernel_width = conv.kernel
    kernel_bytes = channels * kernel_height * kernel_width * bytes_per_element
    rounded = -(-kernel_bytes // _KERNEL_ROUNDING) * _KERNEL_ROUNDING
    entries = -(-(-(-channels * bytes_per_element // _ENTRY_CHANNEL_BYTES) * width) // _ENTRY_PIXELS)
    rows = (kernel_height - 1) * conv.dilation[0] + 1
    return Banks(weights=-(-rounded // _BANK_BYTES), data=-(-entries * rows // _BANK_ENTRIES))


class ConvBuffer(Rule):
    """A convolution's kernel and rows must fit the convolution buffer: {conv.buffer_banks} banks.

    Why: TensorRT tests it before handing the layer to the DLA compiler; wide inputs with many channels fail first.
    Use instead: split the input channels into two convolutions and Add them, lower the resolution, or use INT8.
    """

    id = "DLA120"
    remedy = Remedy.EXACT
    kinds = ("CONVOLUTION",)
    limit = "conv.buffer_banks"
    unknown_runs_on = Device.DLA
    good = Example("y = Conv<pads=[1,1,1,1]>(x, w)", x="1,512,8,256", weights=(("w", "8,512,3,3"),))
    bad = Example("y = Conv<pads=[1,1,1,1]>(x, w)", x="1,512,8,256", weights=(("w", "8,512,3,3"),), precision="fp16")

    def examine(self, layer: Layer, case: Case) -> Finding | None:
        limit = case.limit(self.limit)
        conv = layer.attributes
        shape = layer.inputs[0].shape
        if limit is None or not isinstance(conv, Convolution) or len(conv.kernel) != 2 or not shape or len(shape) != 4:
            return None
        width = shape[3]
        if width is None or conv.groups < 1:
            return None
        own = convolution_banks(conv.in_channels // conv.groups, width, conv, case.bytes_of(layer))
        if not limit.allows(own.total):
            return self.breaks(layer, limit, self._text(own))
        whole = convolution_banks(conv.in_channels, width, conv, case.bytes_of(layer))
        if limit.allows(whole.total):
            return None
        return self.refuses(
            layer,
            f"{self._text(own)} for one of {conv.groups} groups, {whole.total} for all channels",
            expected=limit.text,
            source=f"{limit.source}; grouped convolutions are not mentioned",
            confidence=Confidence.INFERRED,
        )

    def _text(self, banks: Banks) -> str:
        return f"{banks.total} banks ({banks.weights} weights + {banks.data} data)"
