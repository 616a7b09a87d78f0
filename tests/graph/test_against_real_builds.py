"""Our layers, names and numbers against logs of real builds on Jetsons."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from dlaflow.graph.layer import Network
from dlaflow.graph.load import load_model
from dlaflow.graph.lower import lower

_ROOT = Path(__file__).parents[2]
EVIDENCE = Path(os.environ.get("DLAFLOW_EVIDENCE", _ROOT.parent / "shared" / "evidence"))
LOG = EVIDENCE / "artefacts/open/trtexec_10.3.0_orin_dla0_fp16_resnet50_verbose_skipinference.log"
CACHE = EVIDENCE / "artefacts/open/calib_TRT-8502_yolo11n.cache"

_NODE = re.compile(r"\[TRT\] (\S+) \[(\w+)\] (inputs|outputs): (.*)")
_TENSOR = re.compile(r"\[([^\[\]]+) -> \(([\d, ]*)\)\[FLOAT\]\]")
_KERNEL = re.compile(r"strides: \((\d+), (\d+)\), prepadding: \((\d+), (\d+)\), postpadding: \((\d+), (\d+)\)")


class _Builder:
    """Flat names as old exporters give them: the operator and a number that counts constants too."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def node(self, kind: str, inputs: list[str], **attributes: object) -> str:
        name = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [f"{name}_out"], name=name, **attributes))
        return f"{name}_out"

    def constant(self, value: list[float], dtype: type) -> str:
        return self.node("Constant", [], value=numpy_helper.from_array(np.array(value, dtype)))

    def weight(self, name: str, *shape: int) -> str:
        self.weights.append(numpy_helper.from_array(np.zeros(shape, np.float32), name))
        return name


def _tutorial(*, group_norm: bool) -> onnx.ModelProto:
    """The classifier of NVIDIA's DLA tutorial as PyTorch 1.x exports it: four blocks, pool, view, linear."""
    builder = _Builder()
    current, inside, number = "input", 3, 71
    for block, width in enumerate((64, 128, 256, 512)):
        weights = [builder.weight(f"w{block}", width, inside, 3, 3), builder.weight(f"b{block}", width)]
        window = {"kernel_shape": [3, 3], "pads": [1] * 4, "strides": [2, 2]}
        current = builder.node("Conv", [current, *weights], **window)
        if group_norm:
            shape = builder.constant([0, 8, -1], np.int64)
            grouped = builder.node("Reshape", [current, shape])
            scale = [builder.constant([1.0] * 8, np.float32), builder.constant([0.0] * 8, np.float32)]
            normal = builder.node("InstanceNormalization", [grouped, *scale])
            normal = builder.node("Reshape", [normal, builder.node("Shape", [current])])
            scaled = builder.node("Mul", [normal, builder.weight(str(number), width, 1, 1)])
            current = builder.node("Add", [scaled, builder.weight(str(number + 1), width, 1, 1)])
            number += 2
        current = builder.node("Relu", [current])
        inside = width
    current = builder.node("GlobalAveragePool", [current])
    batch = builder.node("Gather", [builder.node("Shape", [current]), builder.constant(0, np.int64)], axis=0)
    builder.weights.append(numpy_helper.from_array(np.array([512]), "features"))
    shape = builder.node("Concat", [builder.node("Unsqueeze", [batch], axes=[0]), "features"], axis=0)
    current = builder.node("Reshape", [current, shape])
    linear = [builder.weight("linear.weight", 10, 512), builder.weight("linear.bias", 10)]
    current = builder.node("Gemm", [current, *linear], transB=1)
    graph = helper.make_graph(
        builder.nodes,
        "tutorial",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 32, 32])],
        [helper.make_tensor_value_info(current, TensorProto.FLOAT, ["batch", 10])],
        builder.weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)], ir_version=6)


def _lower(model: onnx.ModelProto, folder: Path, tensorrt: str, batch: int | None = None) -> Network:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return lower(load_model(path), tensorrt=tensorrt, batch=batch)


def test_numbers_of_unnamed_layers_with_group_norm(tmp_path: Path) -> None:
    """tutorial_model_gn-agx_orin-trt84-1: an open batch makes shape arithmetic, which moves every number."""
    layers = {layer.name: layer for layer in _lower(_tutorial(group_norm=True), tmp_path, "8.4.0", 32).layers}
    for shuffle in (7, 12, 16, 19, 29):
        assert layers[f"(Unnamed Layer* {shuffle}) [Shuffle]"].index == shuffle
    assert layers["InstanceNormalization_5"].kind == "PLUGIN_V2"
    assert layers["(Unnamed Layer* 7) [Shuffle]"].inputs[0].name == "Reshape_2_out"
    assert layers["(Unnamed Layer* 16) [Shuffle]"].inputs[0].name == "(Unnamed Layer* 15) [Constant]_output"
    assert layers["Mul_8"].inputs[1].name == "(Unnamed Layer* 16) [Shuffle]_output"
    assert layers["(Unnamed Layer* 29) [Shuffle]"].outputs[0].shape == (32, 8, 1024, 1)


