"""dlaflow.toml, pyproject.toml and two variables: who wins, who takes them, and what is refused in one line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import onnx
import pytest

from dlaflow.cli import COMMANDS, main
from dlaflow.cli.commands import TAKES

MODEL = '<ir_version: 8, opset_import: ["" : 17]> g (float[1,3,8,8] x) => (float[1,3,8,8] y) { y = Relu(x) }'
OF_ITS_OWN = {"score", "profile", "remote", "cache", "compare", "parse", "export", "train"}
"""Commands whose target a log, a board or a file tells."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    for name in ("DLAFLOW_BOARD", "DLAFLOW_JETPACK"):
        monkeypatch.delenv(name, raising=False)
    onnx.save(onnx.parser.parse_model(MODEL), "m.onnx")
    (tmp_path / "dlaflow.toml").write_text('board = "orin-nx-16gb"\njetpack = "5.1.1"\nprecision = "fp16"\n')
    return tmp_path


def target_of(*options: str) -> tuple[str, str, str]:
    assert main(["check", "m.onnx", *options, "--quiet", "--json", "p.json"]) == 0
    target = json.loads(Path("p.json").read_text())["target"]
    return target["board"], target["jetpack"], target["precision"]


def test_the_nearest_file_then_the_environment_then_the_options(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert target_of() == ("orin-nx-16gb", "5.1.1", "fp16")
    monkeypatch.setenv("DLAFLOW_JETPACK", "6.0")
    assert target_of() == ("orin-nx-16gb", "6.0", "fp16")
    assert target_of("--jetpack", "6.1", "--precision=int8") == ("orin-nx-16gb", "6.1", "int8")
    assert target_of("--tensorrt", "8.5.2")[1] == "5.1"
    (place / "below/pyproject.toml").write_text('[tool.dlaflow]\nboard = "orin-nx-8gb"\n')
    assert target_of()[0] == "orin-nx-8gb"  # nearer than the other file


def test_the_release_of_a_file_goes_with_its_board(place: Path) -> None:
    assert target_of("--board", "xavier-nx-8gb")[:2] == ("xavier-nx-8gb", "5.1.6")


def test_a_pyproject_of_others_is_passed_by(place: Path) -> None:
    (place / "below/pyproject.toml").write_text("[tool.ruff]\nline-length = 1\n")
    assert target_of()[0] == "orin-nx-16gb"


def test_recipes_do_not_read_it_and_one_line_runs_write_it_down(place: Path) -> None:
    Path("r.toml").write_text('name = "r"\nsteps = ["check", "report"]\n[[variant]]\nname = "r"\nonnx = "m.onnx"\n')
    assert main(["run", "r.toml", "--quiet"]) == 0
    target = json.loads(Path("runs/r/run.json").read_text())["variants"][0]["placement"]["target"]
    assert target["board"] == "agx-orin-64gb"
    assert main(["run", "m.onnx", "--quiet"]) == 0
    recipe = Path("runs/m/recipe.toml").read_text()
    assert 'board = "orin-nx-16gb"' in recipe
    assert 'jetpack = "5.1.1"' in recipe


def test_config_tells_what_holds_and_from_where(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DLAFLOW_BOARD", "agx-orin-64gb")
    assert main(["config", "--json", "c.json"]) == 0
    rows = {row["name"]: row for row in json.loads(Path("c.json").read_text())["settings"]}
    assert rows["board"] == {"name": "board", "values": ["agx-orin-64gb"], "source": "$DLAFLOW_BOARD"}
    assert "jetpack" not in rows  # that of another board
    assert str(place / "dlaflow.toml") in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('bord = "orin-nx-16gb"', "did you mean 'board'"),
        ('board = "orin-nx-16"', "orin-nx-16gb"),
        ('jetpack = "9.9"', "unknown JetPack"),
        ("batch = 0", "batch"),
        ('batch = "x"', "wrong value"),
        ("board = [", "is not TOML"),
        ("x" * 30_000_000, "too large"),
    ],
    ids=["key", "board", "release", "batch", "type", "syntax", "huge"],
)
def test_a_bad_file_is_one_line(text: str, says: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("dlaflow.toml").write_text(text)
    for command in (["config"], ["check", "m.onnx"]):
        assert main(command) == 2
        err = capsys.readouterr().err
        assert says.lower() in err.lower()
        assert "dlaflow.toml" in err
        assert err.count("\n") == 1


def test_a_pipe_is_not_waited_for(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo("dlaflow.toml")
    assert main(["config"]) == 2
    assert "is a pipe" in capsys.readouterr().err


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in OF_ITS_OWN])
def test_every_command_for_a_target_takes_the_settings(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    options = {key for key in ("board", "jetpack") if f"--{key} " in text}
    assert options <= {*TAKES.get(name, ())}
