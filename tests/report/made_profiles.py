"""Placements and profiles written by us: a capture whose first inference is cold, a log with a per-layer profile."""

from __future__ import annotations

import json

from dlaflow.parse.exports import parse_profile
from dlaflow.parse.nsys import CaptureInfo, Enqueue, LayerRange
from dlaflow.parse.trtexec import parse_log
from dlaflow.profile.capture import CaptureSummary, summarise_enqueues
from dlaflow.profile.evidence import Evidence
from dlaflow.profile.profile import Profiled, profile_of
from dlaflow.types import (
    Device,
    Finding,
    Loadable,
    ModelInfo,
    PlacedLayer,
    Placement,
    Summary,
    Switch,
    TargetInfo,
    Verdict,
)

MS = 1_000_000
TARGET = TargetInfo("agx-orin-64gb", "jetpack-5.1.1", "8.5.2", "v2", "int8", 32, "hybrid")
STAMP = "[03/31/2022-10:00:00]"
NODE = "{ForeignNode[a...b]}"

HOSTILE = (
    "<script>window.hacked=1</script>",
    '"onload="window.hacked=1',
    "</script><img src=x onerror=window.hacked=1>",
    "{{ 7*7 }}",
    "\u202egnp.exe\u2066",
    "x" * 10_000,
    "",
    "\x00\x1b[31m'`&amp;",
)
"""Names that try to be more than text."""


def placed(rows: list[tuple[str, str, str, int]], findings: dict[str, Finding] | None = None) -> Placement:
    """A placement from (name, kind, device, macs) rows of a chain; loadables and switches follow from the devices."""
    layers: list[PlacedLayer] = []
    loadables: list[list[str]] = []
    switches: list[Switch] = []
    before: PlacedLayer | None = None
    for name, kind, device, macs in rows:
        where = Device(device)
        if where is Device.DLA and (before is None or before.device is not Device.DLA):
            loadables.append([])
        number = len(loadables) - 1 if where is Device.DLA else None
        if number is not None:
            loadables[number].append(name)
        finding = (findings or {}).get(name)
        verdict = Verdict.NATIVE if where is Device.DLA else Verdict.FALLBACK
        layer = PlacedLayer(name, kind, [name], where, verdict, number, macs, 64, [finding] if finding else [])
        if before is not None and before.device is not where:
            switches.append(Switch(before.name, name, f"{before.name}_output", 65536))
        layers.append(layer)
        before = layer
    total = sum(layer.macs for layer in layers)
    dla = [layer for layer in layers if layer.device is Device.DLA]
    share = sum(layer.macs for layer in dla) / total if total else 0.0
    summary = Summary(
        len(layers), len(dla), len(layers) - len(dla), 0, 0, share, len(loadables), len(loadables), len(switches), False
    )
    runs = [Loadable(index, names[0], names[-1], names, 1) for index, names in enumerate(loadables)]
    return Placement(ModelInfo("m.onnx", "0" * 64, {"input": [32, 3, 32, 32]}), TARGET, summary, layers, runs, switches)


def gpu(name: str, at: int, start: int, end: int) -> LayerRange:
    return LayerRange(name, at * MS, at * MS + 100, "GPU", 0, 1, (end - start) * MS, start * MS, end * MS)


def enqueue(origin: int, name: str = 'gemm <"&">', host: int = 4) -> Enqueue:
    """One inference of 8 ms on the stream, from 2 ms after the host began: reformat, DLA, `name`, copy."""
    layers = (
        gpu(f"Reformatting CopyNode for Input Tensor 0 to {NODE}", origin + 1, origin + 2, origin + 3),
        LayerRange(NODE, (origin + 1) * MS + 200, (origin + 1) * MS + 300, "DLA", 1),
        gpu(name, origin + 2, origin + 8, origin + 9),
        gpu("out copy", origin + 3, origin + 9, origin + 10),
    )
    return Enqueue(7, origin * MS, (origin + host) * MS, layers)


def capture_of(enqueues: list[Enqueue]) -> CaptureSummary:
    info = CaptureInfo("2023.4.4", "3.7.2", "35.4.1", "trtexec", "Orin", (), (), cuda_graphs=False)
    return summarise_enqueues(info, enqueues)


def capture() -> CaptureSummary:
    return capture_of([enqueue(100 * number) for number in range(3)])


def cold_profile() -> Profiled:
    """A capture of four inferences, the first of which took the host 400 ms."""
    inferences = [enqueue(0, host=400), *(enqueue(1000 + 100 * number) for number in range(3))]
    return profile_of(Evidence("capture", capture=capture_of(inferences)))


def logged_profile(predicted: Placement | None = None) -> Profiled:
    """A log that gives a reason, and the rows of the same engine; its layers are a, b, pool and fc."""
    command = "trtexec --onnx=m.onnx --fp16 --useDLACore=0 --allowGPUFallback"
    log = "\n".join([
        f"&&&& RUNNING TensorRT.trtexec [TensorRT v8502] # {command}",
        f"{STAMP} [W] [TRT] pool: DLA cores do not support AVG Reduce operation.",
        f"{STAMP} [I] [TRT] ---------- Layers Running on DLA ----------",
        f"{STAMP} [I] [TRT] [DlaLayer] {NODE}",
        f"{STAMP} [I] [TRT] [DlaLayer] {{ForeignNode[fc]}}",
        f"{STAMP} [I] [TRT] ---------- Layers Running on GPU ----------",
        f"{STAMP} [I] [TRT] [GpuLayer] REDUCE: pool",
        f"&&&& PASSED TensorRT.trtexec [TensorRT v8502] # {command}",
    ])  # fmt: skip
    times = {NODE: 5.0, "Reformatting CopyNode for Input Tensor 0 to pool": 0.2, "pool": 0.5, "{ForeignNode[fc]}": 1.0}
    rows = [{"name": name, "timeMs": 100 * ms, "averageMs": ms, "percentage": 1} for name, ms in times.items()]
    (run,) = parse_log(log).runs
    profile = parse_profile(json.dumps([{"count": 100}, *rows])).profiles[0]
    return profile_of(Evidence("logged", run=run, runs=1, outcome=run.outcome, profile=profile), predicted)
