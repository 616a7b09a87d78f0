"""The TensorRT runner under strict doubles of the real bindings whose engines compute with onnxruntime."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from dlaflow.build.config import BuildConfig, InputShape, ShapeRange
from dlaflow.build.device_memory import CudaPythonMemory, TorchMemory, open_memory
from dlaflow.build.engine import How, Request, build_engine
from dlaflow.build.manifest import BuiltFor, manifest_path
from dlaflow.errors import EnvironmentLacksError, InputError
from dlaflow.quantize.accuracy import evaluate
from dlaflow.runtime.ort import OrtRunner
from dlaflow.runtime.tensorrt import EngineOptions, IOTensor, TensorRTRunner, is_engine, open_runner, require_plain

_spec = importlib.util.spec_from_file_location(
    "tensorrt_machine_of_run", Path(__file__).parents[1] / "build" / "tensorrt_machine.py"
)
machines = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = machines
_spec.loader.exec_module(machines)

TEXT = """
<ir_version: 8, opset_import: ["" : 13]>
tiny (float[N, 3, 8, 8] input) => (float[N, 5] output)
<float[192, 5] weight = {WEIGHT}>
{
   half = Cast <to = 10> (input)
   flat = Flatten (half)
   full = Cast <to = 1> (flat)
   output = MatMul (full, weight)
}
"""


@pytest.fixture(params=machines.RELEASES)
def machine(request):
    if not machines.DUMPS.is_dir():
        pytest.skip(f"no dumps of the bindings in {machines.DUMPS}")
    return machines.load_machine(request.param)


@pytest.fixture
def model(tmp_path):
    weight = ", ".join(f"{value:.4f}" for value in np.random.default_rng(1).normal(size=192 * 5))
    text = TEXT.replace("{WEIGHT}", f"{{{weight}}}")
    onnx.save(onnx.parser.parse_model(text), tmp_path / "tiny.onnx")
    return tmp_path / "tiny.onnx"


def build(machine, model, smallest, largest=None):
    """An engine of the pretended board, through the real build path: one batch on the DLA, a range on the GPU."""
    batches = (smallest, largest or smallest, largest or smallest)
    shapes = (InputShape("input", ShapeRange(*((batch, 3, 8, 8) for batch in batches))),)
    config = BuildConfig(precision="fp16", dla_core=None if largest else 0, gpu_fallback=not largest, shapes=shapes)
    request = Request(model, model.with_name("tiny.engine"), config, BuiltFor("tensorrt", ""))
    result = build_engine(request, How("python", trt=machine.trt))
    assert result.manifest.built_for.tensorrt == ".".join(machine.surface.version.split(".")[:3])
    return result.engine


def options(machine, **more):
    return EngineOptions(trt=machine.trt, memory=machines.HostMemory(), **more)


def images(count):
    return np.random.default_rng(2).normal(size=(count, 3, 8, 8)).astype(np.float32)


@pytest.mark.parametrize("count", [1, 4, 10])
@pytest.mark.parametrize("batches", [(4,), (2, 8)])
def test_the_numbers_are_those_of_onnxruntime(machine, model, count, batches):
    runner = TensorRTRunner(build(machine, model, *batches), options(machine))
    assert (runner.input_name, runner.output_names, runner.shape) == ("input", ["output"], (3, 8, 8))
    assert runner.batch == (4 if batches == (4,) else None)
    np.testing.assert_allclose(runner.run(images(count)), OrtRunner(model).run(images(count)), rtol=1e-5)


def test_accuracy_through_the_same_evaluate(machine, model):
    labels = np.arange(20) % 5
    ours = evaluate(TensorRTRunner(build(machine, model, 4), options(machine)), images(20), labels, 8)
    theirs = evaluate(OrtRunner(model), images(20), labels, 8)
    assert (ours.correct, ours.total) == (theirs.correct, theirs.total)
    assert list(ours.predictions) == list(theirs.predictions)


def test_the_file_chooses_the_runner(machine, model):
    engine = build(machine, model, 4)
    assert isinstance(open_runner(engine, options(machine)), TensorRTRunner)
    assert isinstance(open_runner(model), OrtRunner)
    unnamed = model.with_name("unnamed")
    unnamed.write_bytes(b"ftrt and more")
    assert is_engine(unnamed)
    assert not is_engine(model.with_name("nowhere"))


def test_times_are_one_a_run(machine, model):
    chosen = options(machine)
    times = TensorRTRunner(build(machine, model, 4), chosen).time(images(3), runs=5, warm_up=2)
    assert len(times) == 5
    assert all(value > 0 for value in times)
    assert chosen.memory.waits == 7


def test_the_core_is_set_before_the_engine_is_loaded(machine, model):
    engine = build(machine, model, 4)
    TensorRTRunner(engine, options(machine))
    assert machine.runtimes[-1]._state["DLA_core"] == 0, "the manifest's"
    TensorRTRunner(engine, options(machine, dla_core=1))
    assert machine.runtimes[-1]._state["DLA_core"] == 1
    with pytest.raises(EnvironmentLacksError, match="no DLA core 2"):
        TensorRTRunner(model.with_name("tiny.engine"), options(machine, dla_core=2))


def test_images_of_another_size(machine, model):
    runner = TensorRTRunner(build(machine, model, 4), options(machine))
    with pytest.raises(InputError, match="do not fit the engine"):
        runner.run(np.zeros((4, 3, 9, 8), np.float32))


def test_an_engine_of_another_release_is_explained_by_its_manifest(machine, model):
    engine = build(machine, model, 4)
    other = machines.load_machine("8.6.1" if machine.surface.version != "8.6.1" else "10.3.0")
    with pytest.raises(InputError, match="built for another TensorRT release"):
        TensorRTRunner(engine, options(other))
    manifest_path(engine).unlink()
    with pytest.raises(InputError, match="built by another TensorRT"):
        TensorRTRunner(engine, options(other))


def test_an_engine_of_another_chip(machine, model):
    engine = build(machine, model, 4)
    text = manifest_path(engine).read_text()
    manifest_path(engine).write_text(text.replace('"compute_capability": ""', '"compute_capability": "7.2"'))
    with pytest.raises(InputError, match="another compute capability"):
        TensorRTRunner(engine, options(machine))


def test_a_file_that_is_no_engine(machine, tmp_path):
    (tmp_path / "no.engine").write_bytes(b"something")
    with pytest.raises(InputError, match="another TensorRT"):
        TensorRTRunner(tmp_path / "no.engine", options(machine))
    with pytest.raises(InputError, match="no such file"):
        TensorRTRunner(tmp_path / "nowhere.engine", options(machine))


@pytest.mark.parametrize(("dtype", "layout"), [("INT8", "LINEAR"), ("HALF", "CHW16"), ("FLOAT", "DLA_LINEAR")])
def test_formats_that_images_cannot_be_fed_to(dtype, layout):
    plain = IOTensor("input", True, (1, 3, 8, 8), "FLOAT", "LINEAR")
    require_plain([plain])
    with pytest.raises(InputError, match="has a format for the DLA"):
        require_plain([replace(plain, dtype=dtype, layout=layout)])


def test_without_a_gpu_memory_is_our_error(monkeypatch):
    for name in ("cuda", "cuda.bindings", "cuda.bindings.runtime", "cuda.cudart"):
        monkeypatch.setitem(sys.modules, name, None)
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(EnvironmentLacksError, match="no way to the GPU's memory"):
        open_memory()


def _real_memories():
    torch = importlib.util.find_spec("torch") and importlib.import_module("torch")
    if torch and torch.cuda.is_available():
        yield TorchMemory(torch)
        for name in ("cuda.bindings.runtime", "cuda.cudart"):
            try:
                yield CudaPythonMemory(importlib.import_module(name))
            except ImportError:
                continue
            return


def test_real_device_memory_keeps_what_was_written():
    memories = list(_real_memories())
    if not memories:
        pytest.skip("no GPU")
    for memory in memories:
        buffer = memory.allocate(64)
        sent, received = np.arange(16, dtype=np.float32), np.zeros(16, np.float32)
        buffer.upload(sent)
        buffer.download(received)
        memory.synchronize()
        assert list(received) == list(sent), memory.name
        assert memory.compute_capability.count(".") == 1
        assert memory.stream > 0


class _Runtime:
    """cuda-python's way of answering, (error, value...), over host memory; every call is one of the real runtime."""

    class cudaMemcpyKind:
        cudaMemcpyHostToDevice = 1
        cudaMemcpyDeviceToHost = 2

    def __init__(self):
        self.freed, self.kept, self.fails = [], {}, False

    def cudaStreamCreate(self):
        return 0, 11

    def cudaStreamSynchronize(self, stream):
        return (0,)

    def cudaMalloc(self, size):
        if self.fails:
            return 2, 0
        memory = np.zeros(size, np.uint8)
        self.kept[memory.ctypes.data] = memory
        return 0, memory.ctypes.data

    def cudaFree(self, address):
        self.freed.append(address)
        return (0,)

    def cudaMemcpyAsync(self, target, source, size, kind, stream):
        import ctypes

        ctypes.memmove(target, source, size)
        return (0,)


def test_cuda_python_calls_copy_and_give_back():
    runtime = _Runtime()
    memory = CudaPythonMemory(runtime)
    buffer = memory.allocate(16)
    address, received = buffer.address, np.zeros(4, np.float32)
    buffer.upload(np.arange(4, dtype=np.float32))
    buffer.download(received)
    assert list(received) == [0, 1, 2, 3]
    del buffer
    assert runtime.freed == [address]
    runtime.fails = True
    with pytest.raises(EnvironmentLacksError, match="CUDA refused cudaMalloc"):
        memory.allocate(16)
