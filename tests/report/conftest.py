"""Runs to report on, built from the records: the shape of the walk-through, and a long network with branches."""

from __future__ import annotations

from itertools import pairwise

import pytest

from dlaflow.report.records import Edge, RunRecord, Variant
from dlaflow.types import (
    Confidence,
    Device,
    Finding,
    Loadable,
    Measurement,
    ModelInfo,
    PlacedLayer,
    Placement,
    Summary,
    Switch,
    TargetInfo,
    Verdict,
)

TARGET = TargetInfo("agx-orin-64gb", "jetpack-5.1.1", "8.5.2", "v2", "int8", 32, "hybrid")


def why(rule: str, layer: str, message: str, fix: str) -> Finding:
    return Finding(
        rule, layer, Verdict.FALLBACK, message, "a kind of layer that the DLA knows", "another", "DLA guide", fix
    )


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


def numbers(fp32: float, latency: float) -> list[Measurement]:
    tops = [
        Measurement("top1", name, 100 * (fp32 - loss), "%", 10000, 0.85, detail="CIFAR-10")
        for name, loss in (("fp32", 0.0), ("fp16", 0.0), ("int8", 0.004))
    ]
    agreement = [Measurement("agreement", "int8", 98.1, "%", 10000, 0.3)]
    return [*tops, *agreement, Measurement("latency", "int8", latency, "ms", 1, latency * 0.2)]


def chain(placement: Placement) -> list[Edge]:
    names = [layer.name for layer in placement.layers]
    return [Edge(a, b, f"{a}_output") for a, b in pairwise(names)]


@pytest.fixture
def walkthrough() -> RunRecord:
    """Three variants: five loadables, two, one."""
    macs = (864, 18432, 73728, 294912)
    group: list[tuple[str, str, str, int]] = []
    batch: list[tuple[str, str, str, int]] = []
    findings: dict[str, Finding] = {}
    for block, amount in enumerate(macs):
        path = f"/cnn/cnn.{block * 3}"
        group.append((f"{path}/Conv", "CONVOLUTION", "DLA", amount * 256))
        batch.append((f"{path}/Conv", "CONVOLUTION", "DLA", amount * 256))
        for number, kind in enumerate(("Reshape", "InstanceNormalization", "Reshape_1", "Mul", "Add")):
            name = f"/cnn/cnn.{block * 3 + 1}/{kind}"
            group.append((name, "NORMALIZATION" if number == 1 else "SHUFFLE", "GPU", 0))
            if number == 1:
                fix = "BatchNorm, which folds into the convolution before it"
                findings[name] = why("DLA601", name, "Normalization layers have no DLA implementation", fix)
        for rows in (group, batch):
            rows.append((f"/cnn/cnn.{block * 3 + 2}/Relu", "ACTIVATION", "DLA", 0))
    pool, head = "/pool/GlobalAveragePool", "/linear/Gemm"
    findings[pool] = why("DLA402", pool, "Average reduction is not supported", "AveragePool with the same window")
    tail = [("/Flatten", "SHUFFLE", "GPU", 0), (head, "MATRIX_MULTIPLY", "DLA", 5120)]
    group.extend([(pool, "REDUCE", "GPU", 0), *tail])
    batch.extend([(pool, "REDUCE", "GPU", 0), *tail])
    whole = [row for row in batch if row[0] != pool]
    whole[-2:] = [("/pool/AveragePool", "POOLING", "DLA", 0), (head, "CONVOLUTION", "DLA", 5120)]
    placements = [placed(rows, findings) for rows in (group, batch, whole)]
    notes = ("GroupNorm", "BatchNorm", "BatchNorm, AveragePool in place of GlobalAveragePool")
    names = ("model_gn", "model_bn", "model_bn_avgpool")
    variants = [
        Variant(name, note, placement, numbers(top1, latency), chain(placement))
        for name, note, placement, top1, latency in zip(
            names, notes, placements, (0.712, 0.745, 0.745), (3.2, 1.5, 0.6), strict=True
        )
    ]
    return RunRecord("walkthrough", "2026-01-31T12:00:00Z", "CIFAR-10", [], ["Python 3.11, onnxruntime 1.23"], variants)


@pytest.fixture
def long_run() -> RunRecord:
    """1,000 layers in 50 stages with skips; each tenth stage has one layer on the GPU."""
    rows, findings, skips = [], {}, []
    for stage in range(50):
        for step in range(20):
            name = f"/backbone/stage{stage // 10}/block{stage}/layer{step}/Conv"
            device = "GPU" if stage % 10 == 9 and step == 10 else "DLA"
            rows.append((name, "CONVOLUTION" if device == "DLA" else "SHUFFLE", device, 1000))
            if device == "GPU":
                findings[name] = why("DLA701", name, "Transpose moves the batch", "keep NCHW")
        skips.append(Edge(rows[-20][0], rows[-1][0], "skip"))
    placement = placed(rows, findings)
    return RunRecord(
        "long", "2026-01-31T12:00:00Z", variants=[Variant("long", "", placement, [], [*chain(placement), *skips])]
    )


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


@pytest.fixture
def hostile_run() -> RunRecord:
    """Names that try to be more than text."""
    rows = [
        (name, "CONVOLUTION" if at % 2 else "REDUCE", "DLA" if at % 2 else "GPU", 5) for at, name in enumerate(HOSTILE)
    ]
    findings = {
        name: Finding(name, name, Verdict.UNKNOWN, name, name, name, name, name, Confidence.INFERRED)
        for name in HOSTILE
    }
    placement = placed(rows, findings)
    name = HOSTILE[0]
    return RunRecord(name, name, name, [name], [name], [Variant(name, HOSTILE[2], placement, [], chain(placement))])
