"""A pen for ONNX graphs whose node names must be those of a log: one method a layer, weights that nobody reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


@dataclass(frozen=True)
class Window:
    """What a convolution has besides its kernel; `pads` are four sides, () is half the kernel on each."""

    stride: int = 1
    pads: tuple[int, ...] = ()
    groups: int = 1
    bias: bool = True


class Writer:
    """Collects nodes; every method takes and gives tensor names, which are the node's name where not said otherwise."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._channels: dict[str, int] = {}

    def input(self, name: str, shape: Sequence[int | str]) -> str:
        """A network input; a string is an open dimension."""
        self._inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)))
        if len(shape) > 1 and isinstance(shape[1], int):
            self._channels[name] = shape[1]
        return name

    def constant(self, name: str, values: Sequence[float] | np.ndarray, dtype: str = "float32") -> str:
        """An initializer."""
        self._constants.append(numpy_helper.from_array(np.asarray(values, dtype=dtype), name))
        return name

    def node(
        self,
        op: str,
        name: str,
        inputs: Sequence[str],
        *,
        channels: int | None = None,
        outputs: Sequence[str] = (),
        **attributes: object,
    ) -> str:
        """Any node; gives its first output, which keeps the first input's channels unless `channels` says more."""
        out = list(outputs) or [name]
        self._nodes.append(helper.make_node(op, list(inputs), out, name=name, **attributes))
        for each in out:
            self._channels[each] = channels or (self._channels.get(inputs[0], 0) if inputs else 0)
        return out[0]

    def conv(self, name: str, x: str, channels: int, kernel: int, window: Window | None = None) -> str:
        """A convolution."""
        form = window or Window()
        weight = self._weights(f"{name}.weight", (channels, self._channels[x] // form.groups, kernel, kernel))
        inputs = [x, weight, *([self._weights(f"{name}.bias", (channels,))] if form.bias else [])]
        sizes = {
            "kernel_shape": [kernel, kernel],
            "strides": [form.stride, form.stride],
            "pads": list(form.pads) or [kernel // 2] * 4,
        }
        return self.node("Conv", name, inputs, channels=channels, group=form.groups, **sizes)

    def deconv(self, name: str, x: str, channels: int, kernel: int, stride: int) -> str:
        """A transposed convolution without padding or bias."""
        weight = self._weights(f"{name}.weight", (self._channels[x], channels, kernel, kernel))
        return self.node(
            "ConvTranspose",
            name,
            [x, weight],
            channels=channels,
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
        )

    def norm(self, name: str, x: str) -> str:
        """A batch norm that stays a node of its own."""
        count = self._channels[x]
        values = [self._weights(f"{name}.{part}", (count,)) for part in ("scale", "shift", "mean", "var")]
        return self.node("BatchNormalization", name, [x, *values])

    def pool(self, op: str, name: str, x: str, kernel: int, stride: int, pad: int = 0, *, ceil: bool = False) -> str:
        """MaxPool or AveragePool."""
        return self.node(
            op, name, [x], kernel_shape=[kernel, kernel], strides=[stride, stride], pads=[pad] * 4, ceil_mode=int(ceil)
        )

    def concat(self, name: str, parts: Sequence[str], axis: int = 1) -> str:
        """A concatenation."""
        return self.node("Concat", name, parts, channels=sum(self._channels[each] for each in parts), axis=axis)

    def save(self, path: Path, outputs: Sequence[str], *, named: bool = True) -> Path:
        """Write the model (nodes without names where `named` is false) and return the path."""
        for node in self._nodes:
            node.name = node.name if named else ""
        values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
        graph = helper.make_graph(self._nodes, "graph", self._inputs, values, self._constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(model, path)
        return path

    def _weights(self, name: str, shape: tuple[int, ...]) -> str:
        """An initializer whose data is said to lie in another file; a prediction never reads it."""
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape, data_location=TensorProto.EXTERNAL)
        tensor.external_data.add(key="location", value="weights.bin")
        self._constants.append(tensor)
        return name
