"""Names as TensorRT's ONNX parser gives them: a taken name gets a suffix from one counter of the whole network."""

from __future__ import annotations

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


def unnamed(index: int, kind: str) -> str:
    """TensorRT's name of a layer that nobody named."""
    text = _TYPE_TEXT.get(kind) or "".join(part.capitalize() for part in kind.split("_"))
    return f"(Unnamed Layer* {index}) [{text}]"


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
