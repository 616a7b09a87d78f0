"""The double is as strict as the real bindings: what a release lacks raises, and dlaflow's own surface exists there."""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dlaflow.build import surface
from dlaflow.build.api import Messages, make_logger
from dlaflow.build.config import BuildConfig, InputShape, ShapeRange
from dlaflow.build.python_build import Bindings, build_with_python
from dlaflow.targets.features import has

machines = sys.modules["tensorrt_machine"]
WHEELS = {"10.3.0": "tensorrt-cu12-bindings==10.3.0", "11.4.0": "tensorrt-cu13-bindings==11.4.0.106"}
LIBRARIES = {"10.3.0": "10", "11.4.0": "11"}
STUB = """
void *createInferBuilder_INTERNAL() { return 0; } void *createInferRefitter_INTERNAL() { return 0; }
void *createInferRuntime_INTERNAL() { return 0; } void *createNvOnnxParserRefitter_INTERNAL() { return 0; }
void *createNvOnnxParser_INTERNAL() { return 0; } void *getBuilderPluginRegistry() { return 0; }
void *getPluginRegistry() { return 0; } int getNvOnnxParserVersion() { return 0; }
int initLibNvInferPlugins() { return 1; }
"""
DUMPER = """
import inspect, json, sys
import numpy as np
import tensorrt_bindings as module
import tensorrt_bindings.tensorrt as trt
from dlaflow.build.api import Messages, load_plugins, make_logger
from dlaflow.build.calibrator import Feed, make_calibrator
from dlaflow.build.api import Phases, make_monitor
from dlaflow.progress import silent
from dlaflow.targets.features import has
sys.path.insert(0, sys.argv[1])
from tensorrt_machine import HostMemory

types = {name: value for name, value in vars(trt).items() if isinstance(value, type)}
enums = {name: sorted(value.__members__) for name, value in types.items() if hasattr(value, "__members__")}
classes = {
    name: {
        member: getattr(inspect.getattr_static(value, member, None), "fset", None) is not None
        for member in {*dir(value), *dir(type(value))}
    }
    for name, value in types.items() if name not in enums
}
messages = Messages()
logger = make_logger(module, messages)
logger.log(module.ILogger.WARNING, "said by the real logger")
load_plugins(module, logger, ())
phases = Phases(silent)
monitor = make_monitor(module, phases)
monitor.phase_start("outer", None, 2)
went_on = monitor.step_complete("outer", 0)
monitor.phase_finish("outer")
calibrated = None
if hasattr(module, "IInt8EntropyCalibrator2"):
    batches = [np.ones((2, 3), np.float32)]
    calibrator = make_calibrator(module, Feed(lambda: batches, 2, None, module.__version__, HostMemory()))
    calibrated = [len(calibrator.get_batch(["input"])), calibrator.get_batch(["input"])]
    calibrated.append(calibrator.get_algorithm().name)
json.dump(
    {"enums": enums, "classes": classes, "said": messages.lines, "phases": phases.names, "went_on": went_on,
     "calibrated": calibrated},
    sys.stdout,
)
"""


def config_of(machine: object) -> tuple[object, object]:
    builder = machine.trt.Builder(make_logger(machine.trt, Messages()))
    return builder, builder.create_builder_config()


def test_calls_that_a_release_removed_raise():
    if not machines.DUMPS.is_dir():
        pytest.skip("no dumps")
    new = machines.load_machine("11.4.0")
    with pytest.raises(AttributeError, match="FP16"):
        _ = new.trt.BuilderFlag.FP16
    with pytest.raises(AttributeError, match="EXPLICIT_BATCH"):
        _ = new.trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH
    assert not hasattr(new.trt, "IInt8EntropyCalibrator2")
    _, settings = config_of(new)
    with pytest.raises(AttributeError, match="int8_calibrator"):
        settings.int8_calibrator = None
    with pytest.raises(AttributeError, match="max_workspace_size"):
        settings.max_workspace_size = 1 << 25
    with pytest.raises(AttributeError, match="dla_core"):
        settings.dla_core = 0  # the walk-through's spelling in its text; the property is DLA_core
    with pytest.raises(AttributeError, match="num_bindings"):
        _ = new.surface.make("ICudaEngine").num_bindings
    with pytest.raises(AttributeError, match="execute_async_v2"):
        new.surface.make("IExecutionContext").execute_async_v2([], 0)


def test_wrong_arguments_raise(machine):
    builder, settings = config_of(machine)
    with pytest.raises(TypeError, match="no overload"):
        settings.set_flag("FP16")
    with pytest.raises(TypeError, match="no overload"):
        settings.set_memory_pool_limit(machine.trt.MemoryPoolType.WORKSPACE)
    with pytest.raises(TypeError, match="no overload"):
        builder.create_network(falgs=0)
    with pytest.raises(AttributeError, match="cannot be set"):
        builder.num_DLA_cores = 3
    with pytest.raises(TypeError, match="No constructor"):
        machine.trt.IBuilderConfig()
    with pytest.raises(NotImplementedError):
        settings.reset()


def test_a_build_path_with_a_removed_call_fails(typed_machine, tiny, monkeypatch):
    """The proof that the suite would notice: the 8.x way of choosing FP16, put back, does not survive under 11.4."""
    messages = Messages()
    bindings = Bindings(typed_machine.trt, messages, make_logger(typed_machine.trt, messages))
    config = BuildConfig(precision="fp16", shapes=(InputShape("input", ShapeRange.fixed((4, 3, 8, 8))),))
    build_with_python(bindings, tiny, config)
    monkeypatch.setattr("dlaflow.build.python_build.has", lambda id, version: id != "typed_only" and has(id, version))
    with pytest.raises(AttributeError, match="FP16"):
        build_with_python(bindings, tiny, replace(config))


