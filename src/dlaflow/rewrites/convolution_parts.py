"""A convolution that the buffer refuses → convolutions over parts of its input channels, added up.

Conv(x, W) = Conv(x[first half], W[:, first half]) + Conv(x[second half], W[:, second half]) + b

Before TensorRT 8.4, which has no Slice, a 1x1 convolution with ones and zeros takes out the channels: its one row needs
fewer banks. Output channels do not enter the test of the buffer, so that splitting those would not help.
"""

from __future__ import annotations

import numpy as np
import onnx

from dlaflow.graph.layer import Convolution
from dlaflow.rewrites.base import Bounds, Match, Rewrite
from dlaflow.rewrites.building_blocks import convolved, sliced
from dlaflow.rewrites.draft import Draft, Edit, integer, ints
from dlaflow.rules.convolution_buffer import convolution_banks

_MOST_PARTS = 16


class ConvolutionParts(Rewrite):
    """Convolutions beyond the convolution buffer are split by input channels."""

    id = "convolution-parts"
    answers = ("DLA120", "DLA116")
    operators = ("Conv",)

    def match(self, draft: Draft, node: onnx.NodeProto, bounds: Bounds) -> Match:
        image, shape, kernel = draft.image(node.input[0]), draft.image(node.output[0]), draft.value(node, 1)
        banks = bounds.limit("conv.buffer_banks")
        if image is None or shape is None or kernel is None or kernel.ndim != 4:
            return None
        most = bounds.largest("conv.in_channels", 8192)
        dilation = ints(node, "dilations", (1, 1))
        sides, zero = (int(kernel.shape[2]), int(kernel.shape[3])), (0, 0)

        def fits(channels: int, window: tuple[int, int] = sides) -> bool:
            record = Convolution(window, (1, 1), zero, zero, dilation, 1, image[1], shape[1])
            needed = convolution_banks(channels, image[3], record, bounds.bytes_per_element).total
            return channels <= most and (banks is None or banks.allows(needed))

        groups = integer(node, "group", 1)
        if groups < 1 or fits(image[1] // groups):
            return None
        if groups > 1:
            return "a grouped convolution is not split"
        parts = next((count for count in range(2, _MOST_PARTS + 1) if fits(-(-image[1] // count))), None)
        if parts is None:
            return f"even {_MOST_PARTS} parts of {image[1]} channels do not fit"
        slices = bounds.limit("slice.available") is not None
        if not slices and not fits(image[1], (1, 1)):
            return f"even a 1x1 convolution over {image[1]} channels does not fit, and the release has no Slice"
        return _split(draft, node, parts, slices=slices)


def _split(draft: Draft, node: onnx.NodeProto, parts: int, *, slices: bool) -> Edit:
    image, shape = draft.image(node.input[0]) or (0, 0, 0, 0), draft.shape(node.output[0]) or ()
    kernel = np.asarray(draft.value(node, 1))
    edit, total = Edit(draft, [node]), ""
    step = -(-image[1] // parts)
    for number, start in enumerate(range(0, image[1], step)):
        end = min(start + step, image[1])
        taken = (image[0], end - start, *image[2:])
        if slices:
            part = sliced(edit, node.input[0], {1: (start, end)}, taken)
        else:
            part = _selected(edit, node.input[0], start, end, taken)
        inputs = [part, edit.weight(f"weight_{number}", kernel[:, start:end], node.input[0])]
        if number == 0:
            inputs += list(node.input[2:])
        y = edit.copy(node, inputs, shape)
        total = edit.add("Add", [total, y], shape) if total else y
    return edit.finish(total, node.output[0])


def _selected(edit: Edit, x: str, start: int, end: int, shape: tuple[int, ...]) -> str:
    kernel = np.eye(edit.image(x)[1])[start:end, :, None, None]
    return convolved(edit, x, kernel, shape, label="selection")
