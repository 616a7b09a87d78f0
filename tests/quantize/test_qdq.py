"""The Q/DQ writer and its inverse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from dlaflow.errors import InputError
from dlaflow.graph.load import load_model
from dlaflow.quantize.calibrate import calibrate
from dlaflow.quantize.calibration import Calibration, scales_by_name
from dlaflow.quantize.fold import fold_batch_norm
from dlaflow.quantize.fp16 import IoTypes, fp16_model
from dlaflow.quantize.model import index
from dlaflow.quantize.qdq import qdq_model, quantise, write_qdq
from dlaflow.quantize.strip import layer_precisions, strip_qdq
from dlaflow.runtime.ort import OrtRunner


@pytest.fixture(scope="module")
def calibration(small_network: Path, pictures: np.ndarray) -> Calibration:
    return calibrate(small_network, lambda: [pictures])


def test_the_output_stays_close_and_is_rounded(
    small_network: Path, pictures: np.ndarray, calibration: Calibration
) -> None:
    exact = OrtRunner(small_network).run(pictures)
    rounded = OrtRunner(qdq_model(load_model(small_network).whole(), calibration)).run(pictures)
    error = np.sqrt(np.mean((rounded - exact) ** 2) / np.mean(exact**2))
    assert 1e-4 < error < 0.1
    steps = rounded / np.float32(calibration.scales["output"])
    assert np.allclose(steps, np.rint(steps), atol=1e-3)


def test_the_file_is_legal(small_network: Path, calibration: Calibration, tmp_path: Path) -> None:
    write_qdq(small_network, calibration, tmp_path / "int8.onnx")
    model = onnx.load(tmp_path / "int8.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.output] == ["output"]
    graph = index(model)
    for node in model.graph.node:
        if node.op_type in {"QuantizeLinear", "DequantizeLinear"}:
            zero = graph.value(node.input[2])
            assert zero is not None
            assert not zero.any()
        elif node.op_type != "BatchNormalization":
            activations = [name for name in node.input if graph.is_activation(name)]
            assert all(graph.producer[name].op_type == "DequantizeLinear" for name in activations), node.name
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    assert {
        tensor.name
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) == 4
    } == {
        "w1_int8",
        "n2.folded_weight_int8",
        "w3_int8",
    }


def test_every_tensor_is_quantised_and_the_dlas_equal_scales_hold(
    small_network: Path, calibration: Calibration
) -> None:
    """TensorRT 11.4: residual sums, Concat, pooling and the output too, with the scales that each wants equal."""
    graph = index(qdq_model(load_model(small_network).whole(), calibration))

    def scale(name: str) -> float:
        """The scale of the pair around a tensor, seen from either end."""
        node = graph.producer[name]
        node = node if node.op_type == "DequantizeLinear" else graph.consumers[name][0]
        value = graph.value(node.input[1])
        assert value is not None, name
        return float(value)

    layers = [node for node in graph.proto.graph.node if node.op_type not in {"QuantizeLinear", "DequantizeLinear"}]
    assert len(layers) == 14
    for node in layers:
        assert [reader.op_type for reader in graph.consumers[node.output[0]]] == ["QuantizeLinear"], node.name
        scales = {scale(name) for name in node.input if graph.is_activation(name)}
        if node.op_type in {"Add", "Concat", "MaxPool", "AveragePool"}:
            assert len(scales) == 1, node.name
        if node.op_type in {"Concat", "MaxPool", "AveragePool"}:
            assert scales == {scale(node.output[0])}, node.name
    assert [graph.producer[name].op_type for name in graph.outputs] == ["DequantizeLinear"]


def test_tensorrts_parser_takes_the_file(small_network: Path, calibration: Calibration, tmp_path: Path) -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    write_qdq(small_network, calibration, tmp_path / "int8.onnx")
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    assert parser.parse((tmp_path / "int8.onnx").read_bytes())
    layers = [network.get_layer(position) for position in range(network.num_layers)]
    quantised = [layer for layer in layers if layer.type == trt.LayerType.QUANTIZE]
    assert len(quantised) == 13  # none on (N, 16) and (N, 10)
    assert {layer.get_output(0).dtype for layer in quantised} == {trt.int8}
    behind = {layer.get_output(0).name for layer in layers if layer.type == trt.LayerType.DEQUANTIZE}
    for layer in layers:
        if layer.type in {trt.LayerType.CONVOLUTION, trt.LayerType.POOLING, trt.LayerType.ACTIVATION}:
            assert layer.get_input(0).name in behind, layer.name


def test_weights_are_rounded_per_channel() -> None:
    weight = np.random.default_rng(0).standard_normal((6, 4, 3, 3)).astype(np.float32)
    weight[2] = 0
    values, scale = quantise(weight, 0)
    assert values.dtype == np.int8
    assert np.abs(values.astype(int)).max(axis=(1, 2, 3)).tolist() == [127, 127, 0, 127, 127, 127]
    assert np.abs(values * scale.reshape(-1, 1, 1, 1) - weight).max() <= scale.max() / 2 + 1e-7


def test_nodes_that_stay_in_float(small_network: Path, calibration: Calibration) -> None:
    model = qdq_model(load_model(small_network).whole(), calibration, ["/output", "/flat"])
    names = {tensor.name for tensor in model.graph.initializer}
    assert "w4" in names
    assert "flat_dequantized_scale" not in names
    assert "pool_dequantized_scale" in names


def test_folding_keeps_the_outputs(small_network: Path, pictures: np.ndarray) -> None:
    model = load_model(small_network).whole()
    assert fold_batch_norm(model) == 1
    assert np.allclose(OrtRunner(model).run(pictures), OrtRunner(small_network).run(pictures), atol=1e-5)


def test_round_trip_through_a_cache(
    small_network: Path, pictures: np.ndarray, calibration: Calibration, tmp_path: Path
) -> None:
    write_qdq(small_network, calibration, tmp_path / "int8.onnx")
    stripped = strip_qdq(tmp_path / "int8.onnx")
    onnx.checker.check_model(stripped.model)
    known = {name: scale for name, scale in calibration.scales.items() if name not in {"c2", "output"}}
    assert stripped.scales == pytest.approx(known, rel=2**-11)  # the file holds them in FP16
    assert stripped.float_nodes == ("/output",)
    again = OrtRunner(qdq_model(stripped.model, scales_by_name(stripped.scales), stripped.float_nodes))
    expected = OrtRunner(tmp_path / "int8.onnx").run(pictures)
    assert np.corrcoef(again.run(pictures).ravel(), expected.ravel())[0, 1] > 0.9999


@pytest.mark.parametrize("io_types", ["float32", "float16"])
def test_no_pair_where_the_dla_takes_none_and_no_float32_layer(
    small_network: Path, pictures: np.ndarray, calibration: Calibration, tmp_path: Path, io_types: IoTypes
) -> None:
    """Pairs stand on images alone, the rest is FP16; a pair at a float32 input converts without a Cast."""
    write_qdq(small_network, calibration, tmp_path / "int8.onnx", io_types=io_types)
    model = onnx.load(tmp_path / "int8.onnx")
    onnx.checker.check_model(model, full_check=True)
    graph = index(model)
    assert all(graph.ranks[node.input[0]] == 4 for node in model.graph.node if node.op_type == "QuantizeLinear")
    wide = {name for name, kind in graph.types.items() if kind == TensorProto.FLOAT} - graph.constants
    assert wide == ({"input", "output"} if io_types == "float32" else set())
    casts = [node.output[0] for node in model.graph.node if node.op_type == "Cast"]
    assert casts == (["output"] if io_types == "float32" else [])
    found = OrtRunner(tmp_path / "int8.onnx").run(pictures)
    exact = OrtRunner(small_network).run(pictures)
    assert found.dtype == np.float32
    assert 0 < np.abs(found - exact).max() < 0.1 * np.abs(exact).max()


def test_a_quantised_model_takes_fp16_for_its_rest(
    small_network: Path, pictures: np.ndarray, calibration: Calibration, tmp_path: Path
) -> None:
    """What a QAT tool leaves in float32 becomes FP16; a scale that FP16 cannot hold stays above 0."""
    tensors = tuple(tensor for tensor in calibration.tensors if tensor.name in {"input", "r1", "p", "q", "cat"})
    model = qdq_model(load_model(small_network).whole(), replace(calibration, tensors=tensors))
    scale = next(tensor for tensor in model.graph.initializer if tensor.name == "w1_scale")
    values = numpy_helper.to_array(scale).copy()
    values[0] = 1e-9
    scale.CopyFrom(numpy_helper.from_array(values, "w1_scale"))
    before = OrtRunner(model).run(pictures)
    half = fp16_model(model)
    onnx.checker.check_model(half, full_check=True)
    assert (index(half).value("w1_scale") > 0).all()
    assert TensorProto.FLOAT not in {
        index(half).types[name] for node in half.graph.node if node.op_type == "Conv" for name in node.output
    }
    assert np.allclose(OrtRunner(half).run(pictures), before, atol=0.02 * np.abs(before).max())


def test_a_model_of_onnxruntime_is_understood(small_network: Path, pictures: np.ndarray, tmp_path: Path) -> None:
    quantization = pytest.importorskip("onnxruntime.quantization")

    class Reader(quantization.CalibrationDataReader):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            self.rest = iter([pictures])

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.rest, None)
            return None if batch is None else {"input": batch}

    options = {"ActivationSymmetric": True, "WeightSymmetric": True}
    arguments = {"activation_type": quantization.QuantType.QInt8, "per_channel": True, "extra_options": options}
    quantization.quantize_static(str(small_network), str(tmp_path / "ort.onnx"), Reader(), **arguments)
    stripped = strip_qdq(tmp_path / "ort.onnx")
    assert {"input", "r1", "r2", "output"} <= set(stripped.scales)
    assert stripped.float_nodes == ()
    plain = OrtRunner(stripped.model).run(pictures)
    assert np.corrcoef(plain.ravel(), OrtRunner(small_network).run(pictures).ravel())[0, 1] > 0.999


FAKE_QUANTISED = """
<ir_version: 8, opset_import: ["" : 13]>
net (float[1,4,6,6] x) => (float[1,6,6,3] y)
<int8 z = {0}>
{
    sx = Constant <value = float {0.02}> ()
    xq = QuantizeLinear(x, sx, z)  xd = DequantizeLinear(xq, sx, z)
    wq = QuantizeLinear<axis=0>(w, ws, wz)  wd = DequantizeLinear<axis=0>(wq, ws, wz)
    [conv] c = Conv(xd, wd)
    aq = QuantizeLinear(c, s1, z)  ad = DequantizeLinear(aq, s1, z)
    bq = QuantizeLinear(x, s2, z)  bd = DequantizeLinear(bq, s2, z)
    s = Add(ad, bd)  t = Transpose<perm=[0,2,3,1]>(s)
    tq = QuantizeLinear(t, s1, z)  td = DequantizeLinear(tq, s1, z)
    vq = QuantizeLinear<axis=0>(v, vs, vz)  vd = DequantizeLinear<axis=0>(vq, vs, vz)
    vt = Transpose<perm=[1,0]>(vd)
    [linear] y = MatMul(td, vt)
}
"""


def test_fake_quantised_weights_of_pytorch_quantization(tmp_path: Path) -> None:
    """Float weights behind a pair, one pair for each reader of a tensor, a transposed weight of a linear layer."""
    model = onnx.parser.parse_model(FAKE_QUANTISED)
    generator = np.random.default_rng(5)
    values = {"w": generator.standard_normal((4, 4, 1, 1)), "v": generator.standard_normal((3, 4))}
    values |= {"ws": np.abs(values["w"]).max(axis=(1, 2, 3)) / 127, "vs": np.abs(values["v"]).max(axis=1) / 127}
    values |= {"s1": np.array(0.03), "s2": np.array(0.025)}
    for name, value in values.items():
        model.graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
    for name, count in (("wz", 4), ("vz", 3)):
        model.graph.initializer.append(numpy_helper.from_array(np.zeros(count, np.int8), name))
    onnx.save(model, str(tmp_path / "qat.onnx"))
    stripped = strip_qdq(tmp_path / "qat.onnx")
    assert stripped.float_nodes == ()
    assert stripped.scales["x"] == pytest.approx(0.025)
    assert {"c", "s", "t"} <= set(stripped.scales)
    assert [node.op_type for node in stripped.model.graph.node if node.op_type != "Constant"] == [
        "Conv",
        "Add",
        "Transpose",
        "Transpose",
        "MatMul",
    ]
    weight = index(stripped.model).value("w_folded")
    assert weight is not None
    steps = np.asarray(weight, np.float64) / values["ws"].reshape(-1, 1, 1, 1)
    assert np.allclose(steps, np.rint(steps), atol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("uint8", "holds uint8"),
        ("none", "holds uint8"),
        ("blocks", "not in blocks"),
        ("computed", "scale that is computed"),
    ],
)
def test_quantisation_without_a_like_in_a_cache(
    small_network: Path, calibration: Calibration, tmp_path: Path, change: str, message: str
) -> None:
    model = qdq_model(load_model(small_network).whole(), calibration)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    pair = [node for node in model.graph.node if node.name.startswith("input_dequantized/")]
    if change == "uint8":
        zero = tensors["input_dequantized_zero_point"]
        zero.CopyFrom(numpy_helper.from_array(np.uint8(0), zero.name))
    elif change == "none":
        for node in pair:
            del node.input[2]
    elif change == "blocks":
        scale = tensors["w1_scale"]
        scale.CopyFrom(numpy_helper.from_array(np.full((8, 2), 0.1, np.float32), scale.name))
    else:
        flat = next(node for node in model.graph.node if node.name == "flat_dequantized/DequantizeLinear")
        flat.input[1] = "pool_dequantized"
    onnx.save(model, str(tmp_path / "other.onnx"))
    with pytest.raises(InputError, match=message):
        strip_qdq(tmp_path / "other.onnx")


def test_refusals(small_network: Path, calibration: Calibration, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no Q/DQ"):
        strip_qdq(small_network)
    with pytest.raises(InputError, match="already"):
        qdq_model(qdq_model(load_model(small_network).whole(), calibration), calibration)
    with pytest.raises(InputError, match="knows no tensor"):
        qdq_model(load_model(small_network).whole(), scales_by_name({"elsewhere": 1.0}))
    model = qdq_model(load_model(small_network).whole(), calibration)
    zero = next(tensor for tensor in model.graph.initializer if tensor.name == "input_dequantized_zero_point")
    zero.CopyFrom(numpy_helper.from_array(np.int8(3), zero.name))
    onnx.save(model, str(tmp_path / "asymmetric.onnx"))
    with pytest.raises(InputError, match="asymmetric"):
        strip_qdq(tmp_path / "asymmetric.onnx")


def test_layer_precisions() -> None:
    assert layer_precisions(("/a", "/b")) == "/a:fp16,/b:fp16"
