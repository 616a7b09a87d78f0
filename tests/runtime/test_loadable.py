"""The loadable runner and its commands over the pretended cuDLA, which computes with onnxruntime."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dlaflow.errors import EnvironmentLacksError, InputError
from dlaflow.quantize.cache import CacheFile, Entry, header_for, read_cache, save_cache
from dlaflow.quantize.feed import Feed
from dlaflow.runtime import cudla
from dlaflow.runtime.cudla import CudlaError, Library, Session, Tensor
from dlaflow.runtime.loadable import LoadableRunner, Quantising, device_memory
from dlaflow.runtime.ort import OrtRunner
from tests.runtime.stand_in_cudla import FLOAT16, WORK, PythonRuntime, StandIn, Torch, linear, loadable_of

EVIDENCE = Path(os.environ.get("DLAFLOW_EVIDENCE", Path(__file__).parents[2] / "../shared/evidence"))
MODEL = EVIDENCE.parent / "models" / "model_bn.onnx"
IMAGE = Tensor("input'", 32 * 128, (1, 4, 32, 32), 2, 4, 0, 12, 0, (1, 128, 0, 0, 0, 0, 0, 0))


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory):
    return StandIn(tmp_path_factory.mktemp("cudla"))


@pytest.fixture(autouse=True)
def clean(stand_in):
    """No test breaks a rule of cuDLA, or keeps anything of it."""
    yield
    stand_in.dla.standin_set_compute(None)
    assert (stand_in.faults, stand_in.held) == ("", 0)


def dlaflow(*words, folder=None, **more):
    paths = {"LD_LIBRARY_PATH": str(folder)} if folder else {}
    command = [sys.executable, "-m", "dlaflow", *map(str, words)]
    return subprocess.run(command, env=os.environ | paths, capture_output=True, text=True, **more)


def test_model_bn_is_fed_and_read_as_onnxruntime_computes_it(stand_in, tmp_path):
    """hwc4 INT8 in, linear INT8 out, packed for the pretended DLA by loops of its own."""
    if not MODEL.is_file():
        pytest.skip(f"no trained network in {MODEL.parent}")
    images = np.random.default_rng(7).normal(size=(24, 3, 32, 32)).astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    words = ["--data", tmp_path / "images.npy", "--samples", 24, "--method", "minmax"]
    made = dlaflow("calibrate", MODEL, *words, "--cache", tmp_path / "c.cache", "--qdq", tmp_path / "q.onnx")
    assert made.returncode == 0, made.stderr
    network, scales = OrtRunner(tmp_path / "q.onnx"), read_cache(tmp_path / "c.cache").scales
    expected = network.run(images[:5])
    fed, made_name = network.inputs[0].name, network.output_names[0]
    step = scales.get(made_name) or float(np.abs(expected).max()) / 127
    output = linear(f"{made_name}'", (1, expected.shape[1], 1, 1))
    loadable = loadable_of([IMAGE._replace(name=f"{fed}'")], [output])
    seen = []

    def compute(inputs, outputs):
        held = (ctypes.c_int8 * IMAGE.size).from_address(inputs[0])
        image = np.empty((1, 3, 32, 32), np.float32)
        for c, h, w in np.ndindex(3, 32, 32):
            image[0, c, h, w] = held[h * 128 + w * 4 + c] * scales[fed]
        seen.append(image)
        scores = network.run(image)[0]
        target = (ctypes.c_int8 * output.size).from_address(outputs[0])
        for number, score in enumerate(scores):
            target[number * 64] = max(-128, min(127, round(float(score) / step)))

    callback = WORK(compute)
    stand_in.dla.standin_set_compute(callback)
    with stand_in.open(loadable) as session:
        runner = LoadableRunner(session, Quantising({fed: scales[fed], made_name: step}))
        assert runner.inputs[0].shape == (3, 32, 32)
        found = runner.run(images[:5])
    assert len(seen) == 5
    assert np.abs(np.concatenate(seen) - np.clip(images[:5], None, 127 * scales[fed])).max() <= scales[fed] * 0.51
    assert np.count_nonzero(np.abs(expected) > 127.5 * step) == 1, "one of these scores saturates"
    held = np.clip(expected, -128 * step, 127 * step)
    assert np.abs(found.reshape(5, -1) - held).max() <= step * 0.51
    assert (found.reshape(5, -1).argmax(1) == expected.argmax(1)).all()
    assert np.ptp(expected) > 10 * step, "the outputs are no constant"


def test_a_batch_is_filled_up_and_cut(stand_in):
    tensor = linear("x", (4, 2, 3, 5), FLOAT16)
    values = np.random.default_rng(1).normal(size=(6, 2, 3, 5)).astype(np.float16)
    with stand_in.open(loadable_of([tensor], [tensor._replace(name="y")])) as session:
        runner = LoadableRunner(session)
        assert (runner.run(values.astype(np.float32)) == values).all()
        assert (runner.run_all(values)[0] == values).all(), "FP16 goes in as it is"
        assert len(runner.time(values, runs=3)) == 3


def test_several_inputs_go_to_their_own_places(stand_in):
    """Two of one size, fed by name in the other order; the pretended DLA gives the first back."""
    first, second = linear("a'", (1, 2, 3, 5), FLOAT16), linear("b'", (1, 2, 3, 5), FLOAT16)
    a, b = np.random.default_rng(1).normal(size=(2, 3, 2, 3, 5)).astype(np.float16)
    with stand_in.open(loadable_of([first, second], [first._replace(name="y'")])) as session:
        assert (LoadableRunner(session).run(Feed({"b": b, "a": a})) == a).all()


def test_int8_needs_its_scales(stand_in):
    tensor = linear("x'", (1, 1, 1, 4))
    with stand_in.open(loadable_of([tensor], [tensor._replace(name="y'")])) as session:
        with pytest.raises(InputError, match="y' is INT8 and has no scale"):
            LoadableRunner(session, Quantising({"x": 1.0})).run(np.ones((1, 1, 1, 4), np.float32))
        with pytest.raises(InputError, match="the scale of x makes no sense"):
            LoadableRunner(session, Quantising({"x": 0.0}))


WAYS = {"cuda.bindings.runtime": "cuda-python", "torch": "torch"}


@pytest.mark.parametrize("module", WAYS)
def test_memory_of_cuda_python_and_of_torch(stand_in, monkeypatch, module):
    """In place of CUDA's runtime library, which must not be opened; a failed task is told the same way."""
    tensor, values = linear("x", (4, 2, 3, 5), FLOAT16), np.random.default_rng(1).normal(size=(6, 2, 3, 5))
    double = Torch(stand_in.cuda) if module == "torch" else PythonRuntime(stand_in.cuda)
    monkeypatch.setitem(sys.modules, "cuda.cudart", None)
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    monkeypatch.setitem(sys.modules, module, double)
    monkeypatch.setattr(cudla, "_RUNTIMES", ("nothing.so",))
    loadable = loadable_of([tensor], [tensor._replace(name="y")], statistics=2)
    with Session(loadable, 1, Library(stand_in.dla), device_memory) as session:
        assert session.through == f"ctypes, memory by {WAYS[module]}"
        runner = LoadableRunner(session)
        assert (runner.run(values) == values.astype(np.float16)).all()
        assert runner.time(values, runs=3) == (1.5, 1.5, 1.5)
        assert len(runner.statistics(values, 1000)) == 2
        stand_in.dla.standin_set_error(0x40000006)
        with pytest.raises(EnvironmentLacksError, match="DlaErrEngineTimeout"):
            runner.run(values)
        stand_in.dla.standin_set_error(0)
    assert stand_in.held == 1, "the stream; the memory went when the session was closed"
    del session, runner, double
    monkeypatch.undo()
    gc.collect()  # the error that was caught has frames that know the stream
    if module != "torch":  # which frees its stream: cuda-python's of the house lives as long as the process
        stand_in.cuda.standin_forget_stream()


