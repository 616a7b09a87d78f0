"""ResNet-18 at 224 as an ONNX file, made from nothing but numpy: for timing, where the weights do not matter.

With several inputs each has a stem of its own, and their sum goes on.

The weights are random (He initialisation, fixed seed), BatchNormalization is already folded as exporters do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


@dataclass
class _Builder:
    generator: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)

    def add(self, op: str, name: str, *inputs: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(op, list(inputs), [f"{name}_output"], name=name, **attributes))
        return f"{name}_output"

    def conv(self, name: str, source: str, channels: tuple[int, int], kernel: int, stride: int) -> str:
        inner, outer = channels
        weight = self.generator.standard_normal((outer, inner, kernel, kernel)) * np.sqrt(2 / (inner * kernel * kernel))
        self.weights.append(numpy_helper.from_array(weight.astype(np.float32), f"{name}.weight"))
        self.weights.append(numpy_helper.from_array(np.zeros(outer, np.float32), f"{name}.bias"))
        pads = [kernel // 2] * 4
        return self.add("Conv", name, source, f"{name}.weight", f"{name}.bias", strides=[stride] * 2, pads=pads)

    def block(self, name: str, source: str, channels: tuple[int, int], stride: int) -> str:
        inner, outer = channels
        first = self.add("Relu", f"{name}/relu1", self.conv(f"{name}/conv1", source, (inner, outer), 3, stride))
        second = self.conv(f"{name}/conv2", first, (outer, outer), 3, 1)
        skip = source if inner == outer else self.conv(f"{name}/downsample", source, (inner, outer), 1, stride)
        return self.add("Relu", f"{name}/relu2", self.add("Add", f"{name}/add", second, skip))


def write_resnet18(path: Path, classes: int = 1000, inputs: Sequence[str] = ("input",)) -> None:
    """Write the model: `inputs` [batch, 3, 224, 224] each, output `output` [batch, classes]."""
    made = _Builder()
    stems = [made.conv(f"stem/conv{place}", name, (3, 64), 7, 2) for place, name in enumerate(inputs)]
    tensor = made.add("Relu", "stem/relu", made.add("Sum", "stem/sum", *stems) if len(stems) > 1 else stems[0])
    tensor = made.add("MaxPool", "stem/pool", tensor, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    inner = 64
    for stage, outer in enumerate((64, 128, 256, 512), start=1):
        tensor = made.block(f"layer{stage}.0", tensor, (inner, outer), 1 if stage == 1 else 2)
        tensor = made.block(f"layer{stage}.1", tensor, (outer, outer), 1)
        inner = outer
    tensor = made.add("Flatten", "flatten", made.add("GlobalAveragePool", "pool", tensor))
    weight = made.generator.standard_normal((classes, 512)).astype(np.float32) / np.float32(np.sqrt(512))
    made.weights += [
        numpy_helper.from_array(weight, "fc.weight"),
        numpy_helper.from_array(np.zeros(classes, np.float32), "fc.bias"),
    ]
    made.nodes.append(helper.make_node("Gemm", [tensor, "fc.weight", "fc.bias"], ["output"], name="fc", transB=1))
    graph = helper.make_graph(
        made.nodes,
        "resnet18",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3, 224, 224]) for name in inputs],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", classes])],
        made.weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
