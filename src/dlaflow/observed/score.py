"""Score a prediction against a real build: agreement over layers, multiply-accumulates and loadables.

Two counts of agreement, since a log names few of its layers. *Named* entries are what the build prints: each GPU entry
and each end or member of a subgraph; an entry agrees when all the layers that it means are predicted on its device.
*Layers* are all predicted layers of which the build tells the device, those between the ends of a subgraph included.
Constants and erased shuffles (FOLDED) leave no work: they are neither right nor wrong, unless a build shows work there.
"""

from __future__ import annotations

from dataclasses import dataclass

from dlaflow.observed.build import ObservedBuild
from dlaflow.observed.overlay import NamedEntry, Overlay, lay_over
from dlaflow.parse.log import Outcome
from dlaflow.types import Confidence, Device, Finding, PlacedLayer, Placement, Verdict


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One layer that runs elsewhere than predicted, with both sides' reasons.

    `predicted` is None when the prediction has no such layer. `ours` are the prediction's findings, `theirs` what the
    build's log says of it, `entry` the entry of the build's list that places it.
    """

    layer: str
    kind: str
    predicted: Device | None
    real: Device
    macs: int
    entry: str
    ours: tuple[Finding, ...] = ()
    theirs: tuple[str, ...] = ()

    @property
    def certain(self) -> bool:
        """Whether the prediction was wrong with full confidence: `native` without a finding that is not documented."""
        unsure = any(finding.confidence is Confidence.INFERRED for finding in self.ours)
        return self.predicted is Device.DLA and not unsure and all(f.verdict is Verdict.NATIVE for f in self.ours)


@dataclass(frozen=True, slots=True)
class LoadableMatch:
    """A loadable of the build with the predicted one of the same ends (None: there is none)."""

    first: str
    last: str
    predicted: int | None


@dataclass(frozen=True, slots=True)
class Score:
    """How well a prediction fits a build. Shares lie in 0..1 and are 1 where there is nothing to compare.

    `loadables_real` is None when the build does not tell how many it has; `switches_real` are counted over the model's
    own graph (None for excerpts). `lenient` are printed names that no layer bears as they stand, with the layers taken.
    `outcome` is that of the build (None: no log tells of it); what failed was placed, and never ran.
    """

    source: str
    complete: bool
    named: int
    named_agreeing: int
    layers: int
    layers_agreeing: int
    macs: int
    macs_agreeing: int
    loadables_predicted: int
    loadables_real: int | None
    loadables: tuple[LoadableMatch, ...]
    disagreements: tuple[Disagreement, ...]
    doubt: str = ""
    switches_predicted: int = 0
    switches_real: int | None = None
    lenient: tuple[tuple[str, str], ...] = ()
    outcome: Outcome | None = None

    @property
    def named_share(self) -> float:
        """Agreement over the entries that the build names."""
        return self.named_agreeing / self.named if self.named else 1.0

    @property
    def layer_share(self) -> float:
        """Agreement over all layers of which the build tells the device."""
        return self.layers_agreeing / self.layers if self.layers else 1.0

    @property
    def mac_share(self) -> float:
        """The same, weighted with multiply-accumulates."""
        return self.macs_agreeing / self.macs if self.macs else 1.0

    @property
    def loadables_right(self) -> bool:
        """Whether the count of loadables is right (true where the build does not tell it)."""
        return self.loadables_real is None or self.loadables_real == self.loadables_predicted


def score(predicted: Placement, build: ObservedBuild) -> Score:
    """Compare a prediction with a build of the same model.

    Raises InputError when the build is of another model.
    """
    over = lay_over(build, predicted)
    compared = [
        (layer, *over.devices[layer.name])
        for layer in predicted.layers
        if layer.name in over.devices and layer.device is not Device.FOLDED
    ]
    right = [layer for layer, device, _ in compared if layer.device is device]
    reasons = _reasons(build)
    wrong = [
        _disagreement(layer, device, entry, reasons) for layer, device, entry in compared if layer.device is not device
    ]
    entries = [each for each in over.named if not _only_constants(each)]
    wrong += [_missing(each, reasons) for each in entries if _is_wrong(each) and not _misplaced(each)]
    return Score(
        source=build.file,
        complete=build.complete,
        named=len(entries),
        named_agreeing=sum(not _is_wrong(each) for each in entries),
        layers=len(compared),
        layers_agreeing=len(right),
        macs=sum(layer.macs for layer, _, _ in compared),
        macs_agreeing=sum(layer.macs for layer in right),
        loadables_predicted=predicted.summary.loadables,
        loadables_real=build.loadables,
        loadables=_matches(predicted, over),
        disagreements=tuple(wrong),
        doubt=build.doubt,
        switches_predicted=predicted.summary.switches,
        switches_real=over.placement.summary.switches if build.complete else None,
        lenient=tuple(sorted(over.lenient.items())),
        outcome=build.outcome,
    )


def _only_constants(each: NamedEntry) -> bool:
    """Whether an entry is a constant that the prediction folds: it does no work on either side."""
    folded = all(layer.device is Device.FOLDED and layer.kind in _VALUES for layer in each.layers)
    return folded and (each.constant or bool(each.layers))


_VALUES = frozenset({"CONSTANT", "SHAPE", "GATHER"})


def _misplaced(each: NamedEntry) -> bool:
    """Whether a layer of the entry is predicted on the other device (and so already counted)."""
    return any(layer.device not in {each.device, Device.FOLDED} for layer in each.layers)


def _is_wrong(each: NamedEntry) -> bool:
    """Whether the prediction puts a layer of the entry elsewhere, or has nothing that works in its place."""
    return _misplaced(each) or not any(layer.device is each.device for layer in each.layers)


def _reasons(build: ObservedBuild) -> dict[str, list[str]]:
    """What the build's log gives as reasons, by layer."""
    reasons: dict[str, list[str]] = {}
    for message in build.messages:
        reasons.setdefault(message.layer, []).append(message.text)
    return reasons


