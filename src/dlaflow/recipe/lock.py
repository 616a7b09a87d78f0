"""Two runs never share a folder: the second one is told who is there."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dlaflow.errors import InputError

_POLL = 0.1
_LONGEST = 32
"""Bytes of a lock file: a process number in a line."""


@contextmanager
def locked(folder: Path, wait: float = 0.0) -> Iterator[None]:
    """Hold the folder's lock. The system drops it when the process ends, however it ends.

    Raises InputError when another run still holds it after `wait` seconds or the folder cannot be written.
    """
    path = folder / ".lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = _open(path)
    except OSError as error:
        raise InputError(
            f"cannot use the folder {folder}: {error.strerror}", then="Choose another with --out."
        ) from None
    try:
        until = time.monotonic() + wait
        while not (taken := _take(handle)) and time.monotonic() < until:
            time.sleep(_POLL)
        if not taken:
            owner = os.pread(handle, _LONGEST, 1).decode(errors="replace").strip() if hasattr(os, "pread") else ""
            raise InputError(
                f"another run works in {folder}" + (f" (process {owner})" if owner else ""),
                then="Wait for it, or choose another folder with --out.",
            )
        os.ftruncate(handle, 0)
        os.lseek(handle, 0, os.SEEK_SET)
        os.write(handle, f" {os.getpid()}\n".encode())
        yield
    finally:
        os.close(handle)


def _open(path: Path) -> int:
    """The lock file, which is ours alone: what a link leads to would be written over."""
    if path.is_symlink():
        raise _not_ours(path)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), 0o644)
    found = os.fstat(handle)
    content = os.pread(handle, _LONGEST + 1, 0).strip() if hasattr(os, "pread") else b""
    if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and (not content or content.isdigit()):
        return handle
    os.close(handle)
    raise _not_ours(path)


def _not_ours(path: Path) -> InputError:
    return InputError(
        f"{path} is no lock of dlaflow's", expected="a plain file with a number", then="Choose another with --out."
    )


def _take(handle: int) -> bool:
    """Lock the first byte; closing the handle gives it back."""
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False
