"""Random kills: outputs are whole or absent, no temporary file and no child is left, and a second run finishes.

    python benchmarks/kills.py [--kills 100] [--seed 1] [--only fix,build]

Each round starts one command in a folder of its own, sends SIGKILL, SIGTERM or SIGINT to its process at a random moment
of the time that an undisturbed run takes, and looks at what is left:

    torn      an output that is there but is not what an undisturbed run writes (or, where that differs from run to run,
              cannot be read)
    partly    some files of a command that appear together are there, others are not
    temp      temporary files; after SIGKILL only a named one is possible, between two system calls (`link`, `rename`)
              or where another program writes it (trtexec), so it is counted apart
    child     a process that was started by the command and lives ten seconds later (found by a mark in its environment)
    trace     a traceback on the terminal
    rerun     the same command once more (with --resume where there is one) did not end with 0

trtexec is a stand-in that takes a second; all else is real. Boards are not among the commands: benchmarks/faults.py
breaks connections, workers and programs on a board behind a real sshd.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.cli.every_output import EXAMPLES, make_inputs  # noqa: E402

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
HANG_S = 120.0
GRACE_S = 10.0
ABANDONED_S = 3.0
"""After this a second run takes what a killed one left for abandoned, and removes it."""
MARK = "DLAFLOW_KILLS_ROUND"


@dataclass(frozen=True)
class Work:
    """A command, what it writes together, and whether two runs write the same bytes."""

    words: str
    together: tuple[str, ...] = ()
    resume: bool = False
    share: int = 1
    files: tuple[str, ...] = ()
    """Outputs whose bytes do not depend on the clock."""


_TRAINING = EXAMPLES["train"].replace("--epochs 1", "--epochs 4")
WORKS = {
    "calibrate": Work(
        f"calibrate {EXAMPLES['calibrate']} --cache o.cache --qdq o.onnx --json o.json",
        ("o.cache", "o.cache.json", "o.onnx", "o.json"), share=5, files=("o.cache", "o.onnx"),
    ),
    "fix": Work(f"fix {EXAMPLES['fix']} --out o.onnx --json o.json", ("o.onnx", "o.json"), share=5, files=("o.onnx",)),
    "build": Work(
        f"build {EXAMPLES['build']} --out o.engine --json o.json", ("o.engine", "o.engine.json", "o.json"), share=4,
        files=("o.engine",),
    ),
    "train": Work(
        f"train {_TRAINING} --out o.safetensors --json o.json",
        ("o.safetensors", "o.safetensors.json", "o.json"), resume=True, share=3,
    ),
    "run": Work("run tiny.toml --out o --json o.json", ("o/run.json", "o/report.html"), resume=True, share=2),
    "sweep": Work("sweep sweep.toml --cores 1 --out o --json o.json", ("o/sweep.json", "o/report.html"), resume=True),
}  # fmt: skip


class Bench:
    """The inputs, an undisturbed run of each command, and the counts."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.inputs = place / "inputs"
        self.inputs.mkdir()
        make_inputs(self.inputs, seconds=1.0)
        self.seconds: dict[str, float] = {}
        self.digests: dict[str, dict[str, str]] = {}
        self.counts: dict[str, Counter[str]] = {}
        self.temps: Counter[str] = Counter()

    def start(self, name: str, folder: Path, *more: str, mark: str = "") -> subprocess.Popen[str]:
        """The command in a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "dlaflow", *WORKS[name].words.split(), *more],
            cwd=folder, env={**os.environ, MARK: mark}, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def folder(self) -> Path:
        """A new folder with the inputs."""
        folder = Path(tempfile.mkdtemp(dir=self.place))
        shutil.copytree(self.inputs, folder, dirs_exist_ok=True)
        return folder

    def undisturbed(self, name: str) -> None:
        """How long the command takes, and what it writes."""
        folder = self.folder()
        began = time.monotonic()
        process = self.start(name, folder)
        _, err = process.communicate(timeout=900)
        if process.returncode:
            raise SystemExit(f"{name} does not work undisturbed: {err}")
        self.seconds[name] = time.monotonic() - began
        self.digests[name] = {each: digest(folder / each) for each in WORKS[name].files}
        shutil.rmtree(folder)

    def round(self, name: str, number: int, dice: random.Random) -> str:
        """Start, kill, look, run again; a line about it."""
        chosen = dice.choice(SIGNALS)
        moment = dice.uniform(0.02, 1.02) * self.seconds[name]
        folder, mark, counts = self.folder(), f"{os.getpid()}-{number}", self.counts.setdefault(name, Counter())
        process = self.start(name, folder, mark=mark)
        with suppress(subprocess.TimeoutExpired):
            process.wait(moment)
        finished = process.poll() is not None
        process.send_signal(chosen)
        found: list[str] = []
        try:
            _, err = process.communicate(timeout=HANG_S)
        except subprocess.TimeoutExpired:
            process.kill()
            _, err = process.communicate()
            found.append("hang")
        found += ["child"] if left_running(mark) else []
        found += ["trace"] if "Traceback" in err else []
        found += self.outputs(name, folder)
        if temps := [path for path in folder.rglob(".*.tmp") if "__pycache__" not in path.parts]:
            self.temps[chosen.name] += len(temps)
            found.append("temp after SIGKILL" if chosen == signal.SIGKILL else "temp")
            time.sleep(ABANDONED_S)
        again = self.start(name, folder, *(["--resume"] if WORKS[name].resume else []), mark=mark)
        _, problem = again.communicate(timeout=900)
        if again.returncode or any(not (folder / each).is_file() for each in WORKS[name].together):
            found.append("rerun")
        found += [f"{each} at the end" for each in self.outputs(name, folder)]
        if left := [path for path in folder.rglob(".*.tmp") if "__pycache__" not in path.parts]:
            counts["temp after the rerun"] += len(left)
        counts.update(found)
        counts.update(["kills", "finished before"] if finished else ["kills", chosen.name])
        shutil.rmtree(folder)
        said = err.strip().splitlines()[-1:] or [""]
        return f"{number:3} {name:9} {chosen.name} at {moment:5.1f} s: exit {process.returncode}, {found or 'clean'} {said[0][:90]} {problem.strip()[-200:] if 'rerun' in found else ''}"  # noqa: E501

    def outputs(self, name: str, folder: Path) -> list[str]:
        """What is wrong with the files that are there."""
        work, found = WORKS[name], []
        present = [each for each in work.together if (folder / each).exists()]
        if present and len(present) < len(work.together):
            found.append("partly")
        for path in filter(Path.is_file, folder.rglob("*")):
            relative = str(path.relative_to(folder))
            if relative[0] != "o":
                continue
            known = self.digests[name].get(relative)
            if (known and digest(path) != known) or not readable(path):
                found.append("torn")
        return found


def readable(path: Path) -> bool:
    """Whether a file is whole, as far as its kind tells."""
    if path.suffix == ".json":
        with suppress(ValueError):
            return bool(json.loads(path.read_bytes()))
        return False
    if path.suffix == ".html":
        return path.read_text().rstrip().endswith("</html>")
    if path.suffix == ".onnx":
        import onnx

        try:
            onnx.checker.check_model(onnx.load(str(path)))
        except Exception:  # whatever protobuf and the checker raise
            return False
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), framework="np") as file:
                return bool(list(file.keys()))
        except SafetensorError:
            return False
    return True


def digest(path: Path) -> str:
    """Of the content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def left_running(mark: str) -> list[int]:
    """Processes of the round that live on after a while; they are ended."""
    until = time.monotonic() + GRACE_S
    while (found := marked(mark)) and time.monotonic() < until:
        time.sleep(0.2)
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return found


