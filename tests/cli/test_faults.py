"""What ends a command: one line on stderr and an exit code that nobody takes for findings."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.machinery import ExtensionFileLoader
from pathlib import Path
from types import ModuleType

import pytest

from dlaflow import cli, files
from dlaflow.cli import main
from dlaflow.cli.faults import explain, heeding_signals, take_debug
from dlaflow.errors import EXIT_FAULT, EnvironmentLacksError, InputError
from dlaflow.files import together, write_atomic


def run(*words: str, **how: object) -> subprocess.CompletedProcess[str]:
    """`python -m dlaflow` with these words, in a process of its own."""
    command = [sys.executable, "-m", "dlaflow", *words]
    return subprocess.run(command, text=True, stderr=subprocess.PIPE, timeout=600, check=False, **how)  # type: ignore[call-overload,no-any-return]


def _broken(error: BaseException) -> Callable[[list[str]], int]:
    def command(words: list[str]) -> int:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyError("x"), EXIT_FAULT),
        (ZeroDivisionError(), EXIT_FAULT),
        (InputError("no"), 2),
        (EnvironmentLacksError("no"), 3),
        (MemoryError(), 2),
        (RecursionError(), 2),
        (OSError(28, "No space left on device", "out.json"), 2),
        (OSError("odd"), 2),
        (KeyboardInterrupt(), 130),
    ],
)
def test_every_exception_is_one_line(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "_run", _broken(error))
    assert main(["check", "m.onnx"]) == code
    line = capsys.readouterr().err
    assert line.startswith("dlaflow: ")
    assert line.count("\n") == 1
    assert "Traceback" not in line


def test_a_fault_says_that_it_is_one_and_debug_shows_where(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "_run", _broken(IndexError("tuple index out of range")))
    main(["check", "m.onnx"])
    line = capsys.readouterr().err
    assert "IndexError: tuple index out of range. This is a fault of dlaflow: please report it" in line
    assert "`--debug` shows the traceback" in line
    main(["check", "m.onnx", "--debug"])
    shown = capsys.readouterr().err
    assert shown.startswith("Traceback (most recent call last)")
    assert shown.endswith(line)


def test_a_message_of_another_library_is_shortened_and_printable() -> None:
    _, line = explain(ValueError("first\nsecond \x1b[31mred\u202e" + "x" * 10_000))
    assert len(line) < 400
    assert line.isprintable()
    assert "first second \\x1b[31mred\\u202e" in line


HELD = """
import signal, sys, time
import dlaflow.cli.dispatch as commands
from dlaflow.cli import main
from dlaflow.files import together, write_atomic

def dispatch(argv):
    with together():
        write_atomic("out.json", "half of the answer")
        print("ready", flush=True)
        time.sleep(600)

