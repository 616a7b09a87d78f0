"""A loadable on a board through the agent, over the pretended cuDLA."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from dlaflow.remote.agent.allowed import command_of
from dlaflow.remote.agent.folder import RefusedRequest
from dlaflow.remote.loadable import BoardDevice
from dlaflow.runtime.cudla import CudlaError
from dlaflow.runtime.loadable import LoadableRunner
from tests.runtime.stand_in_cudla import FLOAT16, StandIn, linear, loadable_of


@pytest.fixture
def loadable(tmp_path, monkeypatch):
    folder = tmp_path / "cudla"
    folder.mkdir()
    StandIn(folder)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(folder))
    tensor = linear("x'", (2, 2, 3, 5), FLOAT16)
    (tmp_path / "m.loadable").write_bytes(loadable_of([tensor], [tensor._replace(name="y'")], 1))
    return tmp_path / "m.loadable"


def test_run_time_and_statistics_on_a_board(here, loadable):
    device = BoardDevice(here, loadable, 1)
    assert [each.name for each in (*device.inputs, *device.outputs)] == ["x'", "y'"]
    runner = LoadableRunner(device)
    values = np.random.default_rng(3).normal(size=(5, 2, 3, 5)).astype(np.float16)
    assert (runner.run(values) == values).all()
    assert runner.time(values, runs=3) == (1.5, 1.5, 1.5)
    assert runner.statistics(values, 1000) == ["layer,microseconds\nconv0,1.00\n"]


def test_the_boards_reason_is_told(here, loadable):
    with pytest.raises(CudlaError, match="no DLA core 7; cuDLA counts 2"):
        BoardDevice(here, loadable, 7)
    loadable.write_bytes(b"ftrt")
    with pytest.raises(CudlaError, match="a TensorRT engine is no loadable"):
        BoardDevice(here, loadable, 0)


@pytest.mark.parametrize("word", ["--loadable=/etc/passwd", "--core=-1", "--runs=a", "--inputs=../x", "--other=1", "x"])
def test_the_agent_takes_no_other_words(word):
    with pytest.raises(RefusedRequest):
        command_of({"program": "loadable", "arguments": [word]})


def test_the_command(stand_in, loadable, tmp_path):
    np.save(tmp_path / "x.npy", np.ones((3, 2, 3, 5), np.float32))
    inventory = tmp_path / "boards.toml"
    inventory.write_text(f'[[board]]\nname = "one"\nhost = "local"\nroot = "{stand_in.root}"\n')
    words = [sys.executable, "-m", "dlaflow", "remote", str(inventory), "loadable", str(loadable)]
    told = subprocess.run(words, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    assert "input  x 2x2x3x5 float16:dla_linear" in told.stdout
    words += ["--input", str(tmp_path / "x.npy"), "--out", str(tmp_path / "o.npz")]
    told = subprocess.run(words, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    assert np.load(tmp_path / "o.npz")["y"].shape == (3, 2, 3, 5)
