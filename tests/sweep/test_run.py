"""`dlaflow sweep` as a person starts it: a real Ray cluster, real training, workers that die, Ctrl-C and SIGKILL."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dlaflow.cli import main
from dlaflow.recipe.load import load_recipe

pytest.importorskip("ray")

Start = Callable[..., "subprocess.Popen[str]"]
SAFETY_NET = 900
"""Seconds. Nothing here waits for time to pass; this ends a test that hangs."""


def wait_for(process: subprocess.Popen[str], folder: Path, count: int) -> None:
    """Until so many trials are done (or the process is over)."""
    while process.poll() is None and len(results(folder)) < count:
        time.sleep(0.05)
    assert process.poll() is None, process.communicate()


def leftovers(folder: Path) -> list[str]:
    """What is half-written, or only there while a sweep runs."""
    return [path.name for pattern in (".*.tmp", "*.token") for path in folder.rglob(pattern)]


def results(folder: Path) -> dict[str, int]:
    """The trials that are done, with the times of their result files."""
    found = {path: json.loads(path.read_text()) for path in folder.glob("trials/*/result.json")}
    return {path.parent.name: path.stat().st_mtime_ns for path, body in found.items() if body["status"] == "done"}


# Once in five runs of the suite Ray's own core aborted here (task_manager.cc, a worker lost while tasks are cancelled).
@pytest.mark.slow
def test_interrupted_and_resumed_while_a_worker_dies(
    place: Path, start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    """Optuna over 3 widths x 3 precisions and methods; a worker dies at one width, another width cannot be made."""
    folder, file = place / "runs" / "tiny", place / "sweep.toml"
    text = file.read_text().replace(":tiny", ":mortal").replace('norm = ["batch", "group"]', "width = [1, 2, 1.2]")
    file.write_text(text + '[search]\nkind = "optuna"\ntrials = 20\n')

    interrupted = start()
    wait_for(interrupted, folder, 1)
    interrupted.send_signal(signal.SIGINT)
    _, err = interrupted.communicate(timeout=SAFETY_NET)
    assert interrupted.returncode == 130, err
    assert "--resume goes on" in err
    assert "Traceback" not in err
    assert leftovers(folder) == [], "nothing is half-written"
    before = results(folder)

    finished = start("--resume", "--json", "record.json")
    out, err = finished.communicate(timeout=SAFETY_NET)
    assert finished.returncode == 2, err
    assert (place / "died-2").exists(), "a worker did die"
    assert before.items() <= results(folder).items(), "a finished trial was done again"
    assert out.count("kept") == len(before)
    trials = json.loads((place / "record.json").read_text())["trials"]
    assert len(trials) == 9, "the whole space, once"
    good = [trial for trial in trials if trial["choices"]["width"] != "1.2"]
    assert all(trial["status"] == "done" and trial["top1"] and trial["latency"] for trial in good)
    assert any(trial["front"] for trial in good)
    (told,) = [line for line in err.splitlines() if line.startswith("dlaflow:")]
    assert "3 trials of 9 failed" in told
    assert "no such width" in told
    assert (folder / "report.html").is_file()
    assert leftovers(folder) == []

    # Without the width that cannot be made all is done, and neither Ray nor a training is needed.
    file.write_text(file.read_text().replace("[1, 2, 1.2]", "[1, 2]"))
    assert main(["sweep", "sweep.toml", "--resume"]) == 0
    assert capsys.readouterr().out.count("kept") == 6

    # A trial is a recipe: `dlaflow run` finds it finished.
    trial = folder / good[0]["folder"]
    assert load_recipe(trial / "recipe.toml").name == trial.name
    assert main(["run", str(trial / "recipe.toml"), "--out", str(trial), "--resume"]) == 0
    steps = [line for line in capsys.readouterr().out.splitlines() if line.startswith("✓")]
    assert steps
    assert all(line.endswith("kept") for line in steps)


@pytest.mark.slow
def test_killed_and_resumed(place: Path, start: Start) -> None:
    """SIGKILL to the driver, twice: its cluster dies with it, and what was finished is kept."""
    folder = place / "runs" / "tiny"
    before: dict[str, int] = {}
    for _ in range(2):
        killed = start("--resume")
        wait_for(killed, folder, len(before) + 1)
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        assert before.items() <= results(folder).items()
        before = results(folder)
    finished = start("--resume", "--json", "record.json")
    out, err = finished.communicate(timeout=SAFETY_NET)
    assert finished.returncode == 0, err
    assert out.count("kept") == len(before)
    assert before.items() <= results(folder).items()
    trials = json.loads((place / "record.json").read_text())["trials"]
    assert [trial["status"] for trial in trials] == ["done"] * 6
    assert len(list(folder.glob("weights/*"))) == 2, "trained once for each network"
    assert leftovers(folder) == []


def test_a_ray_that_does_not_begin_is_the_machines_fault(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ray raises a bare Exception where its processes take longer than 30 s, as they do on a loaded machine."""
    import ray

    def late(*_: object, **__: object) -> None:
        raise Exception("The current node timed out during startup.")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray, "init", late)
        assert main(["sweep", "sweep.toml"]) == 3
    assert "Ray cannot be started here (Exception: The current node timed out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["absent.toml"], "cannot read absent.toml"),
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


def test_own_model_needs_no_training(place: Path, start: Start) -> None:
    import onnx

    graph = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 17]>
    m (float[1,3,32,32] x) => (float[1,10] y) <int64[2] n = {3072, 10}, int64[2] s = {1, -1}> {
      w = ConstantOfShape <value = float[1] {0.5}> (n)
      flat = Reshape(x, s)
      y = MatMul(flat, w) }""")
    onnx.save(graph, str(place / "own.onnx"))
    (place / "sweep.toml").write_text(
        'name = "own"\n[space]\nmodel = ["own.onnx"]\nprecisions = [["fp16"]]\n[evaluate]\nlimit = 20\n'
        '[target]\nboard = "agx-orin-64gb"\njetpack = "5.1.1"\nbatch = 1\n[data]\nname = "digits"\n'
    )
    process = start("--json", "record.json")
    _, err = process.communicate(timeout=SAFETY_NET)
    assert process.returncode == 0, err
    (trial,) = json.loads((place / "record.json").read_text())["trials"]
    assert (trial["status"], trial["kept"]) == ("done", 0)
    assert not (place / "runs" / "own" / "weights").exists()


def test_unknown_network(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (place / "sweep.toml").read_text().replace('norm = ["batch", "group"]\n', "")
    (place / "sweep.toml").write_text(text.replace("tinynet_of_test_sweep:tiny", "model_b"))
    assert main(["sweep", "sweep.toml"]) == 2
    assert "Did you mean 'model_bn'?" in capsys.readouterr().err


@pytest.mark.parametrize("package", ["ray", "optuna"])
def test_a_missing_extra_is_named(
    package: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    (place / "sweep.toml").write_text((place / "sweep.toml").read_text() + '[search]\nkind = "optuna"\n')
    assert main(["sweep", "sweep.toml"]) == 3
    err = capsys.readouterr().err
    assert f"the Python package {package}" in err
    assert "pip install 'dlaflow[sweep]'" in err
