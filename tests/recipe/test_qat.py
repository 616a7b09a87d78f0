"""The step that fine-tunes with INT8: what it leaves, what goes on from there, and that it is never half done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dlaflow.cli import main
from dlaflow.quantize.cache import read_cache
from dlaflow.zoo.rounding import StepAdam

EXAMPLE = Path(__file__).parents[2] / "examples" / "qat.toml"


def test_the_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    text = EXAMPLE.read_text().replace("epochs = 2", "epochs = 1\nlimit = 600").replace("[qat]", "[qat]\nlimit = 256")
    Path("qat.toml").write_text(text)
    tuned = Path("run/model_bn_qat")

    with monkeypatch.context() as patch:
        patch.setattr(StepAdam, "step", interrupted)
        assert main(["run", "qat.toml", "--out", "run"]) == 130
    assert Path("run/model_bn/weights.safetensors").is_file()
    assert not tuned.exists() or not list(tuned.iterdir())

    capsys.readouterr()
    assert main(["run", "qat.toml", "--out", "run", "--resume"]) == 0
    printed = capsys.readouterr()
    assert "in INT8 without training" in printed.out
    assert "of the MACs on the DLA of 7.2.2" in printed.out
    assert "model_bn_qat: " not in printed.err  # nothing that the cache lacks
    assert {path.name for path in tuned.iterdir()} >= {"model.onnx", "model.int8.onnx", "calib.cache", "accuracy.json"}
    assert read_cache(tuned / "calib.cache").header.startswith("TRT-100300-")

    model = str(tuned / "model.int8.onnx")
    target = ["--board", "agx-orin-64gb", "--precision", "int8", "--quiet", "--jetpack", "7.2.2"]
    assert main(["check", model, *target, "--json", "7.json"]) == 0
    assert json.loads(Path("7.json").read_text())["summary"]["dla_mac_share"] > 0.99

    Path("qat.toml").write_text(text.replace("[qat]", "[qat]\nlr = 0.5"))
    capsys.readouterr()
    assert main(["run", "qat.toml", "--out", "run", "--resume"]) == 0
    done = {
        tuple(line.split()[1:3]): line.endswith("kept") for line in capsys.readouterr().out.splitlines() if "✓" in line
    }
    assert done["train", "model_bn"]
    assert not done["qat", "model_bn_qat"]


def interrupted(self: StepAdam, rate: float) -> None:
    raise KeyboardInterrupt
