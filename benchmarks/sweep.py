"""A sweep that loses a machine: 24 trials on two `ray start` nodes of this computer, one of them killed half-way.

    python benchmarks/sweep.py                                     # digits, about three minutes on two cores
    python benchmarks/sweep.py --data cifar10 --data-dir ~/data/cifar10

The killed process is the node's raylet, by SIGKILL to its pid: its workers die with it, as when a machine loses power.
Then the same sweep is started once more with --resume, which must keep all 24.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SWEEP = """
name = "benchmark"
[space]
norm = ["batch", "group"]
width = [0.125, 0.25, 0.375, 0.5]
precisions = [["fp16"], ["fp16", "int8"]]
method = ["entropy", "mse"]
[target]
board = "agx-orin-64gb"
jetpack = "5.1.1"
batch = 32
[data]
name = "{data}"
{folder}
[train]
epochs = {epochs}
[calibrate]
samples = 128
"""
TRIALS = 24
# `ray start` gives a node that joins the address of the network card. This is the same program, on loopback alone.
LOOPBACK = (
    "import ray._private.services as s; s.node_ip_address_from_perspective = lambda address=None: '127.0.0.1'; "
    "from ray.scripts.scripts import main; main()"
)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def node(folder: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A `ray start --block`, one core, ended with all its processes."""
    command = [sys.executable, "-c", LOOPBACK, "start", "--block", "--num-cpus=1", "--node-ip-address=127.0.0.1"]
    command += ["--object-store-memory=100000000", "--disable-usage-stats", *options]
    log = (folder / f"node-{len(list(folder.glob('node-*')))}.log").open("wb")
    process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def children(pid: int) -> list[tuple[int, str]]:
    """The processes that this one started, with their names."""
    listed = subprocess.run(["ps", "--ppid", str(pid), "-o", "pid=,comm="], capture_output=True, text=True, check=False)
    return [(int(line.split()[0]), line.split()[1]) for line in listed.stdout.splitlines()]


def raylet_of(process: subprocess.Popen[bytes], folder: Path, seconds: float = 120) -> int:
    """The pid of the node's raylet, once it runs."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        found = [pid for pid, name in children(process.pid) if name.startswith("raylet")]
        if found:
            return found[0]
        time.sleep(0.5)
    logs = "\n".join(path.read_text(errors="replace") for path in sorted(folder.glob("node-*.log")))
    raise SystemExit(f"a Ray node did not start:\n{logs}")


def sweep(folder: Path, address: str, *options: str) -> subprocess.Popen[str]:
    """The command, on the cluster."""
    command = [sys.executable, "-m", "dlaflow", "sweep", "sweep.toml", "--out", "out", "--json", "sweep.json"]
    return subprocess.Popen(
        [*command, "--address", address, *options],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def done(folder: Path) -> int:
    """Trials that have a result."""
    return len(list((folder / "out" / "trials").glob("*/result.json")))


def measure(folder: Path) -> bool:
    """Run it all; whether every trial had a result and every result was kept."""
    address = f"127.0.0.1:{free_port()}"
    temporary = f"--temp-dir={folder / 'ray'}"
    head = [f"--port={address.rpartition(':')[2]}", "--head", "--include-dashboard=false", temporary]
    with node(folder, *head) as first:
        raylet_of(first, folder)
        time.sleep(5)
        with node(folder, f"--address={address}") as second:
            victim = raylet_of(second, folder)
            time.sleep(5)
            began = time.monotonic()
            running = sweep(folder, address)
            while running.poll() is None and done(folder) < TRIALS // 2:
                time.sleep(0.2)
            workers = [name for _, name in children(victim) if "run_" in name]
            at, killed = done(folder), time.monotonic() - began
            os.kill(victim, signal.SIGKILL)
            print(f"after {at} results ({killed:.0f} s): SIGKILL to raylet {victim}; its workers: {workers or 'idle'}")
            out, _ = running.communicate(timeout=1800)
            print(out.strip())
            seconds = time.monotonic() - began
        trials = json.loads((folder / "sweep.json").read_text())["trials"]
        finished = [trial for trial in trials if trial["status"] == "done"]
        workers_used = len({trial["node"] for trial in finished})
        print(
            f"{len(finished)} of {TRIALS} results, {len(list((folder / 'out/weights').glob('*')))} trainings, "
            f"{workers_used} workers, {seconds:.0f} s, exit {running.returncode}"
        )
        again = sweep(folder, address, "--resume")
        out, _ = again.communicate(timeout=600)
        kept = sum(line.endswith("kept") for line in out.splitlines())
        print(f"once more with --resume: {kept} kept, exit {again.returncode}")
    return len(finished) == kept == TRIALS and running.returncode == again.returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=("digits", "cifar10"), default="digits")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--epochs", type=int, default=2)
    options = parser.parse_args()
    os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    place = f'dir = "{options.data_dir.resolve()}"' if options.data_dir else ""
    with tempfile.TemporaryDirectory(prefix="sweep-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        text = SWEEP.format(data=options.data, folder=place, epochs=options.epochs)
        (folder / "sweep.toml").write_text(text)
        raise SystemExit(0 if measure(folder) else 1)


if __name__ == "__main__":
    main()
