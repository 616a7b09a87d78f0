"""`dlaflow sensitivity` ranks layers and writes what trtexec needs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from dlaflow.cli import main

TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N,3,8,8] input) => (float[N,4] output)
{ c = Conv(input, w)  r = Relu(c)  p = GlobalAveragePool(r)  f = Flatten(p)  output = Gemm(f, v) }
"""


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    generator = np.random.default_rng(2)
    proto = onnx.parser.parse_model(TEXT)
    for name, shape in {"w": (6, 3, 3, 3), "v": (6, 4)}.items():
        proto.graph.initializer.append(
            numpy_helper.from_array(generator.standard_normal(shape).astype(np.float32), name)
        )
    for node in proto.graph.node:
        node.name = f"/{node.output[0]}"
    onnx.save(proto, str(tmp_path / "net.onnx"))
    images = generator.standard_normal((40, 3, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "data.npz", images=images, labels=np.arange(40) % 4)
    return ["sensitivity", str(tmp_path / "net.onnx"), "--data", str(tmp_path / "data.npz")]


def test_ranking_and_files(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [
        "--json",
        str(tmp_path / "s.json"),
        "--qdq",
        str(tmp_path / "8.onnx"),
        "--layer-precisions",
        str(tmp_path / "l.txt"),
    ]
    assert main([*arguments, "--max-drop", "100", *files]) == 0
    assert "No layer needs FP16" in capsys.readouterr().out
    found = json.loads((tmp_path / "s.json").read_text())
    assert found["schema"] == "dlaflow.sensitivity/1"
    assert {layer["node"] for layer in found["layers"]} == {"/c", "/output"}
    assert found["layers"][0]["error"] >= found["layers"][1]["error"] > 0
    assert found["images"] == 20
    assert (tmp_path / "l.txt").read_text().strip() == ""
    onnx.checker.check_model(onnx.load(tmp_path / "8.onnx"), full_check=True)


def test_each_release_is_told_in_its_own_form(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = np.random.default_rng(5).standard_normal((800, 3, 8, 8)).astype(np.float32)
    np.save(tmp_path / "bare.npy", images)
    given = [*arguments[:-1], str(tmp_path / "bare.npy"), "--max-drop", "0", "--samples", "800"]
    for release, told in (("6.2", "--layer-precisions"), ("7.2.2", "write it with --qdq")):
        assert main([*given, "--jetpack", release]) == 0
        printed = capsys.readouterr().out
        assert "points of agreement" in printed
        assert "Keep " in printed
        assert told in printed
    out = tmp_path / "l.txt"
    assert main([*given, "--jetpack", "7.2.2", "--layer-precisions", str(out)]) == 2
    assert "takes no --layerPrecisions" in capsys.readouterr().err
    assert not out.exists()
    assert main([*given, "--jetpack", "7.2.2", "--qdq", str(tmp_path / "8.onnx"), "-q"]) == 0
    assert main([*given, "--jetpack", "9.9"]) == 2


def test_wrong_use(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments, "--max-drop", "-1"]) == 2
    assert "--max-drop" in capsys.readouterr().err
    assert main([*arguments, "--samples", "1"]) == 2
