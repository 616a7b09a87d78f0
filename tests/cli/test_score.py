"""`dlaflow score` as a user runs it: a small model and a log that we wrote."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import onnx.parser
import pytest

from dlaflow.cli import main

MODEL = """<ir_version: 8, opset_import: ["" : 17]> net (float[1, 3, 8, 8] x) => (float[1, 4, 1, 1] y)
<float[4, 3, 1, 1] w = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}>
{ a = Conv (x, w)  b = Relu (a)  y = GlobalAveragePool (b) }"""
LOG = """&&&& RUNNING TensorRT.trtexec [TensorRT v8502] # trtexec --onnx=m.onnx --fp16 --useDLACore=0 --allowGPUFallback
[I] === Build Options ===
[I] Precision: FP32+FP16
[I] === Device Information ===
[I] Selected Device: Orin
[W] [TRT] pool: DLA cores do not support AVG Reduce operation.
[W] [TRT] Layer 'pool' (REDUCE): Unsupported on DLA. Switching this layer's device type to GPU.
[I] [TRT] ---------- Layers Running on DLA ----------
[I] [TRT] [DlaLayer] {ForeignNode[conv...relu]}
[I] [TRT] ---------- Layers Running on GPU ----------
[I] [TRT] [GpuLayer] REDUCE: pool
[I] Engine built in 1.0 sec.
&&&& PASSED TensorRT.trtexec [TensorRT v8502] # trtexec --onnx=m.onnx --fp16 --useDLACore=0 --allowGPUFallback
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    model = onnx.parser.parse_model(MODEL)
    for node, name in zip(model.graph.node, ("conv", "relu", "pool"), strict=True):
        node.name = name
    onnx.save(model, "m.onnx")
    Path("build.log").write_text(LOG)
    return tmp_path


def test_the_log_tells_the_target(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "m.onnx", "--log", "build.log", "--min-agreement", "1", "--json", "s.json"]) == 0
    out = capsys.readouterr().out
    assert "m.onnx against build.log: agx-orin-64gb, TensorRT 8.5.2, fp16, batch 1" in out
    assert "100.0% of the entries that the build names (2 of 2)" in out
    assert "1 loadables predicted, 1 in the build, 1 with the same first and last layer" in out
    record = json.loads(Path("s.json").read_text())
    assert (record["schema"], record["named_share"], record["target"]["tensorrt"]) == ("dlaflow.score/1", 1.0, "8.5.2")
    assert "FAILED" not in out
    assert record["outcome"]["state"] == "passed"


def test_disagreements_are_explained_and_fail_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    Path("build.log").write_text(LOG.replace("[conv...relu]", "[conv]").replace("REDUCE: pool", "ACTIVATION: relu", 1))
    assert main(["score", "m.onnx", "--log", "build.log"]) == 0
    out = capsys.readouterr().out
    assert "relu ACTIVATION: predicted DLA, ran on GPU, said without doubt" in out
    assert "ours: no rule speaks against it" in out
    assert "Loadables of the build that the prediction has not:\n  conv\n" in out
    assert main(["score", "m.onnx", "--log", "build.log", "--min-agreement", "0.99"]) == 1


def test_options_override_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["score", "m.onnx", "--log", "build.log", "--board", "orin-nx", "--jetpack", "6.2", "--precision", "int8"])
        == 0
    )
    assert "orin-nx-16gb, TensorRT 10.3" in capsys.readouterr().out


FAILED = """[E] [TRT] 10: [optimizer.cpp::computeCosts::3628] Error Code 10: Internal Error (Could not find any \
implementation for node {ForeignNode[conv...relu]}.)
[E] Engine could not be created from network
&&&& FAILED TensorRT.trtexec [TensorRT v8502] # trtexec --onnx=m.onnx --fp16 --useDLACore=0 --allowGPUFallback
"""


def test_a_build_that_failed_behind_its_lists_says_so_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    Path("build.log").write_text(LOG[: LOG.index("[I] Engine built")] + FAILED)
    assert main(["score", "m.onnx", "--log", "build.log", "--json", "s.json"]) == 1
    out = capsys.readouterr().out
    told = json.loads(Path("s.json").read_text())["outcome"]
    assert main(["profile", "build.log", "--json", "p.json"]) == 1
    assert told == json.loads(Path("p.json").read_text())["profiles"][0]["outcome"]
    assert f"The build: FAILED: {told['what']}" in out
    assert "line 12: 10: [optimizer.cpp::computeCosts::3628]" in out
    assert f"What to do: {told['then']}" in out
    assert "100.0% of the entries that the build names (2 of 2)" in out


def test_a_log_without_an_end_does_not_tell_how_it_ended(capsys: pytest.CaptureFixture[str]) -> None:
    Path("build.log").write_text(LOG[: LOG.index("[I] Engine built")])
    sentence = "the log does not tell how it ended, and no error is in it"
    for command in (["score", "m.onnx", "--log", "build.log"], ["profile", "build.log"]):
        assert main(command) == 0
        assert sentence in " ".join(capsys.readouterr().out.split())


def test_a_profile_of_tensorrt_7_lists_its_members(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"count": 3},
        *(
            {"name": name, "timeMs": 1.0, "averageMs": 0.3, "percentage": 33.3}
            for name in ("x to nvm", "{conv,relu}", "pool")
        ),
    ]
    Path("profile.json").write_text(json.dumps(rows))
    options = ["--board", "agx-xavier", "--tensorrt", "7.1.3", "--precision", "fp16"]
    assert main(["score", "m.onnx", "--profile", "profile.json", *options]) == 0
    out = capsys.readouterr().out
    assert "(2 of 2)" in out
    assert "1 loadables predicted, 1 in the build, 1 with the same first and last layer" in out


def test_layer_info_needs_a_target(capsys: pytest.CaptureFixture[str]) -> None:
    Path("layers.json").write_text(
        json.dumps({"Layers": ["{ForeignNode[conv...relu]}", "pool"], "Bindings": ["x", "y"]})
    )
    assert main(["score", "m.onnx", "--layer-info", "layers.json"]) == 2
    assert "the file does not tell the board" in capsys.readouterr().err
    options = ["--board", "agx-orin", "--tensorrt", "8.5.2", "--precision", "fp16"]
    assert main(["score", "m.onnx", "--layer-info", "layers.json", *options]) == 0
    out = capsys.readouterr().out
    assert "(2 of 2)" in out
    assert "Note: names alone do not tell" in out


def test_kinds_tell_the_dla_from_myelin(capsys: pytest.CaptureFixture[str]) -> None:
    kinds = (("conv", "DLA"), ("{ForeignNode[relu...pool]}", "Myelin"))
    layers = {"Layers": [{"Name": name, "LayerType": kind} for name, kind in kinds]}
    Path("layers.json").write_text(json.dumps(layers))
    options = ["--board", "agx-orin", "--tensorrt", "8.5.2", "--precision", "fp16"]
    assert main(["score", "m.onnx", "--layer-info", "layers.json", *options]) == 0
    out = capsys.readouterr().out
    assert "1 loadables predicted, 1 in the build, 0 with the same first and last layer" in out
    assert "Note:" not in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "score compares with one build"),
        (["--log", "build.log", "--layer-info", "build.log"], "2 of them"),
        (["--log", "m.onnx"], "does not tell which layers run where"),
        (["--log", "absent.log"], "absent.log"),
        (["--log", "build.log", "--min-agreement", "3"], "0..1"),
        (["--layer-info", "build.log"], "names no layers"),
        (["--nsys", "build.log"], "build.log"),
        (["--profile", "build.log"], "names no layers"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "m.onnx", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error
