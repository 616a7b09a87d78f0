"""Real ahead-of-time builds with TensorRT-RTX, which needs no GPU: the part of the Python API that runs here."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from dlaflow.build.config import BuildConfig, InputShape, ShapeRange
from dlaflow.build.engine import How, Request, build_engine
from dlaflow.build.manifest import BuiltFor, Here, read_manifest, verify
from dlaflow.errors import EnvironmentLacksError, InputError, UsageError
from dlaflow.quantize.calibrate import calibrate
from dlaflow.quantize.calibration import CalibrationConfig
from dlaflow.quantize.fp16 import write_fp16
from dlaflow.quantize.qdq import write_qdq
from dlaflow.rewrites.reductions import replace_global_average_pool
from dlaflow.runtime.tensorrt import EngineOptions, TensorRTRunner
from dlaflow.targets.target import resolve_target

pytest.importorskip("tensorrt_rtx", reason="no tensorrt_rtx")
EVIDENCE = Path(os.environ.get("DLAFLOW_EVIDENCE") or Path(__file__).parents[3] / "shared" / "evidence")
MODELS = EVIDENCE.parent / "models"
needs_models = pytest.mark.skipif(not MODELS.is_dir(), reason=f"no models in {MODELS}")
GPUS = ("sm86", "sm89")
BATCH_32 = (InputShape("input", ShapeRange.fixed((32, 3, 32, 32))),)
CONFIG = BuildConfig(precision="fp16", shapes=BATCH_32)


def build(model, folder, config=CONFIG, gpus=GPUS, progress=None):
    request = Request(model, folder / "model.engine", config, BuiltFor("tensorrt_rtx", ""))
    how = How("rtx", gpus=gpus)
    return build_engine(request, how, progress) if progress else build_engine(request, how)


def check_built(result, smallest):
    assert result.manifest.bytes == result.engine.stat().st_size > smallest
    assert result.manifest.seconds > 0
    assert result.manifest.built_for.gpus == GPUS
    assert "Building engine" in result.plan.phases
    assert read_manifest(result.engine) == result.manifest


@needs_models
@pytest.mark.parametrize("name", ["model_gn", "model_bn"])
def test_walk_through_models(name, tmp_path):
    check_built(build(MODELS / f"{name}.onnx", tmp_path), 5_000_000)


@needs_models
def test_walk_through_model_with_average_pool(tmp_path):
    changed = tmp_path / "model_bn_ap.onnx"
    assert replace_global_average_pool(MODELS / "model_bn.onnx", changed, resolve_target("agx-orin-64gb", "5.1.1")) == 1
    check_built(build(changed, tmp_path), 5_000_000)


@needs_models
def test_a_range_of_batches(tmp_path):
    shapes = (InputShape("input", ShapeRange((1, 3, 32, 32), (8, 3, 32, 32), (64, 3, 32, 32))),)
    check_built(build(MODELS / "model_bn.onnx", tmp_path, replace(CONFIG, shapes=shapes)), 5_000_000)


@needs_models
def test_a_model_typed_fp16_halves_the_engine(tmp_path):
    half = tmp_path / "fp16.onnx"
    write_fp16(MODELS / "model_bn.onnx", half)
    full = build(MODELS / "model_bn.onnx", tmp_path).manifest.bytes
    check_built(build(half, tmp_path), 2_500_000)
    assert (tmp_path / "model.engine").stat().st_size < 0.6 * full


@needs_models
def test_our_qdq_model_is_read_by_nvidias_parser(tmp_path):
    """The INT8 model for TensorRT 11: NVIDIA's own importer takes its Q/DQ nodes, the engine keeps 8-bit weights."""
    images = np.random.default_rng(0).normal(size=(32, 3, 32, 32)).astype(np.float32)
    calibration = calibrate(MODELS / "model_bn.onnx", lambda: iter([images]), CalibrationConfig("minmax"))
    quantised = tmp_path / "int8.onnx"
    write_qdq(MODELS / "model_bn.onnx", calibration, quantised)
    result = build(quantised, tmp_path)
    check_built(result, 1_500_000)
    assert result.manifest.bytes < 3_000_000


def test_resnet_50(tmp_path):
    model = tmp_path / "resnet50.onnx"
    onnx.save(resnet_50(), model)
    shapes = (InputShape("input", ShapeRange.fixed((1, 3, 224, 224))),)
    titles = []

    def progress(title, total, unit=""):
        from dlaflow.progress import silent

        titles.append((title, total))
        return silent(title, total, unit)

    check_built(build(model, tmp_path, replace(CONFIG, shapes=shapes), progress=progress), 90_000_000)
    assert titles == [("Building engine", 6)]


