"""50 injected faults on a board behind a real sshd: nothing is lost, nothing stays locked, nothing is half-written.

Each round starts a build (a new model, with clocks locked) from a desk and, at a random moment, does one of these (a
fault that finds nothing to break is not counted):

    cut        every connection is broken (the sshd's children are killed)
    sshd       the whole sshd is killed and comes back after half a second
    worker     the job's worker is killed (SIGKILL)
    guardian   the job's guardian is killed
    both       worker and guardian are killed together
    program    trtexec itself is killed
    full       the board's disk is full for a moment (a file takes all the room of a 24 MB file system)
    limit      the job's time limit is shorter than the build

Then the desk's answer is checked: a build that the desk reports as done has its whole engine (it is a function of
the model); any other is reported as an error, and leaves no engine. After every round: no program of the job runs, the
clocks are the board's own, the store holds only whole files, no half-written file is left on the desk, and the next
build works.

`python benchmarks/faults.py [--rounds 50] [--seed 1]` prints a table; it exits with 1 when anything was lost. It needs
sshd, ssh and (for full) the right to mount; without it that fault is left out, which the table says.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import onnx

from dlaflow.build.config import BuildConfig
from dlaflow.build.engine import Request
from dlaflow.build.manifest import BuiltFor, manifest_path
from dlaflow.errors import DlaflowError
from dlaflow.remote.board import Patience, RemoteBoard
from dlaflow.remote.build import RemoteBuild, build_on_board
from dlaflow.remote.jobs import LeftRunningError
from dlaflow.remote.records import JobList
from dlaflow.remote.ssh import SshTarget, SshTransport

ROOT = Path(__file__).resolve().parent.parent
KILLS = ("worker", "guardian", "both", "program")
FAULTS = ("cut", "sshd", "worker", "guardian", "both", "program", "full", "limit")
BUILD_SECONDS = 2.0
DISK_MB = 24
MODEL = """
<ir_version: 8, opset_import: ["" : 13]>
tiny (float[4, 3, 8, 8] input) => (float[4, 3, 8, 8] output) {{ {body} }}
"""


def load_tests(name):
    """A module of the tests of `dlaflow.remote`."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tests" / "remote" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def load_stand_ins():
    """The tests' stand-in board."""
    return load_tests("stand_in_board")


@dataclass
class Scene:
    """The board, its sshd, the desk's folder, and what was found."""

    board: Any
    sshd: Any
    desk: Path
    has_disk: bool
    problems: list[str] = field(default_factory=list)
    endings: Counter = field(default_factory=Counter)

    def connect(self, patience: Patience) -> RemoteBoard:
        target = SshTarget("board", config=self.sshd.config, root=str(self.board.root))
        return RemoteBoard(SshTransport(target), patience)


