"""A real build laid over the placed graph: which device each layer got, as far as the build tells."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from dlaflow.errors import InputError
from dlaflow.observed.build import ObservedBuild, ObservedLayer
from dlaflow.observed.names import Resolver, is_noise
from dlaflow.placement.place import summary_of
from dlaflow.placement.switches import edges, switches
from dlaflow.types import Confidence, Device, Finding, Loadable, PlacedLayer, Placement, Verdict

ENOUGH = 0.25
"""A build of which fewer entries are found is of another model. Of 53 public builds with their own networks all entries
are found; of DETR, exported a second time with other names for its products, half of them."""


Ends: TypeAlias = tuple[list[PlacedLayer], list[PlacedLayer]]
"""The layers that the first and the last name of a loadable mean."""


@dataclass(frozen=True, slots=True)
class NamedEntry:
    """One entry of the build: as printed, the device, the layers that it means, and its names that were not found."""

    entry: str
    device: Device
    layers: list[PlacedLayer]
    missing: list[str]
    constant: bool = False


@dataclass(frozen=True, slots=True)
class Overlay:
    """A build over the placed graph of its model.

    `devices` maps a layer to (device, the entry that tells it). `named` are the entries, copies left out; `members` the
    layers behind each of `build.layers`, `ends` those of the first and the last layer of each loadable that the build
    tells. `lenient` maps printed names that were not found as they stand to the layers
    taken for them. `placement` is the graph with the measured devices, its loadables and switches counted as those of
    the prediction are; layers that nothing names keep the predicted device, with the verdict `unknown`.
    """

    build: ObservedBuild
    devices: dict[str, tuple[Device, str]]
    named: list[NamedEntry]
    members: list[list[PlacedLayer]]
    ends: list[Ends]
    lenient: dict[str, str]
    placement: Placement


def lay_over(build: ObservedBuild, predicted: Placement) -> Overlay:
    """Resolve what a build names to the layers of `predicted`, the placed graph of the same model.

    GPU entries name their layers. A subgraph of the DLA names its ends: its layers are those between them in network
    order that no GPU entry names and that the first leads to or that lead to the last. What no entry reaches (layers
    that the builder optimised away) is not told.

    Raises InputError when hardly a name is known: the build is then of another model.
    """
    resolver = Resolver(predicted)
    reach = _Reach(predicted)
    devices: dict[str, tuple[Device, str]] = {}
    named = _resolve(build.entries, resolver, reach, devices, kinds=bool(build.listed))
    lenient = dict(resolver.lenient)
    _refuse_another_model(build, predicted, [entry for entry in named if not entry.constant])
    if build.listed and build.ordered:
        _resolve(build.layers, resolver, reach, devices, kinds=False)
    members = _members(build, predicted, devices, resolver)
    ends = [(resolver.all(first)[0], resolver.all(last)[0]) for first, last in build.ends or ()]
    groups = _loadable_groups(build, members, ends, reach)
    return Overlay(build, devices, named, members, ends, lenient, _measured(build, predicted, devices, groups))


def _resolve(
    entries: tuple[ObservedLayer, ...],
    resolver: Resolver,
    reach: _Reach,
    devices: dict[str, tuple[Device, str]],
    *,
    kinds: bool,
) -> list[NamedEntry]:
    """The entries with their layers; `devices` gains what they tell and it does not hold yet. GPU entries go first."""
    named = []
    for entry in entries:
        if entry.device is Device.DLA or is_noise(entry.name, entry.kind):
            continue
        constant = entry.kind.upper() == "CONSTANT"
        kind = entry.kind if kinds and "+" not in entry.name else ""
        named.append(NamedEntry(entry.name, Device.GPU, *resolver.all(entry.name, kind), constant))
    for each in named:
        for layer in each.layers:
            devices.setdefault(layer.name, (each.device, each.entry))
    taken = set(devices)
    for entry in entries:
        if entry.device is Device.DLA:
            each = _of_dla(entry, resolver)
            named.append(each)
            inside = each.layers if entry.members else reach.between(each.layers, taken)
            for layer in (*each.layers, *inside):
                devices.setdefault(layer.name, (Device.DLA, each.entry))
    return named


def _of_dla(entry: ObservedLayer, resolver: Resolver) -> NamedEntry:
    first, last = entry.ends
    layers: dict[str, PlacedLayer] = {}
    missing: list[str] = []
    for name in entry.members or (first, last):
        found, lost = resolver.all(name)
        layers |= {layer.name: layer for layer in found}
        missing += lost
    return NamedEntry(first if first == last else f"{first}...{last}", Device.DLA, list(layers.values()), missing)


def _refuse_another_model(build: ObservedBuild, predicted: Placement, named: list[NamedEntry]) -> None:
    found = [entry for entry in named if entry.layers]
    if named and len(found) < ENOUGH * len(named):
        stranger = next(entry for entry in named if not entry.layers)
        raise InputError(
            f"{build.file or 'the build'} is not of this model",
            expected=f"names of the layers of {predicted.model.path}",
            received=f"{len(found)} of {len(named)} entries known; {stranger.entry!r} is none",
            then="Give the ONNX file that was built.",
        )


def _members(
    build: ObservedBuild, predicted: Placement, devices: Mapping[str, tuple[Device, str]], resolver: Resolver
) -> list[list[PlacedLayer]]:
    """The layers behind each layer of the build: of a subgraph all that it tells of, of others those they name.

    A predicted loadable with the same ends is taken whole, but for what is told to run elsewhere: it may hold a layer
    that hangs on neither end. That is the best reading of two names, not a fact.
    """
    by_name = {layer.name: layer for layer in predicted.layers}
    alike = {(each.first, each.last): [by_name[name] for name in each.layers] for each in predicted.loadables}
    inside: dict[str, list[PlacedLayer]] = defaultdict(list)
    for layer in predicted.layers:
        if layer.name in devices and layer.device is not Device.FOLDED:
            inside[devices[layer.name][1]].append(layer)
    found = []
    for entry in build.layers:
        each = _of_dla(entry, resolver) if entry.device is Device.DLA else None
        if each is None:
            found.append(resolver.all(entry.name)[0])
            continue
        members = inside.get(each.entry) or each.layers
        if not entry.members and members:
            whole = alike.get((members[0].name, members[-1].name), members)
            members = [layer for layer in whole if devices.get(layer.name, (Device.DLA,))[0] is Device.DLA]
        found.append(members)
    return found


class _Reach:
    """Which layers that run a layer leads to, and which lead to it."""

    def __init__(self, placement: Placement) -> None:
        self._layers = placement.layers
        self._order = {layer.name: index for index, layer in enumerate(placement.layers)}
        self._next: dict[int, list[int]] = defaultdict(list)
        self._back: dict[int, list[int]] = defaultdict(list)
        for edge in edges(placement.layers):
            source, to = self._order[edge.source], self._order[edge.to]
            self._next[source].append(to)
            self._back[to].append(source)

    def between(self, ends: list[PlacedLayer], taken: set[str]) -> list[PlacedLayer]:
        """The layers from the first of `ends` to the last that hang on either and are not `taken`."""
        places = [self._order[layer.name] for layer in ends]
        if not places:
            return []
        low, high = min(places), max(places)
        near = _walk(low, self._next) | _walk(high, self._back)
        span = ((index, self._layers[index]) for index in range(low, high + 1))
        return [layer for index, layer in span if index in near and layer.name not in taken]


def _walk(start: int, edges: Mapping[int, list[int]]) -> set[int]:
    seen, waiting = {start}, [start]
    while waiting:
        for other in edges.get(waiting.pop(), ()):
            if other not in seen:
                seen.add(other)
                waiting.append(other)
    return seen


def _measured(
    build: ObservedBuild,
    predicted: Placement,
    devices: Mapping[str, tuple[Device, str]],
    members: list[list[PlacedLayer]],
) -> Placement:
    """The graph with the devices of the build; `members` are the layers of each of its loadables."""
    loadable_of = {layer.name: place for place, group in enumerate(members) for layer in group}
    findings = _findings(build)
    layers = [_layer(layer, devices, loadable_of, findings.pop(layer.name, [])) for layer in predicted.layers]
    groups: dict[int, list[PlacedLayer]] = defaultdict(list)
    for layer in layers:
        if layer.loadable is not None:
            groups[layer.loadable].append(layer)
    loadables = [
        Loadable(
            place, group[0].name, group[-1].name, [layer.name for layer in group], sum(each.macs for each in group)
        )
        for place, group in sorted(groups.items())
    ]
    crossing = switches(layers, predicted.tensors)
    count = build.loadables if build.loadables is not None else len(loadables)
    macs, on_dla = sum(each.macs for each in layers), sum(each.macs for each in layers if each.device is Device.DLA)
    share = None if predicted.summary.dla_mac_share is None else on_dla / max(1, macs)
    return replace(
        predicted,
        summary=summary_of(layers, count, len(crossing), share),
        layers=layers,
        loadables=loadables,
        switches=crossing,
        findings=[finding for group in findings.values() for finding in group],
    )


def _loadable_groups(
    build: ObservedBuild, members: list[list[PlacedLayer]], ends: list[Ends], reach: _Reach
) -> list[list[PlacedLayer]]:
    """The layers of each loadable: of the engine's DLA nodes, or of the ends that the log tells."""
    if (
        build.ordered
        or build.ends is None
        or len(build.ends) == sum(each.device is Device.DLA for each in build.layers)
    ):
        return [group for entry, group in zip(build.layers, members, strict=True) if entry.device is Device.DLA]
    return [reach.between([*first, *last], set()) for first, last in ends]