def test_a_broken_file_is_our_error_and_leaves_nothing(tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    with pytest.raises(InputError, match="TensorRT cannot read"):
        build(broken, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["broken.onnx"]


def test_an_unknown_operator_is_named(tiny, tmp_path):
    model = onnx.load(tiny)
    model.graph.node[1].op_type, model.graph.node[1].domain = "Wobble", "nobody"
    model.opset_import.append(helper.make_opsetid("nobody", 1))
    onnx.save(model, tiny)
    shapes = (InputShape("input", ShapeRange.fixed((1, 3, 8, 8))),)
    with pytest.raises(InputError, match="Wobble"):
        build(tiny, tmp_path, replace(CONFIG, shapes=shapes))


@pytest.mark.parametrize(
    ("gpus", "words"), [((), "no GPU was named"), (("sm90",), "does not run on Hopper"), (("sm60",), "unknown GPU")]
)
def test_gpus_that_it_does_not_serve(tiny, tmp_path, gpus, words):
    with pytest.raises(UsageError, match=words):
        build(tiny, tmp_path, gpus=gpus)


def test_its_engine_is_not_one_for_tensorrt(tiny, tmp_path):
    shapes = (InputShape("input", ShapeRange.fixed((1, 3, 8, 8))),)
    result = build(tiny, tmp_path, replace(CONFIG, shapes=shapes))
    with pytest.raises(InputError, match="another product"):
        verify(result.engine, Here("tensorrt", "10.3.0"))


def test_ctrl_c_stops_a_real_build(tmp_path):
    """Pressed when the library reports its first phase: it returns without an engine, long before the end."""
    model = tmp_path / "resnet50.onnx"
    onnx.save(resnet_50(), model)
    shown = []

    @contextmanager
    def progress(title, total, unit=""):
        signal.raise_signal(signal.SIGINT)

        class Task:
            advance = staticmethod(shown.append)
            describe = staticmethod(lambda text: None)

        yield Task()

    with pytest.raises(KeyboardInterrupt):
        build(model, tmp_path, replace(CONFIG, shapes=()), progress=progress)
    assert sum(shown) < 6, "of the six steps of a whole build"
    assert [path.name for path in tmp_path.iterdir()] == ["resnet50.onnx"]


def test_running_it_without_a_gpu_is_explained(tiny, tmp_path):
    """The real runtime, the real engine, and no driver: its own complaint becomes one line."""
    shapes = (InputShape("input", ShapeRange.fixed((1, 3, 8, 8))),)
    engine = build(tiny, tmp_path, replace(CONFIG, shapes=shapes)).engine
    memory = sys.modules["tensorrt_machine"].HostMemory()
    memory.compute_capability = "8.6"
    if shutil.which("nvidia-smi"):
        pytest.skip("there may be a GPU")
    with pytest.raises(EnvironmentLacksError, match="no working CUDA driver"):
        TensorRTRunner(engine, EngineOptions(memory=memory))
    memory.compute_capability = "9.0"
    with pytest.raises(InputError, match="another GPU"):
        TensorRTRunner(engine, EngineOptions(memory=memory))


def resnet_50() -> onnx.ModelProto:
    """ResNet-50 for [1, 3, 224, 224] with random weights: 53 convolutions and a fully connected layer."""
    random = np.random.default_rng(0)
    nodes, weights = [], []

    def convolution(source, inputs, outputs, side, stride=1, relu=True):
        name = f"conv{len(nodes)}"
        kernel = random.standard_normal((outputs, inputs, side, side), np.float32) * 0.02
        weights.append(numpy_helper.from_array(kernel, f"{name}.weight"))
        weights.append(numpy_helper.from_array(np.zeros(outputs, np.float32), f"{name}.bias"))
        pads = [side // 2] * 4
        names = [source, f"{name}.weight", f"{name}.bias"]
        nodes.append(helper.make_node("Conv", names, [name], name, strides=[stride, stride], pads=pads))
        return activation(name) if relu else name

    def activation(source):
        nodes.append(helper.make_node("Relu", [source], [f"{source}.relu"], f"{source}.relu"))
        return f"{source}.relu"

    value = convolution("input", 3, 64, 7, 2)
    nodes.append(helper.make_node("MaxPool", [value], ["stem"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]))
    value, channels = "stem", 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            stride = 2 if block == 0 and width > 64 else 1
            short = value if block else convolution(value, channels, width * 4, 1, stride, relu=False)
            inner = convolution(convolution(value, channels, width, 1), width, width, 3, stride)
            outer = convolution(inner, width, width * 4, 1, relu=False)
            nodes.append(helper.make_node("Add", [outer, short], [f"sum{len(nodes)}"]))
            value, channels = activation(nodes[-1].output[0]), width * 4
    nodes.append(helper.make_node("GlobalAveragePool", [value], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"]))
    weights.append(numpy_helper.from_array(random.standard_normal((1000, 2048), np.float32), "fc.weight"))
    weights.append(numpy_helper.from_array(np.zeros(1000, np.float32), "fc.bias"))
    nodes.append(helper.make_node("Gemm", ["flat", "fc.weight", "fc.bias"], ["output"], transB=1))
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("input", [1, 3, 224, 224]), ("output", [1, 1000]))
    ]
    graph = helper.make_graph(nodes, "resnet50", ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
