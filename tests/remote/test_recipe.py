"""`dlaflow run --on`: a recipe's steps on boards, from one board to an inventory, done once and compared."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from dlaflow.cli import main
from dlaflow.errors import EXIT_DONE
from dlaflow.report.json import read_run

RECIPE = """
name = "there"
steps = ["check", "calibrate", "evaluate", "report"]
[target]
board = "agx-orin-64gb"
{release}
precision = "{precision}"
batch = 4
[data]
name = "digits"
[[variant]]
name = "tiny"
onnx = "tiny.onnx"
[calibrate]
samples = 20
method = "minmax"
[evaluate]
precisions = ["fp32"]
limit = 20
[remote]
images = 10
duration = 1
repeats = 2
idle = 0.2
"""


@pytest.fixture
def place(tmp_path, monkeypatch, stand_in):
    """A folder with a recipe for the JetPack of the stand-in board, where dlaflow is started."""
    chance = np.random.default_rng(0)
    weights = numpy_helper.from_array(chance.normal(0, 0.1, (10, 3, 32, 32)).astype(np.float32), "w")
    nodes = [
        helper.make_node("Conv", ["input", "w"], ["scores"], name="conv"),
        helper.make_node("Flatten", ["scores"], ["output"], name="flatten"),
    ]
    ends = [
        helper.make_tensor_value_info("input", 1, ["N", 3, 32, 32]),
        helper.make_tensor_value_info("output", 1, ["N", 10]),
    ]
    graph = helper.make_graph(nodes, "tiny", ends[:1], ends[1:], [weights])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "tiny.onnx"
    )
    write_recipe(tmp_path, 'jetpack = "5.1.1"')
    stand_in.setting("seconds", 0.05)
    stand_in.setting("layers", "conv flatten")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_recipe(place, release, precision="int8"):
    (place / "there.toml").write_text(RECIPE.format(release=release, precision=precision))


def inventory(place, *names):
    one = '[[board]]\nname = "{0}"\nhost = "local"\nroot = "{1}/{0}-root"\n'
    (place / "boards.toml").write_text("".join(one.format(name, place) for name in names))
    return "boards.toml"


def run(place, *words):
    return main(["run", "there.toml", "--on", inventory(place, "orin"), *words])


def test_a_recipe_on_a_board_and_again_with_nothing_sent_twice(place, stand_in, capsys):
    assert run(place, "--out", "first") == EXIT_DONE
    said = capsys.readouterr().out
    for word in ("build", "tiny on orin", "profile", "bench", "dla0 650 batches/s", "int8", "Sent to orin: 0."):
        assert word in said
    left = {path.name for path in (place / "first" / "tiny" / "on-orin").iterdir()}
    assert {"dla.engine", "dla.engine.json", "dla.engine.log", "gpu.engine", "bench.json", "profile.json"} <= left
    (variant,) = read_run(place / "first" / "run.json").variants
    found = {(row.quantity, row.subject): row for row in variant.measurements}
    assert found["throughput", "orin dla0"].value == 650.0
    assert found["top1", "int8 on orin"].n == 10
    assert "TensorRT 8.5.2" in found["throughput", "orin gpu"].detail
    assert "orin: TensorRT 8.5.2, power mode MAXN" in read_run(place / "first" / "run.json").environment

    assert run(place, "--out", "second") == EXIT_DONE
    sent = float(capsys.readouterr().out.partition("Sent to orin: ")[2].partition(" MB")[0])
    assert sent < 0.1, "model, cache, images and engines are on the board already"

    assert run(place, "--out", "first", "--resume") == EXIT_DONE
    said = capsys.readouterr().out
    assert said.count("  kept\n") == 9
    assert "Sent to orin: 0.00" in said
    assert not (stand_in.folder / "sudo-calls").exists(), "sudo is for --lock-clocks alone"


@pytest.mark.parametrize(
    ("version", "release", "precision"),
    [
        pytest.param("8601", 'tensorrt = "8.6.1"', "int8", marks=pytest.mark.slow),
        pytest.param("100300", 'jetpack = "6.2"', "int8", marks=pytest.mark.slow),
        ("110401", 'tensorrt = "11.4.1"', "int8"),
        pytest.param("110401", 'tensorrt = "11.4.1"', "fp16", marks=pytest.mark.slow),
    ],
)
def test_every_release_gets_command_lines_that_it_knows(place, stand_in, capsys, version, release, precision):
    stand_in.setting("version", version)
    write_recipe(place, release, precision)
    assert run(place) == EXIT_DONE, capsys.readouterr()
    assert "bench" in capsys.readouterr().out


@pytest.mark.slow
def test_another_release_than_predicted_is_told(place, stand_in, capsys):
    stand_in.setting("version", "8402")
    assert run(place) == EXIT_DONE
    assert "orin has TensorRT 8.4.2, the prediction is for 8.5.2" in " ".join(capsys.readouterr().err.split())
    assert read_run(place / "runs" / "there" / "run.json").notices


@pytest.mark.slow
def test_a_board_that_fails_does_not_stop_the_others(place, stand_in, capsys, monkeypatch):
    from dlaflow.errors import EnvironmentLacksError
    from dlaflow.recipe.boards import work as board_work

    real = board_work.build

    def build(there, engine, progress):
        if there.name == "two":
            raise EnvironmentLacksError("no power")
        return real(there, engine, progress)

    monkeypatch.setattr(board_work, "build", build)
    words = ["run", "there.toml", "--on", inventory(place, "one", "two", "three")]
    assert main(words) == 2
    said = capsys.readouterr()
    assert "two: no power" in said.err
    assert "1 of 3 boards failed: two" in said.err
    (variant,) = read_run(place / "runs" / "there" / "run.json").variants
    subjects = {row.subject for row in variant.measurements}
    assert {"one dla0", "three dla0"} <= subjects
    assert "two dla0" not in subjects
    monkeypatch.setattr(board_work, "build", real)
    assert main([*words, "--resume"]) == EXIT_DONE
    out = capsys.readouterr().out
    assert "two" in out
    assert out.count("  kept\n") >= 12, "the others' steps are not done again"


def test_a_board_that_is_not_there_is_told_before_the_work(place, capsys):
    config = place / "config"
    config.write_text("Host nobody\n  HostName 127.0.0.1\n  Port 9\n")
    assert main(["run", "there.toml", "--on", "nobody", "--ssh-config", str(config)]) == 3
    assert "cannot reach nobody" in capsys.readouterr().err
    assert not (place / "runs" / "there" / "tiny").exists()
