"""Training in two processes, on the CPU: as one run, told and written once."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dlaflow.errors import EnvironmentLacksError, InputError
from dlaflow.zoo.data import Dataset
from dlaflow.zoo.training import TrainConfig, train
from dlaflow.zoo.weights import read_sidecar, read_tensors

GROUP_NETWORK = """
from torch import nn

def grouped():
    features = [nn.Conv2d(3, 8, 3, stride=4), nn.GroupNorm(2, 8), nn.ReLU()]
    return nn.Sequential(*features, nn.Flatten(), nn.Linear(512, 10))
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    (tmp_path / "grouped_network.py").write_text(GROUP_NETWORK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return TrainConfig("grouped_network:grouped", tmp_path / "w.safetensors", epochs=2, batch_size=20, device="cpu")


class Shown:
    """A progress that remembers."""

    def __init__(self) -> None:
        self.done = 0.0
        self.total: float | None = None

    @contextmanager
    def __call__(self, title: str, total: float | None, unit: str = ""):  # type: ignore[no-untyped-def]
        self.total = total
        yield self

    def advance(self, amount: float = 1) -> None:
        self.done += amount

    def describe(self, text: str) -> None:
        return None


def test_two_processes_learn_what_one_does(config: TrainConfig, colours: Dataset, tmp_path: Path) -> None:
    """Nothing in this network mixes images, so only the order of sums may differ."""
    shown = Shown()
    two = train(replace(config, devices=2), shown, colours)
    assert two.sidecar == read_sidecar(config.out)
    assert two.sidecar.devices == 2
    assert shown.done == shown.total == 2 * 9
    one = train(replace(config, out=tmp_path / "one.safetensors"), dataset=colours)
    assert two.sidecar.history[0].loss == pytest.approx(one.sidecar.history[0].loss, rel=1e-4)
    wanted = read_tensors(one.weights)[0]
    for name, tensor in read_tensors(two.weights)[0].items():
        torch.testing.assert_close(tensor, wanted[name], rtol=1e-3, atol=1e-4, msg=name)


def test_an_error_in_the_processes_is_told_as_one(config: TrainConfig, colours: Dataset) -> None:
    with pytest.raises(InputError, match="diverged in epoch"):
        train(replace(config, devices=2, lr=1e18), dataset=colours)


def test_a_process_that_dies_is_told(config: TrainConfig, colours: Dataset, tmp_path: Path) -> None:
    died = GROUP_NETWORK.replace("def grouped():", "import os\n\ndef grouped():\n    os._exit(9)")
    (tmp_path / "dying_network.py").write_text(died)
    with pytest.raises(EnvironmentLacksError, match="ended before its work was done"):
        train(replace(config, model="dying_network:grouped", devices=2), dataset=colours)


@pytest.mark.slow
def test_torchrun_speaks_and_writes_once(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "dlaflow", "train"]
    options = ["model_bn", "--data", "digits", "--epochs", "1", "--device", "cpu", "--out", "w.safetensors"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, *options], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200, check=True
    )
    assert done.stdout.count("model_bn on digits: top-1") == 1
    card = read_sidecar(tmp_path / "w.safetensors")
    assert card is not None
    assert card.devices == 2
    assert card.test_top1 > 0.5
