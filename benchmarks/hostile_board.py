"""All modes of a hostile board, the forced command of a real sshd, against `dlaflow remote`: what gets in, what ends.

For each mode the table tells the command that met it, its exit code (killed: it did not end within --limit), seconds,
peak memory of the dlaflow process, peak of the disk that the host's side took (files without a name too, where this may
mount a tmpfs), files made or changed outside the folder that the user named, processes left behind, and tracebacks.

    python benchmarks/hostile_board.py [--modes MODE ...] [--limit 120]
    python benchmarks/hostile_board.py --board OTHER.py

`--board` takes another board of the same kind: a program that reads its mode from the file `mode` beside it and tells
the modes apart by `mode=="NAME"`. Exits with 1 when anything got out of the folder, was left behind, fell with a
traceback or did not end. Needs sshd and ssh.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType

from faults import load_tests

ROOT = Path(__file__).resolve().parent.parent
DISK = "size=1g"
BUILDS = {"have_lie", "busy_esc", "rsync", "lines_esc"}
"""Modes of another board that only a build meets; `facts` modes are met by doctor."""
LASTING = re.compile(r"follow_(forever|alive|rises)")
"""Modes that look like a job that goes on: the user's --timeout ends them."""


def plan(board: Path | None, own: ModuleType) -> list[tuple[str, str, str]]:
    """Mode, command and job of each meeting."""
    if board is None:
        return [(mode, command, own.ID) for mode, (command, _) in own.MODES.items()]
    text = board.read_text()
    job = re.search(r"\"id\":\s*\"([a-z]+-[0-9a-f]{12}-[0-9a-f]{8})\"", text)
    modes = dict.fromkeys(re.findall(r"mode\s*==\s*\"(\w+)\"", text))
    found = []
    for mode in modes:
        found.append((mode, "attach", job[1] if job else own.ID))
        if mode in BUILDS or "facts" in mode:
            found.append((mode, "doctor" if "facts" in mode else "build", own.ID))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--board", type=Path)
    parser.add_argument("--modes", nargs="*")
    parser.add_argument("--limit", type=float, default=120.0)
    options = parser.parse_args()
    stand_ins, attacks, own = map(load_tests, ("stand_in_board", "attacks", "hostile_board"))
    place = Path(tempfile.mkdtemp(prefix="dlaflow-hostile-"))
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", DISK, "none", place], capture_output=True).returncode == 0
    shutil.copy(options.board or own.__file__, place / "board.py")
    (place / "board.py").chmod(0o700)
    attacks.save_model(place / "tiny.onnx")
    server = stand_ins.Sshd(place / "sshd", "/usr/bin:/bin", force=f"{sys.executable} {place}/board.py")
    bad = count = 0
    slowest = memory = disk = 0.0
    print("| mode | command | exit | s | memory MB | disk MB | files outside | processes left | traceback |")
    print("|---|---|---|---|---|---|---|---|---|")
    try:
        server.make()
        server.start()
        for mode, command, job in plan(options.board, own):
            if options.modes and mode not in options.modes:
                continue
            attacks.arrange(place)
            if mode == "link_before":
                (place / "out" / "build.log").symlink_to(place / "victim" / "precious")
            words = attacks.words_for(command, place, job)
            if LASTING.match(mode):
                words += ["--timeout", "3"]
            met = attacks.meet(mode, place, words, options.limit)
            harm = bool(met.outside or met.children or met.traceback or met.code is None)
            count, bad = count + 1, bad + harm
            slowest, memory, disk = max(slowest, met.seconds), max(memory, met.memory), max(disk, met.disk)
            print(
                f"| {mode} | {command} | {'killed' if met.code is None else met.code} | {met.seconds:.1f} "
                f"| {met.memory / 1e6:.0f} | {met.disk / 1e6:.2f} | {', '.join(met.outside) or 0} "
                f"| {len(met.children)} | {'yes' if met.traceback else 'no'} |",
                flush=True,
            )
            if harm:
                print(met.printed[-2000:], file=sys.stderr)
    finally:
        server.stop()
        attacks.end_board(place)
        if mounted:
            subprocess.run(["umount", "-l", place], check=True)
        shutil.rmtree(place)
    print(
        f"\n{count} meetings, {bad} bad; at most {slowest:.0f} s, {memory / 1e6:.0f} MB of memory, "
        f"{disk / 1e6:.1f} MB of disk"
    )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
