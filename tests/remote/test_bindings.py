"""The agent's build through TensorRT's Python API, against strict doubles of the real bindings, 8.6.1 to 11.4.0."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from dlaflow.build.config import BuildConfig, InputShape, ShapeRange
from dlaflow.build.engine import Request
from dlaflow.build.manifest import BuiltFor
from dlaflow.build.trtexec_arguments import BUILD_ONLY, build_arguments
from dlaflow.errors import EnvironmentLacksError
from dlaflow.parse.trtexec import parse_log
from dlaflow.quantize.cache import header_for
from dlaflow.remote.agent import bindings
from dlaflow.remote.board import Patience, RemoteBoard
from dlaflow.remote.build import RemoteBuild, build_on_board, builder_on
from dlaflow.remote.doctor import ask
from dlaflow.remote.transport import LocalTransport

_HERE = Path(__file__).parent
_spec = importlib.util.spec_from_file_location("tensorrt_machine", _HERE.parent / "build" / "tensorrt_machine.py")
machines = sys.modules.setdefault("tensorrt_machine", importlib.util.module_from_spec(_spec))
if not hasattr(machines, "RELEASES"):
    _spec.loader.exec_module(machines)

SHAPES = (InputShape("input", ShapeRange.fixed((4, 3, 8, 8))),)
MODEL = """
<ir_version: 8, opset_import: ["" : 13]>
tiny (float[N, 3, 8, 8] input) => (float[N, 4, 8, 8] output) <float[4, 3, 1, 1] weight = {%s}>
{ hidden = Conv (input, weight) output = Relu (hidden) }
"""


@pytest.fixture(params=machines.RELEASES)
def machine(request):
    if not machines.DUMPS.is_dir():
        pytest.skip(f"no dumps of the bindings in {machines.DUMPS}")
    return machines.load_machine(request.param)


@pytest.fixture
def model(tmp_path, monkeypatch):
    """In the job's folder, where the agent's programs run."""
    monkeypatch.chdir(tmp_path)
    values = ", ".join(f"{value:.3f}" for value in np.random.default_rng(0).normal(size=12))
    onnx.save(onnx.parser.parse_model(MODEL % values), tmp_path / "model.onnx")
    return "model.onnx"


def build(machine, model, config):
    release = machine.surface.version
    bindings.build(machine.trt, build_arguments(model, "model.engine", config, release, BUILD_ONLY))
    return machine.requests


def test_a_hybrid_engine(machine, model, tmp_path, capsys):
    typed = machine.surface.version.startswith("11")
    options = build(machine, model, BuildConfig(precision="fp16", shapes=SHAPES, dla_core=1, gpu_fallback=True))
    assert (tmp_path / "model.engine").stat().st_size > 100
    assert "GPU_FALLBACK" in options["flags"]
    assert ("FP16" in options["flags"]) == (not typed)
    assert options["state"]["DLA_core"] == 1
    assert options["profiles"] == 1
    assert "Engine built in" in capsys.readouterr().out


def test_int8_reads_its_cache(machine, model, tmp_path):
    if machine.surface.version.startswith("11"):
        pytest.skip("11 takes scales from the model")
    text = f"{header_for(machine.surface.version)}\ninput: 3c010a14\nhidden: 3c010a14\noutput: 3c010a14\n"
    (tmp_path / "model.cache").write_text(text)
    config = BuildConfig("int8", "cache", fp16_too=True, shapes=SHAPES, cache="model.cache", dla_core=0)
    options = build(machine, model, config)
    assert {"INT8", "FP16"} <= set(options["flags"])
    assert not machine.calibrated, "no image was asked for"


def test_what_only_trtexec_can_is_refused(machine, model):
    arguments = ["--onnx=model.onnx", "--saveEngine=model.engine"]
    with pytest.raises(bindings.Wrong, match="layerPrecisions"):
        bindings.build(machine.trt, [*arguments, "--layerPrecisions=a:fp16"])
    with pytest.raises(bindings.Wrong, match="7 not available"):
        bindings.build(machine.trt, [*arguments, "--useDLACore=7"])


STAND_IN = """
import enum
__version__ = "10.3.0"
class Severity(enum.Enum):
    INFO = 3
class ILogger:
    INFO = ERROR = Severity.INFO
class Logger(ILogger):
    ERROR = 1
    def __init__(self, level): pass
class OnnxParser:
    def __init__(self, network, logger): self.network = network
    def parse_from_file(self, name): self.network.text = open(name, "rb").read(); return True
class Flags:
    EXPLICIT_BATCH, STRONGLY_TYPED, GPU_FALLBACK, FP16, DLA = range(5)
NetworkDefinitionCreationFlag = BuilderFlag = DeviceType = Flags
class Network:
    num_inputs = num_outputs = 0
class Config:
    def set_flag(self, flag): pass
    def add_optimization_profile(self, profile): pass
class Profile:
    def set_shape(self, *shapes): pass
class Builder:
    num_DLA_cores = 2
    def __init__(self, logger): self.logger = logger
    def create_network(self, flags): return Network()
    def create_builder_config(self): return Config()
    def create_optimization_profile(self): return Profile()
    def build_serialized_network(self, network, config):
        for text in ("---------- Layers Running on DLA ----------", "[DlaLayer] {ForeignNode[a...b]}"):
            self.logger.log(Severity.INFO, text)
        return b"an engine of " + network.text
def init_libnvinfer_plugins(logger, name): pass
"""


def test_a_board_without_trtexec_builds_through_its_bindings(stand_in, tiny, tmp_path, monkeypatch):
    (stand_in.programs / "trtexec").unlink()
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "tensorrt.py").write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    with RemoteBoard(LocalTransport(stand_in.root), Patience(answer=30)) as board:
        _, facts = ask(board)
        how = RemoteBuild(program=builder_on(board, facts))
        config = BuildConfig(precision="fp16", shapes=SHAPES, dla_core=0, gpu_fallback=True)
        request = Request(tiny, tmp_path / "m.engine", config, BuiltFor("tensorrt", "10.3.0"))
        result = build_on_board(board, request, how)
    assert (tmp_path / "m.engine").read_bytes() == b"an engine of " + tiny.read_bytes()
    assert (result.manifest.via, result.manifest.built_for.tensorrt) == ("python", "10.3.0")
    (run,) = parse_log(tmp_path / "m.engine.log").runs
    assert (run.result, len(run.placement.dla)) == ("PASSED", 1)


def test_a_board_with_neither_says_so(stand_in):
    (stand_in.programs / "trtexec").unlink()
    with (
        RemoteBoard(LocalTransport(stand_in.root)) as board,
        pytest.raises(EnvironmentLacksError, match="neither trtexec"),
    ):
        builder_on(board, ask(board)[1])
