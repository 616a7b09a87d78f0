"""A real CUDA run as a cross-check of the capture reader: torch's profiler against `dlaflow.parse.nsys`.

Needs a CUDA GPU and torch; nothing of TensorRT or a DLA. The GroupNorm network of the walk-through runs with one range
a layer; torch's trace (CUPTI) is written as an Nsight Systems SQLite, which dlaflow then reads. For every layer the
span of its GPU work must be the one that torch itself tells (`gpu_user_annotation`), though work is launched
asynchronously: each inference begins with a GPU that sleeps, so that layers run long after the host has left them.

Seen on one NVIDIA H100 80GB HBM3 with torch 2.11.0 (2026-11-22): 260 spans, 247 of them begun after the host had left
the layer, largest difference 2 ns.

    PYTHONPATH=src python benchmarks/profile_gpu.py
"""

from __future__ import annotations

import json
import sqlite3
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, record_function

ITERATIONS = 20
BATCH = 32
SLEEP_CYCLES = 10_000_000
THREAD = 0x1000001
OUTER = "ExecutionContext::enqueue"


def network() -> list[tuple[str, torch.nn.Module]]:
    """The layers of the walk-through's GroupNorm network, in order."""
    widths = (3, 64, 128, 256, 512)
    layers: list[tuple[str, torch.nn.Module]] = []
    for place, (before, after) in enumerate(pairwise(widths)):
        layers.append((f"Conv_{place}", torch.nn.Conv2d(before, after, 3, stride=2, padding=1)))
        layers.append((f"GroupNorm_{place}", torch.nn.GroupNorm(8, after)))
        layers.append((f"Relu_{place}", torch.nn.ReLU()))
    tail = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(512, 10))
    return [*((name, layer.cuda().eval()) for name, layer in layers), ("Head", tail.cuda().eval())]


def record(path: Path) -> None:
    """Run the network under torch's profiler and export its trace."""
    layers = network()
    data = torch.rand(BATCH, 3, 32, 32, device="cuda")
    with torch.no_grad(), profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as recorder:
        for _ in range(ITERATIONS):
            with record_function(OUTER):
                torch.cuda._sleep(SLEEP_CYCLES)
                value = data
                for name, layer in layers:
                    with record_function(name):
                        value = layer(value)
            torch.cuda.synchronize()
    recorder.export_chrome_trace(str(path))


def convert(events: list[dict[str, object]], path: Path) -> None:
    """Write the trace's ranges, launches and kernels as an Nsight Systems export (times become nanoseconds)."""
    base = sqlite3.connect(path)
    base.executescript(
        "CREATE TABLE StringIds (id INTEGER PRIMARY KEY, value TEXT);"
        "CREATE TABLE NVTX_EVENTS (start INTEGER, end INTEGER, eventType INTEGER, text TEXT, globalTid INTEGER,"
        " textId INTEGER, domainId INTEGER);"
        "CREATE TABLE CUPTI_ACTIVITY_KIND_RUNTIME (start INTEGER, end INTEGER, globalTid INTEGER,"
        " correlationId INTEGER, nameId INTEGER);"
        "CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (start INTEGER, end INTEGER, correlationId INTEGER,"
        " globalPid INTEGER);"
    )
    base.execute("INSERT INTO NVTX_EVENTS VALUES (0, NULL, 75, 'TensorRT', ?, NULL, 3)", (THREAD,))
    for event in events:
        start, end = span(event)
        kind = event.get("cat")
        correlation = arguments(event).get("correlation")
        if kind == "user_annotation":
            mark = (start, end, 59, event["name"], THREAD, None, 3)
            base.execute("INSERT INTO NVTX_EVENTS VALUES (?,?,?,?,?,?,?)", mark)
        elif kind in {"cuda_runtime", "cuda_driver"} and correlation is not None:
            call = (start, end, THREAD, correlation, 0)
            base.execute("INSERT INTO CUPTI_ACTIVITY_KIND_RUNTIME VALUES (?,?,?,?,?)", call)
        elif kind in {"kernel", "gpu_memset", "gpu_memcpy"} and correlation is not None:
            kernel = (start, end, correlation, THREAD // 0x1000000 * 0x1000000)
            base.execute("INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES (?,?,?,?)", kernel)
    base.commit()
    base.close()


def span(event: dict[str, object]) -> tuple[int, int]:
    """Start and end in nanoseconds."""
    start, length = float(str(event.get("ts", 0))), float(str(event.get("dur", 0)))
    return round(start * 1000), round((start + length) * 1000)


def arguments(event: dict[str, object]) -> dict[str, object]:
    """The event's arguments."""
    found = event.get("args")
    return found if isinstance(found, dict) else {}


def ranges_on_gpu(events: list[dict[str, object]]) -> dict[str, list[tuple[int, int]]]:
    """What torch tells of every range on the GPU, by name and in order; those of several streams are joined."""
    found: dict[tuple[str, object], tuple[int, int]] = {}
    for event in events:
        if event.get("cat") == "gpu_user_annotation":
            key = (str(event["name"]), arguments(event).get("External id"))
            start, end = span(event)
            before = found.get(key, (start, end))
            found[key] = (min(start, before[0]), max(end, before[1]))
    told: dict[str, list[tuple[int, int]]] = {}
    for (name, _), each in sorted(found.items(), key=lambda item: item[1]):
        told.setdefault(name, []).append(each)
    return told


def main() -> int:
    """Record, convert, read, compare; exit with 1 when a layer's GPU span differs by more than a microsecond."""
    from dlaflow.parse.nsys import read_enqueues
    from dlaflow.profile.capture import summarise_capture

    if not torch.cuda.is_available():
        print("no CUDA GPU here")
        return 3
    record_file = Path(tempfile.mkdtemp()) / "trace.json"
    record(record_file)
    events = [event for event in json.loads(record_file.read_text())["traceEvents"] if event.get("ph") == "X"]
    capture = record_file.with_suffix(".sqlite")
    convert(events, capture)
    told = ranges_on_gpu(events)
    worst, compared, late = 0, 0, 0
    for number, enqueue in enumerate(read_enqueues(capture)):
        for layer in enqueue.layers:
            start, end = told[layer.name][number]
            assert layer.gpu_start is not None
            assert layer.gpu_end is not None
            worst = max(worst, abs(layer.gpu_start - start), abs(layer.gpu_end - end))
            late += layer.gpu_start > layer.end
            compared += 1
    summary = summarise_capture(capture)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, batch {BATCH}, {ITERATIONS} inferences")
    print(f"{summary.inferences} inferences of {summary.layers} layers read, {summary.cold} cold ones apart")
    print(f"{compared} GPU spans compared with torch's own: largest difference {worst} ns")
    print(f"{late} of them began after the host had left the layer")
    if summary.gpu_ms is not None and summary.span_ms is not None and summary.idle_ms is not None:
        print(f"GPU {summary.gpu_ms.mean:.4f} ms of {summary.span_ms.mean:.4f} ms, idle {summary.idle_ms.mean:.4f} ms")
    layers = len(network())
    return 0 if worst <= 1000 and compared == ITERATIONS * layers == summary.inferences * summary.layers else 1


if __name__ == "__main__":
    sys.exit(main())