commands.dispatch = dispatch
sys.exit(main(["check", "m.onnx"]))
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signals_end_in_one_line_and_leave_nothing(number: signal.Signals, code: int, tmp_path: Path) -> None:
    command = [sys.executable, "-c", HELD]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(number)
    _, err = process.communicate()
    assert process.returncode == code
    assert err.startswith("dlaflow: ")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_hang_up_that_was_to_be_ignored_is(tmp_path: Path) -> None:
    process = subprocess.Popen(
        ["nohup", sys.executable, "-c", HELD], cwd=tmp_path, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 143


def test_an_import_that_a_signal_broke_is_an_interruption(monkeypatch: pytest.MonkeyPatch) -> None:
    def dispatch(words: list[str]) -> int:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise EnvironmentLacksError("numpy does not load") from None
        return 0

    monkeypatch.setattr(cli, "_run", dispatch)
    assert main(["check", "m.onnx"]) == 130


def test_debug_stands_anywhere_but_behind_two_dashes() -> None:
    assert take_debug(["--debug", "check", "m"]) == (["check", "m"], True)
    assert take_debug(["check", "m", "--debug", "-q"]) == (["check", "m", "-q"], True)
    assert take_debug(["check", "--", "--debug"]) == (["check", "--", "--debug"], False)


def test_debug_is_known_to_every_command_and_told_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    for name in cli.COMMANDS:
        assert main([name, "--help", "--debug"]) == 0
    capsys.readouterr()
    assert main(["--help"]) == 0
    assert "--debug" in capsys.readouterr().out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
@pytest.mark.parametrize("words", [("boards",), ("explain", "DLA110"), ("--help",), ("check", "--help")])
def test_a_full_disk_on_stdout_is_one_line(words: tuple[str, ...]) -> None:
    with open("/dev/full", "w") as full:
        done = run(*words, stdout=full)
    assert done.returncode == 2
    assert done.stderr == (
        "dlaflow: cannot write stdout: No space left on device. Check the free space, and where the output goes.\n"
    )


@pytest.mark.parametrize("words", [("boards",), ("explain", "DLA110"), ("--help",), ("check", "--help")])
def test_a_closed_stdout_is_one_line(words: tuple[str, ...]) -> None:
    done = run(*words, preexec_fn=lambda: os.close(1))
    assert done.returncode == 2
    assert done.stderr.startswith("dlaflow: cannot write stdout: it is closed.")
    assert done.stderr.count("\n") == 1


def test_nothing_but_the_exit_code_is_left_when_stderr_is_closed_too() -> None:
    def close() -> None:
        os.close(1)
        os.close(2)

    assert run("boards", preexec_fn=close).returncode == 2
    assert run("nothing", preexec_fn=close).returncode == 2


def test_a_reader_who_goes_away_is_no_fault() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = run("boards", stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (2, "")


def test_names_outside_the_encoding_of_the_terminal_are_shown_as_escapes() -> None:
    done = run("--help", stdout=subprocess.PIPE, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
    name = os.fsdecode(b"\xff.onnx")
    done = run("check", name, stdout=subprocess.PIPE)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


INTERRUPTED_IN_C = """
import builtins, ctypes, runpy
import dlaflow.cli.dispatch as commands

def dispatch(argv):
    run = ctypes.pythonapi.PyRun_String
    run.restype, run.argtypes = ctypes.py_object, [ctypes.c_char_p, ctypes.c_int, ctypes.py_object, ctypes.py_object]
    text = b"import signal, time; signal.raise_signal(signal.SIGINT); time.sleep(60)"
    run(text, 257, {"__builtins__": builtins}, {})

commands.dispatch = dispatch
runpy.run_module("dlaflow", run_name="__main__", alter_sys=True)
"""


def test_ctrl_c_inside_a_library_ends_with_the_promised_code(tmp_path: Path) -> None:
    """Python would end by the signal, as it takes a Ctrl-C in code that C runs for one that nobody caught."""
    (tmp_path / "interrupted.py").write_text(INTERRUPTED_IN_C)
    ended = subprocess.run(
        [sys.executable, "-m", "interrupted", "check", "m.onnx"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (130, "dlaflow: interrupted\n")


INTERRUPTED_WHERE_NOTHING_IS_RAISED = """
import runpy, signal, time, weakref
import dlaflow.cli.dispatch as commands

class Held: pass

def dispatch(argv):
    held = Held()
    watch = weakref.ref(held, lambda _: signal.raise_signal(signal.SIGINT))
    del held
    time.sleep(60)

commands.dispatch = dispatch
runpy.run_module("dlaflow", run_name="__main__", alter_sys=True)
"""


def test_ctrl_c_in_a_callback_is_not_lost(tmp_path: Path) -> None:
    """Python's lock of imports has such a callback: a Ctrl-C there would be printed as ignored, and be."""
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_WHERE_NOTHING_IS_RAISED, "check"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=50,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (130, "dlaflow: interrupted\n")


def test_ctrl_c_waits_until_a_module_in_c_has_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raised inside, it ends some of them in a segmentation fault."""
    loaded = []

    def load(module: ModuleType) -> None:
        signal.raise_signal(signal.SIGINT)
        loaded.append(module)

    def work() -> None:
        ExtensionFileLoader("held", "held.so").exec_module(ModuleType("held"))
        time.sleep(60)

    monkeypatch.setattr("_imp.exec_dynamic", load)
    with heeding_signals(whole_process=False), pytest.raises(KeyboardInterrupt):
        work()
    assert loaded


@pytest.mark.parametrize("module", ["dlaflow.errors", "cyclopts", "msgspec", "numpy", "onnx"])
def test_ctrl_c_while_modules_load_is_one_line_at_most(module: str, tmp_path: Path) -> None:
    """A real process, which tells each module that it has loaded; the signal comes with the next one under way."""
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "dlaflow", "check", "m.onnx"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if re.search(rf"\| +{re.escape(module)}(\.|$)", line.rstrip()):
            break
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    said = [line for line in rest.splitlines() if not line.startswith("import time:")]
    assert process.returncode == 130
    assert said in ([], ["dlaflow: interrupted"])


def test_what_was_finished_is_told_where_something_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_PLACED", set())
    error = KeyboardInterrupt()
    assert explain(error) == (130, "interrupted")
    with suppress(KeyboardInterrupt), together():
        write_atomic(tmp_path / "gone", "x")
        raise error
    assert explain(error) == (130, "interrupted")
    write_atomic(tmp_path / "kept", "x")
    assert explain(error) == (130, "interrupted; what was finished is kept")
    (tmp_path / "kept").unlink()
    assert explain(error) == (130, "interrupted")


def test_a_part_that_found_no_memory_is_no_fault_of_ours() -> None:
    error = ImportError("cannot import")
    error.__cause__ = MemoryError()
    assert explain(error)[0] == 2


def test_an_error_quotes_no_whole_file() -> None:
    line = str(InputError("no layer of this model", received="(" * 5_000_000, then="Give the other file."))
    assert len(line) < 3000
    assert line.endswith("Give the other file.")


@pytest.mark.parametrize("columns", ["0", "1", "99999999999"])
def test_help_ends_whatever_the_width_of_the_terminal(columns: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dlaflow", "boards", "--help"],
        env={**os.environ, "COLUMNS": columns},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "List the boards" in done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are bytes there")
def test_a_model_whose_name_is_no_utf8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import onnx

    model = tmp_path / os.fsdecode(b"\xffz.onnx")
    text = '<ir_version: 8, opset_import: ["" : 17]> g (float[1,8,4,4] x) => (float[1,8,4,4] y) { y = Relu (x) }'
    model.write_bytes(onnx.parser.parse_model(text).SerializeToString())
    outputs = [f"--{kind}={tmp_path / kind}" for kind in ("html", "sarif", "json", "model-explorer")]
    assert main(["check", str(model), *outputs]) == 0, capsys.readouterr().err
    assert all((tmp_path / kind).stat().st_size for kind in ("html", "sarif", "json", "model-explorer"))
