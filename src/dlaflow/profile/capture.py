"""A capture in numbers: every inference measured while it streams by, cold ones apart, with mean and spread."""

from __future__ import annotations

import statistics
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path

from dlaflow.parse.nsys import CaptureInfo, Enqueue, read_enqueues, read_info
from dlaflow.profile.iteration import REFORMAT, Crossing, Iteration, iteration_of
from dlaflow.profile.spread import Running, Spread

_KEPT = 12
"""Inferences kept whole at the start: the cold ones are among them, and a few warm ones for the timeline."""

_COLD = 2.0
"""An inference at the start is cold when the host took so many times the median."""

_MS = 1e-6


@dataclass(frozen=True, slots=True)
class LayerTime:
    """A layer over all warm inferences, in milliseconds. `host_ms` is how long the host took to hand it over."""

    name: str
    device: str
    host_ms: float
    gpu_ms: float
    n: int


@dataclass(frozen=True, slots=True)
class CrossingTime:
    """The nth change of device, over all warm inferences. `reformat_ms` is what its copies cost on the GPU."""

    source: str
    to: str
    into_dla: bool
    reformats: int
    reformat_ms: Spread


@dataclass(frozen=True, slots=True)
class WindowTime:
    """The nth DLA window, in milliseconds: the task and its hand-over. None where nothing marks its end."""

    name: str
    ms: Spread | None


@dataclass(frozen=True, slots=True)
class CaptureSummary:
    """A capture. Times are milliseconds over the warm inferences; None is what the capture cannot tell.

    `layers`, `submits`, `switches`, `reformats` and `launches_of_reformats` are those of the usual inference;
    `irregular` counts warm inferences that differ from it. `pattern` is one letter a layer that does something.
    `sample` holds the first inferences of the first thread, cold ones too; `first_warm` tells where those end.
    """

    info: CaptureInfo
    inferences: int
    cold: int
    irregular: int
    layers: int
    submits: int
    switches: int
    reformats: int
    launches_of_reformats: int
    pattern: str
    cold_host_ms: tuple[float, ...]
    host_ms: Spread | None
    span_ms: Spread | None
    dla_ms: Spread | None
    gpu_ms: Spread | None
    reformat_ms: Spread | None
    idle_ms: Spread | None
    windows: tuple[WindowTime, ...]
    crossings: tuple[CrossingTime, ...]
    layer_times: tuple[LayerTime, ...]
    sample: tuple[Enqueue, ...]
    first_warm: int
    threads: int


def summarise_capture(path: str | Path) -> CaptureSummary:
    """Summarise an Nsight Systems export. Raises InputError when the file is no readable export."""
    return summarise_enqueues(read_info(path), read_enqueues(path))


def summarise_enqueues(info: CaptureInfo, enqueues: Iterable[Enqueue]) -> CaptureSummary:
    """Summarise inferences as they come; only the first few are kept."""
    totals = _Totals()
    threads = [_one_thread(group, totals) for _, group in groupby(enqueues, key=lambda enqueue: enqueue.thread)]
    return totals.finish(info, threads)


@dataclass(frozen=True, slots=True)
class _Thread:
    """One thread's inferences: those kept from its start, and how long the host took for the cold ones."""

    kept: tuple[Enqueue, ...]
    cold_host_ms: tuple[float, ...]
    inferences: int


def _one_thread(enqueues: Iterable[Enqueue], totals: _Totals) -> _Thread:
    """Add the warm inferences of one thread to `totals`; every thread warms up by itself."""
    kept: list[Enqueue] = []
    hosts = array("d")
    for enqueue in enqueues:
        hosts.append((enqueue.end - enqueue.start) * _MS)
        if len(kept) < _KEPT:
            kept.append(enqueue)
        else:
            totals.add(enqueue)
    cold = _cold_count(hosts, len(kept))
    for enqueue in kept[cold:]:
        totals.add(enqueue)
    return _Thread(tuple(kept), tuple(hosts[:cold]), len(hosts))


def _cold_count(hosts: array[float], kept: int) -> int:
    """How many inferences at the start took far longer than usual."""
    if len(hosts) < 3:
        return 0
    usual = statistics.median(hosts)
    count = 0
    while count < min(kept, len(hosts) - 1) and hosts[count] > _COLD * usual:
        count += 1
    return count


