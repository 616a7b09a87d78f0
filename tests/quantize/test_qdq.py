"""The Q/DQ writer and its inverse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from dlaflow.errors import InputError
from dlaflow.quantize.calibrate import calibrate
from dlaflow.quantize.calibration import Calibration, scales_by_name
from dlaflow.quantize.fold import fold_batch_norm
from dlaflow.quantize.model import index, load_onnx
from dlaflow.quantize.qdq import qdq_model, quantise, write_qdq
from dlaflow.quantize.strip import layer_precisions, strip_qdq
from dlaflow.run.ort import OrtRunner


@pytest.fixture(scope="module")
def calibration(small_network: Path, pictures: np.ndarray) -> Calibration:
    return calibrate(small_network, lambda: [pictures])


def test_the_output_stays_close_and_is_rounded(
    small_network: Path, pictures: np.ndarray, calibration: Calibration
) -> None:
    exact = OrtRunner(small_network).run(pictures)
    rounded = OrtRunner(qdq_model(load_onnx(small_network), calibration)).run(pictures)
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


def test_weights_are_rounded_per_channel() -> None:
    weight = np.random.default_rng(0).standard_normal((6, 4, 3, 3)).astype(np.float32)
    weight[2] = 0
    values, scale = quantise(weight, 0)
    assert values.dtype == np.int8
    assert np.abs(values.astype(int)).max(axis=(1, 2, 3)).tolist() == [127, 127, 0, 127, 127, 127]
    assert np.abs(values * scale.reshape(-1, 1, 1, 1) - weight).max() <= scale.max() / 2 + 1e-7


def test_nodes_that_stay_in_float(small_network: Path, calibration: Calibration) -> None:
    model = qdq_model(load_onnx(small_network), calibration, ["/output", "/flat"])
    names = {tensor.name for tensor in model.graph.initializer}
    assert "w4" in names
    assert "flat_dequantized_scale" not in names
    assert "pool_dequantized_scale" in names


def test_folding_keeps_the_outputs(small_network: Path, pictures: np.ndarray) -> None:
    model = load_onnx(small_network)
    assert fold_batch_norm(model) == 1
    assert np.allclose(OrtRunner(model).run(pictures), OrtRunner(small_network).run(pictures), atol=1e-5)


def test_round_trip_through_a_cache(
    small_network: Path, pictures: np.ndarray, calibration: Calibration, tmp_path: Path
) -> None:
    write_qdq(small_network, calibration, tmp_path / "int8.onnx")
    stripped = strip_qdq(tmp_path / "int8.onnx")
    onnx.checker.check_model(stripped.model)
    known = {name: scale for name, scale in calibration.scales.items() if name != "c2"}
    assert stripped.scales == pytest.approx(known)
    assert stripped.float_nodes == ()
    again = OrtRunner(qdq_model(stripped.model, scales_by_name(stripped.scales)))
    assert np.array_equal(again.run(pictures), OrtRunner(tmp_path / "int8.onnx").run(pictures))


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


def test_refusals(small_network: Path, calibration: Calibration, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no Q/DQ"):
        strip_qdq(small_network)
    with pytest.raises(InputError, match="already"):
        qdq_model(qdq_model(load_onnx(small_network), calibration), calibration)
    with pytest.raises(InputError, match="knows no tensor"):
        qdq_model(load_onnx(small_network), scales_by_name({"elsewhere": 1.0}))
    model = qdq_model(load_onnx(small_network), calibration)
    zero = next(tensor for tensor in model.graph.initializer if tensor.name == "input_dequantized_zero_point")
    zero.CopyFrom(numpy_helper.from_array(np.int8(3), zero.name))
    onnx.save(model, str(tmp_path / "asymmetric.onnx"))
    with pytest.raises(InputError, match="asymmetric"):
        strip_qdq(tmp_path / "asymmetric.onnx")


def test_layer_precisions() -> None:
    assert layer_precisions(("/a", "/b")) == "/a:fp16,/b:fp16"