def test_torch_is_not_imported_where_the_runtime_library_is(stand_in):
    """It takes seconds, and a GiB of a small board."""
    script = """
import sys
from dlaflow.runtime.loadable import device_memory
print(device_memory().name, "torch" in sys.modules)
"""
    told = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | {"LD_LIBRARY_PATH": str(stand_in.folder)}, capture_output=True
    )
    assert told.stdout.split() in ([b"libcudart", b"False"], [b"cuda-python", b"False"]), told.stderr


def test_a_failure_of_the_dla_has_dlaflows_exit_code(stand_in):
    tensor = linear("x", (1, 1, 1, 4), FLOAT16)

    class Broken:
        inputs, outputs = (tensor,), (tensor._replace(name="y"),)

        def run(self, inputs):
            raise CudlaError("it broke", "Mend it", lacks=True)

    with pytest.raises(EnvironmentLacksError, match=r"it broke\. Mend it\."):
        LoadableRunner(Broken()).run(np.ones((1, 1, 1, 4), np.float32))


@pytest.fixture
def files(tmp_path):
    """A loadable that gives its INT8 input back as `file`, which numpy's savez does not take; its cache; images."""
    tensor = linear("x'", (1, 2, 3, 5))
    (tmp_path / "m.loadable").write_bytes(loadable_of([tensor], [tensor._replace(name="file'")], statistics=1))
    save_cache(CacheFile(header_for("8.5.2"), (Entry("x", 0.5), Entry("file", 0.25))), tmp_path / "c.cache")
    np.save(tmp_path / "x.npy", np.arange(90, dtype=np.float32).reshape(3, 2, 3, 5) * 0.5 - 20)
    return tmp_path


