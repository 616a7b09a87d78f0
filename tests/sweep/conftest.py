"""What the runs of sweeps share: a folder with a network that trains in a second, and processes that are ended."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

NETWORK = """
import os
from pathlib import Path
from torch import nn

def tiny(width=1, norm="batch"):
    channels = round(8 * width)
    made = nn.BatchNorm2d(channels) if norm == "batch" else nn.GroupNorm(2, channels)
    layers = [nn.Conv2d(3, channels, 3, stride=4), made, nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels, 10))

def mortal(width=1):
    # Dies once, as a worker does that the system runs out of memory for.
    assert width != 1.2, "no such width"
    mark = Path(f"died-{width}")
    if width == 2 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), 9)
    return tiny(width)
"""
SWEEP = """
name = "tiny"
[cluster]
cpus = 1
[space]
model = ["tinynet_of_test_sweep:tiny"]
norm = ["batch", "group"]
precisions = [["fp16"], ["fp16", "int8"]]
method = ["entropy", "minmax"]
[target]
board = "agx-orin-64gb"
jetpack = "5.1.1"
batch = 4
[data]
name = "digits"
[train]
epochs = 2
limit = 200
[calibrate]
samples = 16
[evaluate]
limit = 40
"""
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with sweep.toml (6 trials, 2 trainings) and the network that it names."""
    (tmp_path / "tinynet_of_test_sweep.py").write_text(NETWORK)
    (tmp_path / "sweep.toml").write_text(SWEEP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path


@pytest.fixture
def start(place: Path) -> Iterator[Start]:
    """Starts `dlaflow sweep sweep.toml` with more options, as a person would; what still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def begin(*options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "dlaflow", "sweep", "sweep.toml", "--cores", "2", *options]
        process = subprocess.Popen(
            command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()
