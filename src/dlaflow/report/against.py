"""Predicted against measured: the numbers of both side by side, and each layer that ran elsewhere than predicted."""

from __future__ import annotations

from dataclasses import dataclass

from dlaflow.report.records import Variant
from dlaflow.report.strip import Strip, strip_of
from dlaflow.report.tradeoff import AS_BUILT
from dlaflow.types import Device, Measurement, PlacedLayer, Provenance, Verdict


@dataclass(frozen=True, slots=True)
class Side:
    """One line of the comparison; `same` tells whether both agree as far as they can."""

    name: str
    predicted: str
    measured: str
    same: bool


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A layer that ran on another device than was predicted, with the reason of the builder's log (or nothing)."""

    layer: str
    kind: str
    predicted: Device
    measured: Device
    why: str


@dataclass(frozen=True, slots=True)
class Against:
    """The comparison. `compared` layers are those of which the files tell the device; `strip` is what was measured."""

    strip: Strip
    sides: list[Side]
    compared: int
    agreeing: int
    elsewhere: list[Elsewhere]


def against_of(variant: Variant) -> Against | None:
    """The comparison of a variant, None without both sides."""
    if variant.placement is None or variant.measured is None:
        return None
    predicted = {layer.name: layer.device for layer in variant.placement.layers}
    known = [layer for layer in variant.measured.layers if _is_known(layer) and layer.name in predicted]
    elsewhere = [
        Elsewhere(layer.name, layer.kind, predicted[layer.name], layer.device, _why(layer))
        for layer in known
        if layer.device is not predicted[layer.name]
    ]
    before, after = variant.placement.summary, variant.measured.summary
    counts = [
        ("Loadables", before.loadables, after.loadables),
        ("Switches", before.switches, after.switches),
    ]
    latency = _latency(variant.measurements)
    return Against(
        strip_of(variant.measured),
        [*(Side(name, str(a), str(b), a == b) for name, a, b in counts), *([latency] if latency else [])],
        len(known),
        len(known) - len(elsewhere),
        elsewhere,
    )


def _is_known(layer: PlacedLayer) -> bool:
    """Whether the files tell where a layer ran; what they do not name keeps the predicted device."""
    return layer.device is not Device.FOLDED and layer.verdict is not Verdict.UNKNOWN


def _why(layer: PlacedLayer) -> str:
    return next((each.message for each in layer.findings if each.source.startswith("log line")), "")


def _latency(measurements: list[Measurement]) -> Side | None:
    """The estimated and the measured latency; they agree when the measured one lies in the estimate's interval.

    A capture has no latency of trtexec's: the time on its stream stands for it.
    """
    estimated = (m for m in measurements if m.provenance is Provenance.ESTIMATED and m.subject == AS_BUILT)
    before = next((m for m in estimated if m.quantity == "latency"), None)
    measured = {m.quantity: m for m in reversed(measurements) if m.provenance is Provenance.MEASURED}
    after = measured.get("latency") or measured.get("stream time")
    if before is None or after is None or before.unit != after.unit:
        return None
    inside = abs(after.value - before.value) <= (before.spread or 0.0)
    expected = f"{before.value:.3g} ± {before.spread or 0.0:.2g} {before.unit} (estimated)"
    return Side(after.quantity.capitalize(), expected, f"{after.value:.3g} {after.unit}", inside)