def test_numbers_of_unnamed_layers_with_batch_norm(tmp_path: Path) -> None:
    """tutorial_model_bn-agx_orin-trt84-1: Gemm_15 + linear.bias + Shuffle 19 + ElementWise 20."""
    layers = _lower(_tutorial(group_norm=False), tmp_path, "8.4.0", 32).layers
    assert [layer.name for layer in layers[17:]] == [
        "Gemm_15",
        "linear.bias",
        "(Unnamed Layer* 19) [Shuffle]",
        "(Unnamed Layer* 20) [ElementWise]",
    ]
    assert [layer.index for layer in layers if not layer.folded] == [*range(9), 15, 17, 20]


def test_numbers_behind_slices_that_the_network_computes(tmp_path: Path) -> None:
    """profile_8.5.2_dla_yolo11n: the box decoder, numbered as in a real engine.

    Its layers are named (Unnamed Layer* 386) and (Unnamed Layer* 390); the two slices of the chunk take ends, and the
    second its start too, from arithmetic that the simplifier left at the front of the graph.
    """
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[1,4,8400] x) => (float[1,4,8400] y) {
        [q] ends = Div(four, two) [r] twice = Mul(ends, two) [a] low = Slice(x, zero, ends, axis)
        [b] high = Slice(x, ends, twice, axis) [c] first = Sub(grid, low) [d] second = Add(grid2, high)
        [e] total = Add(first, second) [f] size = Sub(second, first) [g] middle = Div(total, half)
        [h] box = Concat<axis=1>(middle, size) [i] y = Mul(box, strides) }"""
    model = onnx.parser.parse_model(text)
    integers = {"four": [4], "two": [2], "zero": [0], "axis": [1]}
    floats = {"grid": (1, 2, 8400), "grid2": (1, 2, 8400), "half": (), "strides": (1, 8400)}
    for name, values in integers.items():
        model.graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64), name))
    for name, shape in floats.items():
        model.graph.initializer.append(numpy_helper.from_array(np.ones(shape, np.float32), name))
    layers = {layer.name: layer.index for layer in _lower(model, tmp_path, "8.5.2").layers}
    front = layers["r"] + 1
    assert layers["a"] == front + 15
    assert layers["b"] == layers["a"] + 29
    halves, strides = (f"(Unnamed Layer* {front + step}) [Shuffle]" for step in (386 - 334, 390 - 334))
    assert layers["g"] == layers[halves] + 1
    assert layers["i"] == layers[strides] + 1


def test_tensors_that_a_calibration_cache_of_8_5_1_names(tmp_path: Path) -> None:
    """A public cache headed TRT-8510 of a small digit classifier: tensors are numbered even behind named layers."""
    text = """<ir_version: 6, opset_import: ["" : 11]> g (float[N,1,28,28] x) => (float[N,10] y, int64[N] z)
        <int64[2] shape = {-1, 3136}> {
        c1 = Conv<pads=[2,2,2,2]>(x, w1)  r1 = Relu(c1)  n1 = BatchNormalization(r1, g, g, g, g)
        m1 = MaxPool<kernel_shape=[2,2], strides=[2,2]>(n1)  c2 = Conv<pads=[2,2,2,2]>(m1, w2)  r2 = Relu(c2)
        m2 = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r2)  f = Reshape(m2, shape)
        [fc1] g1 = Gemm<transB=1>(f, w3, b3)  r3 = Relu(g1)  [fc2] y = Gemm<transB=1>(r3, w4, b4)
        s = Softmax<axis=1>(y)  z = ArgMax<axis=1, keepdims=0>(s) }"""
    model = onnx.parser.parse_model(text)
    shapes = {"w1": (32, 1, 5, 5), "g": (32,), "w2": (64, 32, 5, 5), "w3": (16, 3136), "b3": (16,), "w4": (10, 16)}
    for name, shape in {**shapes, "b4": (10,)}.items():
        model.graph.initializer.append(numpy_helper.from_array(np.ones(shape, np.float32), name))
    tensors = {tensor.name for layer in _lower(model, tmp_path, "8.5.1").layers for tensor in layer.outputs}
    numbered = {8: "Constant", 9: "Matrix Multiply", 10: "Constant", 11: "Shuffle", 14: "Constant"}
    numbered |= {15: "Matrix Multiply", 16: "Constant", 17: "Shuffle", 25: "Softmax"}
    assert {f"(Unnamed Layer* {number}) [{kind}]_output" for number, kind in numbered.items()} <= tensors
    assert "(Unnamed Layer* 28) [TopK]_output_1" in tensors


@pytest.mark.skipif(not CACHE.exists(), reason=f"the evidence is not at {EVIDENCE}")
def test_tensors_of_attention_in_a_cache_of_8_5_2(tmp_path: Path) -> None:
    """calib_TRT-8502_yolo11n: the broadcast factor and the softmax lie two layers apart, both without a name."""
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[1,2,4,4] x) => (float[1,2,4,4] y)
        <float factor = {0.5}> { [mul] m = Mul(x, factor)  [soft] s = Softmax<axis=-1>(m)  y = Relu(s) }"""
    network = _lower(onnx.parser.parse_model(text), tmp_path, "8.5.2")
    tensors = [tensor.name for layer in network.layers for tensor in layer.outputs]
    real = re.findall(r"\(Unnamed Layer\* (\d+)\) (\[Shuffle\]|\[Softmax\])_output", CACHE.read_text())
    shuffle, softmax = (int(number) for number, _ in real[:2])
    first = next(layer.index for layer in network.layers if layer.name == "mul") - 1
    for number, (_, kind) in zip((first, first + softmax - shuffle), real[:2], strict=True):
        assert f"(Unnamed Layer* {number}) {kind}_output" in tensors