def test_the_commands(stand_in, files):
    def call(*words):
        return dlaflow("loadable", *words, folder=stand_in.folder, cwd=files)

    told = call("inspect", "m.loadable", "--json", "t.json")
    assert told.returncode == 0, told.stderr
    assert "dla_linear" in told.stdout
    assert [row["name"] for row in json.loads((files / "t.json").read_text())["tensors"]] == ["x'", "file'"]
    told = call("run", "m.loadable", "--input", "x.npy", "--cache", "c.cache", "--out", "o.npz", "--core", "1")
    assert told.returncode == 0, told.stderr
    assert "core 1; INT8 inputs rounded half-away" in told.stdout
    assert np.allclose(np.load(files / "o.npz")["file"], np.load(files / "x.npy") / 2)
    told = call("bench", "m.loadable", "--runs", "5", "--dla-mhz", "1000", "--statistics", "s.csv", "--json", "b.json")
    assert told.returncode == 0, told.stderr
    assert (files / "s.csv").read_text() == "layer,microseconds\nconv0,1.00\n"
    assert json.loads((files / "b.json").read_text())["measurements"][0]["value"] == 1.5
    np.savez(files / "d.npz", images=np.load(files / "x.npy"), labels=np.array([0, 1, 1]))


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["inspect", "x.npy"], 2, "a TensorRT engine is no loadable"),
        (["inspect", "nothing"], 2, "cannot read nothing"),
        (["inspect", "m.loadable", "--core", "5"], 3, "no DLA core 5"),
        (["inspect", "m.loadable", "--scale", "q=1"], 2, "unknown tensor in --scale"),
        (["inspect", "m.loadable", "--scale", "x=many"], 2, "--scale makes no sense"),
        (["run", "m.loadable", "--input", "x.npy"], 2, "has no scale"),
        (["run", "m.loadable", "--input", "c.cache"], 2, "c.cache is no array"),
        (["run", "m.loadable", "--input", "x.npy", "--cache", "c.cache", "--out", "x.npy"], 2, "would overwrite"),
        (["run", "m.loadable", "--input", "huge.npy"], 2, "huge.npy is no array"),
        (["run", "m.loadable", "--input", "d.npz"], 2, "d.npz holds several arrays"),
        (["run", "m.loadable", "--input", "/dev/zero"], 2, "/dev/zero"),
        (["bench", "m.loadable", "--runs", "1"], 2, "make no sense"),
        (["bench", "m.loadable", "--warm-up", "-1"], 2, "make no sense"),
        (["bench", "m.loadable", "--statistics", "s.csv", "--dla-mhz", "0"], 2, "no clock of a DLA"),
        (["bench", "m.loadable", "--dla-mhz", "5"], 2, "a file and the clock"),
    ],
)
def test_wrong_words_get_one_line(stand_in, files, words, code, said):
    head = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 3, 32, 32), }".ljust(117) + b"\n"
    (files / "huge.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + b"1234")
    np.savez(files / "d.npz", x=np.ones(3))
    told = dlaflow("loadable", *words, folder=stand_in.folder, cwd=files)
    assert (told.returncode, len(told.stderr.strip().splitlines())) == (code, 1), told.stderr
    assert said in told.stderr


def test_top1_on_the_dla(stand_in, tmp_path):
    tensor = linear("x", (1, 5, 1, 1), FLOAT16)
    (tmp_path / "m.loadable").write_bytes(loadable_of([tensor], [tensor._replace(name="y")]))
    scores = np.eye(5, dtype=np.float32).reshape(5, 5, 1, 1)
    np.savez(tmp_path / "d.npz", images=scores, labels=np.array([0, 1, 2, 3, 0]))
    words = ["loadable", "evaluate", tmp_path / "m.loadable", "--data", tmp_path / "d.npz"]
    told = dlaflow(*words, "--json", tmp_path / "e.json", folder=stand_in.folder)
    assert told.returncode == 0, told.stderr
    assert json.loads((tmp_path / "e.json").read_text())["measurements"][0]["value"] == 80.0
