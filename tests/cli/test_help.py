"""What every command has in common: examples in its help, a word on each argument, --json and --quiet."""

from __future__ import annotations

import json
import re
import shlex

import pytest

from dlaflow.cli import COMMANDS, main

PRINTS_A_SCRIPT = {"completion"}
OF_SUBCOMMANDS = {"cache", "remote", "loadable"}
"""Their own help names commands; the options are those of each of them."""


def help_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main([*words, "--help"]) == 0
    return capsys.readouterr().out


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_examples_that_could_be_run(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of(capsys, name)
    assert re.search(r"(Examples|For example):", text)
    shown = [shlex.split(line) for line in re.findall(r"^ *(dlaflow .*)$", text, re.MULTILINE)]
    assert any(words[1] == name for words in shown if len(words) > 1) or name in PRINTS_A_SCRIPT


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in PRINTS_A_SCRIPT | OF_SUBCOMMANDS])
def test_every_command_has_json_and_quiet(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of(capsys, name)
    assert "--json" in text
    assert "--quiet" in text


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in OF_SUBCOMMANDS])
def test_arguments_are_explained(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A docstring that the parser takes for another style loses them silently."""
    text = help_of(capsys, name)
    for line in re.findall(r"^│ +\*? +([A-Z]+ .*)│$", text, re.MULTILINE):
        said = re.sub(r"\[required\]", "", line).split(maxsplit=1)[1:]
        assert said, line
        assert said[0].strip(), line


def test_questions_without_a_model_answer_in_json(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    rule, rules, boards, doctor = (str(tmp_path / name) for name in ("rule", "rules", "boards", "doctor"))
    assert main(["explain", "DLA250", "--json", rule, "--quiet"]) == 0
    assert main(["explain", "--json", rules, "-q"]) == 0
    assert main(["boards", "--json", boards, "-q"]) == 0
    assert main(["doctor", "--json", doctor, "-q"]) == 0
    assert capsys.readouterr().out == ""
    (found,) = json.loads((tmp_path / "rule").read_text())["rules"]
    assert found["id"] == "DLA250"
    assert "**Use instead:**" in found["page"]
    assert len(json.loads((tmp_path / "rules").read_text())["rules"]) > 60


def test_caches_in_json(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, lines in (("a", ["x: 3c00f9f4", "y: 00000000"]), ("b", ["x: 3c00f9f4", "z: 3f800000"])):
        (tmp_path / name).write_text("\n".join(["TRT-8502-EntropyCalibration2", *lines]) + "\n")
    a, b, out = (str(tmp_path / name) for name in ("a", "b", "out.json"))
    assert main(["cache", "show", a, "--json", out, "-q"]) == 0
    assert json.loads((tmp_path / "out.json").read_text())["scales"]["x"] == pytest.approx(0.00787, abs=1e-5)
    assert main(["cache", "diff", a, b, "--json", out, "-q"]) == 0
    assert json.loads((tmp_path / "out.json").read_text())["differing"] == {"y": [0.0, None], "z": [None, 1.0]}
    assert main(["cache", "lint", a, "--json", out, "-q"]) == 1
    assert json.loads((tmp_path / "out.json").read_text())["problems"][0]["tensor"] == "y"
    assert capsys.readouterr().out == ""
