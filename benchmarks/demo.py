"""How long the walk-through takes, step by step, from an empty folder, and again when nothing changed.

    python benchmarks/demo.py [--data digits|cifar10|auto] [--data-dir D] [--epochs N]

Claims: under 90 s with digits and under 8 minutes with CIFAR-10 on 2 cores; a second run with --resume redoes nothing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RECIPE = Path(__file__).parents[1] / "examples" / "walkthrough.toml"


def run(options: list[str], folder: Path) -> tuple[float, str]:
    """The seconds of one `dlaflow run`, and what it printed."""
    command = [sys.executable, "-m", "dlaflow", "run", str(RECIPE), "--out", str(folder), *options]
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return time.monotonic() - started, done.stdout


def main() -> None:
    """Run twice and print both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--data-dir")
    parser.add_argument("--epochs", default="2")
    arguments = parser.parse_args()
    options = ["--data", arguments.data, "--epochs", arguments.epochs]
    options += ["--data-dir", arguments.data_dir] if arguments.data_dir else []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        first, printed = run(options, folder)
        second, again = run([*options, "--resume"], folder)
        states = [json.loads(path.read_text()) for path in (folder / "state").glob("*.json")]
    kinds: dict[str, float] = {}
    for state in states:
        kind = state["step"].partition("/")[0]
        kinds[kind] = kinds.get(kind, 0.0) + state["seconds"]
    print(f"{'step':<12}{'seconds':>9}")
    for kind, seconds in sorted(kinds.items(), key=lambda item: -item[1]):
        print(f"{kind:<12}{seconds:>9.1f}")
    print(f"{'whole run':<12}{first:>9.1f}")
    print(f"{'with --resume':<12}{second:>8.1f}   {again.count('  kept')} of {len(states)} steps kept")
    print(printed[printed.rindex("✓") :].partition("\n")[2])


if __name__ == "__main__":
    main()
