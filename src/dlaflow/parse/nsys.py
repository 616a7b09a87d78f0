"""Nsight Systems captures of TensorRT: inferences, their layers, and which of them used the DLA.

The DLA is invisible in the CUDA tables. Its tasks show as `cudlaSubmitTask` ranges of the NVTX domain `cuDLA` (or as
NvMedia calls in older releases) inside the layer that submits them. Everything is streamed: a capture of millions of
rows is read once, in order, with a few inferences in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from dlaflow.parse.capture import CaptureInfo, Enqueue, LayerRange
from dlaflow.parse.nsys_tables import (
    KERNEL,
    MEMCPY,
    MEMSET,
    NVMEDIA,
    NVTX,
    PROCESS,
    PUSH_POP,
    RUNTIME,
    START_END,
    Row,
    Tables,
    capture_info,
    domains,
    text_of,
    whole,
)

_OUTER = ("ExecutionContext::enqueue", "ExecutionContext::execute")
_COPY, _GUESSED = 1, 2


def read_info(path: str | Path) -> CaptureInfo:
    """What the export tells of itself. Raises InputError when it is no readable export."""
    with Tables(path) as tables:
        return capture_info(tables)


def read_enqueues(path: str | Path) -> Iterator[Enqueue]:
    """The inferences of a capture, by thread and start. Raises InputError when it is no readable export."""
    with Tables(path) as tables:
        if not tables.has(NVTX, "start", "end", "eventType", "globalTid"):
            return
        # Streams that are left half-read must end before the file is closed.
        with (
            closing(_inferences(tables)) as inferences,
            closing(_launches(tables)) as works,
            closing(_submits(tables)) as tasks,
        ):
            launches, submits = _Cursor(works), _Cursor(tasks)
            for inference in inferences:
                yield _resolved(inference, launches, submits)


@dataclass(slots=True)
class _Inference:
    thread: int
    start: int
    end: int
    ranges: list[tuple[int, int, str]] = field(default_factory=list)


@dataclass(slots=True)
class _Event:
    """A call with, for launches, the work it made on the GPU."""

    thread: int
    start: int
    gpu_start: int = 0
    gpu_end: int = 0
    kind: int = 0


class _Cursor:
    """Walks events ordered by thread and start, one ahead."""

    def __init__(self, events: Iterator[_Event]) -> None:
        self._events = events
        self.next = next(events, None)

    def upto(self, thread: int, time: int) -> Iterator[_Event]:
        """The events not taken yet that come before `time` on `thread`."""
        while self.next is not None and (self.next.thread, self.next.start) < (thread, time):
            event = self.next
            self.next = next(self._events, None)
            yield event


def _inferences(tables: Tables) -> Generator[_Inference, None, None]:
    current: _Inference | None = None
    names: dict[int | float | str | None, str] = {}
    inner_end = 0
    for start, end, thread, text in tables.rows(_range_query(tables)):
        begin, finish, owner = whole(start), whole(end), whole(thread)
        if current is not None and (owner != current.thread or begin >= current.end):
            yield current
            current = None
        name = names.get(text) or (text if isinstance(text, str) else tables.string(text))
        names[text] = name
        outer = name.startswith(_OUTER)
        if current is None:
            if outer:
                current = _Inference(owner, begin, finish)
                inner_end = begin
        elif not outer and finish <= current.end and begin >= inner_end:
            current.ranges.append((begin, finish, name))
            inner_end = finish
    if current is not None:
        yield current


def _range_query(tables: Tables) -> str:
    """TensorRT's ranges, outer before inner."""
    own = [(domain, process) for name, domain, process in domains(tables) if name == "TensorRT"]
    where = f"eventType IN ({PUSH_POP}, {START_END}) AND end IS NOT NULL"
    if own or (own := _domains_of_inferences(tables)):
        pairs = " OR ".join(f"(domainId = {domain} AND globalTid / {PROCESS} = {process})" for domain, process in own)
        where += f" AND ({pairs})"
    return (
        f"SELECT start, end, globalTid, {text_of(tables)} FROM {NVTX} WHERE {where} ORDER BY globalTid, start, end DESC"
    )


def _domains_of_inferences(tables: Tables) -> list[tuple[int, int]]:
    """Where no domain has TensorRT's name: those that hold inferences, by domain and process."""
    if not tables.has(NVTX, "domainId"):
        return []
    named = ["text LIKE 'ExecutionContext::%'"] if tables.has(NVTX, "text") else []
    if tables.has(NVTX, "textId") and (ids := tables.string_ids("ExecutionContext::%")):
        named.append(f"textId IN ({','.join(map(str, ids))})")
    if not named:
        return []
    query = f"SELECT DISTINCT domainId, globalTid / {PROCESS} FROM {NVTX} WHERE {' OR '.join(named)}"
    return [(whole(domain), whole(process)) for domain, process in tables.rows(query)]


