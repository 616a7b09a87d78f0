"""What ends a command: its own explanation, a limit of the machine, or a fault of dlaflow; each is one line on stderr.

A traceback helps whoever repairs dlaflow and nobody else, so it stands behind `--debug`. The last line is the
explanation in every case, and the exit code tells scripts which of the three it was.
"""

from __future__ import annotations

import os
import sys
import traceback

from dlaflow.cli.streams import STDOUT, abandon
from dlaflow.errors import EXIT_FAULT, EXIT_INTERRUPTED, EXIT_USAGE, DlaflowError
from dlaflow.visible import visible

DEBUG = "--debug"
_LONGEST = 200
"""Messages of other libraries can hold whole files; their beginning names the cause."""
_REPORT = "This is a fault of dlaflow: please report it with the command and the file"


def take_debug(arguments: list[str]) -> tuple[list[str], bool]:
    """The arguments without `--debug`, which commands take anywhere before a bare `--`, and whether it was there."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    kept = [each for each in arguments[:end] if each != DEBUG]
    return kept + arguments[end:], len(kept) < end


def end_with(error: BaseException, *, debug: bool) -> int:
    """Tell on stderr why the command ends, and return its exit code."""
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
    match error:
        case DlaflowError():
            return error.exit_code, str(error)
        case KeyboardInterrupt():
            return EXIT_INTERRUPTED, "interrupted; what was finished is kept"
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
