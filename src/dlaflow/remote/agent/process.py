"""Programs of a job: each in a group of its own that dies with the worker."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from typing import IO

_PR_SET_PDEATHSIG = 1
_GRACE_SECONDS = 5.0

# Called with each new group: the worker adds itself, so that the guardian can end what the worker leaves.
announce: list[Callable[[int], None]] = []


def spawn(command: list[str], folder: str, stdout: int | IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a program in `folder`; its stderr goes with its stdout."""
    child = subprocess.Popen(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=_die_with_parent,
    )
    for notify in announce:
        notify(child.pid)
    return child


def end(child: subprocess.Popen[bytes]) -> None:
    """End a program and its group, politely first."""
    kill_group(child.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        child.wait(_GRACE_SECONDS)
    kill_group(child.pid, signal.SIGKILL)
    child.wait()


def kill_group(group: int, number: int) -> None:
    """Signal a group, which may be gone."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
