"""`dlaflow sweep` as a person starts it: a real Ray cluster, real training, workers that die, Ctrl-C and SIGKILL."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dlaflow.cli import main
from dlaflow.recipe.load import load_recipe

pytest.importorskip("ray")

Start = Callable[..., "subprocess.Popen[str]"]
TRIALS = 6


def wait_for(process: subprocess.Popen[str], folder: Path, pattern: str, count: int) -> None:
    """Until so many files are there (or the process is over)."""
    while process.poll() is None and len(list(folder.glob(pattern))) < count:
        time.sleep(0.05)
    assert process.poll() is None, process.communicate()


def results(folder: Path) -> dict[str, int]:
    """The finished trials with the times of their result files."""
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("trials/*/result.json")}


def test_killed_interrupted_and_resumed(place: Path, start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    folder = place / "runs" / "tiny"

    killed = start()
    wait_for(killed, folder, "trials/*/result.json", 1)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    before = results(folder)
    assert 1 <= len(before) < TRIALS

    interrupted = start("--resume")
    wait_for(interrupted, folder, "trials/*/result.json", len(before) + 1)
    interrupted.send_signal(signal.SIGINT)
    out, err = interrupted.communicate(timeout=60)
    assert interrupted.returncode == 130, err
    assert "--resume goes on" in err
    assert "Traceback" not in err
    assert out.count("kept") == len(before)
    left = [path.name for path in folder.rglob(".*.tmp")] + [path.name for path in folder.glob("*.token")]
    assert left == [], "nothing is half-written"
    middle = results(folder)
    assert before.items() <= middle.items(), "a finished trial was done again"

    finished = start("--resume", "--json", "record.json")
    out, err = finished.communicate(timeout=120)
    assert finished.returncode == 0, err
    assert out.count("kept") == len(middle)
    assert middle.items() <= results(folder).items()
    body = json.loads((place / "record.json").read_text())
    assert len(body["trials"]) == TRIALS
    assert all(trial["status"] == "done" and trial["top1"] and trial["latency"] for trial in body["trials"])
    assert any(trial["front"] for trial in body["trials"])
    assert len(list(folder.glob("weights/*"))) == 2, "trained once for each network"
    assert (folder / "report.html").is_file()

    # When all is done neither Ray nor a training is needed.
    began = time.monotonic()
    assert main(["sweep", "sweep.toml", "--resume"]) == 0
    assert capsys.readouterr().out.count("kept") == TRIALS
    assert time.monotonic() - began < 10

    # A trial is a recipe: `dlaflow run` finds it finished.
    trial = folder / body["trials"][0]["folder"]
    assert load_recipe(trial / "recipe.toml").name == trial.name
    assert main(["run", str(trial / "recipe.toml"), "--out", str(trial), "--resume"]) == 0
    steps = [line for line in capsys.readouterr().out.splitlines() if line.startswith("✓")]
    assert steps
    assert all(line.endswith("kept") for line in steps)


def test_optuna_a_worker_that_dies_and_a_trial_that_cannot_work(place: Path, start: Start) -> None:
    text = (place / "sweep.toml").read_text()
    text = text.replace('"tinynet_of_test_sweep:tiny"', '"tinynet_of_test_sweep:mortal"')
    text = text.replace('norm = ["batch", "group"]', "width = [1, 2, 1.2]")
    (place / "sweep.toml").write_text(text + '[search]\nkind = "optuna"\ntrials = 20\n')
    (place / "tinynet_of_test_sweep.py").write_text(
        (place / "tinynet_of_test_sweep.py")
        .read_text()
        .replace("    mark =", "    assert width != 1.2, 'no such width'\n    mark =")
    )
    process = start("--json", "record.json")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2, err
    assert (place / "died-2").exists(), "a worker did die"
    trials = json.loads((place / "record.json").read_text())["trials"]
    assert len(trials) == 9, "the whole space of 3 widths x 3"
    failed = {trial["choices"]["width"] for trial in trials if trial["status"] == "failed"}
    assert failed == {"1.2"}
    (told,) = [line for line in err.splitlines() if line.startswith("dlaflow:")]
    assert "3 trials of 9 failed" in told
    assert "no such width" in told


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["absent.toml"], "cannot read the sweep"),
        (["sweep.toml", "--out", "."], "holds something else"),
        (["sweep.toml", "--cores", "0"], "--cores makes no sense"),
        (["sweep.toml", "--cores", "2", "--address", "auto"], "--cores makes no sense"),
        (["sweep.toml", "--address", "127.0.0.1:1"], "no Ray cluster answers at 127.0.0.1:1"),
        (["sweep.toml", "--address", "ray://127.0.0.1:1"], "expected HOST:PORT or auto"),
    ],
)
def test_mistakes(place: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", *arguments]) == 2
    err = [line for line in capsys.readouterr().err.splitlines() if line.startswith("dlaflow:")]
    assert len(err) == 1
    assert says in err[0]
    assert not list(place.glob("runs/*/sweep.json"))


def test_unknown_network(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (place / "sweep.toml").read_text().replace('norm = ["batch", "group"]\n', "")
    (place / "sweep.toml").write_text(text.replace("tinynet_of_test_sweep:tiny", "model_b"))
    assert main(["sweep", "sweep.toml"]) == 2
    assert "Did you mean 'model_bn'?" in capsys.readouterr().err


@pytest.mark.parametrize("package", ["ray", "optuna"])
def test_a_missing_extra_is_named(
    package: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("dlaflow.sweep.extra.find_spec", lambda name: None if name == package else object())
    (place / "sweep.toml").write_text((place / "sweep.toml").read_text() + '[search]\nkind = "optuna"\n')
    assert main(["sweep", "sweep.toml"]) == 3
    err = capsys.readouterr().err
    assert f"the Python package {package}" in err
    assert "pip install 'dlaflow[sweep]'" in err
