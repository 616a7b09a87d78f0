"""Every output of every command on a full disk, a read-only folder, a folder's name, devices, a pipe and a link.

    python benchmarks/full_disk.py [--only check,fix] [--slow]

The outputs come from the commands' own types (tests/cli/every_output.py), so a new option is in the table by itself.
Each cell is a process of its own. Wanted is

    full, read-only, folder, /dev/full   exit 2, one line that names the file, nothing half-written and no temporary
                                         file, an older file untouched
    /dev/null, pipe, link                exit 0; the device and the pipe are still what they were, the link still leads
                                         to its target, which holds the new content

The disk is a tmpfs of 8 MB with no byte left. The devices are made here with mknod (1 3 and 1 7): the machine's own
are never named. Needs root for mount and mknod. Commands on boards (`remote`) are asked only what is told before a
board is: read-only and folder. --slow adds the commands that train. Exits with 1 when a cell is not as wanted.
"""

from __future__ import annotations

import argparse
import os
import stat
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.cli.every_output import Case, cases, make_inputs, make_weights  # noqa: E402

SLOW = ("train", "run", "sweep")
READ_BACK = {("build", "--out"), ("train", "--out"), ("cache from-qdq", "--plain")}
"""Outputs that are read again, so that a stream is refused."""
MB = 1 << 20


def run(case: Case, target: Path, place: Path) -> tuple[int, list[str]]:
    """Exit code and lines of the command that writes to `target`."""
    done = subprocess.run(
        [sys.executable, "-m", "dlaflow", *case.words(str(target)), *EXTRA.get(case.command, [])],
        cwd=place, capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip
    return done.returncode, done.stderr.splitlines()


EXTRA = {"run": ["--out", "out"], "sweep": ["--out", "out"]}


def refused(case: Case, target: Path, place: Path) -> str:
    """What is wrong with a refusal; nothing: it is one line with the file's name."""
    code, lines = run(case, target, place)
    ours = [line for line in lines if line.startswith("dlaflow: ")]
    named = any(str(target) in line for line in ours)
    if code == 2 and len(ours) == 1 and named and not any("Traceback" in line for line in lines):
        return ""
    return f"exit {code}, {lines[-1:]}"


def on_full_disk(case: Case, disks: Path, place: Path) -> str:
    """A new file and an old one."""
    folder = disks / "full"
    (place / "old").write_text("old")
    problem = refused(case, folder / "new", place) or refused(case, folder / "old", place)
    if (folder / "old").read_text() != "old" or sorted(each.name for each in folder.iterdir()) != ["filler", "old"]:
        return f"left {[each.name for each in folder.iterdir()]}"
    return problem


def on_read_only(case: Case, disks: Path, place: Path) -> str:
    return refused(case, disks / "ro" / "new", place)


def on_folder(case: Case, disks: Path, place: Path) -> str:
    return refused(case, disks, place)


def on_device(case: Case, disks: Path, place: Path, minor: int) -> str:
    """A device of our own."""
    node = place / f"device-{minor}"
    os.mknod(node, stat.S_IFCHR | 0o666, os.makedev(1, minor))
    code, lines = run(case, node, place)
    if not stat.S_ISCHR(node.lstat().st_mode):
        return "no device any more"
    if (case.command, case.option) in READ_BACK or minor == 7:
        empty = case.option == "--layer-precisions" and not code
        return "" if empty or (code == 2 and str(node) in lines[-1]) else f"exit {code}, {lines[-1:]}"
    return "" if code == 0 else f"exit {code}, {lines[-1:]}"


def on_pipe(case: Case, disks: Path, place: Path) -> str:
    """A FIFO with a reader."""
    pipe, got = place / "pipe", [b""]
    os.mkfifo(pipe)
    handle = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(handle, True)
    reader = threading.Thread(target=lambda: got.append(read_all(handle)))
    keep = os.open(pipe, os.O_WRONLY)  # the reader must not end before the command has begun
    reader.start()
    code, lines = run(case, pipe, place)
    os.close(keep)
    reader.join()
    if not stat.S_ISFIFO(pipe.lstat().st_mode):
        return "no pipe any more"
    if (case.command, case.option) in READ_BACK:
        return "" if code == 2 else f"exit {code}"
    return "" if code == 0 and (got[-1] or case.option == "--layer-precisions") else f"exit {code}, {lines[-1:]}"


def read_all(handle: int) -> bytes:
    with os.fdopen(handle, "rb") as file:
        return file.read()


def on_link(case: Case, disks: Path, place: Path) -> str:
    """A link to a file elsewhere."""
    target = place / "far" / ("real.safetensors" if case.command == "train" else "real")
    target.parent.mkdir()
    target.write_text("old")
    link = place / ("link.safetensors" if case.command == "train" else "link")
    link.symlink_to(target)
    code, lines = run(case, link, place)
    if not link.is_symlink() or target.read_bytes() == b"old":
        return f"link {link.is_symlink()}, exit {code}, {lines[-1:]}"
    return "" if code == 0 else f"exit {code}, {lines[-1:]}"


SITUATIONS: dict[str, Callable[[Case, Path, Path], str]] = {
    "full": on_full_disk,
    "read-only": on_read_only,
    "folder": on_folder,
    "/dev/full": lambda case, disks, place: on_device(case, disks, place, 7),
    "/dev/null": lambda case, disks, place: on_device(case, disks, place, 3),
    "pipe": on_pipe,
    "link": on_link,
}


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def row(case: Case, disks: Path, inputs: Path) -> list[str]:
    """The cells of one output."""
    found = []
    for name, situation in SITUATIONS.items():
        if case.command.startswith("remote") and name not in ("read-only", "folder"):
            found.append("")
            continue
        with tempfile.TemporaryDirectory(dir=disks) as folder:
            place = Path(folder)
            for each in inputs.iterdir():
                (place / each.name).symlink_to(each)
            problem = situation(case, disks, place)
            left = [path.name for path in place.rglob("*.tmp")]
            found.append(problem or (f"left {left}" if left else "ok"))
    return found


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="")
    parser.add_argument("--slow", action="store_true")
    options = parser.parse_args()
    wanted = [
        case
        for case in cases()
        if (not options.only or case.command in options.only.split(",")) and (options.slow or case.command not in SLOW)
    ]
    with tempfile.TemporaryDirectory(prefix="dlaflow-disks-") as folder:
        disks = Path(folder)
        inputs = disks / "inputs"
        inputs.mkdir()
        make_inputs(inputs)
        before = Path.cwd()
        os.chdir(inputs)  # a network of one's own is looked for there
        make_weights(inputs)
        os.chdir(before)
        with mounted(disks / "full", "size=8m") as full, mounted(disks / "ro", "ro"):
            (full / "old").write_text("old")
            with suppress(OSError), (full / "filler").open("wb", buffering=0) as file:
                while True:
                    file.write(b"x" * MB)
            print("| output | " + " | ".join(SITUATIONS) + " |\n|---" + "|---" * len(SITUATIONS) + "|")
            counts: Counter[str] = Counter()
            with ThreadPoolExecutor(2) as pool:
                for case, cells in zip(wanted, pool.map(lambda one: row(one, disks, inputs), wanted), strict=True):
                    counts.update("ok" if cell == "ok" else "bad" for cell in cells if cell)
                    print(f"| {case} | " + " | ".join(cells) + " |", flush=True)
    print(f"\n{len(wanted)} outputs, {counts['ok']} cells as wanted, {counts['bad']} not")
    return int(counts["bad"] > 0)


if __name__ == "__main__":
    sys.exit(main())