NAMES = {
    "TensorObject": "ITensor",
    "LayerObject": "ILayer",
    "NetworkObject": "INetworkDefinition",
    "ProfileObject": "IOptimizationProfile",
    "TimingCache": "ITimingCache",
    "Settings": "IBuilderConfig",
    "BuilderObject": "Builder",
    "ParserComplaint": "ParserError",
    "ParserObject": "OnnxParser",
}
LATE = {  # member → the releases of the dumps that have it
    "precision": {"8.6.1", "10.3.0", "10.16.1"},
    "int8_calibrator": {"8.6.1", "10.3.0", "10.16.1"},
    "set_calibration_profile": {"8.6.1", "10.3.0", "10.16.1"},
    "progress_monitor": {"10.3.0", "10.16.1", "11.4.0"},
    "node_name": {"10.3.0", "10.16.1", "11.4.0"},
    "node_operator": {"10.3.0", "10.16.1", "11.4.0"},
    "num_subgraphs": {"10.3.0", "10.16.1", "11.4.0"},
    "is_subgraph_supported": {"10.3.0", "10.16.1", "11.4.0"},
    "get_subgraph_nodes": {"10.3.0", "10.16.1", "11.4.0"},
    "supports_model_v2": {"10.3.0", "10.16.1", "11.4.0"},
    "set_builder_config": {"10.16.1", "11.4.0"},
}


@pytest.mark.parametrize("release", machines.RELEASES)
def test_every_member_that_dlaflow_types_exists_in_the_release(release):
    dump = machines.DUMPS / f"tensorrt-{release}.json"
    if not dump.is_file():
        pytest.skip(f"no dump {dump}")
    classes = json.loads(dump.read_text())["classes"]
    for ours, theirs in NAMES.items():
        protocol = getattr(surface, ours)
        members = {*protocol.__annotations__, *(name for name, _ in inspect.getmembers(protocol, callable))}
        members |= {name for name, value in vars(protocol).items() if isinstance(value, property)}
        for member in sorted(name for name in members if not name.startswith("_")):
            there = member in classes[theirs]["members"]
            assert there == (release in LATE.get(member, machines.RELEASES)), f"{theirs}.{member} in {release}"


@pytest.mark.slow
@pytest.mark.parametrize("release", WHEELS)
def test_the_dump_is_that_of_the_real_bindings(release, tmp_path):
    """The real wheel, imported over empty libraries, is what the dump says, and takes our subclasses."""
    dump = machines.DUMPS / f"tensorrt-{release}.json"
    if not dump.is_file():
        pytest.skip(f"no dump {dump}")
    get = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(tmp_path), WHEELS[release]]
    if subprocess.run(get, capture_output=True).returncode:
        pytest.skip("the wheel cannot be had here")
    site = tmp_path / "site"
    subprocess.run([sys.executable, "-m", "zipfile", "-e", next(tmp_path.glob("*.whl")), site], check=True)
    (tmp_path / "stub.c").write_text(STUB)
    for library in ("nvinfer", "nvinfer_plugin", "nvonnxparser"):
        file = f"lib{library}.so.{LIBRARIES[release]}"
        made = subprocess.run(
            ["gcc", "-shared", "-fPIC", "-w", f"-Wl,-soname,{file}", "-o", tmp_path / file, tmp_path / "stub.c"],
            capture_output=True,
        )
        if made.returncode:
            pytest.skip("no C compiler")
    environment = {**os.environ, "PYTHONPATH": str(site), "LD_LIBRARY_PATH": str(tmp_path)}
    command = [sys.executable, "-c", DUMPER, str(Path(__file__).parent)]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True)
    if ran.returncode:
        pytest.skip(f"the bindings cannot be imported over empty libraries: {ran.stderr[-200:]}")
    real, kept = json.loads(ran.stdout), json.loads(dump.read_text())
    assert real["enums"].items() >= kept["enums"].items()
    for name, entry in kept["classes"].items():
        members = {member: value for member, value in entry["members"].items() if not member.startswith("__")}
        for member, value in members.items():
            assert member in real["classes"][name], f"{name}.{member}"
            if value["kind"] == "property" and member.islower():
                assert real["classes"][name][member] == value["settable"], f"{name}.{member}"
    # Our subclasses of the real base classes: logger, progress monitor and calibrator.
    assert real["said"] == ["[01/01/2000-00:00:00] [W] [TRT] said by the real logger"]
    assert (real["phases"], real["went_on"]) == (["outer"], True)
    assert real["calibrated"] == ([1, None, "ENTROPY_CALIBRATION_2"] if release == "10.3.0" else None)


def test_the_rtx_dump_is_that_of_the_installed_package():
    if importlib.util.find_spec("tensorrt_rtx") is None:
        pytest.skip("no tensorrt_rtx")
    dumps = sorted(machines.DUMPS.glob("tensorrt_rtx-*.json"))
    if not dumps:
        pytest.skip("no dump of TensorRT-RTX")
    import tensorrt_rtx

    kept = json.loads(Path(dumps[-1]).read_text())
    if kept["version"] != tensorrt_rtx.__version__:
        pytest.skip(f"the dump is of {kept['version']}")
    for name, entry in kept["classes"].items():
        assert {member for member in entry["members"] if not member.startswith("__")} <= set(
            dir(getattr(tensorrt_rtx, name))
        )
