"""How fast the parsers of `dlaflow profile` are, and how much memory they take.

Run it as

    python benchmarks/profile.py            # both claims at full size: 200 MB of log, 5 million rows
    python benchmarks/profile.py --share 0.1

Claims: a verbose trtexec log of 200 MB in under 10 s; a capture of 5 million NVTX and CUDA rows in under 20 s and
500 MB, on 2 cores with nothing else to do. CPU seconds are printed beside the wall's, since a shared machine stretches
the latter. Inputs are made here, in the shape of the real ones: nothing is downloaded. Each case runs in a process of
its own, so that its peak memory is its own.

Seen on an idle server (16 cores, Python 3.12, 2026-11-22): log 4.6 s and 61 MB, capture 10.1 s and 160 MB. On 2 cores
shared with seven other jobs the same CPU seconds (4.9 and 11.9) took 26 and 43 s of wall time.
"""

from __future__ import annotations

import argparse
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

LOG_BYTES = 200_000_000
ROWS = 5_000_000
LIMITS = {"log": (10.0, 500.0), "capture": (20.0, 500.0)}
"""Seconds and MB."""

STAMP = "[08/20/2026-18:38:24]"
LAYERS = 48
"""Layers of an inference in the real capture, of which 6 are DLA tasks and 30 launch a kernel."""