def _launches(tables: Tables) -> Generator[_Event, None, None]:
    """What API calls made the GPU do, by the calling thread and the time of the call."""
    if not tables.has(RUNTIME, "start", "globalTid", "correlationId"):
        return
    parts = []
    for table, kind in ((KERNEL, 0), (MEMCPY, _COPY), (MEMSET, 0)):
        if not tables.has(table, "start", "end", "correlationId"):
            continue
        same = f" AND r.globalTid / {PROCESS} = k.globalPid / {PROCESS}" if tables.has(table, "globalPid") else ""
        # CROSS JOIN keeps the order: one index over the smaller table, one pass over the API calls.
        parts.append(
            f"SELECT r.globalTid AS thread, r.start AS call, k.start, k.end, {kind} FROM {RUNTIME} r "
            f"CROSS JOIN {table} k ON k.correlationId = r.correlationId{same}"
        )
    if parts:
        for row in tables.rows(f"{' UNION ALL '.join(parts)} ORDER BY thread, call"):
            yield _Event(*_integers(row))


def _submits(tables: Tables) -> Generator[_Event, None, None]:
    """Submissions to the DLA: cuDLA ranges, NvMedia calls, or, where neither was traced, what only a DLA layer does."""
    own = [(domain, process) for name, domain, process in domains(tables) if name == "cuDLA"]
    parts = []
    guessed = 0
    named = []
    if tables.has(NVTX, "textId") and (ids := tables.string_ids("cudlaSubmitTask%")):
        named.append(f"textId IN ({','.join(map(str, ids))})")
    if tables.has(NVTX, "text"):
        named.append("text LIKE 'cudlaSubmitTask%'")
    if own and named:
        pairs = " OR ".join(f"(domainId = {domain} AND globalTid / {PROCESS} = {process})" for domain, process in own)
        parts.append(
            f"SELECT globalTid AS thread, start AS call FROM {NVTX} WHERE eventType IN ({PUSH_POP}, {START_END}) "
            f"AND ({pairs}) AND ({' OR '.join(named)})"
        )
    if tables.has(NVMEDIA, "start", "globalTid", "nameId"):
        names = ",".join(map(str, tables.string_ids("%DlaSubmit%", "%Dla%Submit%", "cudlaSubmitTask%"))) or "NULL"
        parts.append(f"SELECT globalTid AS thread, start AS call FROM {NVMEDIA} WHERE nameId IN ({names})")
    if not parts and (waits := tables.string_ids("cuStreamWriteValue32%")) and tables.has(RUNTIME, "nameId", "start"):
        marks = ",".join(map(str, waits))
        parts.append(f"SELECT globalTid AS thread, start AS call FROM {RUNTIME} WHERE nameId IN ({marks})")
        guessed = _GUESSED
    if parts:
        for row in tables.rows(f"{' UNION ALL '.join(parts)} ORDER BY thread, call"):
            thread, call = _integers(row)
            yield _Event(thread, call, kind=guessed)


def _integers(row: Row) -> Iterator[int]:
    return map(whole, row)


def _resolved(inference: _Inference, launches: _Cursor, submits: _Cursor) -> Enqueue:
    """Give every layer its device and its work."""
    before = None
    for event in launches.upto(inference.thread, inference.start):
        before = event.gpu_end if event.thread == inference.thread else before
    for _ in submits.upto(inference.thread, inference.start):
        pass
    works = list(launches.upto(inference.thread, inference.end))
    tasks = list(submits.upto(inference.thread, inference.end))
    work, task = _Walk(works), _Walk(tasks)
    layers = tuple(
        _layer(name, start, end, work.between(start, end), task.between(start, end))
        for start, end, name in inference.ranges
    )
    after = launches.next
    same = after is not None and after.thread == inference.thread
    return Enqueue(
        thread=inference.thread,
        start=inference.start,
        end=inference.end,
        layers=layers,
        gpu_before=before,
        gpu_after=after.gpu_start if after is not None and same else None,
        after_is_copy=after is not None and same and after.kind == _COPY,
    )


class _Walk:
    """Takes events out of a short ordered list, window by window."""

    def __init__(self, events: list[_Event]) -> None:
        self._events = events
        self._at = 0

    def between(self, start: int, end: int) -> list[_Event]:
        events, at = self._events, self._at
        while at < len(events) and events[at].start < start:
            at += 1
        first = at
        while at < len(events) and events[at].start <= end:
            at += 1
        self._at = at
        return events[first:at]


def _layer(name: str, start: int, end: int, works: list[_Event], tasks: list[_Event]) -> LayerRange:
    if not works and not tasks:
        return LayerRange(name, start, end, "")
    # Where only stream writes tell, which GPU layers may make as well, the layer must be a DLA candidate without work.
    guessed = bool(tasks) and tasks[0].kind == _GUESSED
    on_dla = bool(tasks) and (not guessed or (not works and name.startswith("{ForeignNode[")))
    return LayerRange(
        name=name,
        start=start,
        end=end,
        device="DLA" if on_dla else "GPU" if works else "",
        submits=len(tasks) if on_dla else 0,
        launches=len(works),
        gpu_ns=sum(event.gpu_end - event.gpu_start for event in works),
        gpu_start=_edge(min, [event.gpu_start for event in works]),
        gpu_end=_edge(max, [event.gpu_end for event in works]),
    )


def _edge(pick: Callable[[list[int]], int], values: list[int]) -> int | None:
    return pick(values) if values else None
