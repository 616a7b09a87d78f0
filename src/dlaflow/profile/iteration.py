"""One inference of a capture as runs on a device, DLA windows and crossings.

A capture shows when the host handed a task to the DLA, not how long the DLA worked. But work is ordered on the stream:
the DLA's share lies between the end of the GPU's work before the task and the begin of its work after it. That window
is what is called DLA time here; it holds the task and the hand-over on both sides.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby, pairwise

from dlaflow.parse.nsys import Enqueue, LayerRange

REFORMAT = "Reformatting CopyNode"


@dataclass(frozen=True, slots=True)
class DeviceRun:
    """Neighbouring layers of one device, those that launch nothing left out."""

    device: str
    layers: tuple[LayerRange, ...]


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of DLA work on the stream, in nanoseconds. `end` is None when nothing marks it."""

    name: str
    start: int
    end: int | None


@dataclass(frozen=True, slots=True)
class Crossing:
    """A change of device. `reformats` are the copies it costs, `reformat_ns` their time on the GPU."""

    source: str
    to: str
    into_dla: bool
    reformats: int
    reformat_ns: int


@dataclass(frozen=True, slots=True)
class Iteration:
    """One inference, in nanoseconds. `dla_ns` is None when a window has no end; `span_ns` is the whole stream's."""

    runs: tuple[DeviceRun, ...]
    windows: tuple[Window, ...]
    crossings: tuple[Crossing, ...]
    host_ns: int
    gpu_ns: int
    reformat_ns: int
    dla_ns: int | None
    span_ns: int | None
    idle_ns: int | None


def iteration_of(enqueue: Enqueue) -> Iteration:
    """Work out one inference."""
    active = [layer for layer in enqueue.layers if layer.device]
    runs = runs_of(active)
    windows = tuple(_windows(enqueue, runs))
    busy = sum(layer.gpu_ns for layer in active)
    reformat = sum(layer.gpu_ns for layer in active if layer.name.startswith(REFORMAT))
    known = [window.end - window.start for window in windows if window.end is not None]
    dla = sum(known) if len(known) == len(windows) else None
    span = _span(active, windows)
    return Iteration(
        runs=runs,
        windows=windows,
        crossings=tuple(crossings_of(runs)),
        host_ns=enqueue.end - enqueue.start,
        gpu_ns=busy - reformat,
        reformat_ns=reformat,
        dla_ns=dla,
        span_ns=span,
        idle_ns=None if span is None or dla is None else max(0, span - busy - dla),
    )


def runs_of(active: Iterable[LayerRange]) -> tuple[DeviceRun, ...]:
    """Layers that do something, in order, as runs on a device."""
    return tuple(DeviceRun(device, tuple(group)) for device, group in groupby(active, key=lambda layer: layer.device))


def _windows(enqueue: Enqueue, runs: tuple[DeviceRun, ...]) -> list[Window]:
    found = []
    for place, run in enumerate(runs):
        if run.device != "DLA":
            continue
        before = _last_end(runs[place - 1]) if place else enqueue.gpu_before
        start = max(run.layers[0].start, before or 0)
        if place + 1 < len(runs):
            end = runs[place + 1].layers[0].gpu_start
        else:
            # Behind the last DLA task only an output copy tells its end: the next inference may come much later.
            end = enqueue.gpu_after if enqueue.after_is_copy else None
        name = " | ".join(layer.name for layer in run.layers)
        found.append(Window(name, start, end if end is not None and end >= start else None))
    return found


def _last_end(run: DeviceRun) -> int | None:
    return max((layer.gpu_end for layer in run.layers if layer.gpu_end is not None), default=None)


def _span(active: list[LayerRange], windows: tuple[Window, ...]) -> int | None:
    starts = [layer.gpu_start for layer in active if layer.gpu_start is not None]
    ends = [layer.gpu_end for layer in active if layer.gpu_end is not None]
    starts += [window.start for window in windows]
    ends += [window.end for window in windows if window.end is not None]
    if not starts or not ends or any(window.end is None for window in windows[-1:]):
        return None
    return max(ends) - min(starts)


def crossings_of(runs: tuple[DeviceRun, ...]) -> list[Crossing]:
    """The changes between runs, each with the reformats that lie at it on the GPU's side."""
    found = []
    for place, (here, there) in enumerate(pairwise(runs)):
        into_dla = there.device == "DLA"
        gpu = here if into_dla else there
        between = into_dla and place > 0
        copies = _edge_reformats(gpu, at_end=into_dla, shared=between or (not into_dla and place + 2 < len(runs)))
        found.append(
            Crossing(
                source=_telling(here, last=True),
                to=_telling(there, last=False),
                into_dla=into_dla,
                reformats=len(copies),
                reformat_ns=sum(layer.gpu_ns for layer in copies),
            )
        )
    return found


def _edge_reformats(run: DeviceRun, *, at_end: bool, shared: bool) -> list[LayerRange]:
    """The reformats at one edge of a GPU run; in a run of nothing else their names tell to which side they belong."""
    if shared and all(layer.name.startswith(REFORMAT) for layer in run.layers):
        return [layer for layer in run.layers if _feeds_dla(layer) == at_end]
    edge = []
    for layer in reversed(run.layers) if at_end else run.layers:
        if not layer.name.startswith(REFORMAT):
            break
        edge.append(layer)
    return edge


def _feeds_dla(layer: LayerRange) -> bool:
    return "Input Tensor" in layer.name and "{ForeignNode[" in layer.name


def _telling(run: DeviceRun, *, last: bool) -> str:
    """The layer at the edge of a run that says something: not a reformat, where there is another."""
    layers = [layer for layer in run.layers if not layer.name.startswith(REFORMAT)] or list(run.layers)
    return layers[-1 if last else 0].name