def write_log(path: Path, size: int) -> None:
    """A verbose log: the build's chatter over and over, with the sections of a DLA build at both ends."""
    head = [
        "&&&& RUNNING TensorRT.trtexec [TensorRT v100300] # trtexec --onnx=m.onnx --useDLACore=0 --verbose",
        f"{STAMP} [I] === Build Options ===",
        f"{STAMP} [I] Precision: FP32+INT8",
        *(f"{STAMP} [V] [TRT] [DlaLayer] /layer/{n}/Conv" for n in range(120)),
    ]
    chatter = []
    for n in range(40):
        name = f"/model/layer{n}/conv/Conv"
        chatter += [
            f"{STAMP} [V] [TRT] =============== Computing costs for {name} + /model/layer{n}/relu/Relu",
            f"{STAMP} [V] [TRT] *************** Autotuning format combination: Half(458752,224) -> Half(6272,49) ***",
            f"{STAMP} [V] [TRT] --------------- Timing Runner: {name} (CaskConvolution[0x80000009])",
            f"{STAMP} [V] [TRT] Tactic Name: sm80_xmma_fprop_implicit_gemm Tactic: 0x{n:016x} Time: 0.0134",
            f"{STAMP} [V] [TRT] Tactic: 0x{n:016x} Time: 0.0134827",
            f"{STAMP} [V] [TRT] {name} (CaskConvolution[0x80000009]) profiling completed in 0.12 seconds.",
            f"{STAMP} [V] [TRT] >>>>>>>>>>>>>>> Chose Runner Type: CaskConvolution Tactic: 0x{n:016x}",
            f"{STAMP} [V] [TRT] Searching for input: {name}_output_0",
            f"{STAMP} [V] [TRT] Registering layer: {name} for ONNX node: {name}",
        ]
    block = "\n".join(chatter) + "\n"
    tail = [
        f"{STAMP} [V] [TRT] Engine Layer Information:",
        *(
            f"Layer(DLA): {{ForeignNode[a{n}...b{n}]}}, Tactic: 0x3, x (Half[1,3:16,2,2]) -> y (Half[1,3])"
            for n in range(9)
        ),
        f"{STAMP} [I] Throughput: 56.2678 qps",
        "&&&& PASSED TensorRT.trtexec [TensorRT v100300] # trtexec --onnx=m.onnx --useDLACore=0 --verbose",
    ]
    with path.open("w") as file:
        file.write("\n".join(head) + "\n")
        for _ in range(size // len(block)):
            file.write(block)
        file.write("\n".join(tail) + "\n")


def write_capture(path: Path, rows: int) -> int:
    """A capture in the shape of the real one; returns how many rows it has."""
    base = sqlite3.connect(path)
    base.executescript(
        "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
        "CREATE TABLE StringIds (id INTEGER NOT NULL PRIMARY KEY, value TEXT NOT NULL);"
        "CREATE TABLE NVTX_EVENTS (start INTEGER NOT NULL, end INTEGER, eventType INTEGER NOT NULL, text TEXT,"
        " globalTid INTEGER, textId INTEGER, domainId INTEGER);"
        "CREATE TABLE CUPTI_ACTIVITY_KIND_RUNTIME (start INTEGER NOT NULL, end INTEGER NOT NULL, eventClass INTEGER,"
        " globalTid INTEGER, correlationId INTEGER, nameId INTEGER NOT NULL, returnValue INTEGER);"
        "CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (start INTEGER NOT NULL, end INTEGER NOT NULL, deviceId INTEGER,"
        " streamId INTEGER, correlationId INTEGER, globalPid INTEGER, shortName INTEGER);"
    )
    names = ["ExecutionContext::enqueue", "cudlaSubmitTask", "cudaLaunchKernel", "cudaEventRecord", "kernel"]
    names += [f"{{ForeignNode[a{n}...b{n}]}}" if n % 8 == 0 else f"layer {n}" for n in range(LAYERS)]
    base.executemany("INSERT INTO StringIds VALUES (?, ?)", enumerate(names))
    thread = 282168144208242
    base.executemany(
        "INSERT INTO NVTX_EVENTS VALUES (0, NULL, 75, ?, ?, NULL, ?)", [("TensorRT", thread, 3), ("cuDLA", thread, 2)]
    )
    each = sum(1 for _ in _events(0, thread, "nvtx")) + sum(1 for _ in _events(0, thread, "runtime"))
    each += sum(1 for _ in _events(0, thread, "kernel"))
    count = rows // each
    for kind, table, width in (
        ("nvtx", "NVTX_EVENTS", 7),
        ("runtime", "CUPTI_ACTIVITY_KIND_RUNTIME", 7),
        ("kernel", "CUPTI_ACTIVITY_KIND_KERNEL", 7),
    ):
        events = (event for number in range(count) for event in _events(number, thread, kind))
        base.executemany(f"INSERT INTO {table} VALUES ({','.join('?' * width)})", events)
    base.commit()
    base.close()
    return count * each


def _events(number: int, thread: int, kind: str) -> Iterator[tuple[int | None, ...]]:
    """The rows of one inference in one table."""
    origin = number * 30_000_000
    if kind == "nvtx":
        yield origin, origin + 2_000_000, 59, None, thread, 0, 3
    for place in range(LAYERS):
        start = origin + 1000 + place * 40_000
        on_dla, on_gpu = place % 8 == 0, place % 8 in {1, 2, 3, 5, 7}
        if kind == "nvtx":
            yield start, start + 39_000, 59, None, thread, 5 + place, 3
            if on_dla:
                yield start + 100, start + 200, 59, None, thread, 1, 2
        correlation = number * LAYERS * 4 + place * 4
        if kind == "runtime":
            for call in range(4):
                yield start + call * 900, start + call * 900 + 500, 0, thread, correlation + call, 2 if call else 3, 0
        if kind == "kernel" and on_gpu:
            at = origin + place * 500_000
            yield at, at + 10_000, 0, 7, correlation + 1, thread // 0x1000000 * 0x1000000, 4


def measure_log(path: Path) -> str:
    """Parse the log and say what was found."""
    from dlaflow.parse.trtexec import parse_log

    (run,) = parse_log(path).runs
    return f"{len(run.placement.dla)} DLA layers, {len(run.engine_layers)} engine layers, {run.result}"


def measure_capture(path: Path) -> str:
    """Summarise the capture and say what was found."""
    from dlaflow.profile.capture import summarise_capture

    found = summarise_capture(path)
    return f"{found.inferences} inferences of {found.layers} layers, {found.submits} submits, {found.switches} switches"


def child(case: str, path: Path) -> None:
    """Measure one case in this process: seconds, peak MB, what was found."""
    begin, used = time.perf_counter(), time.process_time()
    found = measure_log(path) if case == "log" else measure_capture(path)
    seconds, busy = time.perf_counter() - begin, time.process_time() - used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{seconds:.2f}\t{busy:.2f}\t{peak:.0f}\t{found}")


def main() -> int:
    """Make the inputs, measure, print a table; exit with 1 when a claim at full size does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--share", type=float, default=1.0, help="part of the full size, 0..1")
    parser.add_argument("--child", nargs=2, metavar=("CASE", "PATH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child[0], Path(options.child[1]))
        return 0
    held = True
    with tempfile.TemporaryDirectory() as folder:
        log, capture = Path(folder) / "verbose.log", Path(folder) / "capture.sqlite"
        write_log(log, int(LOG_BYTES * options.share))
        rows = write_capture(capture, int(ROWS * options.share))
        sizes = {"log": f"{log.stat().st_size / 1e6:.0f} MB", "capture": f"{rows / 1e6:.2f} M rows"}
        print(f"{'case':8} {'size':>12} {'seconds':>8} {'limit':>6} {'CPU s':>6} {'peak MB':>8} {'limit':>6}  found")
        for case, path in (("log", log), ("capture", capture)):
            command = [sys.executable, __file__, "--child", case, str(path)]
            answer = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds, busy, peak, found = answer.stdout.strip().split("\t")
            limits = LIMITS[case]
            held = held and float(seconds) < limits[0] and float(peak) < limits[1]
            times = f"{seconds:>8} {limits[0]:>6.0f} {busy:>6}"
            print(f"{case:8} {sizes[case]:>12} {times} {peak:>8} {limits[1]:>6.0f}  {found}")
    return 0 if held or options.share < 1 else 1


if __name__ == "__main__":
    sys.exit(main())
