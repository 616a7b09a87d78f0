"""Typed networks: pairs become weights and scales, and each layer computes in what its types say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from dlaflow.graph.layer import Network
from dlaflow.graph.load import load_model
from dlaflow.graph.lower import lower
from dlaflow.graph.typed import PAIR, typed

WEIGHTS = {
    "s": np.float32(0.1),
    "t": np.float32(0.2),
    "h": np.float16(0.1),
    "z": np.int8(0),
    "w": np.ones((8, 8, 3, 3), np.float32),
    "w8": np.ones((8, 8, 3, 3), np.int8),
    "ws": np.full(8, 0.1, np.float32),
    "hs": np.full(8, 0.1, np.float16),
    "wz": np.zeros(8, np.int8),
    "b": np.ones(8, np.float32),
    "b16": np.ones(8, np.float16),
    "m": np.ones((8, 4), np.float32),
}
IN = "q = QuantizeLinear(x, s, z)\nd = DequantizeLinear(q, s, z)\n"
STORED = "wd = DequantizeLinear<axis=0>(w8, ws, wz)\n"
FAKE = "wq = QuantizeLinear<axis=0>(w, ws, wz)\nwd = DequantizeLinear<axis=0>(wq, ws, wz)\n"
OUT = "p = QuantizeLinear({}, t, z)\ny = DequantizeLinear(p, t, z)"


def network(
    tmp_path: Path, nodes: str, *, inputs: str = "float[1,8,8,8] x", outputs: str = "float y", opset: int = 21
) -> Network:
    head = f'<ir_version: 10, opset_import: ["" : {opset}]>\nnet ({inputs}) => ({outputs})'
    model = onnx.parser.parse_model(f"{head} {{\n{nodes}\n}}")
    read = {name for node in model.graph.node for name in node.input}
    for name, value in WEIGHTS.items():
        if name in read:
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    path = tmp_path / "model.onnx"
    onnx.save(model, str(path))
    return typed(lower(load_model(path), tensorrt="11.4.1"))


def precisions(found: Network) -> list[tuple[str, str]]:
    return [(layer.kind, layer.precision) for layer in found.layers if not layer.folded]


@pytest.mark.parametrize("weights", [STORED, FAKE], ids=["stored", "fake"])
@pytest.mark.parametrize("opset", [13, 21])
def test_weights_behind_a_pair_are_the_layers_own(tmp_path: Path, weights: str, opset: int) -> None:
    found = network(tmp_path, f"{IN}{weights}c = Conv(d, wd, b)\n" + OUT.format("c"), opset=opset)
    conv = next(layer for layer in found.layers if layer.kind == "CONVOLUTION")
    assert [tensor.name for tensor in conv.inputs] == ["x"]
    assert conv.weight_elements == 8 * 8 * 9 + 8
    assert conv.precision == "int8"
    assert (conv.inputs[0].scale, conv.outputs[0].scale) == pytest.approx((0.1, 0.2))
    assert [tensor.name for tensor in conv.outputs] == ["y"]
    assert {layer.kind for layer in found.layers} == {"CONVOLUTION", *PAIR}
    assert all(layer.folded for layer in found.layers if layer.kind in PAIR)
    made = [tensor.name for layer in found.layers for tensor in layer.outputs]
    assert len(made) == len(set(made))


def test_a_float_bias_behind_a_pair_is_its_own_too(tmp_path: Path) -> None:
    bias = "bq = QuantizeLinear(b, s, z)\nbd = DequantizeLinear(bq, s, z)\n"
    found = network(tmp_path, f"{IN}{STORED}{bias}c = Conv(d, wd, bd)\n" + OUT.format("c"))
    assert precisions(found) == [("CONVOLUTION", "int8")]
    assert len(found.layers[-1].inputs) == 1


@pytest.mark.parametrize("between", ["Identity(wd)", "Cast<to=10>(wd)"])
def test_an_operator_between_the_weights_pair_and_the_layer_stays(tmp_path: Path, between: str) -> None:
    half = "x16 = Cast<to=10>(x)\n" if "Cast" in between else ""
    data = "x16" if half else "x"
    found = network(tmp_path, f"{half}{STORED}v = {between}\nc = Conv({data}, v)\ny = Cast<to=1>(c)")
    conv = next(layer for layer in found.layers if layer.kind == "CONVOLUTION")
    assert len(conv.inputs) == 2


def test_a_float32_layer_stays_float32_whatever_stands_elsewhere(tmp_path: Path) -> None:
    found = network(tmp_path, f"{IN}c = Conv(d, w)\nr = Relu(c)\ny = Sigmoid(r)")
    assert precisions(found) == [("CONVOLUTION", "float32"), ("ACTIVATION", "float32"), ("ACTIVATION", "float32")]
    after = network(tmp_path, f"{IN}{STORED}c = Conv(d, wd)\ny = Sigmoid(c)")
    assert precisions(after) == [("CONVOLUTION", "float32"), ("ACTIVATION", "float32")]


def test_an_untyped_network_is_left_alone(tmp_path: Path) -> None:
    found = network(tmp_path, "c = Conv(x, w)\ny = Relu(c)")
    assert not found.typed
    assert {layer.precision for layer in found.layers} == {""}


def test_fp16_types_decide(tmp_path: Path) -> None:
    found = network(tmp_path, "c = Relu(x)\ny = Sigmoid(c)", inputs="float16[1,8,8,8] x", outputs="float16 y")
    assert precisions(found) == [("ACTIVATION", "float16"), ("ACTIVATION", "float16")]


def test_a_convolution_between_int8_and_fp16(tmp_path: Path) -> None:
    """Its inputs are INT8, what it makes is FP16; the pair at a float32 input converts."""
    weights = "wd = DequantizeLinear<axis=0>(w8, hs, wz)\n"
    nodes = f"q = QuantizeLinear(x, s, z)\nd = DequantizeLinear(q, h, z)\n{weights}c = Conv(d, wd, b16)\ny = Sigmoid(c)"
    found = network(tmp_path, nodes, outputs="float16 y")
    assert precisions(found) == [("CONVOLUTION", "int8"), ("ACTIVATION", "float16")]


def test_followers_that_fuse_count_with_their_convolution(tmp_path: Path) -> None:
    """Conv, residual sum and ReLU up to the pair are INT8; a Sigmoid, which does not fuse, makes them FP32."""
    fused = f"{IN}{STORED}c = Conv<pads=[1,1,1,1]>(d, wd)\na = Add(c, d)\nr = Relu(a)\n" + OUT.format("r")
    assert {precision for _, precision in precisions(network(tmp_path, fused))} == {"int8"}
    smooth = fused.replace("Relu", "Sigmoid")
    assert {precision for _, precision in precisions(network(tmp_path, smooth))} == {"float32"}
    tapped = fused + "\nn = Neg(r)"
    found = network(tmp_path, tapped, outputs="float y, float n")
    assert ("CONVOLUTION", "float32") in precisions(found)


def test_int8_between_quantize_and_dequantize(tmp_path: Path) -> None:
    nodes = "q = QuantizeLinear(x, s, z)\nk = MaxPool<kernel_shape=[2,2]>(q)\ny = DequantizeLinear(k, s, z)"
    assert precisions(network(tmp_path, nodes)) == [("POOLING", "int8")]


def test_pairs_in_a_row_and_ports_of_int8(tmp_path: Path) -> None:
    twice = f"{IN}q2 = QuantizeLinear(d, t, z)\nd2 = DequantizeLinear(q2, t, z)\nr = Relu(d2)\n" + OUT.format("r")
    found = network(tmp_path, twice)
    relu = next(layer for layer in found.layers if layer.kind == "ACTIVATION")
    assert (relu.inputs[0].name, relu.precision) == ("x", "int8")
    ports = "d = DequantizeLinear(x, s, z)\nr = Relu(d)\ny = QuantizeLinear(r, t, z)"
    found = network(tmp_path, ports, inputs="int8[1,8,8,8] x", outputs="int8 y")
    assert precisions(found) == [("ACTIVATION", "int8")]


def test_products_need_both_sides(tmp_path: Path) -> None:
    nodes = "q = QuantizeLinear(x, s, z)\nd = DequantizeLinear(q, s, z)\n"
    plain = network(tmp_path, nodes + "g = MatMul(d, m)\n" + OUT.format("g"), inputs="float[1,8] x")
    assert [precision for kind, precision in precisions(plain) if kind == "MATRIX_MULTIPLY"] == ["float32"]
    paired = "mq = QuantizeLinear(m, s, z)\nmd = DequantizeLinear(mq, s, z)\n"
    both = network(tmp_path, nodes + paired + "g = MatMul(d, md)\n" + OUT.format("g"), inputs="float[1,8] x")
    assert [precision for kind, precision in precisions(both) if kind == "MATRIX_MULTIPLY"] == ["int8"]
