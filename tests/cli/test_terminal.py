"""The commands in a real pseudo-terminal: width, colours, quiet, Ctrl-C, completion, and mistakes in one line."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from dlaflow.cli import COMMANDS, main
from dlaflow.cli.streams import fit

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-9]|4[0-9]|9[0-7]|10[0-7])(?:;\d+)*m")
SHORT = ("calibrate", "model.onnx", "--data", "digits", "--samples", "20", "--cache", "calib.cache")


class Terminal:
    """A program in a pseudo-terminal of so many columns."""

    program = (sys.executable, "-m", "dlaflow")

    def __init__(self, columns, *words, **environment):
        self.screen = b""
        self.pid, self.handle = pty.fork()
        if self.pid == 0:
            try:
                # Wait for the size, so that nothing is laid out for another one. (pytest keeps sys.stdin for itself.)
                os.read(0, 1)
                kept = {key: value for key, value in os.environ.items() if key not in {"COLUMNS", "LINES", "NO_COLOR"}}
                os.execvpe(
                    self.program[0],
                    [*self.program, *words],
                    {**kept, "TERM": "xterm-256color", "OMP_NUM_THREADS": "1", **environment},
                )
            finally:
                os._exit(127)
        fcntl.ioctl(self.handle, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        self.settings = termios.tcgetattr(self.handle)
        os.write(self.handle, b"\n")

    def read(self, until=None, seconds=60):
        """Read until the program ends, or until its screen holds `until`; the text so far."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and (until is None or until not in self.screen):
            ready, _, _ = select.select([self.handle], [], [], 0.1)
            if not ready:
                continue
            try:
                part = os.read(self.handle, 65536)
            except OSError:
                break
            if not part:
                break
            self.screen += part
        return self.screen.decode().removeprefix("\r\n")

    def type(self, text):
        os.write(self.handle, text.encode())

    def interrupt(self):
        os.write(self.handle, b"\x03")

    def finish(self):
        """The exit code and all that was shown; a program that hangs is ended."""
        text = self.read()
        for _ in range(300):
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self.handle)
                return os.waitstatus_to_exitcode(status), text
            time.sleep(0.1)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.handle)
        pytest.fail("the program did not end")


