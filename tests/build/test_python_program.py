"""The printed program asks of TensorRT what the build itself asks, under the strict doubles of the real bindings."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dlaflow.build.api import Messages, make_logger
from dlaflow.build.config import BuildConfig, InputShape, IOFormat, LayerOptions, MemoryPools, ShapeRange
from dlaflow.build.python_build import Bindings, build_with_python
from dlaflow.build.python_program import python_program
from dlaflow.errors import UsageError
from dlaflow.targets.features import has

SHAPES = (InputShape("input", ShapeRange.fixed((4, 3, 8, 8))),)
FP16 = BuildConfig(precision="fp16", shapes=SHAPES)
HYBRID = replace(FP16, dla_core=1, gpu_fallback=True)
LINEAR = (IOFormat("fp16", ("dla_linear",)),)
ALONE = replace(HYBRID, gpu_fallback=False, standalone=True, input_formats=LINEAR, output_formats=LINEAR)
POOLS = MemoryPools(64, 0.5, 128, 256)
CACHED = replace(HYBRID, precision="int8", scales="cache", cache="calib.cache", fp16_too=True)
ANY_RELEASE = {
    "gpu": FP16,
    "hybrid": HYBRID,
    "pools": replace(HYBRID, pools=POOLS, sparsity="enable", profiling_verbosity="detailed"),
    "timings": replace(HYBRID, timing_cache="timings.cache", optimization_level=4),
    "one layer away": replace(HYBRID, layer_devices=(LayerOptions("node0", "GPU"),)),
    "compatible": replace(FP16, version_compatible=True),
}
IMPLICIT = {
    "cache": CACHED,
    "one layer": replace(CACHED, layer_precisions=(LayerOptions("node0", "fp16"),), precision_constraints="obey"),
    "every layer": replace(
        CACHED,
        layer_precisions=(LayerOptions("*", "int8"), LayerOptions("node0", "fp16")),
        precision_constraints="prefer",
    ),
    "formats of each": replace(
        HYBRID, input_formats=(IOFormat("fp16", ("chw16", "dla_linear")),), output_formats=LINEAR
    ),
}


def run(program: str, machine: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    monkeypatch.setitem(sys.modules, "tensorrt", machine.trt)
    exec(compile(program, "program.py", "exec"), {"__name__": "__main__"})
    return dict(machine.requests)


def compare(machine: Any, model: Path, config: BuildConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(model.parent)
    Path("calib.cache").write_text("TRT-7103-EntropyCalibration2\ninput: 3c010a14\n")
    messages = Messages()
    bindings = Bindings(machine.trt, messages, make_logger(machine.trt, messages))
    plan = build_with_python(bindings, model, config)
    asked = dict(machine.requests)
    Path("timings.cache").unlink(missing_ok=True)
    machine.requests = {}
    printed = run(python_program(model, Path("m.engine"), config, machine.surface.version), machine, monkeypatch)
    # Only a build of ours reports how far it is.
    for one in (asked, printed):
        one["state"] = {name: value for name, value in one["state"].items() if name != "progress_monitor"}
        one["state"] = {name: value for name, value in one["state"].items() if name != "int8_calibrator"}
    assert printed == asked
    assert Path("m.engine").read_bytes() == plan.content


@pytest.mark.parametrize("kind", ANY_RELEASE)
def test_every_release_is_asked_the_same(machine, tiny, kind, monkeypatch):
    compare(machine, tiny, ANY_RELEASE[kind], monkeypatch)


@pytest.mark.parametrize("kind", IMPLICIT)
def test_releases_with_flags_are_asked_the_same(implicit_machine, tiny, kind, monkeypatch):
    compare(implicit_machine, tiny, IMPLICIT[kind], monkeypatch)


def test_a_standalone_loadable_is_asked_the_same(implicit_machine, all_on_dla, monkeypatch):
    compare(implicit_machine, all_on_dla, ALONE, monkeypatch)


def test_the_flags_of_the_parser_are_those_of_the_release(machine, tiny):
    program = python_program(tiny, Path("m.engine"), replace(HYBRID, scales="qdq"), machine.surface.version)
    assert ("ADJUST_FOR_DLA" in program) == has("adjusts_for_dla", machine.surface.version)
    assert ("ENABLE_UINT8" in program) == has("qdq_on_dla", machine.surface.version)


def test_without_a_dla_or_a_model_it_ends_with_a_sentence(machine, tiny, monkeypatch):
    monkeypatch.chdir(tiny.parent)
    program = python_program(tiny, Path("m.engine"), HYBRID, machine.surface.version)
    machine.cores = 0
    with pytest.raises(SystemExit, match="no DLA core 1"):
        run(program, machine, monkeypatch)
    machine.cores = 2
    tiny.write_bytes(b"not a model")
    with pytest.raises(SystemExit, match="cannot read the model"):
        run(program, machine, monkeypatch)
    assert not Path("m.engine").exists()


def test_names_cannot_leave_their_quotes(machine, tiny, monkeypatch):
    name = "a'); import os; os.abort()  # \u202e\n"
    config = replace(HYBRID, layer_devices=(LayerOptions(name, "GPU"),))
    program = python_program(tiny, Path("m.engine"), config, machine.surface.version)
    assert program.isascii()
    with pytest.raises(KeyError):
        run(program, machine, monkeypatch)


def test_what_the_api_has_no_call_for_is_refused():
    with pytest.raises(UsageError, match="only trtexec does"):
        python_program(Path("m.onnx"), Path("m.engine"), replace(HYBRID, sparsity="force"), "10.3.0")
    with pytest.raises(UsageError, match=r"came with TensorRT 8\.6"):
        python_program(Path("m.onnx"), Path("m.engine"), replace(HYBRID, optimization_level=3), "8.5.2")
