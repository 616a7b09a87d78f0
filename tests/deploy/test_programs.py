"""The programs do what they say: Python under the doubles of TensorRT's bindings, C++ compiled and run."""

from __future__ import annotations

import ctypes
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from dlaflow.api.deploy import DeployOptions, deploy_engine
from dlaflow.build.config import InputShape, IOFormat, ShapeRange
from dlaflow.errors import InputError, UsageError
from tests.build import tensorrt_machine as machines
from tests.deploy.conftest import STAND_IN, compiled
from tests.deploy.engines import HOSTILE, PLAIN

HEADERS = [STAND_IN, *map(Path, filter(None, os.environ.get("DLAFLOW_NVINFER", "").split(os.pathsep)))]
"""Ours, and folders of the real NvInfer.h (github.com/NVIDIA/TensorRT, include/) where DLAFLOW_NVINFER names them."""


@pytest.fixture(params=["8.6.1", "10.3.0", "11.4.0"])
def machine(request, monkeypatch):
    if not machines.DUMPS.is_dir():
        pytest.skip(f"no dumps of the bindings in {machines.DUMPS}")
    made = machines.load_machine(request.param)
    monkeypatch.setitem(sys.modules, "tensorrt", made.trt)
    return made


def plan_of(engines, machine, tensor: str = "input") -> bytes:
    """What the doubles call a plan: their magic, the release and the shapes, the model."""
    model = engines.folder / "model_bn.onnx"
    shapes = {tensor: [[32, 3, 32, 32]] * 3}
    head = json.dumps({"release": machine.surface.version, "shapes": shapes}).encode()
    return machines._MAGIC + head + b"\n" + model.read_bytes()


def program_of(engines, machine, core: str = "1", **how: object) -> Path:
    name = how.pop("name", "model_bn.engine")
    engines.write(name, tensorrt=machine.surface.version, **how)
    content = plan_of(engines, machine, f"{how['tensor']}in" if "tensor" in how else "input")
    engine = engines.write(name, tensorrt=machine.surface.version, content=content, **how)
    made = deploy_engine(engine, "python", engines.folder / "out", DeployOptions(core=core))
    return made.files[0]


