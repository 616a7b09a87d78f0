"""Run a program that writes a long log: every line to a file and to a listener, with a time-out, and no orphan left.

The child runs in its own process group; a time-out, Ctrl-C, a full disk or any error of the listener ends the group.
stdout and stderr are one stream, because TensorRT puts its warnings and errors on stderr.
"""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dlaflow.errors import EnvironmentLacksError, InputError

_GRACE_SECONDS = 5.0
_LONGEST_LINE = 1 << 16


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended. `exit_code` is negative for a signal (-9: killed), as Python has it."""

    exit_code: int
    timed_out: bool
    lines: int


def run_logged(
    command: Sequence[str],
    log: Path,
    *,
    on_line: Callable[[str], None] | None = None,
    timeout: float | None = None,
) -> Outcome:
    """Run `command`, write its output to `log` as it comes and hand each line (without its end) to `on_line`.

    `timeout` is in seconds (None: none). Raises EnvironmentLacksError when the program cannot be started, InputError
    when the log cannot be written; whatever is raised meanwhile (KeyboardInterrupt too) leaves no process behind.
    """
    try:
        sink = log.open("wb", buffering=0)
    except OSError as error:
        raise InputError(f"cannot write {log}: {error.strerror}", then="Make room.") from None
    with sink:
        try:
            child = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise EnvironmentLacksError(f"cannot start {command[0]}: {error.strerror}") from None
        expired = threading.Event()
        alarm = threading.Timer(timeout, _expire, (child, expired)) if timeout else None
        if alarm:
            alarm.daemon = True
            alarm.start()
        lines = 0
        try:
            assert child.stdout is not None
            while raw := child.stdout.readline(_LONGEST_LINE):
                sink.write(raw)
                lines += 1
                if on_line:
                    on_line(raw.decode("utf-8", errors="replace").rstrip("\r\n"))
            child.wait()
        except OSError as error:
            if stat.S_ISREG(log.lstat().st_mode):  # never a device, nor a link of the user's
                log.unlink()
            raise InputError(f"cannot write {log}: {error.strerror}", then="Make room.") from None
        finally:
            if alarm:
                alarm.cancel()
            _end(child)
    return Outcome(child.returncode, expired.is_set(), lines)


def _expire(child: subprocess.Popen[bytes], expired: threading.Event) -> None:
    expired.set()
    _signal(child, signal.SIGKILL)


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the child's group, politely first; it goes even when its leader has left."""
    _signal(child, signal.SIGTERM)
    try:
        child.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        _signal(child, signal.SIGKILL)
        child.wait()
    if child.stdout is not None:
        child.stdout.close()


def _signal(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)
