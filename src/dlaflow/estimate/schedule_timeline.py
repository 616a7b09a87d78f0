"""A schedule over time: when each core works for which network, first come, first served.

Times are those of the flow, so that waiting for the GPU shows as a longer stay on the DLA's core; the visits themselves
are drawn at even distances, since nobody knows when they happen.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, islice

from dlaflow.estimate.schedule import Schedule
from dlaflow.estimate.schedule_flow import GPU, Stream

_INFERENCES = 4
"""The picture shows so many of the slowest network, as long as it keeps to ..."""
_SPANS = 600
"""... so many spans in all."""


@dataclass(frozen=True, slots=True)
class Span:
    """A core that works for a network: `kind` is dla, gpu, or copy (a visit of the DLA core `visitor` to the GPU).

    Times in ms.
    """

    core: str
    network: str
    kind: str
    inference: int
    start: float
    end: float
    visitor: str = ""


@dataclass(frozen=True, slots=True)
class Chain:
    """A network as pieces in order, each with its ms; an inference begins every `period_ms` (None: after the last)."""

    name: str
    pieces: tuple[tuple[Stream, float], ...]
    period_ms: float | None


def timeline(schedule: Schedule) -> list[Span]:
    """The spans of a schedule from the moment at which every network begins."""
    pieces = zip((stream for _, stream in schedule.streams), schedule.service_ms, strict=True)
    chains = []
    for each in schedule.networks:
        own = tuple(islice(pieces, len(each.cores)))
        wanted = own[0][0].wanted
        chains.append(Chain(each.name, own, 1e3 / wanted if wanted else None))
    longest = max(max(chain.period_ms or 0.0, sum(time for _, time in chain.pieces)) for chain in chains)
    return simulate(chains, _INFERENCES * longest)


def simulate(chains: Sequence[Chain], until_ms: float) -> list[Span]:
    """Every chain from 0 on, inferences that begin before `until_ms`; a core serves who asked first.

    A chain without a period hands its first piece a new inference when that piece is done with the last.
    """
    order = count()
    asked = [(0.0, next(order), chain, 0, 0) for chain in range(len(chains))]
    heapq.heapify(asked)
    free: dict[str, float] = {}
    spans: list[Span] = []
    while asked and len(spans) < _SPANS:
        time, _, number, place, inference = heapq.heappop(asked)
        chain = chains[number]
        own, service_ms = chain.pieces[place]
        if free.get(own.core, 0.0) > time:
            heapq.heappush(asked, (free[own.core], next(order), number, place, inference))
            continue
        end = free[own.core] = time + service_ms
        kind = "gpu" if own.core == GPU else "dla"
        spans.append(Span(own.core, chain.name, kind, inference, time, end))
        spans += _visits(own, chain.name, inference, (time, service_ms))
        if place + 1 < len(chain.pieces):
            heapq.heappush(asked, (end, next(order), number, place + 1, inference))
        if place == 0:
            due = end if chain.period_ms is None else max(time, (inference + 1) * chain.period_ms)
            if due < until_ms:
                heapq.heappush(asked, (due, next(order), number, 0, inference + 1))
    return sorted(spans, key=lambda span: (span.start, span.core))


def _visits(own: Stream, name: str, inference: int, when: tuple[float, float]) -> list[Span]:
    if own.core == GPU or not own.visits or not own.gpu_ms:
        return []
    start, service_ms = when
    each = min(own.gpu_ms, service_ms) / own.visits
    gap = (service_ms - each) / max(1, own.visits - 1)
    begins = [start + place * gap for place in range(own.visits)]
    return [Span(GPU, name, "copy", inference, begin, begin + each, own.core) for begin in begins]
