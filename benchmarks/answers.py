"""Does `dlaflow profile` answer a log that failed? One row a log: exit code, its word, an error line, a next step.

    python benchmarks/answers.py [LOG ...]

Without files: the logs of tests/parse/outcomes.toml, which are ours, written after public reports. The command runs
in a process of its own, so PYTHONPATH set to an older tree shows what that one answered.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

SAMPLES = Path(__file__).parents[1] / "tests" / "parse" / "outcomes.toml"


def row(kind: str, name: str, log: Path, error: str = "") -> bool:
    """Print what the command answered; whether that is FAILED, an error line, a next step and exit code 1."""
    run = subprocess.run(
        [sys.executable, "-m", "dlaflow", "profile", str(log)], capture_output=True, text=True, check=False
    )
    told = run.stdout or run.stderr
    word = next((each for each in ("FAILED", "PASSED") if f": {each}" in told), "-")
    shows = error[:40] in told if error else "line " in told
    step = "What to do" in told
    first = told.partition("\n")[0].partition(": ")[2][:70]
    columns = (
        f"{kind:7} {name:34} {run.returncode}  {word:6}",
        "error" if shows else "-    ",
        "step" if step else "-   ",
    )
    print(*columns, first)
    return word == "FAILED" and run.returncode == 1 and step and (shows or not error)


def main(logs: list[str]) -> int:
    """Print the table; 1 when a log that failed is without its answer."""
    wanting = 0
    if logs:
        for each in logs:
            row("", Path(each).parent.name[:16] + "/" + Path(each).name[:17], Path(each))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        for case in msgspec.toml.decode(SAMPLES.read_bytes())["case"]:
            log = Path(folder) / "sample.log"
            log.write_text(case["log"], encoding="utf-8")
            answered = row(case["kind"], case["name"], log, case["error"])
            wanting += case["kind"] != "passed" and not answered
    print(f"failed logs without FAILED, an error line and a next step: {wanting}")
    return 1 if wanting else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
