"""Predicted against measured: the numbers of both side by side, and each layer that ran elsewhere than predicted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal, TypeAlias

from dlaflow.report.interval import ends
from dlaflow.report.records import Variant
from dlaflow.report.strip import Strip, strip_of
from dlaflow.report.tradeoff import AS_BUILT
from dlaflow.types import Device, Measurement, PlacedLayer, Provenance, Verdict

Mark: TypeAlias = Literal["agrees", "differs", "regrouped", "not told"]
"""How prediction and measurement compare; regrouped: on the DLA in both, in loadables of other layers."""


@dataclass(frozen=True, slots=True)
class Side:
    """One quantity of the comparison; numbers agree as far as they can."""

    name: str
    predicted: str
    measured: str
    mark: Mark


@dataclass(frozen=True, slots=True)
class LayerSides:
    """Where a layer was predicted and where it ran, with the number of its loadable; `why` is the builder's reason."""

    layer: str
    kind: str
    predicted: str
    measured: str
    mark: Mark
    why: str


@dataclass(frozen=True, slots=True)
class Against:
    """The comparison; `strip` is what was measured, `layers` stand in the model's order, folded ones left out."""

    strip: Strip
    sides: list[Side]
    layers: list[LayerSides]

    @property
    def compared(self) -> int:
        """How many layers the files tell the device of."""
        return sum(each.mark != "not told" for each in self.layers)

    @property
    def untold(self) -> int:
        """How many layers they tell nothing of."""
        return len(self.layers) - self.compared

    @property
    def agreeing(self) -> int:
        """How many of them ran on the predicted device."""
        return sum(each.mark in {"agrees", "regrouped"} for each in self.layers)

    @property
    def differing(self) -> list[LayerSides]:
        """The layers on another device, or in another loadable, than predicted."""
        return [each for each in self.layers if each.mark in {"differs", "regrouped"}]


def against_of(variant: Variant) -> Against | None:
    """The comparison of a variant, None without both sides."""
    if variant.placement is None or variant.measured is None:
        return None
    predicted = {layer.name: layer for layer in variant.placement.layers}
    pairs = [(predicted[layer.name], layer) for layer in variant.measured.layers if layer.name in predicted]
    same = _same_loadables(pairs)
    before, after = variant.placement.summary, variant.measured.summary
    counts = [
        ("Loadables", before.loadables, after.loadables),
        ("Switches", before.switches, after.switches),
    ]
    sides: list[Side] = [Side(name, str(a), str(b), "agrees" if a == b else "differs") for name, a, b in counts]
    latency = _latency(variant.measurements)
    layers = [_layer(*pair, same) for pair in pairs if pair[1].device is not Device.FOLDED]
    return Against(strip_of(variant.measured), [*sides, *([latency] if latency else [])], layers)


def _same_loadables(pairs: list[tuple[PlacedLayer, PlacedLayer]]) -> set[tuple[int, int]]:
    """Which loadable of the prediction is which of the measurement: the two that share most layers, each once."""
    shared = Counter(
        (ours.loadable, theirs.loadable)
        for ours, theirs in pairs
        if ours.loadable is not None and theirs.loadable is not None and _is_known(theirs)
    )
    found: set[tuple[int, int]] = set()
    for (ours, theirs), _ in shared.most_common():
        if not any(ours == a or theirs == b for a, b in found):
            found.add((ours, theirs))
    return found


def _layer(ours: PlacedLayer, theirs: PlacedLayer, same: set[tuple[int, int]]) -> LayerSides:
    mark: Mark = "agrees"
    if not _is_known(theirs):
        mark = "not told"
    elif ours.device is not theirs.device:
        mark = "differs"
    elif ours.loadable is not None and theirs.loadable is not None and (ours.loadable, theirs.loadable) not in same:
        mark = "regrouped"
    there = "not told" if mark == "not told" else _where(theirs)
    return LayerSides(theirs.name, theirs.kind, _where(ours), there, mark, _why(theirs))


def _where(layer: PlacedLayer) -> str:
    return layer.device.value if layer.loadable is None else f"{layer.device.value} {layer.loadable}"


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
    if before is None:
        return None
    low, high = ends(before)
    expected = f"{before.value:.3g} ({low:.3g} to {high:.3g}) {before.unit} (estimated)"
    if after is None or before.unit != after.unit:
        return Side("Latency", expected, "not told", "not told")
    mark: Mark = "agrees" if low <= after.value <= high else "differs"
    return Side(after.quantity.capitalize(), expected, f"{after.value:.3g} {after.unit}", mark)