def processes(scene: Scene) -> dict[str, int]:
    """trtexec, worker and guardian of the running job, as far as they are there."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError, IndexError, ValueError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
            if str(scene.board.programs / "trtexec").encode() in words:
                worker = parent(int(pid))
                return {"program": int(pid), "worker": worker, "guardian": parent(worker)}
    return {}


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def write_model(path: Path, number: int) -> None:
    """A model that no round before had."""
    names = ["input", *(f"t{n}" for n in range(number)), "output"]
    body = " ".join(f"{out} = Relu ({source})" for source, out in pairwise(names))
    onnx.save(onnx.parser.parse_model(MODEL.format(body=body)), path)


@dataclass(frozen=True)
class Moment:
    """When a fault comes: so many seconds after the command began, or after its program began on the board."""

    seconds: float
    running: bool


def moment(fault: str, chance: random.Random) -> Moment:
    """Kills need something to kill; all else comes at any time, the push included, or while the program runs."""
    running = fault in KILLS or chance.random() < 0.5
    return Moment(chance.uniform(0.0, 0.8 * BUILD_SECONDS if running else 3.0), running)


def inject(scene: Scene, fault: str, when: Moment) -> bool:
    """Do the fault at its moment; whether there was anything to do it to."""
    if when.running:
        ended = time.monotonic() + 40
        while not processes(scene) and time.monotonic() < ended:
            time.sleep(0.02)
    time.sleep(when.seconds)
    if fault == "cut":
        hit = bool(scene.sshd.sessions())
        scene.sshd.cut()
        return hit
    if fault == "sshd":
        scene.sshd.stop()
        time.sleep(0.5)
        scene.sshd.start()
        return True
    if fault == "full":
        filler = scene.board.folder / "home" / "filler"
        with suppress(OSError), filler.open("wb") as file:
            while True:
                file.write(bytes(1 << 16))
                file.flush()
        time.sleep(1.0)
        filler.unlink()
        return True
    if fault == "limit":
        return True
    found = processes(scene)
    for name in ("worker", "guardian") if fault == "both" else (fault,):
        # Only what belongs to the job: an agent that is just starting has the login's processes above it.
        if found.get(name, 0) > 1:
            with suppress(ProcessLookupError):
                os.kill(found[name], signal.SIGKILL)
    return bool(found)


def one_round(scene: Scene, number: int, fault: str, when: Moment) -> tuple[str, bool]:
    """A build with a fault; returns how it ended for the user, and whether the fault hit."""
    model, engine = scene.desk / f"{number}.onnx", scene.desk / f"{number}.engine"
    write_model(model, number)
    seconds = 0.4 if fault == "limit" else 120.0
    hit: list[bool] = []
    thread = threading.Thread(target=lambda: hit.append(inject(scene, fault, when)))
    thread.start()
    ending = build(scene, model, engine, seconds)
    thread.join()
    if ending == "left":
        # The desk was told that the job goes on: then it must be found again.
        ending = build(scene, model, engine, seconds, attach=True)
    check(scene, number, fault, model, engine, ending)
    return ending, hit == [True]


def build(scene: Scene, model: Path, engine: Path, seconds: float, *, attach: bool = False) -> str:
    from dlaflow.remote.jobs import JobControl

    request = Request(model, engine, BuildConfig(precision="fp16", dla_core=0, gpu_fallback=True), BUILT_FOR)
    how = RemoteBuild(seconds=seconds, clocks=True, control=JobControl(attach=attach))
    try:
        with scene.connect(Patience(answer=30, reconnect=20, busy=30)) as board:
            build_on_board(board, request, how)
    except LeftRunningError:
        return "left"
    except DlaflowError as error:
        return f"error: {error.what}"
    return "done"


BUILT_FOR = BuiltFor("tensorrt", "8.5.2", "agx-orin-64gb", "5.1.1")


def check(scene: Scene, number: int, fault: str, model: Path, engine: Path, ending: str) -> None:
    """Everything that must hold after a fault."""

    def problem(text: str) -> None:
        scene.problems.append(f"round {number} ({fault}): {text}")

    wanted = (hashlib.sha256(model.read_bytes()).hexdigest() * 200).encode()
    if ending == "done":
        if engine.read_bytes() != wanted:
            problem("the engine is not whole")
        if not manifest_path(engine).is_file():
            problem("the engine has no manifest")
    elif ending == "left":
        problem("the job was not found again")
    elif engine.exists():
        problem("an engine was left by a build that failed")
    if list(scene.desk.glob(".*")):
        problem("a half-written file on the desk")
    with scene.connect(Patience(answer=30, reconnect=20)) as board:
        board.hello()
        states = board.ask("jobs", JobList).jobs
    if any(state.state == "running" for state in states):
        problem("a job still runs, or its books are open")
    if processes(scene):
        problem("a program still runs")
    if scene.board.clocks != "own":
        problem("the clocks are not the board's own")
    if (scene.board.root / "clocks.locked").exists():
        problem("the clocks' marker is left")
    for path in (scene.board.root / "store").iterdir():
        if hashlib.sha256(path.read_bytes()).hexdigest() != path.name:
            problem(f"the store holds a damaged file {path.name[:12]}")
    for path in (scene.board.root / "jobs").rglob("*.tmp"):
        problem(f"a half-written file {path.name} on the board")
    if build(scene, model, engine, 120.0) != "done" or engine.read_bytes() != wanted:
        problem("the next build does not work")


def mount_disk(home: Path) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "none", str(home)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    stand_ins = load_stand_ins()
    if stand_ins.SSHD is None:
        print("no sshd here: apt-get install openssh-server openssh-client rsync")
        return 3
    chance = random.Random(options.seed)
    # The disk of the board is small, and so must be what is kept free on it.
    import dlaflow.remote.board as settings

    settings._MARGIN = 1 << 20
    with tempfile.TemporaryDirectory(prefix="dlaflow-faults-") as folder:
        place = Path(folder)
        board = stand_ins.make_board(place / "board")
        board.setting("seconds", BUILD_SECONDS)
        home = board.folder / "home"
        sshd = stand_ins.Sshd(place / "sshd", board.path)
        sshd.make()
        (place / "desk").mkdir()
        scene = Scene(board, sshd, place / "desk", mount_disk(home))
        faults = [fault for fault in FAULTS if fault != "full" or scene.has_disk]
        sshd.start()
        began = time.monotonic()
        try:
            injected: Counter[str] = Counter()
            table: dict[str, Counter[str]] = {fault: Counter() for fault in faults}
            number = 0
            while sum(injected.values()) < options.rounds:
                fault = faults[(number + options.seed) % len(faults)]
                number += 1
                when = moment(fault, chance)
                ending, hit = one_round(scene, number, fault, when)
                injected[fault] += hit
                table[fault][ending.partition(":")[0] if hit else "missed"] += 1
                told = f"{when.seconds:.1f} s {'into the build' if when.running else 'from the start'}"
                print(f"{number:>3} {fault:<9} {told:<22} {ending[:100] if hit else 'missed'}", flush=True)
        finally:
            sshd.stop()
            if scene.has_disk:
                subprocess.run(["umount", "-l", str(home)], check=False)
    print(f"\n{'fault':<10}{'hits':>7}{'done':>7}{'told':>7}{'missed':>8}")
    for fault in faults:
        counts = table[fault]
        print(f"{fault:<10}{injected[fault]:>7}{counts['done']:>7}{counts['error']:>7}{counts['missed']:>8}")
    if not scene.has_disk:
        print("full      left out: mounting is not allowed here")
    print(f"\n{sum(injected.values())} faults in {time.monotonic() - began:.0f} s, seed {options.seed}; ", end="")
    print(f"lost results, stale locks, half-written files, changed clocks: {len(scene.problems)}")
    print("\n".join(scene.problems))
    return int(bool(scene.problems))


if __name__ == "__main__":
    sys.exit(main())
