"""A model that the target's parser refuses or misreads: told first wherever a build would be promised."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from dlaflow.cli import main

BOARD = ["--board", "agx-orin-64gb"]


def write(tmp_path: Path, nodes: str, opset: int) -> Path:
    text = f'<ir_version: 9, opset_import: ["" : {opset}]> agraph (float[1,8,8,8] x) => (float y) {{ {nodes} }}'
    path = tmp_path / "model.onnx"
    onnx.save(onnx.parser.parse_model(text), path)
    return path


@pytest.fixture
def gelu(tmp_path: Path) -> Path:
    return write(tmp_path, "[first] r = Relu(x) [act] y = Gelu(r)", 20)


def test_check_says_first_that_the_parser_refuses(gelu, capsys):
    assert main(["check", str(gelu), *BOARD, "--jetpack", "5.1.1"]) == 0
    answer = " ".join(capsys.readouterr().out.split())
    assert answer.startswith("TensorRT 8.5.2's parser refuses this model: node 'act' (Gelu): no importer before 10.0")
    assert "dlaflow fix" in answer.split("What follows")[0]
    assert main(["check", str(gelu), *BOARD, "--jetpack", "6.2"]) == 0
    assert "refuses" not in capsys.readouterr().out


def test_fail_on_json_and_sarif_know_it(tmp_path, capsys):
    path = write(tmp_path, "[pool] y, i = MaxPool<kernel_shape=[2,2]>(x)", 17)
    out, sarif = tmp_path / "out.json", tmp_path / "out.sarif"
    how = ["check", str(path), *BOARD, "--jetpack", "6.2", "--fail-on", "fallback"]
    assert main([*how, "--json", str(out), "--sarif", str(sarif)]) == 1
    finding = next(each for each in json.loads(out.read_bytes())["findings"] if each["rule"] == "DLA020")
    assert finding["verdict"] == "fallback"
    assert "indices" in finding["message"]
    assert "DLA020" in sarif.read_text()


def test_a_misread_model_is_told_to_be_exported_again(tmp_path, capsys):
    path = write(tmp_path, "[cut] a, b, y = Split<axis=1, num_outputs=3>(x)", 18)
    assert main(["check", str(path), *BOARD, "--jetpack", "5.1.1", "--fail-on", "fallback"]) == 1
    answer = " ".join(capsys.readouterr().out.split())
    assert answer.startswith("TensorRT 8.5.2's parser misreads this model: node 'cut' (Split)")
    assert "Export with opset 17." in answer


def test_a_plugin_is_no_refusal(tmp_path, capsys):
    path = write(tmp_path, "[near] y = ResizeNearest_TRT<scale=2.0>(x)", 17)
    assert main(["check", str(path), *BOARD, "--jetpack", "5.1.1"]) == 0
    answer = capsys.readouterr().out
    assert "refuses" not in answer
    assert "DLA021" in answer
    assert "conditional" in answer


def test_other_commands_caution(gelu, tmp_path, capsys):
    target = [*BOARD, "--jetpack", "5.1.1"]
    assert main(["estimate", str(gelu), *target]) == 0
    assert "parser refuses this model" in capsys.readouterr().err
    assert main(["build", str(gelu), *target, "--print-command", "--out", str(tmp_path / "m.engine")]) == 0
    assert "parser refuses" in capsys.readouterr().err


@pytest.mark.parametrize("allow", ["exact", "tolerance"])
def test_fix_repairs_what_it_can(gelu, tmp_path, capsys, allow):
    target = [*BOARD, "--jetpack", "5.1.1"]
    assert main(["fix", str(gelu), *target, "--allow", allow, "--out", str(tmp_path / "fixed.onnx")]) == 0
    assert "Still not read" not in capsys.readouterr().out
    assert main(["check", str(tmp_path / "fixed.onnx"), *target]) == 0
    assert "refuses" not in capsys.readouterr().out


def test_fix_says_what_stays_unread(tmp_path, capsys):
    path = write(tmp_path, "[pool] y, i = MaxPool<kernel_shape=[2,2]>(x)", 17)
    assert main(["fix", str(path), *BOARD, "--jetpack", "5.1.1", "--dry-run"]) == 0
    assert "Still not read" in capsys.readouterr().out
