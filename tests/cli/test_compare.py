"""`dlaflow compare` on the files of `dlaflow check --json`."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from dlaflow.cli import main
from dlaflow.report.json import placement_json, read_run
from dlaflow.types import (
    Device,
    Loadable,
    ModelInfo,
    PlacedLayer,
    Placement,
    Summary,
    TargetInfo,
    Verdict,
)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """before.json with one loadable and no switch, after.json with three switches."""
    before = Placement(
        ModelInfo("net.onnx", "00", {"x": [1, 3, 8, 8]}),
        TargetInfo("agx-orin-64gb", "5.1.1", "8.5.2", "v2", "int8", 1, "hybrid"),
        Summary(1, 1, 0, 0, 0, 1.0, 1, 1, 0, True),
        [PlacedLayer("conv", "CONVOLUTION", ["conv"], Device.DLA, Verdict.NATIVE, 0, 10, 10)],
        [Loadable(0, "conv", "conv", ["conv"], 10)],
        [],
    )
    (tmp_path / "before.json").write_bytes(placement_json(before))
    after = replace(before, summary=replace(before.summary, switches=3))
    (tmp_path / "after.json").write_bytes(placement_json(after))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_outputs(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = ["--html", "c.html", "--markdown", "c.md", "--json", "c.json", "--svg", "c.svg"]
    assert main(["compare", "before.json", "after.json", *written]) == 0
    assert "before/net" in capsys.readouterr().out
    assert "after/net" in (files / "c.html").read_text()
    assert "after/net" in (files / "c.svg").read_text()
    assert "| after/net | 1 | 3 | 100% |" in (files / "c.md").read_text()
    assert [variant.name for variant in read_run(files / "c.json").variants] == ["before/net", "after/net"]


def test_a_regression_exits_with_1(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "compare",
        "before.json",
        "after.json",
        "--fail-on",
        "loadables,switches",
        "--markdown",
        "c.md",
        "--quiet",
    ]
    assert main(arguments) == 1
    assert capsys.readouterr().out == "worse: net: more switches, 0 → 3\n"
    assert "more switches" in (files / "c.md").read_text()
    assert main(["compare", "after.json", "before.json", "--fail-on", "switches"]) == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "nothing to compare"),
        (["before.json", "--fail-on", "switches"], "at least two runs"),
        (["before.json", "after.json", "--fail-on", "swiches"], "Did you mean 'switches'?"),
        (["before.json", "after.json", "--fail-on", "accuracy"], "cannot be compared"),
        (["absent"], "is no run"),
    ],
)
def test_mistakes(files: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *arguments]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("width", [80, 200])
def test_in_a_real_terminal(files: Path, width: int) -> None:
    """In a pseudo-terminal of that width no line is longer, and names are whole where there is room."""
    import fcntl
    import os
    import pty
    import struct
    import subprocess
    import sys
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"} | {
        "NO_COLOR": "1",
        "TERM": "xterm",
    }
    command = [sys.executable, "-m", "dlaflow", "compare", "before.json", "after.json"]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 1 << 16):
            shown += part
    except OSError:  # Linux ends a pseudo-terminal with EIO.
        pass
    finally:
        os.close(ours)
    assert process.wait(timeout=30) == 0
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode()).splitlines()
    assert max(map(len, lines)) <= width
    assert any(line.startswith("before/net") and "100%" in line for line in lines)