def lines_of(text):
    return [ESCAPE.sub("", line) for line in re.split(r"[\r\n]+", text)]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a small model, one whose calibration takes long, and a placement."""
    monkeypatch.chdir(tmp_path)
    write_model("model.onnx", channels=8, stride=4)
    write_model("slow.onnx", channels=96, stride=1)
    assert main(["check", "model.onnx", "--json", "placement.json", "--quiet"]) == 0
    return tmp_path


def write_model(path, channels, stride):
    rng = np.random.default_rng(0)
    weights = {"w": (channels, 3, 3, 3), "v": (channels, channels, 3, 3), "f": (10, channels), "b": (10,)}
    nodes = [
        helper.make_node("Conv", ["input", "w"], ["c"], pads=[1, 1, 1, 1], strides=[stride, stride], name="/first"),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Conv", ["r", "v"], ["d"], pads=[1, 1, 1, 1], name="/second"),
        helper.make_node("GlobalAveragePool", ["d"], ["p"], name="/pool"),
        helper.make_node("Flatten", ["p"], ["t"]),
        helper.make_node("Gemm", ["t", "f", "b"], ["output"], transB=1, name="/fc"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 32, 32])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(rng.normal(size=size).astype(np.float32), name) for name, size in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


@pytest.mark.parametrize("columns", [40, 80, 200])
@pytest.mark.parametrize(
    "words",
    [
        ("check", "--help"),
        ("check", "model.onnx"),
        ("estimate", "model.onnx"),
        ("boards",),
        ("explain", "DLA250"),
        ("fix", "model.onnx", "--dry-run"),
        ("compare", "placement.json", "placement.json"),
        ("evaluate", "model.onnx", "--data", "digits", "--samples", "50"),
        SHORT,
    ],
    ids=lambda words: words[0] if isinstance(words, tuple) else words,
)
def test_everything_fits_the_width(place, columns, words):
    code, text = Terminal(columns, *words).finish()
    assert code == 0, text
    longest = max(lines_of(text), key=len)
    assert 20 < len(longest) <= columns, longest


@pytest.mark.parametrize(
    ("words", "whole"),
    [
        (("doctor",), ["estimate,", "calibrate,", "TensorRT's"]),
        (("evaluate", "model.onnx", "--data", "digits", "--samples", "50"), ["95% interval", "images/s here"]),
        (("evaluate", "model.onnx", "slow.onnx", "--data", "images.npy"), ["relative error", "slow.onnx"]),
    ],
    ids=["doctor", "top-1", "agreement"],
)
def test_a_table_too_wide_for_the_terminal_cuts_no_word(place, words, whole):
    np.save("images.npy", np.random.default_rng(0).random((4, 3, 32, 32), np.float32))
    code, text = Terminal(40, *words).finish()
    assert code == 0
    lines = [line.rstrip() for line in lines_of(text) if "left" not in line]  # those with it are bars of progress
    assert not any("…" in line for line in lines)
    assert all(any(word in line for line in lines) for word in whole)
    assert max(map(len, lines)) <= 40


def test_commands_to_paste_are_never_broken(place):
    words = ("build", "model.onnx", "--out", "m.engine", "--tensorrt", "8.5.2", "--batch", "1", "--print-command")
    _, text = Terminal(80, *words).finish()
    assert any(line.startswith("trtexec ") and len(line) > 80 for line in lines_of(text))


def test_a_pipe_gets_whole_lines(place):
    command = [sys.executable, "-m", "dlaflow", "estimate", "model.onnx"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "40"})
    assert any(len(line) > 80 for line in done.stdout.splitlines())
    assert "\x1b" not in done.stdout


def test_colours_stop_with_no_color(place):
    bright = Terminal(80, *SHORT).finish()[1]
    plain = Terminal(80, *SHORT, NO_COLOR="1").finish()[1]
    assert COLOUR.search(bright), "the progress bar is coloured"
    assert not COLOUR.search(plain)
    assert "Wrote calib.cache" in plain


@pytest.mark.parametrize(
    "words",
    [
        (*SHORT, "--quiet"),
        ("check", "model.onnx", "-q"),
        ("estimate", "model.onnx", "--quiet"),
        ("evaluate", "model.onnx", "--data", "digits", "--samples", "20", "-q"),
        ("compare", "placement.json", "-q"),
    ],
    ids=lambda words: words[0],
)
def test_quiet_is_silent(place, words):
    assert Terminal(80, *words).finish() == (0, "")


@pytest.mark.parametrize(("typed", "code"), [("\n", 0), ("y\n", 0), ("n\n", 2), ("\x03", 130), ("\x04", 2)])
def test_the_only_model_here_is_offered(tmp_path, monkeypatch, typed, code):
    monkeypatch.chdir(tmp_path)
    write_model("the model.onnx", channels=4, stride=4)
    terminal = Terminal(80, "run")
    assert "dlaflow run 'the model.onnx' [Y/n] " in terminal.read(until=b"[Y/n] ")
    terminal.type(typed)
    ended, text = terminal.finish()
    assert ended == code, text
    assert len([*Path("runs").glob("*/report.html")]) == (code == 0)
    assert "Traceback" not in text


def test_ctrl_c_leaves_a_clean_terminal_and_whole_files(place):
    words = ("calibrate", "slow.onnx", "--data", "digits", "--samples", "1200", "--cache", "slow.cache")
    terminal = Terminal(80, *words)
    shown = terminal.read(until=b"images")
    time.sleep(0.5)
    terminal.interrupt()
    code, text = terminal.finish()
    assert "images" in shown, "the bar was there before the interrupt"
    assert code == 130, text
    assert "dlaflow: interrupted" in text
    assert "Traceback" not in text
    assert text.rfind("\x1b[?25h") >= text.rfind("\x1b[?25l"), "the cursor is shown again"
    assert not list(place.glob(".*.tmp"))
    assert not (place / "slow.cache").exists()


def test_ctrl_c_leaves_the_terminals_settings(place):
    terminal = Terminal(80, "calibrate", "slow.onnx", "--data", "digits", "--samples", "1200", "--qdq", "slow8.onnx")
    terminal.read(until=b"images")
    terminal.interrupt()
    terminal.read()
    assert termios.tcgetattr(terminal.handle)[3] == terminal.settings[3], "echo and line mode as before"
    assert terminal.finish()[0] == 130


def test_a_bar_tells_the_time_left(place):
    terminal = Terminal(100, *SHORT)
    code, text = terminal.finish()
    assert code == 0
    assert re.search(r"left\s+\d+:\d\d:\d\d", ESCAPE.sub("", text))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("chek model.onnx", "Did you mean 'check'?"),
        ("check model.onnx --bord x", "Did you mean --board? See `dlaflow check --help`."),
        ("check model.onnx --board orin-nx-16g", "Did you mean 'orin-nx-16gb'?"),
        ("check model.onnx --fail-on falback", 'Did you mean "fallback"? See'),
        ("explain DLA25", "Did you mean"),
        ("check model.onnx b.onnx", "`dlaflow check` does not know what to do with: b.onnx."),
        ("check", "requires an argument. See `dlaflow check --help`."),
        ("evaluate model.onnx --data digts", "--data digts"),
    ],
)
def test_mistakes_get_one_line_and_a_guess(place, capsys, words, said):
    assert main(words.split()) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.err.count("\n") == 1
    assert ".." not in shown.err.replace("...", "")
    assert "?." not in shown.err


@pytest.fixture(scope="module")
def scripts():
    """The completion scripts as the command prints them."""
    command = [sys.executable, "-m", "dlaflow", "completion"]
    return {
        shell: subprocess.run([*command, shell], capture_output=True, text=True, check=True).stdout
        for shell in ("bash", "zsh", "fish")
    }


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["che"], "check"),
        (["c"], "check calibrate cache compare completion config"),
        (["check", "--boa"], "--board"),
        (["build", "--print"], "--print-command"),
    ],
)
def test_bash_completes(scripts, typed, offered):
    words = " ".join(f"'{word}'" for word in ["dlaflow", *typed])
    code = f'{scripts["bash"]}\nCOMP_WORDS=({words}); COMP_CWORD={len(typed)}; _dlaflow; echo "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == set(offered.split())


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_every_command(scripts, shell):
    assert all(name in scripts[shell] for name in COMMANDS)


def test_fish_completes(scripts, tmp_path):
    if not shutil.which("fish"):
        pytest.skip("fish is not installed")
    (tmp_path / "dlaflow.fish").write_text(scripts["fish"])
    for typed, offered in (
        ("dlaflow che", "check"),
        ("dlaflow check --boa", "--board"),
        ("dlaflow completion z", "zsh"),
    ):
        code = f"source {tmp_path}/dlaflow.fish; complete -C '{typed}'"
        done = subprocess.run(["fish", "--no-config", "-c", code], capture_output=True, text=True, check=True)
        assert offered in [line.split("\t")[0] for line in done.stdout.splitlines()], typed


class Zsh(Terminal):
    program = ("zsh", "-f", "-i")


@pytest.mark.parametrize("loaded", ["fpath=($PWD $fpath); compinit -u -D", 'compinit -u -D; eval "$(cat _dlaflow)"'])
@pytest.mark.parametrize(
    ("typed", "completed"), [("che", "check"), ("check --boa", "check --board"), ("completion f", "completion fish")]
)
def test_zsh_completes(scripts, tmp_path, monkeypatch, loaded, typed, completed):
    """The Tab key in a real shell, as nothing else loads its completion; a function shows what the line became."""
    if not shutil.which("zsh"):
        pytest.skip("zsh is not installed")
    monkeypatch.chdir(tmp_path)
    Path("_dlaflow").write_text(scripts["zsh"])
    shell = Zsh(200, HOME=str(tmp_path))
    shell.type(f"autoload -U compinit; {loaded}; dlaflow() {{ echo \"<$*>\" }}; echo rea''dy\n")
    shell.read(until=b"ready\r\n")
    shell.type(f"dlaflow {typed}\t\nexit\n")
    code, text = shell.finish()
    assert code == 0
    assert f"<{completed}>" in text


@pytest.mark.parametrize(
    ("line", "width", "fitted"),
    [
        ("short", 10, "short"),
        ("  one two three four", 14, "  one two\n      three\n      four"),
        ("name" + " " * 6 + "aaa bbb ccc ddd eee fff ggg hhh iii jjj", 40,
         "name      aaa bbb ccc ddd eee fff ggg\n          hhh iii jjj"),
        ("x" * 30, 20, "x" * 30),
    ],
)  # fmt: skip
def test_fit(line, width, fitted):
    assert fit(line, width) == fitted


def test_fit_loses_no_word():
    text = (Path(__file__).parent.parent.parent / "README.md").read_text(encoding="utf-8")
    for line in text.splitlines():
        for width in (30, 80):
            assert fit(line, width).split() == line.split()
