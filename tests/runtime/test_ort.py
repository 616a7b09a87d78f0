"""The onnxruntime runner: batches of any length, buffers, and errors in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from dlaflow.errors import InputError
from dlaflow.quantize.session import SessionOptions
from dlaflow.runtime.ort import OrtRunner

TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[{batch},2] x) => (float[{batch},2] y, float[{batch},2] z)
<float[1] two = {{2}}> {{ y = Mul(x, two)  z = Neg(y) }}
"""
VALUES = np.arange(14, dtype=np.float32).reshape(7, 2)


def network(batch: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(TEXT.format(batch=batch))


@pytest.mark.parametrize("batch", ["N", "1", "4", "7", "10"])
def test_any_number_of_images(batch: str) -> None:
    runner = OrtRunner(network(batch), SessionOptions(threads=1))
    assert runner.batch == (None if batch == "N" else int(batch))
    assert (runner.input_name, runner.output_names, runner.shape) == ("x", ["y", "z"], (2,))
    assert np.array_equal(runner.run(VALUES), 2 * VALUES)


def test_all_outputs_and_buffers() -> None:
    runner = OrtRunner(network("N"))
    first, second = runner.run_all(VALUES)
    assert np.array_equal(second, -2 * VALUES)
    buffers = [np.empty((7, 2), np.float32) for _ in range(2)]
    runner.run_into(VALUES, buffers)
    assert np.array_equal(buffers[0], first)
    assert np.array_equal(buffers[1], second)


def test_errors_are_one_line(tmp_path: Path) -> None:
    runner = OrtRunner(network("4"))
    with pytest.raises(InputError, match=r"refused.*\[4, 2\].*\[4, 3\]"):
        runner.run(np.zeros((7, 3), np.float32))
    with pytest.raises(InputError, match="cannot read"):
        OrtRunner(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(InputError, match=r"text\.onnx") as caught:
        OrtRunner(tmp_path / "text.onnx")
    assert "\n" not in str(caught.value)
    two = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> net (float[1] a, float[1] b) => (float[1] y) { y = Add(a, b) }'
    )
    with pytest.raises(InputError, match="expected 2 arrays, a, b, received one array"):
        OrtRunner(two).run(np.zeros(1, np.float32))


def test_weights_left_in_float_stay_float() -> None:
    """onnxruntime's integer fusion would quantise this weight by itself; the default must not."""
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[1,1,1,2] x) => (float[1,1,1,2] y)
    <float[1,1,1,1] w = {0.5039}, float s = {0.01}, int8 z = {0}, float fine = {0.0001}>
    {
        q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)
        c = Conv(d, w)
        cq = QuantizeLinear(c, s, z)  y = DequantizeLinear(cq, s, z)
    }
    """
    answer = OrtRunner(onnx.parser.parse_model(text)).run(np.float32([[[[1.0, 0.25]]]]))
    assert answer.ravel().tolist() == pytest.approx([0.50, 0.13])