def run(program: Path, monkeypatch, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", [str(program), *map(str, words)])
    runpy.run_path(str(program), run_name="__main__")


def test_python_runs_on_the_core_and_computes(engines, machine, cudart, monkeypatch, capsys):
    program = program_of(engines, machine)
    images = np.random.default_rng(1).normal(size=(32, 3, 32, 32)).astype(np.float32)
    np.save(engines.folder / "x.npy", images)
    saved = engines.folder / "y.npz"
    run(program, monkeypatch, "--cudart", cudart, "--input", f"input={engines.folder / 'x.npy'}", "--save", saved)
    session = onnxruntime.InferenceSession(engines.folder / "model_bn.onnx")
    np.testing.assert_allclose(np.load(saved)["output"], session.run(None, {"input": images})[0], rtol=1e-6)
    # Set before loading: the double notes the runtime at that moment.
    assert machine.runtimes[-1]._state["DLA_core"] == 1
    assert "on DLA core 1" in (told := capsys.readouterr().out)
    assert "100 runs: median 1.500 ms" in told


def test_python_binds_by_number_where_names_are_unknown(engines, machine, cudart, monkeypatch, capsys):
    """TensorRT 8.4 and older, as the double of 8.6.1 with the names taken away."""
    if machine.surface.version != "8.6.1":
        pytest.skip("later releases have no bindings by number")
    text = program_of(engines, machine).read_text()
    by_number = engines.folder / "by_number.py"
    by_number.write_text(text.replace('hasattr(self.engine, "num_io_tensors")', "False"))
    run(by_number, monkeypatch, "--cudart", cudart, "--runs", 3)
    assert "3 runs" in capsys.readouterr().out


def test_python_takes_hostile_names(engines, machine, cudart, monkeypatch, capsys):
    program = program_of(engines, machine, tensor=HOSTILE, name=f"{HOSTILE.replace('/', '')}.engine")
    run(program, monkeypatch, "--cudart", cudart, "--runs", 1)
    assert program.read_text().isascii() or "\u202e" not in program.read_text()
    assert ascii(f"{HOSTILE}out") in capsys.readouterr().out


@pytest.mark.parametrize(
    ("spoil", "words", "message"),
    [
        ("engine", [], "is not the engine that this program was made for"),
        ("cores", [], "no DLA core 1 here: 0 cores"),
        ("", ["--core", "7"], "no DLA core 7"),
        ("", ["--input", "other=x.npy"], "no input for .other=x.npy.; there are .input."),
        ("", ["--input", "input=absent.npy"], "cannot read or write"),
        ("", ["--cudart", "/nowhere/libcudart.so"], "cannot load CUDA's runtime"),
    ],
)
def test_python_ends_with_a_sentence(engines, machine, cudart, monkeypatch, spoil, words, message):
    program = program_of(engines, machine)
    if spoil == "engine":
        (engines.folder / "model_bn.engine").write_bytes(b"another")
    if spoil == "cores":
        machine.cores = 0
    with pytest.raises(SystemExit, match=message):
        run(program, monkeypatch, *(words if "--cudart" in words else ["--cudart", cudart, *words]))


def test_python_is_text_of_python_3_8(engines):
    import ast

    made = deploy_engine(engines.write(), "python", engines.folder / "out", DeployOptions())
    ast.parse(made.files[0].read_text(), feature_version=(3, 8))


def test_int8_values_are_rounded_half_to_even_by_the_scale(engines, machine, cudart, monkeypatch):
    program = program_of(engines, machine)
    module = runpy.run_path(str(program), run_name="program")
    engine = module["Engine"](str(engines.folder / "model_bn.engine"), 1, module["Cuda"](str(cudart)))
    engine.hosts["input"] = np.zeros((1, 4), np.int8)
    scale = module["SCALES"]["input"]
    engine.feed({"input": np.array([[0.5, 1.5, 1000, -1000]]) * scale})
    assert engine.hosts["input"].tolist() == [[0, 2, 127, -128]]
    assert ctypes.string_at(engine.devices["input"].value, 4) == engine.hosts["input"].tobytes()


def small(engines, tensor: str = "t") -> Path:
    """An engine as the C++ stand-in knows it: 2x3 floats in and out."""
    config = replace(PLAIN, shapes=(InputShape("input", ShapeRange.fixed((32, 3, 32, 32))),))
    engine = engines.write(config=config, tensorrt="8.6.2", tensor=tensor)
    path = engine.with_name(f"{engine.name}.json")
    told = json.loads(path.read_text())
    for each in told["tensors"]:
        each["shape"] = [2, 3]
    path.write_text(json.dumps(told))
    return engine


@pytest.mark.parametrize("tensor", ["t", HOSTILE])
def test_cpp_runs_on_the_core_and_computes(engines, cudart, tensor, tmp_path):
    made = deploy_engine(small(engines, tensor), "cpp", tmp_path / "out", DeployOptions(core="1"))
    binary = tmp_path / "program"
    compiled("-Wall", "-Wextra", "-Werror", "-I", STAND_IN, "-o", binary, made.files[0], cudart, "-ldl")
    values = np.arange(6, dtype=np.float32)
    values.tofile(tmp_path / "x.raw")
    names = {"STAND_IN_INPUT": f"{tensor}in", "STAND_IN_OUTPUT": f"{tensor}out"}
    words = [str(binary), "--runs", "5", f"{tensor}in={tmp_path / 'x.raw'}"]
    done = subprocess.run(
        words, cwd=tmp_path, env=names | {"LD_LIBRARY_PATH": str(cudart.parent)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("core 1\n5 runs: median 1.5 ms")
    assert np.fromfile(tmp_path / "output_0.raw", np.float32).tolist() == (2 * values).tolist()


@pytest.mark.parametrize("headers", HEADERS, ids=str)
def test_cpp_fits_the_headers(engines, headers, tmp_path):
    config = replace(PLAIN, version_compatible=True, plugins=("/opt/p l.so", 'a"b\\'))
    made = deploy_engine(
        engines.write(config=config, tensorrt="8.6.2", tensor=HOSTILE), "cpp", tmp_path / "out", DeployOptions()
    )
    compiled("-fsyntax-only", "-Wno-deprecated-declarations", "-I", headers, "-I", STAND_IN, made.files[0])


def test_what_the_programs_cannot_feed_is_refused(engines, tmp_path):
    with pytest.raises(UsageError, match=r"TensorRT 8\.5 or later"):
        deploy_engine(engines.write(tensorrt="8.4.1"), "cpp", tmp_path / "out", DeployOptions())
    packed = replace(PLAIN, input_formats=(IOFormat("int8", ("dla_hwc4",)),))
    for system in ("python", "cpp", "systemd", "deepstream", "triton", "isaac-ros"):
        with pytest.raises(InputError, match="has a format for the DLA"):
            deploy_engine(engines.write(config=packed), system, tmp_path / "out", DeployOptions())
    assert not (tmp_path / "out").exists()


def test_units_are_what_systemd_reads(engines, tmp_path):
    engine = engines.write(f"{HOSTILE.replace('/', '')}.engine")
    at = f"/opt/{HOSTILE.replace('/', '')}"
    made = deploy_engine(engine, "systemd", tmp_path / "out", DeployOptions(core="0,1", at=at))
    program, *units = made.files
    assert [unit.name.rpartition("-")[2] for unit in units] == ["dla0.service", "dla1.service"]
    for core, unit in enumerate(units):
        line = next(line for line in unit.read_text().splitlines() if line.startswith("ExecStart=/usr"))
        words = [found[1] for found in re.finditer(r'"((?:[^"\\]|\\.)*)"', line)]
        read = [word.encode().decode("unicode_escape").replace("%%", "%").replace("$$", "$") for word in words]
        assert read == [f"{at}/{program.name}", "--forever", "--core", str(core)]
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("no systemd-analyze here")
    done = subprocess.run([analyze, "verify", *map(str, units)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not [line for line in done.stderr.splitlines() if str(tmp_path) in line], done.stderr
