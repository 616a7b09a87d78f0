"""Every program that dlaflow starts: in a group of its own that dies with dlaflow, its output bounded or in a file.

A guard (`guard.py`) stands between: when dlaflow is killed, even by SIGKILL, it kills the group. A time-out, Ctrl-C, a
full disk or any error of a listener ends the group too. stdout and stderr are one stream in a log, because TensorRT
puts its warnings and errors on stderr.
"""

from __future__ import annotations

import os
import selectors
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from dlaflow.errors import EnvironmentLacksError, InputError

_GUARD = Path(__file__).with_name("guard.py")
ORPHANED = signal.SIGUSR2
"""What the guard hears at the parent's death."""
_GRACE_SECONDS = 5.0
_GUARD_SECONDS = 2.0
_LONGEST_LINE = 1 << 16
_MOST_CAPTURED = 1 << 20
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended. `exit_code` is negative for a signal (-9: killed), as Python has it."""

    exit_code: int
    timed_out: bool
    lines: int


class Tail:
    """The last 64 KiB that came through a pipe, however much comes. `count` is in bytes."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._kept = b""
        self.count = 0
        os.set_blocking(pipe.fileno(), False)

    def drain(self) -> bool:
        """Take what is there; False at the pipe's end."""
        try:
            chunk = os.read(self._pipe.fileno(), _CHUNK)
        except BlockingIOError:
            return True
        self.count += len(chunk)
        self._kept = (self._kept + chunk)[-_CHUNK:]
        return bool(chunk)

    def text(self) -> str:
        """What was kept."""
        return self._kept.decode("utf-8", errors="replace").strip()


def start(
    command: Sequence[str],
    *,
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.PIPE,
    stderr: int | None = subprocess.PIPE,
    own_group: bool = True,
    cwd: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program that dies with dlaflow; `end` it whatever happens. The pid is its guard's, and its group's.

    `cwd` is its folder (None: that of dlaflow). `own_group` False leaves it with the terminal, so that it may
    ask the user; it does not hear Ctrl-C. Raises EnvironmentLacksError when it cannot be started.
    """
    errors, theirs = os.pipe()
    guarded = [sys.executable, "-I", "-S", str(_GUARD), str(os.getpid()), str(theirs), *command]
    with open(errors, "rb") as failure:
        try:
            child = subprocess.Popen(
                guarded,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                start_new_session=own_group,
                pass_fds=(theirs,),
                cwd=cwd,
            )
        except OSError as error:
            raise EnvironmentLacksError(f"cannot start {command[0]}: {error.strerror}") from None
        finally:
            os.close(theirs)
        try:
            number = failure.read()
        except BaseException:
            end(child)
            raise
    if number:
        end(child)
        raise EnvironmentLacksError(f"cannot start {command[0]}: {os.strerror(int(number))}")
    return child


def end(child: subprocess.Popen[bytes], grace: float = _GRACE_SECONDS) -> None:
    """End a program's group, politely first (`grace` in seconds); it goes even when its leader has left."""
    # The guard ends the group, and also a program without one, when it is told what the kernel would tell it.
    for number, seconds in ((signal.SIGTERM, grace), (ORPHANED, _GUARD_SECONDS), (signal.SIGKILL, None)):
        _signal(child, number)
        with suppress(subprocess.TimeoutExpired):
            child.wait(seconds)
    for pipe in (child.stdin, child.stdout, child.stderr):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()


def captured(command: Sequence[str], seconds: float) -> tuple[int, str] | None:
    """The exit code of a program and what it prints on stdout and stderr, at most 1 MiB of it.

    None where it cannot be started, does not end in time, or prints more.
    """
    ends = time.monotonic() + seconds
    try:
        child = start(command, stderr=subprocess.STDOUT)
    except EnvironmentLacksError:
        return None
    assert child.stdout is not None
    text = bytearray()
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(child.stdout, selectors.EVENT_READ)
            while selector.select(max(0.0, ends - time.monotonic())):
                chunk = os.read(child.stdout.fileno(), _CHUNK)
                text += chunk
                if not chunk:
                    code = child.wait(max(0.0, ends - time.monotonic()))
                    return code, text.decode("utf-8", errors="replace")
                if len(text) > _MOST_CAPTURED:
                    break
    except subprocess.TimeoutExpired:
        pass
    finally:
        end(child)
    return None


def run_logged(
    command: Sequence[str],
    log: Path,
    *,
    on_line: Callable[[str], None] | None = None,
    timeout: float | None = None,
    cwd: Path | None = None,
) -> Outcome:
    """Run `command`, write its output to `log` as it comes and hand each line (without its end) to `on_line`.

    `cwd` is its folder (None: that of dlaflow), `timeout` is in seconds (None: none). Raises EnvironmentLacksError
    when the program cannot be started, InputError when the log cannot be written; whatever is raised meanwhile
    (KeyboardInterrupt too) leaves no process behind.
    """
    try:
        sink = log.open("wb", buffering=0)
    except OSError as error:
        raise InputError(f"cannot write {log}: {error.strerror}", then="Make room.") from None
    with sink:
        child = start(command, stderr=subprocess.STDOUT, cwd=cwd)
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
            end(child)
    return Outcome(child.returncode, expired.is_set(), lines)


def _expire(child: subprocess.Popen[bytes], expired: threading.Event) -> None:
    expired.set()
    _signal(child, signal.SIGKILL)


def _signal(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    if number != ORPHANED:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, number)
    child.send_signal(number)
