"""The fuzzer runs, counts what it should, and finds nothing in a few inputs of every kind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


def fuzz(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / "fuzz.py"), *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)


@pytest.mark.skipif(not hasattr(os, "fork") or not Path("/proc/self/statm").exists(), reason="needs fork and /proc")
def test_a_few_inputs_of_the_quick_kinds(tmp_path: Path) -> None:
    quick = ["caches", "exports", "placements", "sweeps", "tegrastats"]
    done = fuzz("--inputs", "20", "--jobs", "1", "--keep", str(tmp_path), *(f"--kind={kind}" for kind in quick))
    assert re.search(r"^all +20 ", done.stdout, re.MULTILINE), done.stdout + done.stderr


@pytest.mark.slow
def test_two_hundred_inputs_of_all_kinds(tmp_path: Path) -> None:
    done = fuzz("--inputs", "200", "--seed", "7", "--ignore", "escapes", "--keep", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
