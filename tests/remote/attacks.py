"""A meeting of `dlaflow remote` with a hostile board behind a real sshd, and what it left: for tests and benchmarks."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import onnx

PRECIOUS = b"the user's own\n"
MODEL = """
<ir_version: 8, opset_import: ["" : 13]>
tiny (float[N, 3, 8, 8] input) => (float[N, 3, 8, 8] output) { output = Relu (input) }
"""


@dataclass
class Meeting:
    """How one mode ended: exit code (None: killed at the limit), seconds, peaks in bytes, what was left where."""

    mode: str
    code: int | None
    seconds: float
    memory: int
    disk: int
    printed: str
    outside: list[str]
    inside: dict[str, bytes]
    children: list[int]

    @property
    def traceback(self) -> bool:
        return "Traceback" in self.printed or self.code == 70


def processes_of(marker: str) -> list[int]:
    """The processes whose command line or environment holds a text."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                if marker.encode() in (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes():
                    found.append(int(entry.name))
    return found


def end_board(place: Path) -> None:
    """End what a board's silent modes left running behind the sshd."""
    for pid in processes_of(f"{place}/board.py"):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def memory_of(pid: int) -> int:
    """The most bytes that a process has held since its program began (its parent's are not its own)."""
    with suppress(OSError, StopIteration):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
    return 0


def arrange(place: Path) -> None:
    """A host's folder as it is before each mode."""
    for name in ("out", "out.moved", "victim", "tmp"):
        path = place / name
        path.unlink() if path.is_symlink() else shutil.rmtree(path, ignore_errors=True)
        if name != "out.moved":
            path.mkdir()
    (place / "victim" / "precious").write_bytes(PRECIOUS)


def save_model(path: Path) -> None:
    """A model that is more than pipes and ssh hold on their way."""
    model = onnx.parser.parse_model(MODEL)
    model.doc_string = "x" * (8 << 20)
    onnx.save(model, path)


def words_for(command: str, place: Path, job: str) -> list[str]:
    """The command line after `dlaflow remote BOARD`."""
    reaching = ["--ssh-config", str(place / "sshd" / "ssh_config"), "--reconnect", "3"]
    own = {
        "attach": [job, "--out", str(place / "out")],
        "build": [str(place / "tiny.onnx"), "--out", str(place / "out" / "m.engine"), "--tensorrt", "8.5.2",
                  "--precision", "fp16"],
    }  # fmt: skip
    return [command, *own.get(command, []), *reaching]


def meet(mode: str, place: Path, words: list[str], limit: float = 120.0) -> Meeting:
    """Let the host meet a mode. All that it writes lies in `place`; its own temporary files in `place`/tmp."""
    (place / "mode").write_text(mode)
    before = tree(place)
    marker = f"DLAFLOW_MEETING={os.getpid()}.{time.monotonic_ns()}"
    name, _, value = marker.partition("=")
    started = time.monotonic()
    with (place / "printed").open("wb") as printed:
        child = subprocess.Popen(
            [sys.executable, "-m", "dlaflow", "remote", "board", *words],
            stdin=subprocess.DEVNULL, stdout=printed, stderr=subprocess.STDOUT, start_new_session=True,
            env={**os.environ, "TMPDIR": str(place / "tmp"), name: value},
        )  # fmt: skip
        alarm = threading.Timer(limit, os.kill, (child.pid, signal.SIGKILL))
        alarm.start()
        peak, memory = 0, 0
        while child.poll() is None:
            peak, memory = max(peak, size_of(place)), max(memory, memory_of(child.pid))
            time.sleep(0.03)
        alarm.cancel()
    seconds = time.monotonic() - started
    left = processes_of(marker)
    ended = time.monotonic() + 5
    while left and time.monotonic() < ended:
        time.sleep(0.05)
        left = processes_of(marker)
    after = tree(place)
    own = {"printed", "mode", "seen.log"}
    outside = sorted(
        path
        for path in set(before) | set(after)
        if before.get(path) != after.get(path) and path.split("/")[0] not in {*own, "out", "out.moved", "sshd"}
    )
    folder = next(path for path in (place / "out.moved", place / "out") if path.exists())
    inside = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and not path.is_symlink()}
    return Meeting(
        mode=mode,
        code=None if child.returncode == -signal.SIGKILL else child.returncode,
        seconds=seconds,
        memory=memory,
        disk=max(peak, size_of(place)) - sum(size for size, _ in before.values()),
        printed=(place / "printed").read_text(errors="replace"),
        outside=outside,
        inside=inside,
        children=left,
    )


def tree(place: Path) -> dict[str, tuple[int, bytes]]:
    """Every file and link below a folder: its size and what tells whether it changed. Sockets are no files."""
    found = {}
    for path in place.rglob("*"):
        with suppress(OSError):
            if path.is_symlink():
                found[str(path.relative_to(place))] = (0, os.readlink(path).encode())
            elif path.is_file():
                data = path.read_bytes() if path.stat().st_size < 1 << 20 else b""
                found[str(path.relative_to(place))] = (path.stat().st_size, data)
    return found


def size_of(place: Path) -> int:
    """Bytes in a folder's files, those without a name too where it is a file system of its own."""
    if os.path.ismount(place):
        disk = os.statvfs(place)
        return (disk.f_blocks - disk.f_bfree) * disk.f_frsize
    total = 0
    for folder, _, names in os.walk(place):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_size
    return total
