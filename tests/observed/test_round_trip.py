"""A prediction, written as the log that TensorRT would print of it, is read back as the same placement."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from graphs import cifar, yolo

import dlaflow
from dlaflow.cli import main
from dlaflow.errors import InputError
from dlaflow.graph.load import load_model
from dlaflow.observed.build import read_log
from dlaflow.observed.overlay import lay_over
from dlaflow.observed.score import score
from dlaflow.placement.check import check_model
from dlaflow.targets.target import resolve_target
from dlaflow.types import Device, Placement

STAMP = "[11/28/2026-10:00:00]"
NETWORKS: dict[str, Callable[[Path], object]] = {
    "yolo11n": partial(yolo.yolo11n, classes=8),
    "model_gn": partial(cifar.scoped, name="model_gn"),
    "model_bn": partial(cifar.scoped, name="model_bn"),
    "model_bn_avgpool": cifar.pooled,
}


def lists_of(placement: Placement, *, single: bool = False) -> str:
    """The placement lists: subgraphs by their ends as 8.x prints them, or single layers (`single`) as 10.x does."""
    dla = [f"{{ForeignNode[{each.first}...{each.last}]}}" for each in placement.loadables]
    if single:
        dla = [layer.name for layer in placement.layers if layer.device is Device.DLA]
    gpu = [f"{layer.kind}: {layer.name}" for layer in placement.layers if layer.device is Device.GPU]
    return "\n".join(
        [
            "&&&& RUNNING TensorRT.trtexec [TensorRT v8502] # trtexec --onnx=m.onnx --useDLACore=0 --fp16",
            f"{STAMP} [I] [TRT] ---------- Layers Running on DLA ----------",
            *(f"{STAMP} [I] [TRT] [DlaLayer] {name}" for name in dla),
            f"{STAMP} [I] [TRT] ---------- Layers Running on GPU ----------",
            *(f"{STAMP} [I] [TRT] [GpuLayer] {name}" for name in gpu),
            f"{STAMP} [I] [TRT] ---------- end ----------",
            "&&&& PASSED TensorRT.trtexec [TensorRT v8502] # trtexec --onnx=m.onnx --useDLACore=0 --fp16",
        ]
    )


@pytest.fixture(scope="module", params=NETWORKS)
def predicted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Placement]:
    path = tmp_path_factory.mktemp("round") / f"{request.param}.onnx"
    NETWORKS[request.param](path)
    target = resolve_target("agx-orin-64gb", "5.1.1", precision="fp16")
    return path, check_model(load_model(path), target)


def test_the_same_loadables_and_switches(predicted: tuple[Path, Placement], tmp_path: Path) -> None:
    _, placement = predicted
    log = tmp_path / "build.log"
    log.write_text(lists_of(placement))
    build, _ = read_log(log)
    read = lay_over(build, placement).placement
    assert placement.summary.loadables > 0
    assert read.summary.loadables == placement.summary.loadables
    assert [each.layers for each in read.loadables] == [each.layers for each in placement.loadables]
    assert read.switches == placement.switches
    assert [layer.device for layer in read.layers] == [layer.device for layer in placement.layers]
    found = score(placement, build)
    assert (found.named_share, found.switches_real, found.lenient) == (1.0, placement.summary.switches, ())


def test_the_commands_say_the_same(predicted, tmp_path, capsys):
    model, placement = predicted
    log = tmp_path / "build.log"
    log.write_text(lists_of(placement))
    target = ["--board", "agx-orin-64gb", "--jetpack", "5.1.1", "--precision", "fp16"]
    assert main(["check", str(model), *target]) == 0
    checked = capsys.readouterr().out
    assert main(["score", str(model), "--log", str(log), *target]) == 0
    scored = capsys.readouterr().out
    assert main(["profile", str(log), "--model", str(model), *target]) == 0
    profiled = capsys.readouterr().out
    loadables, switches = placement.summary.loadables, placement.summary.switches
    assert re.search(rf"\b{loadables} loadables?\b", checked)
    assert re.search(rf"\b{switches} switch(es)? between", checked)
    assert re.search(rf"\b{loadables} loadables predicted, {loadables} in the build", scored)
    assert re.search(rf"\b{switches} switches predicted, {switches} in the build", scored)
    assert re.search(rf"\b{loadables} DLA subgraphs?\b", profiled)
    assert re.search(rf"\b{switches} switch(es)? over the model's graph", profiled)


def test_what_the_log_says_later_overrules_its_list(predicted: tuple[Path, Placement], tmp_path: Path) -> None:
    """A layer beyond the limit of loadables is in the printed list and runs on the GPU."""
    _, placement = predicted
    last = placement.loadables[-1]
    text = lists_of(placement, single=True)
    beyond = "DLA supports only 16 subgraphs per DLA core. Switching to GPU for layer"
    text = text.replace(
        "&&&& PASSED", "".join(f"{STAMP} [W] [TRT] {beyond} {name}\n" for name in last.layers) + "&&&& PASSED"
    )
    log = tmp_path / "build.log"
    log.write_text(text)
    read = lay_over(read_log(log)[0], placement).placement
    devices = {layer.name: layer.device for layer in read.layers}
    assert {devices[name] for name in last.layers} == {Device.GPU}
    others = [name for each in placement.loadables[:-1] for name in each.layers]
    assert all(devices[name] is Device.DLA for name in others)


def test_a_log_of_another_model_is_refused(predicted, tmp_path, capsys):
    model, placement = predicted
    log = tmp_path / "other.log"
    other = re.sub(
        r"(\[DlaLayer\]|\[GpuLayer\] \w+:) .*",
        lambda line: f"{line.group(1)} /other/Node_{line.start()}",
        lists_of(placement),
    )
    log.write_text(other)
    with pytest.raises(InputError, match="is not of this model"):
        lay_over(read_log(log)[0], placement)
    target = ["--board", "agx-orin-64gb", "--jetpack", "5.1.1", "--precision", "fp16"]
    for command in (["score", str(model), "--log", str(log)], ["profile", str(log), "--model", str(model)]):
        assert main([*command, *target]) == 2
        assert "not of this model" in capsys.readouterr().err


def test_python_says_the_same(predicted: tuple[Path, Placement], tmp_path: Path) -> None:
    model, placement = predicted
    log = tmp_path / "build.log"
    log.write_text(lists_of(placement))
    found = dlaflow.score(model, log=log, board="agx-orin-64gb", jetpack="5.1.1", precision="fp16")
    (profiled,) = dlaflow.profile(log, model=model, board="agx-orin-64gb", jetpack="5.1.1", precision="fp16")
    assert profiled.measured is not None
    assert found.switches_real == profiled.measured.switches == placement.summary.switches
    assert found.loadables_real == profiled.measured.loadables == placement.summary.loadables


def test_a_build_that_names_nothing_is_no_full_agreement(predicted, tmp_path, capsys):
    model, placement = predicted
    log = tmp_path / "empty.log"
    log.write_text("\n".join(line for line in lists_of(placement).splitlines() if "Layer]" not in line))
    target = ["--board", "agx-orin-64gb", "--jetpack", "5.1.1", "--precision", "fp16"]
    assert main(["score", str(model), "--log", str(log), *target]) == 2
    assert "names no layer" in capsys.readouterr().err
