"""`dlaflow evaluate` counts what numpy counts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from dlaflow.cli import main

TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[{batch},4] input) => (float[{batch},4] output)
<float[1] factor = {{{factor}}}> {{ output = Mul(input, factor) }}
"""


def network(path: Path, factor: float, batch: str = "N") -> str:
    onnx.save(onnx.parser.parse_model(TEXT.format(factor=factor, batch=batch)), str(path))
    return str(path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    images = np.random.default_rng(0).standard_normal((30, 4)).astype(np.float32)
    labels = images.argmax(axis=1)
    labels[:6] = (labels[:6] + 1) % 4
    np.savez(tmp_path / "data.npz", images=images, labels=labels)
    return tmp_path / "data.npz"


def test_one_model(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "m.json"
    assert main(["evaluate", network(tmp_path / "a.onnx", 1.0), "--data", str(data), "--json", str(out)]) == 0
    assert "80.00%" in capsys.readouterr().out
    found = json.loads(out.read_text())
    assert found["schema"] == "dlaflow.measurements/1"
    values = {item["quantity"]: item["value"] for item in found["measurements"]}
    assert values["top1"] == pytest.approx(80.0)
    assert "agreement" not in values


def test_agreement_with_the_first(tmp_path: Path, data: Path) -> None:
    models = [
        network(tmp_path / "a.onnx", 1.0),
        network(tmp_path / "b.onnx", 2.0, "7"),
        network(tmp_path / "c.onnx", -1.0),
    ]
    out = tmp_path / "m.json"
    assert main(["evaluate", *models, "--data", str(data), "--json", str(out), "-q"]) == 0
    found = json.loads(out.read_text())["measurements"]
    agreement = {item["subject"]: item["value"] for item in found if item["quantity"] == "agreement"}
    assert agreement == {"a": 100.0, "b": 100.0, "c": 0.0}


def test_without_labels_outputs_are_compared(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "bare.npy", np.load(data)["images"])
    models = [
        network(tmp_path / "a.onnx", 1.0),
        network(tmp_path / "b.onnx", 2.0, "7"),
        network(tmp_path / "c.onnx", -1.0),
    ]
    out = tmp_path / "m.json"
    assert main(["evaluate", *models, "--data", str(tmp_path / "bare.npy"), "--json", str(out)]) == 0
    assert "(class)" in capsys.readouterr().out
    found = {(row["subject"], row["quantity"]): row["value"] for row in json.loads(out.read_text())["measurements"]}
    assert found["b", "cosine"] == pytest.approx(1)
    assert found["b", "relative_error"] == pytest.approx(100)
    assert (found["b", "agreement"], found["c", "agreement"]) == (100, 0)
    assert found["c", "cosine"] == pytest.approx(-1)
    assert main(["evaluate", models[1], "--reference", models[0], "--data", str(tmp_path / "bare.npy"), "-q"]) == 0


def test_what_cannot_be_evaluated(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = network(tmp_path / "a.onnx", 1.0)
    np.save(tmp_path / "unlabelled.npy", np.zeros((3, 4), np.float32))
    cases = [
        ([model, "--data", str(tmp_path / "unlabelled.npy")], 2, "no labels"),
        ([model, model, "--data", str(tmp_path / "unlabelled.npy")], 2, "compared with itself"),
        (["--data", str(data)], 2, "no model"),
        ([str(tmp_path / "none.onnx"), "--data", str(data)], 2, "cannot read"),
        ([str(tmp_path / "m.engine"), "--data", str(data)], 3, "TensorRT engine"),
    ]
    for arguments, code, message in cases:
        assert main(["evaluate", *arguments]) == code
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_the_dla_integers_beside_onnxruntime(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[N,4] input) => (float[N,4] output) <float s = {0.5}, float t = {1.0}, int8 z = {0}>
    { q = QuantizeLinear(input, s, z)  d = DequantizeLinear(q, s, z)  o = QuantizeLinear(d, t, z)
      output = DequantizeLinear(o, t, z) }
    """
    onnx.save(onnx.parser.parse_model(text), str(tmp_path / "int8.onnx"))
    images = np.array([[0.5, 1.0, 2.0, 3.0], [-0.5, 1.5, 7.0, 9.0]], np.float32)
    np.savez(tmp_path / "data.npz", images=images, labels=np.array([3, 3]))
    kept, out = tmp_path / "kept.npz", tmp_path / "m.json"
    command = ["evaluate", str(tmp_path / "int8.onnx"), "--data", str(tmp_path / "data.npz"), "--numerics", "dla"]
    assert main([*command, "--outputs", str(kept), "--json", str(out)]) == 0
    # 0.5 and -0.5 are halves of a step: 1 and -1 on the DLA, 0 where halves go to even; 1.5 is 2 for both.
    assert np.load(kept, allow_pickle=False)["output"].tolist() == [[1, 1, 2, 3], [-1, 2, 7, 9]]
    printed = capsys.readouterr().out
    assert "output output: 25.0% of 8 values differ, by 1 steps at most" in printed
    assert "top-1: 100%" in printed
    shares = [
        row["value"] for row in json.loads(out.read_text())["measurements"] if row["quantity"] == "values_that_differ"
    ]
    assert shares[0] == 25.0


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (["--numerics", "dla"], "expected a model with Q/DQ"),
        (["--numerics", "dla", "--reference", "a.onnx"], "without --reference"),
        (["--outputs", "o.npz"], "belongs to --numerics dla"),
    ],
)
def test_the_dla_integers_refuse_what_they_cannot_do(tmp_path, data, capsys, monkeypatch, more, reason) -> None:
    monkeypatch.chdir(tmp_path)
    network(tmp_path / "a.onnx", 1.0)
    assert main(["evaluate", "a.onnx", "--data", str(data), *more]) == 2
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "o.npz").exists()


MAPS = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N,7,6] x) => (float[N,7,6] m) <float[1] factor = {{{factor}}}> {{ m = Mul(x, factor) }}
"""
DECODE = """
<ir_version: 8, opset_import: ["" : 17]>
post (float[1,7,6] m) => (float[1,7,6] y)
<float[1,1,6] cell = {5, 25, 45, 65, 85, 105}, int64[5] sizes = {1, 1, 1, 1, 3}>
{ l, t, r, b, c = Split<axis=1>(m, sizes)  x = Sub(cell, l)  z = Sub(cell, t)  p = Add(cell, r)  q = Add(cell, b)
  s = Sigmoid(c)  y = Concat<axis=1>(x, z, p, q, s) }
"""


def test_boxes_behind_a_decode_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each model's maps go through the decode part; sides of half the length leave boxes of a quarter of the area."""
    models = []
    for factor in (1.0, 0.95, 0.5):
        models.append(str(tmp_path / f"m{factor}.onnx"))
        onnx.save(onnx.parser.parse_model(MAPS.format(factor=factor)), models[-1])
    onnx.save(onnx.parser.parse_model(DECODE), str(tmp_path / "post.onnx"))
    maps = np.full((20, 7, 6), 8, np.float32)
    maps[:, 4:] = -9
    maps[:, 5] = 4
    maps[0, 5] = -9  # an image without boxes
    np.savez(tmp_path / "maps.npz", images=maps, labels=np.zeros(20, np.int64))
    out = tmp_path / "m.json"
    more = ["--decode", str(tmp_path / "post.onnx"), "--data", str(tmp_path / "maps.npz")]
    assert main(["evaluate", *models, *more, "--json", str(out)]) == 0
    assert "(boxes of 19 images)" in " ".join(capsys.readouterr().out.replace("│", " ").split())
    rows = json.loads(out.read_text())["measurements"]
    found = {(row["subject"], row["quantity"]): row for row in rows}
    assert (found["m0.95", "agreement"]["value"], found["m0.5", "agreement"]["value"]) == (100, 0)
    assert found["m0.95", "box_overlap"]["value"] == pytest.approx(0.95**2, abs=1e-4)
    assert {row["n"] for row in rows if row["quantity"] in ("agreement", "box_overlap")} == {19}
    assert ("m0.5", "box_overlap") not in found
    assert "behind post.onnx" in found["m0.5", "agreement"]["detail"]
    for arguments, message in [
        ([models[0], *more], "boxes of one model alone"),
        ([models[0], *more, "--numerics", "dla"], "--decode"),
        ([*models, *more[2:], "--decode", models[0]], "decodes nothing"),
        ([*models, *more[2:], "--decode", str(tmp_path / "none.onnx")], "cannot read"),
        ([*models, *more[2:], "--decode", str(out)], "m.json"),
    ]:
        assert main(["evaluate", *arguments]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
