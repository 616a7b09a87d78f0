"""`dlaflow train` as a user runs it, Ctrl-C and SIGKILL included."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dlaflow.cli import main
from dlaflow.zoo.weights import read_tensors

NETWORK = """
import time
from pathlib import Path
from torch import nn

class Gate(nn.Module):
    # Once a checkpoint lies there, the run stands still for as long as the file `wait` is there.
    def forward(self, images):
        while Path("wait").exists() and Path("w.last.safetensors").exists():
            time.sleep(0.005)
        return images

def small():
    return nn.Sequential(Gate(), nn.Conv2d(3, 16, 8, stride=8), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10))
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder of its own, with a user's network in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "usersnet.py").write_text(NETWORK)
    return tmp_path


def options(*more: str) -> list[str]:
    return ["train", "usersnet:small", "--data", "digits", "--out", "w.safetensors", *more]


SAFETY_NET = 600
"""Seconds. Nothing here waits for time to pass; this ends a test that hangs."""
LONG = ("--epochs", "5", "--seed", "3", "--device", "cpu", "--limit", "400", "--precision", "fp32")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums depend on how many threads share them; with one, this process and another agree to the bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_digits_are_learned_and_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["train", "model_bn", "--data", "digits", "--epochs", "1", "--out", "bn.safetensors", "--json", "r.json"])
        == 0
    )
    out = capsys.readouterr().out
    assert "model_bn on digits: top-1 " in out
    assert "Weights: bn.safetensors" in out
    record = json.loads((folder / "r.json").read_text())
    assert (record["schema"], record["model"], record["epochs"]) == ("dlaflow.training/1", "model_bn", 1)
    assert "dlaflow" in record
    assert record["test_top1"] > 0.5
    assert "cnn.0.weight" in read_tensors(folder / "bn.safetensors")[0]


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(options("--epochs", "1", "--quiet")) == 0
    assert capsys.readouterr() == ("", "")


def test_mistakes_are_one_line_and_exit_code_2(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in [
        (["train", "model_b", "--data", "digits", "--out", "w.safetensors"], "Did you mean 'model_bn'"),
        (
            ["train", "model_bn", "--data", "cifar10", "--data-dir", str(folder), "--out", "w.safetensors"],
            "holds no CIFAR-10",
        ),
        (["train", "model_bn", "--data", "imagenet", "--out", "w.safetensors"], "unknown data set"),
        (options("--epochs", "many"), "epochs"),
        (["train", "model_bn", "--data", "digits"], "--out"),
    ]:
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
        assert "Traceback" not in error


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_an_interrupted_run_goes_on_to_the_same_weights(
    how: signal.Signals, code: int, folder: Path, one_thread: None, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = options(*LONG)
    (folder / "wait").touch()
    process = subprocess.Popen(
        [sys.executable, "-m", "dlaflow", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    checkpoint = folder / "w.last.safetensors"
    while not checkpoint.exists() and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(how)
    _, shown = process.communicate(timeout=SAFETY_NET)
    (folder / "wait").unlink()
    assert process.returncode == code, shown
    assert not (folder / "w.safetensors").exists()
    if how == signal.SIGINT:
        assert "go on from it with --resume" in shown
        assert "Traceback" not in shown
    read_tensors(checkpoint)
    assert main([*arguments, "--resume"]) == 0
    assert "Went on after epoch" in capsys.readouterr().out
    assert not checkpoint.exists()
    resumed = (folder / "w.safetensors").read_bytes()
    assert main([*arguments, "--quiet"]) == 0
    assert (folder / "w.safetensors").read_bytes() == resumed
