"""`dlaflow fix` as a process would run it: the answer, the file, the report, and mistakes in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper, parser

from dlaflow.cli import main
from dlaflow.estimate.answer import Range, Speed
from dlaflow.estimate.split import Split

NODES = """
    c = Conv<pads=[1,1,1,1]>(x, w)
    h = HardSwish(c)
    p = GlobalAveragePool(h)
    f = Flatten(p)
    y = Gemm(f, g)
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    made = [parser.parse_node(line) for line in NODES.strip().splitlines()]
    for node in made:
        node.name = node.op_type
    weights = {"w": generator.standard_normal((8, 3, 3, 3)), "g": generator.standard_normal((8, 10))}
    graph = helper.make_graph(
        made,
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", 3, 16, 16])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_the_answer_and_the_files(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, report = tmp_path / "fixed.onnx", tmp_path / "fix.json"
    assert main(["fix", str(model), "--out", str(out), "--output-4d", "--json", str(report)]) == 0
    text = capsys.readouterr().out
    assert "->      0  switches" in text
    assert "hard-activation x1 (exact): removes" in text
    assert "Proof on onnxruntime" in text
    assert f"Wrote {out}" in text
    record = json.loads(report.read_text())
    assert record["schema"] == "dlaflow.fix/1"
    assert record["after"]["switches"] == 0
    assert record["target"]["batch"] == 1
    assert all(each["relative"] <= record["bound"] and each["used"] <= 1 for each in record["proof"])
    assert 0 < record["floor"] < record["bound"]
    saved = onnx.load(out)
    assert [dim.dim_value for dim in saved.graph.output[0].type.tensor_type.shape.dim] == [1, 10, 1, 1]
    capsys.readouterr()
    assert main(["check", str(out), "--fail-on", "unknown"]) == 0
    assert "0 switches" in capsys.readouterr().out


def test_a_dry_run_writes_nothing(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(tmp_path.iterdir())
    assert main(["fix", str(model), "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert "mean-pooling x1" in text
    assert "nothing was written" in text
    assert sorted(tmp_path.iterdir()) == before


def test_what_is_no_better_is_not_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing stands in the way of a convolution: no file, exit code 1 and a line, unless one is asked for."""
    graph = helper.make_graph(
        [parser.parse_node("y = Conv(x, w)")],
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ones((8, 3, 1, 1), np.float32), "w")],
    )
    model, out, report = tmp_path / "model.onnx", tmp_path / "fixed.onnx", tmp_path / "fix.json"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), model)
    assert main(["fix", str(model), "--out", str(out), "--json", str(report)]) == 1
    said = capsys.readouterr()
    assert "was not written: the result is no better than" in said.err
    assert "--write-anyway" in said.err
    assert "No rewrite helps" in said.out
    assert json.loads(report.read_text())["improved"] is False
    assert not out.exists()
    assert main(["fix", str(model), "--dry-run", "-q"]) == 0
    assert main(["fix", str(model), "--out", str(out), "--write-anyway", "-q"]) == 0
    assert out.is_file()


def test_real_images_join_the_proof(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = tmp_path / "images.npy"
    np.save(images, np.random.default_rng(0).integers(0, 255, (12, 3, 16, 16), dtype=np.uint8))
    out = tmp_path / "fixed.onnx"
    assert main(["fix", str(model), "-o", str(out), "--data", str(images), "--samples", "12", "-q"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["fix", str(model), "-o", str(out), "--data", str(images), "--samples", "12"]) == 0
    assert "12 images: " in capsys.readouterr().out


def test_images_of_another_size_are_told_as_such(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "images.npy", np.zeros((4, 3, 8, 20), np.uint8))
    assert main(["fix", str(model), "-o", str(tmp_path / "o.onnx"), "--data", str(tmp_path / "images.npy")]) == 2
    said = capsys.readouterr().err
    assert "expected 3x16x16 (channels x height x width), received 3x8x20" in said


def test_several_inputs_have_a_shape_each_and_no_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
        two (float[N,3,H,W] a, float[N,3,K,L] b) => (float[N,3,H,W] y) {
            g = GlobalAveragePool(b)
            y = Add(a, g)
        }"""
    path, out = tmp_path / "two.onnx", tmp_path / "fixed.onnx"
    onnx.save(parser.parse_model(text), path)
    shapes = ["--shape", "a:1x3x8x8", "--shape", "b:1x3x4x6"]
    assert main(["fix", str(path), "-o", str(out), *shapes]) == 0
    inputs = onnx.load(out).graph.input
    sizes = [[dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in inputs]
    assert sizes == [[1, 3, 8, 8], [1, 3, 4, 6]]
    said = capsys.readouterr()
    assert "fixed the open dimensions of a, b" in said.out
    assert ": 0 in" not in said.err
    np.save(tmp_path / "images.npy", np.zeros((4, 3, 8, 8), np.uint8))
    assert main(["fix", str(path), "-o", str(out), *shapes, "--data", str(tmp_path / "images.npy")]) == 2
    assert "received a, b" in capsys.readouterr().err


def test_what_comes_is_not_called_a_removal() -> None:
    from dlaflow.report.fix_text import _gain
    from dlaflow.rewrites.records import Gain

    assert _gain(Gain(2, -1, 0, 1)) == "removes 2 switches, 1 GPU layer, adds 1 loadable"
    assert _gain(Gain(0, -2, 0, 0)) == "adds 2 loadables"
    assert "build on it" in _gain(Gain(0, 0, 5, 0))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--out FILE"),
        (["--out", "o.onnx", "--allow", "data"], "frozen statistics need images"),
        (["--out", "o.onnx", "--allow", "everything"], "everything"),
        (["--out", "o.onnx", "--allow", "retrain"], "an ONNX file cannot be trained"),
        (["--out", "o.onnx", "--input-shape", "3xAx16"], "--input-shape"),
        (["--out", "o.onnx", "--max-drop", "-1", "--allow", "data"], "--max-drop"),
        (["--out", "o.onnx", "--max-drop", "nan", "--allow", "data"], "--max-drop"),
        (["--out", "o.onnx", "--unroll", "17"], "expected 0 to 16 steps, received 17"),
        (["--out", "o.onnx", "--cut", "nowhere"], "unknown tensor to cut at"),
        (["--dry-run", "--cut", "nowhere"], "unknown tensor to cut at"),
        (["--out", "o.onnx", "--cut", " , "], "--cut names no tensor"),
        (["--dry-run", "--cut", ""], "--cut names no tensor"),
        (["--out", "o.onnx", "--board", "orin"], ""),
    ],
)
def test_mistakes(
    model: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(model.parent)
    code = main(["fix", str(model), *arguments])
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said
    assert code == (2 if words else 0)


@pytest.mark.parametrize(("prefer", "code"), [("dla", 0), ("speed", 1)])
def test_a_slower_result_is_told_and_with_prefer_speed_not_written(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, prefer: str, code: int
) -> None:
    before, after = Split(1.0, 4.0, 0.5, 0.1, 0.1), Split(9.0, 0.5, 0.4, 0.1, 0.1)
    rates = [Range.around(1e3 / each.total, 0.26) for each in (before, after)]
    monkeypatch.setattr("dlaflow.api.gain.speed_of", lambda fixed, target: Speed(rates[0], rates[1], before, after))
    out = model.with_name("fixed.onnx")
    assert main(["fix", str(model), "--shape", "1x3x16x16", "--out", str(out), "--prefer", prefer]) == code
    said = " ".join(capsys.readouterr().out.split())
    assert "Estimated slower: 175 (135 to 228) -> 99 (76.3 to 128) images/s, beyond their intervals" in said
    assert "(DLA work +8.00 ms, GPU layers -3.50 ms, switches -0.10 ms)" in said
    assert out.is_file() == (code == 0)


def test_a_faster_result_is_told(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = tmp_path / "fix.json"
    assert main(["fix", str(model), "--out", str(tmp_path / "f.onnx"), "--json", str(record)]) == 0
    assert "Estimated: " in capsys.readouterr().out
    speed = json.loads(record.read_text())["speed"]
    assert speed["after"]["value"] > speed["before"]["value"]


def test_other_files_end_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = tmp_path / "wrong.onnx"
    wrong.write_bytes(b"no model at all")
    for path in (wrong, tmp_path / "absent.onnx", tmp_path):
        assert main(["fix", str(path), "--out", str(tmp_path / "o.onnx")]) == 2
        assert "Traceback" not in capsys.readouterr().err
    assert not (tmp_path / "o.onnx").exists()


def test_retraining_ends_on_the_dla(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights, out = tmp_path / "gn.safetensors", tmp_path / "healed.onnx"
    train = ["train", "model_gn", "--data", "digits", "--epochs", "1", "--limit", "300", "--out", str(weights), "-q"]
    assert main(train) == 0
    report = tmp_path / "fix.json"
    arguments = ["--weights", str(weights), "--data", "digits", "--epochs", "0", "--output-4d", "--json", str(report)]
    assert main(["fix", "model_gn", "--allow", "retrain", "--out", str(out), *arguments]) == 0
    assert "GroupNorm -> BatchNorm2d" in capsys.readouterr().out
    record = json.loads(report.read_text())
    assert (record["after"]["switches"], record["after"]["loadables"]) == (0, 1)
    assert [each["subject"] for each in record["measurements"]] == ["before", "after the swap", "after distillation"]
    assert out.is_file()
