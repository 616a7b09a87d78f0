"""A schedule over time: when each core works for which network, first come, first served.

Times are those of the flow, so that waiting for the GPU shows as a longer stay on the DLA's core; the visits themselves
are drawn at even distances, since nobody knows when they happen.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from dlaflow.estimate.schedule import Schedule
from dlaflow.estimate.schedule_flow import GPU

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
class Link:
    """One piece of a chain: its core, how long it takes, and its visits to the GPU with their time in all."""

    core: str
    service_ms: float
    visits: int = 0
    gpu_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Chain:
    """A network as links in order; a new inference begins every `period_ms`, or where that is None after the last."""

    name: str
    links: tuple[Link, ...]
    period_ms: float | None


def timeline(schedule: Schedule) -> list[Span]:
    """The spans of a schedule from the moment at which every network begins."""
    chains, place = [], 0
    for each in schedule.networks:
        own = range(place, place + len(each.cores))
        place = own.stop
        streams = [schedule.streams[index][1] for index in own]
        links = tuple(
            Link(stream.core, schedule.service_ms[index], stream.visits, stream.gpu_ms)
            for index, stream in zip(own, streams, strict=True)
        )
        wanted = streams[0].wanted
        chains.append(Chain(each.name, links, 1e3 / wanted if wanted else None))
    longest = max(max(chain.period_ms or 0.0, sum(link.service_ms for link in chain.links)) for chain in chains)
    return simulate(chains, _INFERENCES * longest)


def simulate(chains: Sequence[Chain], until_ms: float) -> list[Span]:
    """Every chain from 0 on, inferences that begin before `until_ms`; a core serves who asked first.

    A chain without a period hands its first link a new inference when that link is done with the last.
    """
    order = count()
    asked = [(0.0, next(order), chain, 0, 0) for chain in range(len(chains))]
    heapq.heapify(asked)
    free: dict[str, float] = {}
    spans: list[Span] = []
    while asked and len(spans) < _SPANS:
        time, _, number, link, inference = heapq.heappop(asked)
        chain = chains[number]
        own = chain.links[link]
        if free.get(own.core, 0.0) > time:
            heapq.heappush(asked, (free[own.core], next(order), number, link, inference))
            continue
        end = free[own.core] = time + own.service_ms
        kind = "gpu" if own.core == GPU else "dla"
        spans.append(Span(own.core, chain.name, kind, inference, time, end))
        spans += _visits(own, chain.name, inference, time)
        if link + 1 < len(chain.links):
            heapq.heappush(asked, (end, next(order), number, link + 1, inference))
        if link == 0:
            due = end if chain.period_ms is None else max(time, (inference + 1) * chain.period_ms)
            if due < until_ms:
                heapq.heappush(asked, (due, next(order), number, 0, inference + 1))
    return sorted(spans, key=lambda span: (span.start, span.core))


def _visits(link: Link, name: str, inference: int, start: float) -> list[Span]:
    if link.core == GPU or not link.visits or not link.gpu_ms:
        return []
    each = min(link.gpu_ms, link.service_ms) / link.visits
    gap = (link.service_ms - each) / max(1, link.visits - 1)
    begins = [start + place * gap for place in range(link.visits)]
    return [Span(GPU, name, "copy", inference, begin, begin + each, link.core) for begin in begins]
