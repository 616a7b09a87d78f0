"""The private folder: its places, whole-or-absent JSON files, the lock of the board, and what the agent refuses."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from typing import Any, Dict  # noqa: UP035

# JSON of the wire; the host decodes the same into records (dlaflow.remote.records).
Record = Dict[str, Any]  # noqa: UP006

SHA = re.compile(r"[0-9a-f]{64}")
ID = re.compile(r"[a-z]+-[0-9a-f]{12}-[0-9a-f]{8}")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")

_PLACES = {
    "trtexec": ("/usr/src/tensorrt/bin/trtexec", "/usr/local/TensorRT/bin/trtexec"),
    "nsys": ("/opt/nvidia/nsight-systems/bin/nsys", "/usr/local/cuda/bin/nsys"),
    "tegrastats": ("/usr/bin/tegrastats",),
    "jetson_clocks": ("/usr/bin/jetson_clocks",),
}


class RefusedRequest(Exception):
    """A request that this agent does not serve; `code` is the kind of refusal, for the host."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def root() -> str:
    """The folder that the agent stands in."""
    return os.path.dirname(os.path.abspath(sys.argv[0]))


def place(*names: str) -> str:
    """A path in the folder."""
    return os.path.join(root(), *names)


def prepare() -> None:
    """Make the folder's parts, for this user alone."""
    os.umask(0o077)
    for name in ("store", "incoming", "jobs"):
        os.makedirs(place(name), mode=0o700, exist_ok=True)
    os.chmod(root(), 0o700)


def need(pattern: re.Pattern[str], text: object, what: str) -> str:
    """`text` when it is what it should be; else the request is refused."""
    if not isinstance(text, str) or not pattern.fullmatch(text):
        raise RefusedRequest("refused", f"not {what}: {text!r}")
    return text


def job_path(job: str, *names: str) -> str:
    """A path in a job's folder."""
    return place("jobs", need(ID, job, "a job"), *names)


def write(path: str, record: Record) -> None:
    """Write JSON, whole or not at all."""
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(record, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def read(path: str) -> Record:
    """JSON from a file; empty when it is not there."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def digest(path: str) -> str:
    """The SHA-256 of a file."""
    found = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(1 << 20), b""):
            found.update(chunk)
    return found.hexdigest()


def free_bytes() -> int:
    """What this user may still write on the folder's disk."""
    disk = os.statvfs(root())
    return disk.f_bavail * disk.f_frsize


def program(name: str) -> str:
    """The path of a program, also where JetPack puts it outside PATH."""
    for found in (shutil.which(name), *_PLACES.get(name, ())):
        if found and os.access(found, os.X_OK):
            return found
    raise RefusedRequest("missing", f"{name} is not on this board")


def ran(*command: str, seconds: float) -> tuple[int, str]:
    """The exit code of a command, and what it printed. Raises OSError or SubprocessError where it cannot end so."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=seconds,
        check=False,
    )
    return done.returncode, done.stdout.decode("utf-8", "replace")


def text_of(path: str) -> str:
    """What a file of the kernel says. Raises OSError."""
    with open(path, encoding="ascii", errors="replace") as file:
        return file.read().strip()


def take_lock() -> int | None:
    """The handle of the board's lock, or None when a job holds it. Children made by fork hold it too."""
    handle = os.open(place("lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def answer(record: Record) -> None:
    """One line of answer."""
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()
