"""The changes of device of a run in their order: what crosses, what the copies cost, and why the GPU is needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

from dlaflow.observed.build import ObservedBuild, ObservedLayer
from dlaflow.observed.overlay import Overlay
from dlaflow.parse.nsys import LayerRange
from dlaflow.parse.rows import RowKind, kind_of
from dlaflow.profile.advice import findings_of, reason_of
from dlaflow.profile.iteration import crossings_of, runs_of
from dlaflow.profile.names import cause_of
from dlaflow.types import Device, Placement

_NS = 1e6
_COPIES = frozenset({RowKind.REFORMAT, RowKind.COPY, RowKind.DLA_COPY})


@dataclass(frozen=True, slots=True)
class DeviceChange:
    """Where the work goes from one device to the other.

    `source` and `to` are the layers on its two sides. `copies` are the reformats that lie at it and `ms` what they cost
    on the GPU in an inference; both are None where the files tell no order, `ms` also where they tell no times.
    `tensors` are what crosses, with their bytes (none without the model). `why` says why the layers on the GPU's side
    are there: the log's reason, else that of the rules, else which operators they are.
    """

    into_dla: bool
    source: str
    to: str
    copies: int | None
    ms: float | None
    tensors: tuple[tuple[str, int], ...]
    why: str


def changes_of(
    build: ObservedBuild, times: Mapping[str, float], over: Overlay | None, predicted: Placement | None
) -> list[DeviceChange]:
    """Every change of device of a build; `times` are milliseconds of GPU time by layer name, empty: not told.

    Lists without an order say nothing of changes; over the model's graph they do, tensor by tensor.
    """
    if build.ordered:
        return _along(build, times, over, predicted)
    return _of_graph(build, over.placement) if over else []


def _along(
    build: ObservedBuild, times: Mapping[str, float], over: Overlay | None, predicted: Placement | None
) -> list[DeviceChange]:
    working = [(place, layer) for place, layer in enumerate(build.layers) if layer.works]
    ranges = [
        LayerRange(each.name, 0, 0, each.device, gpu_ns=int(times.get(each.name, 0) * _NS)) for _, each in working
    ]
    runs = runs_of(ranges)
    layers = [[layer for _, layer in group] for _, group in groupby(working, key=lambda pair: pair[1].device)]
    tensors: dict[int, list[tuple[str, int]]] = {}
    if over is not None:
        number_of = [number for number, run in enumerate(runs) for _ in run.layers]
        where = _runs_by_layer(over, [(number, place) for number, (place, _) in zip(number_of, working, strict=True)])
        for switch in over.placement.switches:
            # Of helper layers the files may name one side alone: what leaves a run crosses behind it at the latest.
            begins = where[switch.to] if switch.to in where else where.get(switch.source, -1) + 1
            tensors.setdefault(begins, []).append((switch.tensor, switch.bytes))
    return [
        DeviceChange(
            crossing.into_dla,
            crossing.source,
            crossing.to,
            crossing.reformats,
            crossing.reformat_ns / _NS if times else None,
            tuple(tensors.get(number + 1, ())),
            _why(layers[side := number + (not crossing.into_dla)], predicted, at_end=side in {0, len(runs) - 1}),
        )
        for number, crossing in enumerate(crossings_of(runs))
    ]


def _runs_by_layer(over: Overlay, entries: list[tuple[int, int]]) -> dict[str, int]:
    """The run of each layer of the model; `entries` are (number of the run, place of the entry in the build)."""
    where: dict[str, int] = {}
    # A copy is named after the layer that it serves, so that it tells where that is only if nothing else does.
    for number, place in sorted(entries, key=lambda entry: _is_copy(over.build.layers[entry[1]])):
        for member in over.members[place]:
            where.setdefault(member.name, number)
    placed = over.placement.layers
    homes = {layer.loadable: where[layer.name] for layer in placed if layer.name in where}
    for layer in placed:
        if layer.loadable is not None and layer.loadable in homes:
            where.setdefault(layer.name, homes[layer.loadable])
    return where


def _of_graph(build: ObservedBuild, placement: Placement) -> list[DeviceChange]:
    devices = {layer.name: layer.device for layer in placement.layers}
    said = {layer.name: layer for layer in build.entries}
    found = []
    for switch in placement.switches:
        into_dla = devices[switch.to] is Device.DLA
        name = switch.source if into_dla else switch.to
        why = _why([said.get(name) or ObservedLayer(name, "", Device.GPU)], placement)
        found.append(
            DeviceChange(into_dla, switch.source, switch.to, None, None, ((switch.tensor, switch.bytes),), why)
        )
    return found


def _why(layers: list[ObservedLayer], predicted: Placement | None, *, at_end: bool = False) -> str:
    """Why these layers are on the GPU; `at_end`: nothing runs before them, or nothing after."""
    if reason := reason_of(layers):
        return reason
    names = [layer.name for layer in layers if not _is_copy(layer)]
    served = [] if names else _served(layers)
    if not names and not served and at_end:
        return "The network's input or output is copied between its own format and the DLA's."
    if not names and not served:
        return "Only a reformat lies between two DLA subgraphs: they hand over in different formats."
    findings = findings_of([*names, *served], predicted) if predicted else []
    if findings:
        return f"{findings[0].rule}: {findings[0].message}"
    if served:
        return f"On the GPU: {served[0]}, of which only the copies take time. The files do not say why."
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"On the GPU: {cause_of(names) or names[0] + more}. The files do not say why."


def _is_copy(layer: ObservedLayer) -> bool:
    return kind_of(layer.name)[0] in _COPIES


def _served(layers: list[ObservedLayer]) -> list[str]:
    """The layers that reformats are named after, DLA nodes left out: they take no time of their own."""
    served = (layer.name.partition(" to ")[2] for layer in layers)
    return [name for name in served if name and not name.startswith("{")]
