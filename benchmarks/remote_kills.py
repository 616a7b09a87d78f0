"""Random kills of `remote build` (a stand-in board behind a real sshd) and of `build` (its trtexec, here).

Each round starts one of them on a new model and, at a random moment, sends SIGKILL, SIGTERM or SIGINT to dlaflow alone.
Then no process that it started may be left, the engine is whole or absent (it is a function of the model), and the same
command again (with --attach on the board, where the job goes on) must finish with the whole engine. Half-written files
under temporary names are counted too; only SIGKILL may leave any.

    python benchmarks/remote_kills.py [--rounds 30] [--seed 1]

Needs sshd and ssh. Exits with 1 when anything of that does not hold. `rows` is for a benchmark that kills more.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
from faults import load_tests

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
COMMANDS = ("remote build", "build")
LONGEST = 6.0
"""Seconds after the start: the whole command takes about four on two cores."""
LIMIT = 120.0


@dataclass(frozen=True)
class Kill:
    """One round: what was killed how and when, how it ended, and what was wrong afterwards."""

    command: str
    signal: str
    seconds: float
    code: int
    problems: tuple[str, ...]
    temporary: int


def rows(rounds: int, seed: int = 1) -> Iterator[Kill]:
    """So many kills, one after the other."""
    chance = random.Random(seed)
    stand_ins, attacks = load_tests("stand_in_board"), load_tests("attacks")
    with tempfile.TemporaryDirectory(prefix="dlaflow-kills-") as name:
        place = Path(name)
        board = stand_ins.make_board(place / "board")
        board.setting("seconds", 1.0)
        server = stand_ins.Sshd(place / "sshd", board.path)
        server.make()
        server.start()
        try:
            for number in range(rounds):
                folder = place / str(number)
                folder.mkdir()
                model = onnx.parser.parse_model(attacks.MODEL)
                model.doc_string = f"{seed}.{number}"
                onnx.save(model, folder / "m.onnx")
                command, kind = COMMANDS[number % len(COMMANDS)], SIGNALS[number // len(COMMANDS) % len(SIGNALS)]
                yield _round(command, kind, folder, (place, board, attacks), chance.uniform(0.1, LONGEST))
        finally:
            server.stop()


def _round(command, kind, folder, scene, seconds) -> Kill:
    place, board, attacks = scene
    options = ["--tensorrt", "8.5.2", "--precision", "fp16", "--out", str(folder / "m.engine")]
    words = ["build", str(folder / "m.onnx"), *options, "--board", "agx-orin-64gb"]
    again = words
    if command == "remote build":
        reaching = ["--ssh-config", str(place / "sshd" / "ssh_config")]
        root = f"[[board]]\nhost = 'board'\nroot = '{board.root}'\nssh_config = '{reaching[1]}'\n"
        (place / "boards.toml").write_text(root)
        words = ["remote", str(place / "boards.toml"), "build", str(folder / "m.onnx"), *options]
        again = [*words, "--attach"]
    marker = f"{folder}-{time.monotonic_ns()}"
    environment = {**os.environ, "PATH": f"{board.programs}:{os.environ['PATH']}", "DLAFLOW_KILL": marker}
    process = subprocess.Popen(
        [sys.executable, "-m", "dlaflow", *words], env=environment, stdin=subprocess.DEVNULL,
        stdout=(folder / "out").open("wb"), stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    time.sleep(seconds)
    process.send_signal(kind)
    code = process.wait(LIMIT)
    whole = (hashlib.sha256((folder / "m.onnx").read_bytes()).hexdigest() * 200).encode()
    problems = []
    ended = time.monotonic() + 10
    while (left := attacks.processes_of(marker)) and time.monotonic() < ended:
        time.sleep(0.05)
    if left:
        problems.append(f"{len(left)} processes left")
    engine = folder / "m.engine"
    if engine.exists() and engine.read_bytes() != whole:
        problems.append("half an engine")
    temporary = len(list(folder.glob(".*.tmp")))
    if temporary and kind != signal.SIGKILL:
        problems.append("temporary file left")
    if "Traceback" in (folder / "out").read_text(errors="replace"):
        problems.append("traceback")
    done = subprocess.run(
        [sys.executable, "-m", "dlaflow", *again], env=environment, capture_output=True, text=True, timeout=LIMIT
    )
    if done.returncode != 0 or not engine.exists() or engine.read_bytes() != whole:
        problems.append(f"the rerun ended with {done.returncode}: {done.stderr[-200:]}")
    return Kill(command, kind.name, seconds, code, tuple(problems), temporary)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print("| command | signal | after s | exit | temporary files | problems |\n|---|---|---|---|---|---|")
    bad = 0
    for kill in rows(options.rounds, options.seed):
        bad += bool(kill.problems)
        problems = "; ".join(kill.problems) or "none"
        print(
            f"| {kill.command} | {kill.signal} | {kill.seconds:.1f} | {kill.code} | {kill.temporary} | {problems} |",
            flush=True,
        )
    print(f"\n{options.rounds} kills, {bad} with problems")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