def marked(mark: str) -> list[int]:
    """Processes whose environment holds the mark."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                if f"{MARK}={mark}\0".encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
    return found


def main() -> int:
    """Run the rounds and print the table; 1 when anything but a hidden file after SIGKILL was left."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default=",".join(WORKS))
    options = parser.parse_args()
    dice = random.Random(options.seed)
    names = options.only.split(",")
    order = [name for name in names for _ in range(WORKS[name].share)]
    with tempfile.TemporaryDirectory(prefix="dlaflow-kills-") as place:
        bench = Bench(Path(place))
        for name in names:
            bench.undisturbed(name)
            print(f"{name}: {bench.seconds[name]:.1f} s undisturbed", flush=True)
        for number in range(1, options.kills + 1):
            print(bench.round(order[number % len(order)], number, dice), flush=True)
        columns = (
            "kills", *(each.name for each in SIGNALS), "finished before", "torn", "partly", "temp",
            "temp after SIGKILL", "child", "trace", "hang", "rerun", "torn at the end", "temp after the rerun",
        )  # fmt: skip
        print("\n| command | " + " | ".join(columns) + " |\n|---" * 1 + "|---" * len(columns) + "|")
        total: Counter[str] = Counter()
        for name, counts in bench.counts.items():
            total += counts
            print(f"| {name} | " + " | ".join(str(counts[column]) for column in columns) + " |")
        print("| all | " + " | ".join(str(total[column]) for column in columns) + " |")
    bad = ("torn", "partly", "temp", "child", "trace", "hang", "rerun", "torn at the end", "temp after the rerun")
    return int(any(total[each] for each in bad))


if __name__ == "__main__":
    sys.exit(main())
