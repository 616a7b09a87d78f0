"""`dlaflow run` as a person starts it: a real process, real training, and a real SIGKILL."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import onnx
import pytest

from dlaflow.cli import main
from dlaflow.files import sha256_of
from dlaflow.report.json import read_run

NETWORK = """
from torch import nn

def tiny():
    pooled = [nn.Conv2d(3, 8, 3, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
    return nn.Sequential(*pooled, nn.Flatten(), nn.Linear(8, 10))
"""
RECIPE = """
name = "tiny"
steps = ["train", "export", "check", "estimate", "calibrate", "sensitivity", "evaluate", "report"]
[target]
board = "agx-orin-64gb"
jetpack = "5.1.1"
batch = 4
[data]
name = "digits"
[[variant]]
name = "plain"
model = "tinynet_of_test_run:tiny"
[[variant]]
name = "pooled"
from = "plain"
rewrite = "average-pool"
[train]
epochs = 2
limit = 200
[calibrate]
samples = 32
[sensitivity]
images = 20
[evaluate]
limit = 60
"""
STEPS = 16
SAFETY_NET = 900
"""Seconds. Nothing here waits for time to pass; this ends a test that hangs."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a recipe and the network that it names."""
    (tmp_path / "tinynet_of_test_run.py").write_text(NETWORK)
    (tmp_path / "tiny.toml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path


def start(place: Path, out: str, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "dlaflow", "run", "tiny.toml", "--out", out, *options]
    return subprocess.Popen(
        command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    )


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=SAFETY_NET)
    assert process.returncode == 0, err
    return out


def states(folder: Path) -> dict[str, tuple[int, str]]:
    """Each finished step with the time and the content of its state file; checks that all of its outputs are whole."""
    found = {}
    for path in sorted((folder / "state").glob("*.json")):
        body = json.loads(path.read_text())
        for name, digest in body["outputs"].items():
            assert sha256_of(folder / name) == digest, f"{name} is not what {path.name} remembers"
        found[path.name] = (path.stat().st_mtime_ns, path.read_text())
    return found


def test_variants_that_are_fixed(place: Path) -> None:
    """`fix` is the real one: its report stands beside the model, which the later steps take."""
    shorter = RECIPE.replace('"calibrate", "sensitivity", "evaluate"', '"evaluate"').replace(
        'rewrite = "average-pool"', 'fix = "exact"'
    )
    variant = (
        '[[variant]]\nname = "with_data"\nfrom = "plain"\nfix = "data"\n[fix]\nimages = 10\noutput_4d = true\n[train]'
    )
    (place / "tiny.toml").write_text(shorter.replace("[train]", variant) + 'precisions = ["fp32"]\n')
    out = finish(start(place, "fixed"))
    assert "fix         pooled" in out
    reports = {name: json.loads((place / "fixed" / name / "fix.json").read_text()) for name in ("pooled", "with_data")}
    for name, body in reports.items():
        assert body["schema"] == "dlaflow.fix/1"
        assert "mean-pooling" in [each["rewrite"] for each in body["applied"]]
        placement = json.loads((place / "fixed" / name / "placement.json").read_text())
        assert placement["summary"]["switches"] == body["after"]["switches"] < body["before"]["switches"]
    assert [each["inputs"] for each in reports["with_data"]["proof"]][-1] == "8 images"
    for name in reports:
        (output,) = onnx.load(place / "fixed" / name / "model.onnx").graph.output
        assert [dim.dim_value for dim in output.type.tensor_type.shape.dim] == [4, 10, 1, 1]
    assert finish(start(place, "fixed", "--resume")).count("kept") == out.count("✓")


def test_killed_at_any_moment_it_goes_on(place: Path) -> None:
    whole = finish(start(place, "whole"))
    assert whole.count("✓") == STEPS
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    killed = place / "killed"
    seen: dict[str, tuple[int, str]] = {}
    for after in sorted(chance.sample(range(STEPS), 3)):
        process = start(place, "killed", "--resume")
        while process.poll() is None and len(list((killed / "state").glob("*.json"))) < after:
            time.sleep(0.01)
        time.sleep(chance.random() * (2.5 if after == 0 else 0.3))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        now = states(killed)
        assert {name: now[name] for name in seen} == seen, f"a finished step was done again (seed {seed})"
        seen = now
    out = finish(start(place, "killed", "--resume"))
    assert out.count("kept") == len(seen)
    now = states(killed)
    assert {name: now[name] for name in seen} == seen, f"a finished step was done again (seed {seed})"
    assert len(now) == STEPS
    assert list(killed.rglob(".*.tmp")) == []
    for name in ("plain/model.onnx", "pooled/model.onnx", "plain/calib.cache", "pooled/model.int8.onnx"):
        assert sha256_of(killed / name) == sha256_of(place / "whole" / name), f"{name} differs (seed {seed})"


def test_the_whole_journey_in_one_process(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "tiny.toml", "--out", "run", "--json", "record.json"]) == 0
    out = capsys.readouterr().out
    assert "Report: run/report.html" in out
    record = read_run(place / "record.json")
    plain, pooled = record.variants
    assert plain.placement is not None
    assert pooled.placement is not None
    assert pooled.placement.summary.loadables <= plain.placement.summary.loadables
    assert {(m.quantity, m.subject) for m in plain.measurements} >= {
        ("top1", "fp32"),
        ("top1", "int8"),
        ("agreement", "fp16"),
    }
    assert plain.edges
    assert record.data.startswith("handwritten digits")
    page = (place / "run" / "report.html").read_text()
    assert "pooled" in page

    # Again with --resume: nothing is done. With another option: only what hangs on it.
    assert main(["run", "tiny.toml", "--out", "run", "--resume"]) == 0
    assert capsys.readouterr().out.count("kept") == STEPS
    assert main(["run", "tiny.toml", "--out", "run", "--resume", "--samples", "16"]) == 0
    redone = [
        line.split()[1] for line in capsys.readouterr().out.splitlines() if line.startswith("✓") and "kept" not in line
    ]
    assert redone == ["calibrate"] * 2 + ["sensitivity"] * 2 + ["evaluate"] * 2 + ["report"]

    # Without --resume it starts over, trains anew, and says so.
    weights = place / "run" / "plain" / "weights.safetensors"
    before = weights.stat().st_mtime_ns, sha256_of(weights)
    assert main(["run", "tiny.toml", "--out", "run", "--quiet"]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Starting over" in captured.err
    assert weights.stat().st_mtime_ns != before[0]
    assert sha256_of(weights) == before[1]
    assert not (place / "run" / "plain" / "training.key").exists()


def test_own_onnx_checked_only(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import onnx

    text = """<ir_version: 8, opset_import: ["" : 17]>
    m (float[1,8,16,16] x) => (float[1,8,16,16] y) { y = Relu(x) }"""
    onnx.save(onnx.parser.parse_model(text), "own.onnx")
    (place / "own.toml").write_text(
        'name = "own"\nsteps = ["check", "report"]\n[[variant]]\nname = "own"\nonnx = "own.onnx"\n'
    )
    assert main(["run", "own.toml"]) == 0
    assert (place / "runs/own/report.html").is_file()
    assert "check" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["absent.toml"], "cannot read absent.toml"),
        (["tiny.toml", "--epochs", "0"], "train.epochs"),
        (["tiny.toml", "--data", "imagenet"], "data"),
        (["tiny.toml", "--out", "."], "holds something else"),
        (["tiny.toml", "--out", "tiny.toml"], "is a file"),
        (["tiny.toml", "--out", "tiny.toml/x"], "tiny.toml"),
    ],
)
def test_mistakes(place: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(place.iterdir())
    assert main(["run", *arguments]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1
    assert sorted(place.iterdir()) == before, "nothing is written"


def test_unknown_board(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "tiny.toml").write_text(RECIPE.replace("agx-orin-64gb", "agx-orin-64"))
    assert main(["run", "tiny.toml"]) == 2
    assert "agx-orin-64gb" in capsys.readouterr().err


def test_ctrl_c_is_clean(place: Path) -> None:
    process = start(place, "run")
    while process.poll() is None and len(list((place / "run" / "state").glob("*.json"))) < 4:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=SAFETY_NET)
    assert process.returncode == 130, err
    assert "--resume goes on" in err
    assert "Traceback" not in err
    assert list((place / "run").rglob(".*.tmp")) == []
    assert states(place / "run"), "what was finished is kept, and whole"