def _layer(
    layer: PlacedLayer,
    devices: Mapping[str, tuple[Device, str]],
    loadable_of: Mapping[str, int],
    messages: list[Finding],
) -> PlacedLayer:
    findings = [*layer.findings, *messages]
    if layer.device is Device.FOLDED and (layer.name not in devices or not layer.inputs):
        return replace(layer, findings=findings)
    if layer.name not in devices:
        loadable = loadable_of.get(layer.name) if layer.device is Device.DLA else None
        return replace(layer, verdict=Verdict.UNKNOWN, loadable=loadable, findings=findings)
    device = devices[layer.name][0]
    verdict = Verdict.NATIVE if device is Device.DLA else Verdict.FALLBACK
    loadable = loadable_of.get(layer.name) if device is Device.DLA else None
    return replace(layer, device=device, verdict=verdict, loadable=loadable, findings=findings)


def _findings(build: ObservedBuild) -> dict[str, list[Finding]]:
    """What the log says of layers, as findings by layer. The rule is the reason's code."""
    found: dict[str, list[Finding]] = defaultdict(list)
    for layer in build.layers:
        for message in layer.messages:
            name = message.layer or layer.name
            found[name].append(
                Finding(
                    rule=message.reason,
                    layer=name,
                    verdict=Verdict.FALLBACK,
                    message=message.text,
                    expected="" if message.limit is None else str(message.limit),
                    received=message.operation or ("" if message.received is None else str(message.received)),
                    source=f"log line {message.line}",
                    fix="",
                    confidence=Confidence.MEASURED,
                )
            )
    return found
