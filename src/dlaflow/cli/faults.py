"""What ends a command: its own explanation, a limit of the machine, or a fault of dlaflow; each is one line on stderr.

A traceback helps whoever repairs dlaflow and nobody else, so it stands behind `--debug`. The last line is the
explanation in every case, and the exit code tells scripts which of the three it was.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ExtensionFileLoader
from types import FrameType

from dlaflow.cli.streams import STDOUT, abandon
from dlaflow.errors import EXIT_FAULT, EXIT_INTERRUPTED, EXIT_USAGE, DlaflowError, EnvironmentLacksError
from dlaflow.visible import visible

DEBUG = "--debug"
_KILLED = 128
"""What a shell adds to the number of the signal that ended a program."""
_LONGEST = 200
"""Messages of other libraries can hold whole files; their beginning names the cause."""
_REPORT = "This is a fault of dlaflow: please report it with the command and the file"

_SOON_S = 0.02
"""Seconds in which a callback is over, and mostly the loading of a module."""
_LOADING = frozenset({"create_module", "exec_module"})
"""Methods of the loader of modules in C."""

_ARRIVED: list[KeyboardInterrupt] = []
"""The signals that were to end the command."""


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP: the same clean end as that of Ctrl-C, with the exit code that a shell would tell."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.name = signal.Signals(number).name
        self.exit_code = _KILLED + number


@contextmanager
def heeding_signals(*, whole_process: bool) -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the work as Ctrl-C does, unless whoever started the process chose otherwise.

    What arrives after the work of a `whole_process` ends it at once, with no word from those who tidy up.
    """
    _ARRIVED.clear()
    before = {}
    hook = sys.unraisablehook
    if threading.current_thread() is threading.main_thread():
        for number in filter(None, (getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP"))):
            ours = (signal.SIG_DFL, signal.default_int_handler)
            if signal.getsignal(number) in ours or (whole_process and signal.getsignal(number) is not signal.SIG_IGN):
                before[number] = signal.signal(number, _end)
        if whole_process and hasattr(signal, "pthread_kill"):
            sys.unraisablehook = _again
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if whole_process else handler)


def _end(number: int, frame: FrameType | None) -> None:
    if _loads_c(frame):
        _once_more(number)
        return
    _ARRIVED.append(KeyboardInterrupt() if number == signal.SIGINT else Terminated(number))
    raise _ARRIVED[-1]


def _again(lost: sys.UnraisableHookArgs) -> None:
    """A signal that fell where Python raises nothing (a callback of its lock of imports, `__del__`) comes once more."""
    if isinstance(lost.exc_value, KeyboardInterrupt):
        _once_more(signal.SIGINT)
    else:
        sys.__unraisablehook__(lost)


def _loads_c(frame: FrameType | None) -> bool:
    """Whether a module in C is being loaded: not all of them bear an exception there (onnx's ends the process)."""
    while frame is not None and hasattr(signal, "pthread_kill"):
        if frame.f_code.co_name in _LOADING and isinstance(frame.f_locals.get("self"), ExtensionFileLoader):
            return True
        frame = frame.f_back
    return False


def _once_more(number: int) -> None:
    threading.Timer(_SOON_S, signal.pthread_kill, [threading.main_thread().ident, number]).start()


def take_debug(arguments: list[str]) -> tuple[list[str], bool]:
    """The arguments without `--debug`, which commands take anywhere before a bare `--`, and whether it was there."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    kept = [each for each in arguments[:end] if each != DEBUG]
    return kept + arguments[end:], len(kept) < end


def end_with(error: BaseException, *, debug: bool) -> int:
    """Tell on stderr why the command ends, and return its exit code."""
    if _ARRIVED and (type(error) is EnvironmentLacksError or not isinstance(error, DlaflowError)):
        error = _ARRIVED[0]  # a package whose import it fell into calls itself broken
    code, line = explain(error)
    if debug and line:
        _complain("".join(traceback.format_exception(error)))
    if isinstance(error, OSError):
        abandon(sys.stdout)
    if line:
        _complain(f"dlaflow: {visible(line)}\n")
    return code


def explain(error: BaseException) -> tuple[int, str]:
    """The exit code and the line that an exception ends the command with; no line for a reader who went away."""
    if isinstance(error, ImportError) and isinstance(error.__cause__, (MemoryError, OSError)):
        error = error.__cause__  # what kept a part of dlaflow from loading
    match error:
        case DlaflowError():
            return error.exit_code, str(error)
        case Terminated():
            return error.exit_code, f"ended by {error.name}{_kept()}"
        case KeyboardInterrupt():
            return EXIT_INTERRUPTED, f"interrupted{_kept()}"
        case BrokenPipeError():
            return EXIT_USAGE, ""
        case MemoryError():
            return EXIT_USAGE, "out of memory: the input asks for more than this process may take. " + (
                "Free memory, raise the limit (`ulimit -v`), or take a smaller model or batch."
            )
        case RecursionError():
            return EXIT_USAGE, "the input is nested more deeply than Python's stack goes: expected a flatter file. " + (
                f"`{DEBUG}` shows where."
            )
        case OSError():
            return EXIT_USAGE, _of_the_system(error)
    return EXIT_FAULT, f"{type(error).__name__}: {_shortened(str(error))}. {_REPORT}; `{DEBUG}` shows the traceback."


def _kept() -> str:
    from dlaflow.files import anything_kept

    return "; what was finished is kept" if anything_kept() else ""


def _of_the_system(error: OSError) -> str:
    """A refusal of the operating system, with the file where it names one."""
    reason = _shortened(error.strerror or str(error) or type(error).__name__)
    if error.filename == STDOUT:
        return f"cannot write stdout: {reason}. Check the free space, and where the output goes."
    if error.filename is not None:
        return f"cannot use {_shortened(os.fsdecode(error.filename))}: {reason}. Check the path and the free space."
    return f"cannot read or write: {reason}. Check the free space."


def _shortened(message: str) -> str:
    """One line of at most `_LONGEST` characters."""
    shown = visible(" ".join(message.split()).rstrip("."))
    return shown if len(shown) <= _LONGEST else shown[:_LONGEST] + "..."


def _complain(text: str) -> None:
    """Write to stderr; where even that is not possible, the exit code has to do."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        abandon(sys.stderr)