@dataclass(frozen=True, slots=True)
class _Shape:
    """What makes two inferences alike."""

    layers: int
    submits: int
    reformats: int
    launches_of_reformats: int
    pattern: str


class _Totals:
    """Sums over warm inferences."""

    def __init__(self) -> None:
        self._shapes: Counter[_Shape] = Counter()
        self._times = {name: Running() for name in ("host", "gpu", "reformat", "dla", "span", "idle")}
        self._layers: dict[tuple[str, str], list[float]] = {}
        self._windows: dict[tuple[int, str], Running] = {}
        self._crossings: dict[int, tuple[Crossing, Running]] = {}

    def add(self, enqueue: Enqueue) -> None:
        found = iteration_of(enqueue)
        self._shapes[_shape_of(enqueue)] += 1
        self._add_times(found)
        for layer in enqueue.layers:
            sums = self._layers.setdefault((layer.name, layer.device), [0.0, 0.0, 0.0])
            sums[0] += 1
            sums[1] += layer.end - layer.start
            sums[2] += layer.gpu_ns
        for place, window in enumerate(found.windows):
            running = self._windows.setdefault((place, window.name), Running())
            if window.end is not None:
                running.add((window.end - window.start) * _MS)
        for place, crossing in enumerate(found.crossings):
            self._crossings.setdefault(place, (crossing, Running()))[1].add(crossing.reformat_ns * _MS)

    def _add_times(self, found: Iteration) -> None:
        values = {
            "host": found.host_ns,
            "gpu": found.gpu_ns,
            "reformat": found.reformat_ns,
            "dla": found.dla_ns,
            "span": found.span_ns,
            "idle": found.idle_ns,
        }
        for name, value in values.items():
            if value is not None:
                self._times[name].add(value * _MS)

    def finish(self, info: CaptureInfo, threads: list[_Thread]) -> CaptureSummary:
        shape = self._shapes.most_common(1)[0][0] if self._shapes else _Shape(0, 0, 0, 0, "")
        spreads = {name: running.finish() for name, running in self._times.items()}
        return CaptureSummary(
            info=info,
            inferences=sum(thread.inferences for thread in threads),
            threads=len(threads),
            cold=sum(len(thread.cold_host_ms) for thread in threads),
            irregular=sum(self._shapes.values()) - self._shapes[shape],
            layers=shape.layers,
            submits=shape.submits,
            switches=sum(here != there for here, there in pairwise(shape.pattern)),
            reformats=shape.reformats,
            launches_of_reformats=shape.launches_of_reformats,
            pattern=shape.pattern,
            cold_host_ms=tuple(ms for thread in threads for ms in thread.cold_host_ms),
            host_ms=spreads["host"],
            span_ms=spreads["span"],
            dla_ms=spreads["dla"],
            gpu_ms=spreads["gpu"],
            reformat_ms=spreads["reformat"],
            idle_ms=spreads["idle"],
            windows=tuple(WindowTime(name, running.finish()) for (_, name), running in sorted(self._windows.items())),
            crossings=tuple(self._crossing_times()),
            layer_times=tuple(self._layer_times()),
            sample=threads[0].kept if threads else (),
            first_warm=min(len(threads[0].cold_host_ms), len(threads[0].kept) - 1) if threads else 0,
        )

    def _crossing_times(self) -> list[CrossingTime]:
        found = []
        for _, (crossing, running) in sorted(self._crossings.items(), key=lambda item: item[0]):
            spread = running.finish()
            if spread is not None:
                found.append(CrossingTime(crossing.source, crossing.to, crossing.into_dla, crossing.reformats, spread))
        return found

    def _layer_times(self) -> list[LayerTime]:
        return [
            LayerTime(name, device, host / n * _MS, gpu / n * _MS, int(n))
            for (name, device), (n, host, gpu) in self._layers.items()
        ]


def _shape_of(enqueue: Enqueue) -> _Shape:
    reformats = [layer for layer in enqueue.layers if layer.name.startswith(REFORMAT)]
    return _Shape(
        layers=len(enqueue.layers),
        submits=sum(layer.submits for layer in enqueue.layers),
        reformats=len(reformats),
        launches_of_reformats=sum(layer.device == "GPU" for layer in reformats),
        pattern="".join(layer.device[:1] for layer in enqueue.layers),
    )
