"""The walk-through's engine as `dlaflow build` leaves it, put to work in every system, and each file read back.

The trained network, its own calibration cache and the real build; only TensorRT is a double of the real API, which
computes with onnxruntime what it was given.
"""

from __future__ import annotations

import configparser
import json
import os
import runpy
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import yaml

from dlaflow.cli import main
from dlaflow.deploy.systems import SYSTEMS
from tests.build import tensorrt_machine as machines
from tests.deploy.conftest import STAND_IN, compiled
from tests.deploy.test_systems import glib_string, parsed

MODEL = Path(os.environ.get("DLAFLOW_EVIDENCE", Path(__file__).parents[2] / "../shared/evidence")).parent / "models"
BATCH = 32


@dataclass(frozen=True)
class Built:
    """The engine of a release in a folder, the files of each system below `out`."""

    release: str
    folder: Path
    machine: machines.Machine

    @property
    def manifest(self):
        return json.loads((self.folder / "model_bn.engine.json").read_text())

    def made(self, system):
        """The texts by name."""
        out = self.folder / "out" / system
        return {str(path.relative_to(out)): path.read_text() for path in sorted(out.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module", params=["8.6.1", "10.3.0", "11.4.0"])
def built(request, tmp_path_factory):
    if not machines.DUMPS.is_dir() or not (MODEL / "model_bn.onnx").is_file():
        pytest.skip(f"no dumps of the bindings in {machines.DUMPS}, or no trained network in {MODEL}")
    folder, release = tmp_path_factory.mktemp("walkthrough"), request.param
    machine = machines.load_machine(release)
    typed = release.startswith("11.")
    np.save(folder / "images.npy", np.random.default_rng(3).normal(size=(64, 3, 32, 32)).astype(np.float32))
    shutil.copy(MODEL / "model_bn.onnx", folder / "model_bn.onnx")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("dlaflow.build.engine.import_tensorrt", lambda: machine.trt)
        patch.setattr("dlaflow.build.device_memory.open_memory", machines.HostMemory)
        words = ["--data", "images.npy", "--samples", "64", "--qdq", "int8.onnx", "-q"]
        words += [] if typed else ["--cache", "calib.cache"]  # which TensorRT 11 does not read
        assert main(["calibrate", "model_bn.onnx", "--tensorrt", release, *words]) == 0
        words = ["build", "int8.onnx" if typed else "model_bn.onnx", "--out", "model_bn.engine", "--via", "python"]
        words += ["--board", "agx-orin-64gb", "--tensorrt", release, "--batch", str(BATCH), "--precision", "int8"]
        assert main([*words, *(["--scales", "qdq"] if typed else ["--cache", "calib.cache"])]) == 0
        for system in SYSTEMS:
            words = ["deploy", "model_bn.engine", "--for", system, "--core", "1", "--at", "/opt/models", "-q"]
            assert main([*words, "--out", f"out/{system}"]) == 0
        words = ["deploy", "model_bn.engine", "--for", "python", "--core", "1", "--out", "here", "-q"]
        assert main(words) == 0
    return Built(release, folder, machine)


def test_the_manifest_is_that_of_the_build(built):
    told = built.manifest
    assert (told["via"], told["mode"], told["built_for"]["board"]) == ("python", "hybrid", "agx-orin-64gb")
    assert [(each["name"], each["shape"]) for each in told["tensors"]] == [
        ("input", [BATCH, 3, 32, 32]),
        ("output", [BATCH, 10]),
    ]
    assert (told["tensors"][0]["scale"] is None) == built.release.startswith("11."), "the cache's, where there is one"


def test_nvinfer_triton_and_isaac_ros_read_it(built, model_config):
    (text,) = built.made("deepstream").values()
    keys = configparser.RawConfigParser(delimiters="=", comment_prefixes="#", strict=True)
    keys.read_string(text)
    found = dict(keys["property"])
    assert (found["batch-size"], found["infer-dims"], found["use-dla-core"]) == (str(BATCH), "3;32;32", "1")
    assert (found["enable-dla"], found["network-mode"]) == ("1", "1")
    assert glib_string(text, "model-engine-file") == "/opt/models/model_bn.engine"
    if not built.release.startswith("11."):
        assert glib_string(text, "int8-calib-file") == "/opt/models/calib.cache"
    (text,) = built.made("triton").values()
    config = parsed(text, model_config.ModelConfig())
    assert [list(each.dims) for each in (*config.input, *config.output)] == [[BATCH, 3, 32, 32], [BATCH, 10]]
    assert [each.device_id for group in config.instance_group for each in group.secondary_devices] == [1]
    texts = built.made("isaac-ros")
    values = yaml.safe_load(texts["model_bn.yaml"])["/**"]["ros__parameters"]
    assert (values["engine_file_path"], values["input_binding_names"]) == ("/opt/models/model_bn.engine", ["input"])
    assert values["output_tensor_names"] == ["output"]
    compile(texts["model_bn.launch.py"], "launch", "exec")


def test_onnxruntime_gets_the_options(built, monkeypatch):
    (text,) = built.made("onnxruntime").values()
    asked = []

    class Session:
        def __init__(self, model, providers):
            asked.append((model, providers[0]))

        get_inputs = staticmethod(list)
        get_providers = staticmethod(lambda: ["TensorrtExecutionProvider"])

    double = SimpleNamespace(InferenceSession=Session, get_available_providers=lambda: ["TensorrtExecutionProvider"])
    monkeypatch.setitem(sys.modules, "onnxruntime", double)
    exec(compile(text, "program.py", "exec"), {"__name__": "__main__"})
    ((model, (_, options)),) = asked
    typed = built.release.startswith("11.")
    assert model == f"/opt/models/{'int8' if typed else 'model_bn'}.onnx"
    assert (options["trt_dla_core"], options["trt_int8_enable"]) == ("1", "1")
    assert options.get("trt_int8_calibration_table_name") == (None if typed else "/opt/models/calib.cache")


def test_the_python_program_answers_as_onnxruntime(built, cudart, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorrt", built.machine.trt)
    program, saved = built.folder / "here" / "run_model_bn.py", built.folder / "y.npz"
    images = np.load(built.folder / "images.npy")[:BATCH]
    np.save(built.folder / "batch.npy", images)
    words = ["--cudart", cudart, "--input", f"input={built.folder / 'batch.npy'}", "--save", saved, "--runs", 3]
    monkeypatch.setattr(sys, "argv", [str(program), *map(str, words)])
    runpy.run_path(str(program), run_name="__main__")
    network = onnxruntime.InferenceSession(built.folder / built.manifest["model"]["path"])
    expected = network.run(None, {"input": images})[0]
    np.testing.assert_allclose(np.load(saved)["output"], expected, rtol=1e-4, atol=1e-4)
    assert np.ptp(expected) > 5, "the answers of a trained network"
    assert built.machine.runtimes[-1]._state["DLA_core"] == 1
    assert "on DLA core 1" in capsys.readouterr().out


def test_the_cpp_program_compiles_and_units_are_read(built, tmp_path):
    texts = built.made("cpp")
    assert "project(run_model_bn CXX)" in texts["CMakeLists.txt"]
    program = built.folder / "out" / "cpp" / "run_model_bn.cpp"
    compiled("-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-I", STAND_IN, program)
    unit = built.folder / "out" / "systemd" / "model_bn-dla1.service"
    assert 'ExecStart=/usr/bin/python3 "/opt/models/run_model_bn.py" "--forever" "--core" "1"' in unit.read_text()
    analyze = shutil.which("systemd-analyze")
    if analyze is not None:
        done = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True)
        assert not [line for line in done.stderr.splitlines() if str(unit) in line], done.stderr
