"""`dlaflow export` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
import torch

from dlaflow.cli import main
from dlaflow.zoo.models import build_model
from dlaflow.zoo.weights import save_tensors


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder of its own with fresh weights in it."""
    monkeypatch.chdir(tmp_path)
    save_tensors(tmp_path / "w.safetensors", build_model("model_bn").state_dict())
    return tmp_path


def options(*more: str) -> list[str]:
    return ["export", "model_bn", "--weights", "w.safetensors", "--out", "m.onnx", *more]


def test_it_writes_and_tells_the_difference(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(options("--json", "r.json", "--jetpack", "5.1.1")) == 0
    out, error = capsys.readouterr()
    assert "Wrote m.onnx: opset 17, dynamic batch, " in out
    assert "Largest difference to torch: " in out
    assert error == ""
    record = json.loads((folder / "r.json").read_text())
    assert (record["schema"], record["out"], record["opset"], record["batch"]) == (
        "dlaflow.export/1",
        "m.onnx",
        17,
        None,
    )
    assert record["max_difference"] < 1e-4
    onnx.checker.check_model(onnx.load("m.onnx"), full_check=True)


def test_options_reach_the_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(options("--batch", "2", "--opset", "13", "--simplify", "--input-shape", "3x64x64", "--quiet")) == 0
    proto = onnx.load("m.onnx")
    assert [each.dim_value for each in proto.graph.input[0].type.tensor_type.shape.dim] == [2, 3, 64, 64]
    assert proto.opset_import[0].version == 13
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--opset", "18", "--jetpack", "5.1.1"], "which the target's TensorRT reads"),
        (["--opset", "new"], "expected auto or a number, received 'new'"),
        (["--batch", "-1"], "expected dynamic or a number"),
        (["--batch", "0"], "must be positive"),
        (["--input-shape", "32"], "such as 3x32x32"),
        (["--jetpack", "5.1.11"], "Did you mean '5.1.1'"),
        (["--weights", "absent.safetensors"], "there are no weights"),
        (["--weights", "w.pt"], "is a pickle"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(
    more: list[str], said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({}, folder / "w.pt")
    arguments = [
        argument for argument in options() if "--weights" not in more or argument not in {"--weights", "w.safetensors"}
    ]
    assert main([*arguments, *more]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (folder / "m.onnx").exists()
