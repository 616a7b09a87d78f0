"""A survey that loses a machine: architectures on two `ray start` nodes of this computer, one of them killed half-way.

    python benchmarks/survey.py --out runs/gallery                      # all of benchmarks/gallery.txt: hours
    python benchmarks/survey.py --out runs/few --first 12 --alone 12    # some, then the same without Ray, compared

The killed process is the node's raylet, by SIGKILL to its pid; another node joins then. Ctrl-C keeps what is finished,
and the same command goes on. `--alone N` surveys the first N again on this machine alone: all that a result says must
be equal but for the seconds and the place.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from dlaflow.survey.records import Result
from dlaflow.survey.store import read_results

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.sweep import free_port, node, raylet_of

MODELS = Path(__file__).with_name("gallery.txt")
_TRIES, _STARTING = 6, 35.0
TARGETS = ("--boards", "orin-nx-16gb,agx-orin-64gb", "--releases", "6.2,5.1.3,7.2.2", "--allow", "tolerance")


def survey(models: list[str], out: Path, *options: str) -> subprocess.Popen[bytes]:
    """The command; what it prints goes to the file beside `out`."""
    command = [sys.executable, "-m", "dlaflow", "survey", *models, *TARGETS, "--out", str(out), *options]
    with out.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def results(out: Path) -> list[Result]:
    """What is finished."""
    return read_results(out / "results.jsonl")


def joined(nodes: ExitStack, folder: Path, *options: str) -> int:
    """The raylet of a node that takes part; Ray gives a node 30 seconds, which are few beside other work."""
    for _ in range(_TRIES):
        started = nodes.enter_context(node(folder, *options))
        with suppress(subprocess.TimeoutExpired):
            started.wait(_STARTING)
        if started.poll() is None:
            return raylet_of(started, folder)
    raise SystemExit("no Ray node could be started")


def on_a_cluster(models: list[str], out: Path, cpus: int, seconds: float) -> int:
    """Survey on two nodes of so many cores, of which one is lost half-way; returns the exit code."""
    short = Path(tempfile.mkdtemp(prefix="ray-"))  # the names of Ray's sockets must be short
    address = f"127.0.0.1:{free_port()}"
    head = [f"--port={address.rpartition(':')[2]}", "--head", "--include-dashboard=false", f"--temp-dir={short}"]
    joining = [f"--address={address}", f"--num-cpus={cpus}"]
    began, before = time.monotonic(), len(results(out))
    try:
        with ExitStack() as nodes:
            joined(nodes, short, *head, f"--num-cpus={cpus}")
            victim = joined(nodes, short, *joining)
            running = survey(models, out, "--address", address, "--seconds", f"{seconds:g}")
            try:
                half = (before + len(models) * 3) // 2  # three releases
                while running.poll() is None and len(results(out)) < half:
                    time.sleep(1)
                if running.poll() is None:
                    at = len(results(out))
                    os.kill(victim, signal.SIGKILL)
                    print(
                        f"after {at} results ({time.monotonic() - began:.0f} s): SIGKILL to raylet {victim}", flush=True
                    )
                    joined(nodes, short, *joining)
                code = running.wait()
            except KeyboardInterrupt:
                running.send_signal(signal.SIGINT)
                code = running.wait()
    finally:
        shutil.rmtree(short, ignore_errors=True)
    found = results(out)
    print(
        f"{len(found)} results of {len({each.model.name for each in found})} models, {len(found) - before} of them in"
    )
    print(f"{time.monotonic() - began:.0f} s: {dict(Counter(each.status for each in found))}, exit {code}", flush=True)
    return code


def told(result: Result) -> Result:
    """A result without where and how fast it was made."""
    return replace(result, seconds=0.0, node="")


def equal_alone(models: list[str], out: Path, seconds: float) -> bool:
    """Survey these once more without Ray; whether the same is told."""
    alone = out.with_name(f"{out.name}-alone")
    survey(models, alone, "--seconds", f"{seconds:g}").wait()
    ours, theirs = ({each.key: told(each) for each in results(where)} for where in (alone, out))
    differ = [key[0] for key, result in ours.items() if theirs.get(key) != result]
    print(f"{len(ours)} results on one machine, {len(ours) - len(differ)} of them equal {differ or ''}", flush=True)
    return bool(ours) and not differ


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--models", type=Path, default=MODELS)
    parser.add_argument("--first", type=int)
    parser.add_argument("--alone", type=int, default=0)
    parser.add_argument("--cpus", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=600.0)
    options = parser.parse_args()
    os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where this runs behind nohup
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    models = options.models.read_text().split()[: options.first]
    options.out.mkdir(parents=True, exist_ok=True)
    code = on_a_cluster(models, options.out, options.cpus, options.seconds)
    same = not options.alone or equal_alone(models[: options.alone], options.out, options.seconds)
    raise SystemExit(code if same else 1)


if __name__ == "__main__":
    main()