def _from_log(text: str) -> onnx.ModelProto:
    """The model that a verbose parser log describes: nodes, shapes, strides and pads; weights without data."""
    nodes: list[onnx.NodeProto] = []
    weights: dict[str, list[int]] = {}
    known = {"input"}
    shapes: dict[str, list[int]] = {}
    for line in text.splitlines():
        if found := _NODE.search(line):
            name, kind, side, tensors = found.groups()
            listed = [(tensor, [int(size) for size in dims.split(", ")]) for tensor, dims in _TENSOR.findall(tensors)]
            shapes.update(listed)
            names = [tensor for tensor, _ in listed]
            if side == "inputs":
                weights.update({tensor: dims for tensor, dims in listed if tensor not in known})
                nodes.append(helper.make_node(kind, names, [], name=name))
            else:
                nodes[-1].output.extend(names)
                known.update(names)
        elif found := _KERNEL.search(line):
            numbers = [int(number) for number in found.groups()]
            nodes[-1].attribute.append(helper.make_attribute("strides", numbers[:2]))
            nodes[-1].attribute.append(helper.make_attribute("pads", numbers[2:]))
    for node in nodes:
        if node.op_type == "MaxPool":
            window = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4}
            node.attribute.extend(helper.make_attribute(key, value) for key, value in window.items())
        if node.op_type == "Gemm":
            node.attribute.append(helper.make_attribute("transB", 1))
    graph = helper.make_graph(
        nodes,
        "log",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shapes["input"])],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)],
    )
    for name, dims in weights.items():
        tensor = numpy_helper.from_array(np.zeros(dims if np.prod(dims) < 70_000 else [0], np.float32), name)
        tensor.dims[:] = dims
        graph.initializer.append(tensor)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.skipif(not LOG.exists(), reason=f"the evidence is not at {EVIDENCE}")
def test_resnet_50_of_a_verbose_log(tmp_path: Path) -> None:
    """TensorRT 10.3 on an Orin: every registered layer in order, 126 in all, the last one without a name."""
    text = LOG.read_text()
    network = _lower(_from_log(text), tmp_path, "10.3.0")
    registered = re.findall(r"Registering layer: (\S+) (?:for|required)", text)
    mine = [layer.name for layer in network.layers]
    helpers = [name for name in registered if "ShapeShuffle" in name]
    assert mine[:-1] == [name for name in registered if name not in helpers]
    assert mine[-1] == "(Unnamed Layer* 125) [ElementWise]"
    assert len(mine) == int(re.search(r"Original: (\d+) layers", text)[1])  # type: ignore[index]


@pytest.mark.skipif(not LOG.exists(), reason=f"the evidence is not at {EVIDENCE}")
def test_macs_of_resnet_50(tmp_path: Path) -> None:
    """4.09 GMACs, as every table of ResNet-50 at 224x224 says."""
    network = _lower(_from_log(LOG.read_text()), tmp_path, "10.3.0")
    assert sum(layer.macs for layer in network.layers) == pytest.approx(4.09e9, rel=0.005)
    assert sum(layer.weight_elements for layer in network.layers) == pytest.approx(25.53e6, rel=0.002)
