"""`dlaflow survey` as a person starts it: this machine or a real Ray cluster, kept results, Ctrl-C, SIGKILL."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dlaflow.cli import main
from dlaflow.survey.records import Result
from dlaflow.survey.store import read_results

TARGETS = ["--boards", "orin-nx-16gb,agx-orin-64gb", "--releases", "6.2"]
SAFETY_NET = 900
"""Seconds. Nothing here waits for time to pass; this ends a test that hangs."""
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(place: Path) -> Iterator[Start]:
    """Starts `dlaflow survey`; what still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def begin(*words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "dlaflow", "survey", *words, "--out", "out"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def found() -> dict[tuple[str, str], Result]:
    return {(each.model.name, each.case.release): each for each in read_results(Path("out/results.jsonl"))}


def wait_for(process: subprocess.Popen[str], count: int) -> None:
    """Until so many results are there (or the process is over)."""
    while process.poll() is None and len(found()) < count:
        time.sleep(0.05)
    assert process.poll() is None, process.communicate()


def test_later_runs_add_and_repeat_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["survey", "models", "--out", "out"]
    assert main([*words, "--boards", "orin-nx-16gb", "--releases", "6.2"]) == 0, capsys.readouterr().err
    first = capsys.readouterr().out
    assert first.count("✓") == 2
    assert "✗ models/broken.onnx" in first
    lines = Path("out/results.jsonl").read_text().splitlines()
    assert len(lines) == 3
    assert all(json.loads(line)["schema"] == "dlaflow.survey/2" for line in lines)

    assert main([*words, *TARGETS]) == 0
    assert capsys.readouterr().out.count("kept") == 0, "a board is lacking"
    one = found()["models/one.onnx", "6.2"]
    assert sorted(each.board for each in one.boards) == ["agx-orin-64gb", "orin-nx-16gb"]
    assert len(Path("out/results.jsonl").read_text().splitlines()) == 5, "what cannot be read is not read again"

    assert main([*words, *TARGETS]) == 0
    again = capsys.readouterr()
    assert again.out.count("kept") == 2
    assert len(Path("out/results.jsonl").read_text().splitlines()) == 5
    assert "models/one.onnx" in Path("out/gallery.html").read_text()
    assert "two &#60;b&#62;&#124;.onnx" in Path("out/gallery.md").read_text()

    # A file that changed is another model.
    text = Path("models/two <b>|.onnx").read_bytes()
    Path("models/one.onnx").write_bytes(text + b"\x32\x00")
    assert main([*words, *TARGETS]) == 0
    assert capsys.readouterr().out.count("kept") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_ended_and_gone_on_with(
    place: Path, start: Start, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    monkeypatch.setenv("TMPDIR", str(place))
    process = start("models/one.onnx", "timm:hangs", *TARGETS, "--cores", "1")
    wait_for(process, 1)
    nursery = int(found()["models/one.onnx", "6.2"].node.rpartition("/")[2])
    process.send_signal(number)
    _, err = process.communicate(timeout=SAFETY_NET)
    assert "Traceback" not in err
    while Path(f"/proc/{nursery}").exists():
        time.sleep(0.05)  # what worked on the model goes too
    assert list(place.glob("dlaflow-survey-*")) == []
    if number == signal.SIGINT:
        assert process.returncode == 130, err
        assert "the same command goes on" in err
    assert list(Path("out").glob("*.tmp")) == []
    gone = start("models/one.onnx", *TARGETS)
    out, err = gone.communicate(timeout=SAFETY_NET)
    assert gone.returncode == 0, err
    assert out.count("kept") == 1


def test_a_model_that_fails_ends_with_2(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    assert main(["survey", "timm:dies", "models/one.onnx", "--out", "out", *TARGETS]) == 2
    told = capsys.readouterr()
    assert "1 result failed; the same command tries them again. First timm:dies: its process was ended" in told.err
    assert told.out.count("✓") == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "nothing to survey"),
        (["absent.onnx"], "cannot read absent.onnx"),
        (["models", "--cores", "0"], "--cores makes no sense"),
        (["models", "--cores", "2", "--address", "auto"], "--cores makes no sense"),
        (["models", "--seconds", "nan"], "--seconds makes no sense"),
        (["models", "--mebibytes", "1"], "--mebibytes makes no sense"),
        (["models", "--input-shape", "3x0x3"], "--input-shape makes no sense"),
        (["models", "--boards", "xavier"], "unknown board"),
        (["models", "--boards", "orin-nx-16gb", "--releases", "7.2.2"], "no target is left"),
        (["models", "--address", "127.0.0.1:1"], "no Ray cluster answers at 127.0.0.1:1"),
        (["models", "--out", "timm.py"], "cannot use the folder timm.py"),
    ],
)
def test_mistakes(place: Path, words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["survey", *words]) == 2
    err = [line for line in capsys.readouterr().err.splitlines() if line.startswith("dlaflow:")]
    assert len(err) == 1
    assert says in err[0]


@pytest.mark.slow
def test_a_cluster_that_loses_a_machine(place: Path, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two nodes of this machine; the second one's raylet is killed half-way, and every model has its results."""
    pytest.importorskip("ray")
    from benchmarks.sweep import free_port, node, raylet_of

    for name, value in {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }.items():
        monkeypatch.setenv(name, value)
    many = place / "many"
    many.mkdir()
    for index in range(8):
        (many / f"m{index}.onnx").write_bytes(Path("models/one.onnx").read_bytes())
    short = tempfile.mkdtemp(prefix="ray-")  # Ray's sockets lie there, and their names must be short
    address, temporary = f"127.0.0.1:{free_port()}", f"--temp-dir={short}"
    head = [f"--port={address.rpartition(':')[2]}", "--head", "--include-dashboard=false", temporary]
    with node(place, *head) as first:
        raylet_of(first, place)
        with node(place, f"--address={address}") as second:
            victim = raylet_of(second, place)
            process = start("many", *TARGETS[:2], "--releases", "6.2,5.1.3", "--address", address)
            wait_for(process, 8)
            os.kill(victim, signal.SIGKILL)
            out, err = process.communicate(timeout=SAFETY_NET)
    shutil.rmtree(short, ignore_errors=True)
    assert process.returncode == 0, err
    assert out.count("✓") == 16
    assert [each.status for each in found().values()] == ["done"] * 16
