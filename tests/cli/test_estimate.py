"""`dlaflow estimate` from the command line: text, JSON, learning from logs, and what goes wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest

from dlaflow.cli import main

MODEL = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1, 3, 64, 64] input) => (float[1, 64, 32, 32] output) <float[64, 3, 3, 3] w, float[64] b>
{
  c = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (input, w, b)
  output = Relu (c)
}
"""

LOG = """&&&& RUNNING TensorRT.trtexec [TensorRT v8502] # trtexec --onnx=net.onnx --int8 --useDLACore=0
[03/01/2024-10:00:00] [I] === Performance summary ===
[03/01/2024-10:00:00] [I] Throughput: 2000 qps
[03/01/2024-10:00:00] [I] GPU Compute Time: min = 0.4 ms, max = 0.6 ms, mean = 0.47 ms, median = 0.46 ms
&&&& PASSED TensorRT.trtexec [TensorRT v8502] # trtexec --onnx=net.onnx --int8 --useDLACore=0
"""

PROFILE = """[
  { "count" : 100 }
, { "name" : "Reformatting CopyNode", "timeMs" : 4.0, "averageMs" : 0.04, "medianMs" : 0.04, "percentage" : 10 }
, { "name" : "{ForeignNode[c...output]}", "timeMs" : 36.0, "averageMs" : 0.36, "medianMs" : 0.36, "percentage" : 90 }
]
"""


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DLAFLOW_PARAMETERS", str(tmp_path / "own"))
    found = onnx.parser.parse_model(MODEL)
    for name, shape in (("w", (64, 3, 3, 3)), ("b", (64,))):
        found.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(shape, np.float32), name))
    onnx.save(found, tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def test_text_and_json(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "estimate.json"
    assert main(["estimate", str(model), "--jetpack", "5.1.1", "--power-mode", "30W", "--json", str(out)]) == 0
    text = capsys.readouterr().out
    assert "on agx-orin-64gb, 30W, int8, batch 1" in text
    assert "Worth it:" in text
    body = json.loads(out.read_bytes())
    assert body["schema"] == "dlaflow.estimate/1"
    assert body["dlaflow"]
    found = body["estimate"]
    assert found["latency"]["low"] < found["latency"]["value"] < found["latency"]["high"]
    assert sum(found["split"].values()) == pytest.approx(found["latency"]["value"])
    assert body["measurements"][0]["provenance"] == "estimated"


def test_an_unknown_answer_is_an_answer(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", str(model), "--board", "agx-orin-32gb", "--power-mode", "30W"]) == 0
    assert "unknown: the DLA clock" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "text"), [("run.log", LOG), ("profile.json", PROFILE)])
def test_learning_from_a_file(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str
) -> None:
    measured = tmp_path / name
    measured.write_text(text)
    assert main(["estimate", str(model), "--jetpack", "5.1.1", "--learn", str(measured)]) == 0
    shown = capsys.readouterr().out
    assert "learned from" in shown
    assert "your own 1 measurement on" in shown
    assert "in FP16 " not in shown
    assert (tmp_path / "own" / "agx-orin-64gb_v2-int8.toml").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("=== Device Information ===\nSelected Device: Xavier", "another DLA .* expected v2, received v1"),
        ("=== Build Options ===\nPrecision: FP32+FP16", "another precision .* expected int8, received fp16"),
        ("=== System Options ===\nDLACore: ", "another device .* received the GPU alone"),
        ("Input binding for x with dimensions 7x3x8x8 is created.", "another batch .* received 7"),
    ],
)
def test_a_log_of_another_target_is_not_learned(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, message: str
) -> None:
    measured = tmp_path / "run.log"
    head, _, rest = LOG.replace("--int8 ", "").partition("\n")
    said = "\n".join(f"[11/20/2026-09:00:00] [I] {each}" for each in line.split("\n"))
    measured.write_text(f"{head}\n{said}\n{rest}")
    assert main(["estimate", str(model), "--jetpack", "5.1.1", "--learn", str(measured)]) == 2
    assert re.search(f"measured {message}", capsys.readouterr().err)
    assert not (tmp_path / "own").exists()


def test_learning_from_measurements_of_dlaflow(model: Path, tmp_path: Path) -> None:
    from dlaflow.report.json import measurements_json
    from dlaflow.types import Measurement

    path = tmp_path / "times.json"
    path.write_bytes(measurements_json([Measurement("latency", "net", 0.5, "ms", 100)]))
    assert main(["estimate", str(model), "--jetpack", "5.1.1", "--learn", str(path), "--quiet"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--power-mode", "16W"], "unknown power mode"),
        (["--board", "orinn"], "unknown board"),
        (["--learn", "empty.txt"], "holds no time of a whole inference"),
        (["--learn", "absent.log"], "absent.log"),
    ],
)
def test_mistakes_are_one_line(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").write_text("nothing here\n")
    assert main(["estimate", str(model), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "own").exists()
