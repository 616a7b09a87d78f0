"""Help that one can read: every command in a group, one screen for all, three for the longest, from 40 columns on."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from dlaflow.cli import COMMANDS, help_text, main
from dlaflow.cli.commands import FIRST, GROUPS


def test_every_command_stands_in_one_group() -> None:
    assert Counter(name for names in GROUPS.values() for name in names) == Counter(list(COMMANDS))


def test_the_overview_is_one_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = help_text().splitlines()
    assert len(lines) <= 50
    assert max(map(len, lines)) <= 80


# Commands of subcommands keep the console of the first test in this process that asked for their help.
@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in {"cache", "loadable"}])
@pytest.mark.parametrize("columns", [40, 80])
def test_help_fits_the_terminal(
    name: str, columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main([name, "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    panels = [line for line in lines if line.startswith(("╭", "│", "╰"))]
    assert max(map(len, panels), default=0) <= columns


def test_the_longest_is_three_screens_and_in_groups(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["build", "--help"]) == 0
    text = capsys.readouterr().out
    assert len(text.splitlines()) <= 120
    panels = re.findall(r"^╭─ ([\w ]+) ─", text, re.MULTILINE)
    assert panels == ["Arguments", "Most used", "Options", "Target", "Images", "Engine in detail", "Way to build"]


@pytest.mark.parametrize("name", FIRST)
def test_the_ten_that_matter_come_first(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    panel = text[text.index("Most used") : text.index("╰", text.index("Most used"))]
    options = re.findall(r"^│ (?:\*  |   )?--([\w-]+)", panel, re.MULTILINE)
    assert options == FIRST[name].split()
    assert len(options) == 10
    assert all(len(re.findall(rf"^│ (?:\*  |   )?--{each} ", text, re.MULTILINE)) == 1 for each in options)


def test_no_default_is_shown_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "[default: 0]" in text  # of the DLA's core
    assert not re.search(r"\[default: (False|None|\(\)|)\]", text)


def test_the_number_of_a_rule_is_enough(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "250"]) == 0
    assert "DLA250" in capsys.readouterr().out


def test_one_board_with_its_figures_and_releases(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["boards", "agx-orin"]) == 0
    text = capsys.readouterr().out
    for part in ("2 x v2", "DRAM", "35.2.1", "Taken where none is named: 6.2.2", "7.2.2 is newer"):
        assert part in text


def test_the_nearest_comes_first_and_the_list_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "DLA25O"]) == 2
    err = capsys.readouterr().err
    assert err.index("Did you mean") < err.index("Known:")
    assert len(err) < 250
