"""A loadable on a board through the agent, over the pretended cuDLA."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from dlaflow.api.images import ImageOptions
from dlaflow.api.loadable import LoadableOptions, There, evaluate_loadable
from dlaflow.errors import EnvironmentLacksError
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
    (tmp_path / "m.loadable").write_bytes(loadable_of([tensor], [tensor._replace(name="y'")], 2))
    return tmp_path / "m.loadable"


def test_run_time_and_statistics_on_a_board(here, loadable):
    device = BoardDevice(here, loadable, 1)
    assert [each.name for each in (*device.inputs, *device.outputs)] == ["x'", "y'"]
    runner = LoadableRunner(device)
    values = np.random.default_rng(3).normal(size=(5, 2, 3, 5)).astype(np.float16)
    assert (runner.run(values) == values).all()
    assert runner.time(values, runs=3) == (1.5, 1.5, 1.5)
    assert runner.statistics(values, 1000) == [f"layer,microseconds\nconv{n},1.00\n" for n in (0, 1)]


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

    def call(kind, *words):
        command = [sys.executable, "-m", "dlaflow", "remote", str(inventory), "loadable", kind, str(loadable)]
        told = subprocess.run([*command, *map(str, words)], capture_output=True, text=True)
        assert told.returncode == 0, told.stderr
        return told.stdout

    told = call("inspect")
    assert "cuDLA 2.5.1 on one (ctypes, memory by libcudart):" in told
    assert "input  x 2x2x3x5 float16:dla_linear" in told
    call("run", "--input", tmp_path / "x.npy", "--out", tmp_path / "o.npz")
    assert np.load(tmp_path / "o.npz")["y"].shape == (3, 2, 3, 5)
    written = "--statistics", tmp_path / "s.csv", "--json", tmp_path / "b.json"
    told = call("bench", "--runs", 3, "--core", 1, "--dla-mhz", 1000, *written)
    assert "latency p99" in told
    assert (tmp_path / "s.csv").read_text() == "layer,microseconds\nconv0,1.00\n\nlayer,microseconds\nconv1,1.00\n"
    row = json.loads((tmp_path / "b.json").read_text())["measurements"][0]
    assert (row["value"], row["n"], row["spread"]) == (1.5, 3, 0.0)
    assert "core 1, batch 2, zeros" in row["detail"]


def test_top1_on_a_board_in_one_job(here, loadable, tmp_path, monkeypatch):
    """The first output is the first input, so that the images are scores of their own."""
    tensor = linear("x'", (2, 5, 1, 1), FLOAT16)
    loadable.write_bytes(loadable_of([tensor], [tensor._replace(name="y'")]))
    labels = np.arange(7) % 5
    scores = np.eye(5, dtype=np.float32)[labels].reshape(7, 5, 1, 1)
    np.savez(tmp_path / "d.npz", images=scores, labels=np.where(labels == 4, 0, labels))
    jobs, run_job = [], BoardDevice._job
    monkeypatch.setattr(BoardDevice, "_job", lambda self, *words: jobs.append(words) or run_job(self, *words))
    accuracy, words = evaluate_loadable(
        loadable, tmp_path / "d.npz", ImageOptions(batch=2), LoadableOptions(), there=There(here)
    )
    assert (accuracy.correct, accuracy.total) == (6, 7)
    assert "7 of 7 images" in words
    assert len(jobs) == 2, "the description, and all images at once"


HOSTILE = [
    b"",
    b"[" * 100_000,
    b'{"cudla": "1", "through": "c", "inputs": [["x", 64, [1, 1, 1, -1], 1, 4, 3, 0, 0, [1, 64, 64, 64, 0, 0, 0, 0]]]}',
    b'{"cudla": "1", "through": "c", "inputs": [["x", 1e400, [1, 1, 1, 1], 1, 4, 3, 0, 0, []]], "outputs": []}',
    b'{"cudla": 1, "through": "c", "inputs": [], "outputs": []}',
    b'{"cudla": "1", "through": "c", "inputs": [], "outputs": []}',
    b'{"cudla": "1", "through": "c", "inputs": [["x", 64, [1, 1, 1, 1], 1, 4, 3, 0, 0, [1, 64]]], "outputs": []}',
    b'{"cudla": "1", "through": "c", "inputs": [["x", 64, [1, 1, 9, 9], 1, 4, 3, 0, 0, [1, 64, 64, 64, 0, 0, 0, 0]]]'
    b', "outputs": []}',
]


@pytest.mark.parametrize("told", HOSTILE, ids=range(len(HOSTILE)))
def test_what_a_board_tells_is_held_to_the_same_bounds(here, loadable, monkeypatch, told):
    monkeypatch.setattr(BoardDevice, "_job", lambda self, *words: [told])
    with pytest.raises((EnvironmentLacksError, CudlaError)) as caught:
        BoardDevice(here, loadable, 0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("told", [b"[1.5]", b"[1.5, -1]", b"[1.5, 1e999]", b"[1.5, null]", b"{", b"[" * 100_000])
def test_times_of_a_board_that_are_none(here, loadable, monkeypatch, told):
    device = BoardDevice(here, loadable, 0)
    monkeypatch.setattr(BoardDevice, "_job", lambda self, *words: [told])
    with pytest.raises(EnvironmentLacksError):
        device.time([b""], 2, 0)
    with pytest.raises(EnvironmentLacksError):
        device.statistics([b""], 1)
