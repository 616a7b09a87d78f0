"""A model that does not hold the types it is to be built with is noticed, not built as something else."""

from __future__ import annotations

from dataclasses import replace

import onnx
import pytest

from dlaflow.build.config import BuildConfig
from dlaflow.build.engine import How, Request, build_engine
from dlaflow.build.manifest import BuiltFor
from dlaflow.build.model import examine_model, types_of
from dlaflow.errors import InputError

HEAD = '<ir_version: 8, opset_import: ["" : 13]>\nm (float[1, 3, 8, 8] input) => (float[1, 3, 8, 8] output)'
QDQ = "<float s = {0.1}, int8 z = {0}> { q = QuantizeLinear (input, s, z) output = DequantizeLinear (q, s, z) }"
HALF = "{ h = Cast <to = 10> (input) r = Relu (h) output = Cast <to = 1> (r) }"
PLAIN = "{ output = Relu (input) }"
INT8 = BuildConfig(precision="int8", scales="qdq", dla_core=0, gpu_fallback=True)
FP16 = BuildConfig(precision="fp16", dla_core=0, gpu_fallback=True)


@pytest.fixture
def model(tmp_path):
    def write(body):
        onnx.save(onnx.parser.parse_model(f"{HEAD}\n{body}"), tmp_path / "m.onnx")
        return tmp_path / "m.onnx"

    return write


@pytest.mark.parametrize(("body", "qdq", "half"), [(QDQ, True, False), (HALF, False, True), (PLAIN, False, False)])
def test_types_of(model, body, qdq, half):
    found = types_of(model(body))
    assert (found.qdq, found.half) == (qdq, half)


@pytest.mark.parametrize(
    ("body", "config", "release", "words"),
    [
        (PLAIN, INT8, "11.4.1", "holds no Q/DQ nodes"),
        (PLAIN, INT8, "10.3.0", "holds no Q/DQ nodes"),
        (QDQ, replace(INT8, scales="cache", cache="c"), "10.3.0", "leaves the calibration unused"),
        (PLAIN, FP16, "11.4.1", "holds no FP16 tensors"),
        (PLAIN, replace(FP16, strongly_typed=True), "10.3.0", "holds no FP16 tensors"),
        (PLAIN, replace(FP16, precision="model"), "11.4.1", "FP32 throughout"),
    ],
)
def test_types_that_do_not_fit(model, body, config, release, words):
    (caution,) = examine_model(model(body), config, release)
    assert words in caution.message


@pytest.mark.parametrize(
    ("body", "config", "release"),
    [
        (QDQ, INT8, "11.4.1"),
        (HALF, FP16, "11.4.1"),
        (PLAIN, FP16, "10.3.0"),
        (PLAIN, replace(FP16, dla_core=None), "8.5.2"),
    ],
)
def test_types_that_fit(model, body, config, release):
    assert examine_model(model(body), config, release) == []


def test_a_typed_release_refuses_what_the_dla_cannot_run(typed_machine, model, tmp_path):
    request = Request(model(PLAIN), tmp_path / "m.engine", FP16, BuiltFor("tensorrt", "11.4.1"))
    with pytest.raises(InputError, match="holds no FP16 tensors"):
        build_engine(request, How("python", trt=typed_machine.trt))
    assert not (tmp_path / "m.engine").exists()