def _disagreement(layer: PlacedLayer, real: Device, entry: str, reasons: dict[str, list[str]]) -> Disagreement:
    theirs = tuple(reasons.get(layer.name, reasons.get(entry, [])))
    return Disagreement(layer.name, layer.kind, layer.device, real, layer.macs, entry, tuple(layer.findings), theirs)


def _missing(each: NamedEntry, reasons: dict[str, list[str]]) -> Disagreement:
    layer = each.layers[0] if each.layers else None
    name = layer.name if layer else (each.missing or [each.entry])[0]
    return Disagreement(
        layer=name,
        kind=layer.kind if layer else "",
        predicted=layer.device if layer else None,
        real=each.device,
        macs=layer.macs if layer else 0,
        entry=each.entry,
        ours=tuple(layer.findings) if layer else (),
        theirs=tuple(reasons.get(name, reasons.get(each.entry, []))),
    )


def _matches(placement: Placement, over: Overlay) -> tuple[LoadableMatch, ...]:
    """Each real loadable with the predicted one whose ends mean the same layers.

    A layer and the parts that come from its ONNX node (the bias of a product) count as one.
    """
    layers = {layer.name: layer for layer in placement.layers}
    own = [(layers[each.first], layers[each.last]) for each in placement.loadables]
    found = []
    for (first, last), (starts, ends) in zip(over.build.ends or (), over.ends, strict=True):
        fitting = [i for i, (low, high) in enumerate(own) if _among(low, starts) and _among(high, ends)]
        found.append(LoadableMatch(first, last, fitting[0] if fitting else None))
    return tuple(found)


def _among(layer: PlacedLayer, others: list[PlacedLayer]) -> bool:
    return any(layer is other or set(layer.onnx_nodes) & set(other.onnx_nodes) for other in others)
