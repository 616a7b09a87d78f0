"""Names as TensorRT's ONNX parser gives them, and the conversions of weights that use names up.

A taken name gets a suffix from one counter of the whole network.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from dlaflow.graph.tensor_type import elem_name

if TYPE_CHECKING:
    import onnx

_TYPE_TEXT = {
    "ELEMENTWISE": "ElementWise",
    "MATRIX_MULTIPLY": "Matrix Multiply",
    "PLUGIN_V2": "PluginV2",
    "LRN": "LRN",
    "NMS": "NMS",
    "TOPK": "TopK",
    "PARAMETRIC_RELU": "ParametricReLU",
    "TRIP_LIMIT": "TripLimit",
    "LOOP_OUTPUT": "LoopOutput",
    "CONDITION": "IfCondition",
}
_COUNTED = re.compile(r"(?<=\(Unnamed Layer\* )\d+|(?<=ONNXTRT_)[A-Za-z]+(_\d+)?")
_FOREIGN = {"int64", "uint8", "float64"}
"""Types that the parser of 8.4 to 8.6 does not have: INT32 and FLOAT take their place."""
_WIDENED = {"float16", "int8", "bool"}
"""Types that protobuf's int32_data holds four bytes wide: they are packed again."""


def unnamed(index: int, kind: str) -> str:
    """TensorRT's name of a layer that nobody named."""
    text = _TYPE_TEXT.get(kind) or "".join(part.capitalize() for part in kind.split("_"))
    return f"(Unnamed Layer* {index}) [{text}]"


def uncounted(text: str) -> str:
    """A text without the numbers of made-up names: these hang on how many layers stand before one."""
    return _COUNTED.sub("", text)


class Names:
    """Makes names unique as the parser does: layers and tensors have sets of their own and share the counter."""

    def __init__(self) -> None:
        self._layers: set[str] = set()
        self._tensors: set[str] = set()
        self._counter = 0
        self._refittable = 0

    def layer(self, base: str) -> str:
        """A name for a layer that is registered as `base`."""
        return self._unique(self._layers, base)

    def tensor(self, base: str) -> str:
        """A name for a tensor that is registered as `base`."""
        return self._unique(self._tensors, base)

    def refittable(self) -> str:
        """A name for weights that the parser makes for refitting: these have a counter of their own."""
        self._refittable += 1
        return "tmp_refittable_weight" + (f"_{self._refittable - 2}" if self._refittable > 1 else "")

    def _unique(self, taken: set[str], base: str) -> str:
        name = base
        while name in taken:
            name = f"{base}_{self._counter}"
            self._counter += 1
        taken.add(name)
        return name


def node_name(node: onnx.NodeProto) -> str:
    """The name of a node, or the one that the parser makes up for it."""
    return str(node.name) if node.name or not node.output else f"node_of_{node.output[0]}"


def conversions(tensor: onnx.TensorProto, *, elsewhere: bool) -> int:
    """How many temporary weights the parser of 8.4 to 8.6 makes of a tensor: each takes a name from the counter.

    `elsewhere` means that it reads the data from a file of its own, which it copies once more.
    """
    kind = elem_name(tensor.data_type)
    if elsewhere:
        return 2 if kind in _FOREIGN else 1
    raw = len(tensor.raw_data) > 0 or _is_cut(tensor)
    if kind in _FOREIGN:
        own = {"int64": tensor.int64_data, "float64": tensor.double_data}.get(kind, ())
        return int(raw or len(own) > 0)
    return int(kind in _WIDENED and not raw)


def shared_places(tensors: Iterable[onnx.TensorProto]) -> frozenset[tuple[str, str]]:
    """Places in external files that several tensors read.

    No exporter writes that: they are placeholders in a graph that was published without its weights, and stand for
    weights that the parser found inside the model.
    """
    places = Counter(place_of(tensor) for tensor in tensors if tensor.data_location == 1)
    return frozenset(place for place, count in places.items() if count > 1)


def place_of(tensor: onnx.TensorProto) -> tuple[str, str]:
    """The file and the offset of a tensor with external data."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    return entries.get("location", ""), entries.get("offset", "0")


def _is_cut(tensor: onnx.TensorProto) -> bool:
    """Whether the data was left in the file when it was read: elements, but no data at all."""
    fields = (tensor.raw_data, tensor.int32_data, tensor.int64_data, tensor.double_data, tensor.float_data)
    return 0 not in tensor.dims and not any(len(data) for data in fields)
