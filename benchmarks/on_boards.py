"""The walk-through on a board behind a real sshd, twice; then one recipe on 8 boards at once, each with its own sshd.

NVIDIA's programs are stand-ins (tests/remote/stand_in_board.py): what is shown is that the steps run, what is sent, and
that boards work side by side; the boards' numbers mean nothing.

    python benchmarks/on_boards.py [--boards 8] [--data digits] [--epochs 1]

Needs sshd and ssh. Exits with 1 when a run fails, when the second pass sends 1 MB or more, or when the boards take
more than half of the time that they take one after the other.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from faults import load_stand_ins

ROOT = Path(__file__).resolve().parent.parent
WALKTHROUGH = ROOT / "examples" / "walkthrough.toml"
SHORT = "\n[remote]\nimages = 64\nduration = 1\nrepeats = 2\nidle = 1.0\n"
LIMIT_MB = 1.0
FLEET = """
name = "fleet"
steps = ["check", "report"]
[target]
board = "agx-orin-64gb"
jetpack = "5.1.1"
precision = "fp16"
[[variant]]
name = "one"
onnx = "one.onnx"
"""
MODEL = """
<ir_version: 8, opset_import: ["" : 13]>
one (float[4, 3, 8, 8] input) => (float[4, 3, 8, 8] output) { first = Relu (input) output = Sigmoid (first) }
"""


def start_board(stand_ins, place: Path, stack: ExitStack):
    """A board with an sshd of its own, as an entry of an inventory."""
    board = stand_ins.make_board(place / "board")
    board.setting("batch", 32)
    sshd = stand_ins.Sshd(place / "sshd", board.path)
    sshd.make()
    sshd.start()
    stack.callback(sshd.stop)
    entry = f'[[board]]\nname = "{place.name}"\nhost = "{place.name}"\nroot = "{board.root}"\n'
    return board, f'{entry}ssh_config = "{sshd.config}"\n'


def run(*words: str, cwd: Path) -> tuple[float, str]:
    """`dlaflow run`; seconds and what it said."""
    began = time.monotonic()
    command = [sys.executable, "-m", "dlaflow", "run", *words]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        print(done.stdout + done.stderr)
        raise SystemExit(1)
    return time.monotonic() - began, done.stdout


def sent(said: str) -> list[float]:
    """The megabytes of every board."""
    return [float(text) for text in re.findall(r"Sent to \S+: ([\d.]+) MB", said)]


def walkthrough_twice(stand_ins, place: Path, options: argparse.Namespace) -> bool:
    """The whole recipe, then all of it again in another folder: train, export, ..., build, profile, evaluate, bench."""
    (place / "walkthrough.toml").write_text(WALKTHROUGH.read_text() + SHORT)
    training = ("--data", options.data, "--epochs", str(options.epochs))
    print(f"{'walk-through on one board':<34}{'seconds':>9}{'steps':>7}{'there':>7}{'MB sent':>10}")
    with ExitStack() as stack:
        _, entry = start_board(stand_ins, place / "orin", stack)
        (place / "board.toml").write_text(entry)
        amounts = []
        for name in ("first", "second", "second --resume"):
            words = ("walkthrough.toml", "--on", "board.toml", "--out", *name.split(), *training)
            seconds, said = run(*words, cwd=place)
            steps = [line for line in said.splitlines() if line.startswith("✓")]
            there = sum(" on orin" in line for line in steps)
            amounts += sent(said)
            print(f"{name:<34}{seconds:>9.0f}{len(steps):>7}{there:>7}{amounts[-1]:>10.3f}", flush=True)
    return max(amounts[1:]) < LIMIT_MB


def fleet(stand_ins, place: Path, count: int) -> bool:
    """One recipe on one board, then on all of them at once."""
    import onnx

    (place / "fleet.toml").write_text(FLEET + SHORT)
    onnx.save(onnx.parser.parse_model(MODEL), place / "one.onnx")
    with ExitStack() as stack:
        entries = []
        for number in range(count):
            board, entry = start_board(stand_ins, place / f"orin{number}", stack)
            board.setting("seconds", 5)
            entries.append(entry)
        (place / "one.toml").write_text(entries[0])
        (place / "all.toml").write_text("\n".join(entries))
        alone, _ = run("fleet.toml", "--on", "one.toml", "--out", "alone", cwd=place)
        together, said = run("fleet.toml", "--on", "all.toml", "--out", "together", cwd=place)
    print(f"\n{count} boards from one inventory, each behind its own sshd")
    print(f"{'one board':<34}{alone:>9.1f} s")
    print(f"{f'{count} boards at once':<34}{together:>9.1f} s, {together / alone:.2f} times one board")
    print(said[said.index("On the boards") :])
    return together < count * alone / 2


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boards", type=int, default=8)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--epochs", type=int, default=1)
    options = parser.parse_args()
    stand_ins = load_stand_ins()
    if stand_ins.SSHD is None:
        print("no sshd here: apt-get install openssh-server openssh-client rsync")
        return 3
    with tempfile.TemporaryDirectory(prefix="dlaflow-boards-") as folder:
        first = walkthrough_twice(stand_ins, Path(folder), options)
        second = fleet(stand_ins, Path(folder), options.boards)
    return int(not (first and second))


if __name__ == "__main__":
    sys.exit(main())
