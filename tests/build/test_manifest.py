"""The manifest beside an engine: whole, checked before loading, every mismatch explained."""

from __future__ import annotations

import json

import pytest

from dlaflow.build.config import BuildConfig, InputShape, IOFormat, MemoryPools, ShapeRange
from dlaflow.build.manifest import BuildRecord, BuiltFor, Here, manifest_path, read_manifest, verify, write_manifest
from dlaflow.errors import InputError

CONFIG = BuildConfig(
    precision="int8",
    scales="cache",
    shapes=(InputShape("input", ShapeRange.fixed((4, 3, 8, 8))),),
    dla_core=1,
    gpu_fallback=True,
    input_formats=(IOFormat("int8", ("dla_hwc4",)),),
    pools=MemoryPools(workspace=64),
)
BUILT_FOR = BuiltFor("tensorrt", "8.5.2", "agx-orin-64gb", "5.1.1", "8.7")
HERE = Here("tensorrt", "8.5.2.2", "8.7")


@pytest.fixture
def engine(tmp_path):
    return write(tmp_path, CONFIG)


def write(folder, config, built_for=BUILT_FOR):
    engine, model = folder / "model.engine", folder / "model.onnx"
    engine.write_bytes(b"engine")
    model.write_bytes(b"model")
    record = BuildRecord("trtexec", 12.3456, ("trtexec", "--onnx=model.onnx"), ("be careful",))
    write_manifest(engine, model, config, built_for, record)
    return engine


def test_round_trip(engine):
    manifest = read_manifest(engine)
    assert manifest.config == CONFIG
    assert manifest.built_for == BUILT_FOR
    assert (manifest.mode, manifest.seconds, manifest.bytes) == ("hybrid", 12.346, 6)
    written = json.loads(manifest_path(engine).read_text())
    assert written["schema"] == "dlaflow.engine/1"
    assert set(written) >= {"dlaflow", "engine", "model", "cache", "built_for", "command", "created", "cautions"}


def test_the_same_machine_may_load_it(engine):
    assert verify(engine, HERE) == read_manifest(engine)


@pytest.mark.parametrize(
    ("here", "words"),
    [
        (Here("tensorrt", "8.6.2", "8.7"), "another TensorRT release"),
        (Here("tensorrt", "8.5.2", "7.2"), "another compute capability"),
        (Here("tensorrt_rtx", "1.7.1", "8.7"), "another product"),
    ],
)
def test_another_machine_may_not(engine, here, words):
    with pytest.raises(InputError, match=words):
        verify(engine, here)


def test_a_version_compatible_engine_may_go_to_another_release(tmp_path):
    engine = write(tmp_path, BuildConfig(precision="fp16", version_compatible=True))
    assert verify(engine, Here("tensorrt", "10.3.0", "8.7")) is not None


def test_an_rtx_engine_serves_the_gpus_it_was_built_for(tmp_path):
    engine = write(tmp_path, BuildConfig(precision="model"), BuiltFor("tensorrt_rtx", "1.7.1", gpus=("sm86", "sm89")))
    assert verify(engine, Here("tensorrt_rtx", "1.7.1", "8.9")) is not None
    with pytest.raises(InputError, match="another GPU"):
        verify(engine, Here("tensorrt_rtx", "1.7.1", "9.0"))


def test_another_file_under_the_same_name(engine):
    engine.write_bytes(b"other!")
    with pytest.raises(InputError, match="not the engine that its manifest describes"):
        verify(engine, HERE)


def test_a_standalone_loadable_is_not_for_the_runtime(tmp_path):
    engine = write(tmp_path, BuildConfig(precision="int8", dla_core=0, standalone=True))
    with pytest.raises(InputError, match="cuDLA"):
        verify(engine, HERE)


def test_without_a_manifest_nothing_is_known(engine):
    manifest_path(engine).unlink()
    assert verify(engine, HERE) is None


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b'{"schema": 1}'])
def test_a_damaged_manifest_is_our_error(engine, content):
    manifest_path(engine).write_bytes(content)
    with pytest.raises(InputError, match="not an engine manifest"):
        verify(engine, HERE)
