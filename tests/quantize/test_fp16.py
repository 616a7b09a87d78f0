"""The FP16 writer and the DLA's numerics."""

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
from dlaflow.quantize.fp16 import fp16_model, write_fp16
from dlaflow.quantize.numerics import as_on_dla
from dlaflow.quantize.qdq import qdq_model, write_qdq
from dlaflow.runtime.ort import OrtRunner


def test_half_the_size_and_the_same_answer(small_network: Path, pictures: np.ndarray, tmp_path: Path) -> None:
    write_fp16(small_network, tmp_path / "fp16.onnx")
    model = onnx.load(tmp_path / "fp16.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert {tensor.data_type for tensor in model.graph.initializer} == {TensorProto.FLOAT16}
    assert model.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT
    exact, half = OrtRunner(small_network).run(pictures), OrtRunner(tmp_path / "fp16.onnx").run(pictures)
    assert half.dtype == np.float32
    assert 0 < np.abs(half - exact).max() < 0.02 * np.abs(exact).max()


def test_scales_of_resize_stay_float32() -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[1,2,4,4] x) => (float[1,2,8,8] y)
    <float[4] scales = {1, 1, 2, 2}, float[1] half = {0.5}>
    { m = Mul(x, half)  y = Resize<mode="nearest">(m, , scales) }
    """
    model = fp16_model(onnx.parser.parse_model(text))
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert types == {"scales": TensorProto.FLOAT, "half": TensorProto.FLOAT16}
    onnx.checker.check_model(model, full_check=True)
    picture = np.arange(32, dtype=np.float32).reshape(1, 2, 4, 4)
    assert np.array_equal(OrtRunner(model).run(picture), (picture / 2).repeat(2, 2).repeat(2, 3))


def test_constants_and_casts_inside() -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[2] x) => (float[2] y, float[2] z)
    { c = Constant<value_float=0.5>()  i = Cast<to=7>(x)  f = Cast<to=1>(i)  z = Mul(f, c)  y = Add(z, x) }
    """
    model = fp16_model(onnx.parser.parse_model(text))
    onnx.checker.check_model(model, full_check=True)
    assert OrtRunner(model).run(np.float32([3.25, 8.0])).tolist() == [4.75, 12.0]


def test_what_does_not_fit_is_refused(small_network: Path) -> None:
    model = load_model(small_network).whole()
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.full((8, 3, 3, 3), 1e6, np.float32), "w1"))
    with pytest.raises(InputError, match=r"'w1' does not fit.*65504"):
        fp16_model(model)


def test_sigmoid_is_rounded_to_fp16(small_network: Path, pictures: np.ndarray) -> None:
    """Only the Sigmoid is: its output is a float16 value, that of the layer before is not."""
    found = calibrate(small_network, lambda: [pictures])
    tensors = tuple(tensor for tensor in found.tensors if tensor.name in {"input", "r1"})
    model = qdq_model(load_model(small_network).whole(), replace(found, tensors=tensors))
    for name in ("c3", "g"):
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    _, before, sigmoid = OrtRunner(model).run_all(pictures)
    assert np.array_equal(sigmoid, sigmoid.astype(np.float16).astype(np.float32))
    assert not np.array_equal(before, before.astype(np.float16).astype(np.float32))


def test_fp16_models_round_every_tensor(small_network: Path, pictures: np.ndarray) -> None:
    model = fp16_model(load_model(small_network).whole())
    model.graph.output.append(onnx.helper.make_tensor_value_info("m", TensorProto.FLOAT16, None))
    # A product of two tensors that are both rounded themselves: numpy must find the very same.
    for name in ("c3", "g"):
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT16, None))
    _, product, left, right = OrtRunner(model).run_all(pictures)
    assert np.array_equal(product, (left * right).astype(np.float16).astype(np.float32))


def test_float32_models_are_left_alone(small_network: Path) -> None:
    assert as_on_dla(load_model(small_network).whole()) == load_model(small_network).whole()


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
@pytest.mark.parametrize("stored", ["initializers", "Constant nodes"])
def test_statistics_beyond_float16_fold_away(op: str, stored: str, tmp_path: Path) -> None:
    """Detectors of text hold variances of 1e8; in their convolution they are harmless, and nothing of them stays."""
    text = f"""<ir_version: 8, opset_import: ["" : 13]> net (float[2,3,6,6] x) => (float[2,3,6,6] y)
    {{ c = {op}<pads=[1,1,1,1]>(x, w)  y = BatchNormalization(c, g, b, m, v) }}"""
    model = onnx.parser.parse_model(text)
    generator = np.random.default_rng(6)
    values = {"w": generator.standard_normal((3, 3, 3, 3)) * 5e3, "g": generator.uniform(0.5, 2, 3)}
    values |= {"b": generator.standard_normal(3), "m": generator.standard_normal(3) * 1e5, "v": np.full(3, 9e7)}
    tensors = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in values.items()]
    if stored == "initializers":
        model.graph.initializer.extend(tensors)
    for place, tensor in enumerate(tensors if stored != "initializers" else ()):
        model.graph.node.insert(place, onnx.helper.make_node("Constant", [], [tensor.name], value=tensor))
    for node in model.graph.node:
        node.name = node.output[0]
    onnx.save(model, str(tmp_path / "m.onnx"))
    images = generator.standard_normal((2, 3, 6, 6)).astype(np.float32)
    exact = OrtRunner(tmp_path / "m.onnx").run(images)
    write_fp16(tmp_path / "m.onnx", tmp_path / "h.onnx")
    write_qdq(tmp_path / "m.onnx", calibrate(tmp_path / "m.onnx", lambda: [images]), tmp_path / "8.onnx")
    assert np.abs(OrtRunner(tmp_path / "h.onnx").run(images) - exact).max() < 0.01 * np.abs(exact).max()
    assert np.abs(OrtRunner(tmp_path / "8.onnx").run(images) - exact).max() < 0.1 * np.abs(exact).max()
    assert not {"v", "m"} & {name for node in onnx.load(tmp_path / "8.onnx").graph.node for name in node.output}
