"""What a manifest tells of an engine's inputs and outputs."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import onnx
import pytest

from dlaflow.build.config import BuildConfig, InputShape, IOFormat, ShapeRange
from dlaflow.build.manifest import BuildRecord, BuiltFor, EngineManifest, read_manifest, write_manifest
from dlaflow.build.tensors import EngineTensor, tensors_of
from dlaflow.files import json_bytes

SHAPES = (InputShape("input", ShapeRange.fixed((4, 3, 8, 8))),)
PLAIN = BuildConfig(precision="int8", shapes=SHAPES, dla_core=0, gpu_fallback=True)


def test_names_shapes_types_and_scales(tiny, tmp_path):
    cache = tmp_path / "calib.cache"
    cache.write_text("TRT-8502-EntropyCalibration2\ninput: 3c010a14\n")
    source, answer = tensors_of(tiny, replace(PLAIN, cache=str(cache)), "8.5.2")
    assert source == EngineTensor("input", True, (4, 3, 8, 8), "fp32", scale=pytest.approx(0.00787594))
    assert answer == EngineTensor("output", False, (4, 10), "fp32")


def test_formats_of_each_and_of_all(tiny):
    one = replace(PLAIN, input_formats=(IOFormat("int8", ("dla_hwc4",)),))
    source, answer = tensors_of(tiny, one, "8.5.2")
    assert (source.type, source.layouts, source.is_plain) == ("int8", ("dla_hwc4",), False)
    assert (answer.type, answer.is_plain) == ("fp32", True)
    # From TensorRT 11 on the type is the model's, whatever was asked.
    assert tensors_of(tiny, one, "11.4.1")[0].type == "fp32"


def test_int64_depends_on_the_release(tmp_path):
    text = '<ir_version: 8, opset_import: ["" : 13]> g (int64[2] i) => (int64[2] o) { o = Identity(i) }'
    onnx.save(onnx.parser.parse_model(text), tmp_path / "m.onnx")
    kinds = [tensors_of(tmp_path / "m.onnx", BuildConfig(), release)[0].type for release in ("8.6.1", "10.3.0")]
    assert kinds == ["int32", "int64"]


def test_in_the_manifest_and_in_an_older_one(tiny, tmp_path):
    engine = tmp_path / "m.engine"
    engine.write_bytes(b"engine")
    written = write_manifest(engine, tiny, PLAIN, BuiltFor("tensorrt", "8.5.2"), BuildRecord("trtexec", 1.0))
    assert [one.name for one in written.tensors] == ["input", "output"]
    assert read_manifest(engine) == written
    older = msgspec.to_builtins(written)
    del older["tensors"]
    assert msgspec.json.decode(json_bytes(older), type=EngineManifest) == replace(written, tensors=())
