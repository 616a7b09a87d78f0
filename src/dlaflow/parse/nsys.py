"""Nsight Systems captures of TensorRT (SQLite exports): inferences, their layers, and which of them used the DLA.

The DLA is invisible in the CUDA tables. Its tasks show as `cudlaSubmitTask` ranges of the NVTX domain `cuDLA` (or as
NvMedia calls in older releases) inside the layer that submits them. Everything is streamed: a capture of millions of
rows is read once, in order, with a few inferences in memory.

Exports of ten years differ, so they are asked by table and column name: tables are lazy (a missing one means "no such
event"), columns come and go, names move. Times are nanoseconds on the capture's clock.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from dlaflow.errors import InputError
from dlaflow.parse.text import as_fields, as_int
from dlaflow.reading import check_regular

_OUTER = ("ExecutionContext::enqueue", "ExecutionContext::execute")
_COPY, _GUESSED = 1, 2


@dataclass(frozen=True, slots=True)
class LayerRange:
    """One engine layer of one inference, as the host ran it.

    `device` is `DLA` (a task was submitted), `GPU` (work was launched) or empty (nothing was: constants, no-ops).
    `gpu_ns` is the busy time of what it launched, between `gpu_start` and `gpu_end` on the GPU.
    """

    name: str
    start: int
    end: int
    device: str
    submits: int = 0
    launches: int = 0
    gpu_ns: int = 0
    gpu_start: int | None = None
    gpu_end: int | None = None


@dataclass(frozen=True, slots=True)
class Enqueue:
    """One inference: the outermost `ExecutionContext::enqueue` range and the layers in it, by start.

    `gpu_before` is when the GPU ended its last work launched earlier; `gpu_after` when it began the first launched
    later, and `after_is_copy` whether that is a copy (an output on its way to the host).
    """

    thread: int
    start: int
    end: int
    layers: tuple[LayerRange, ...]
    gpu_before: int | None = None
    gpu_after: int | None = None
    after_is_copy: bool = False


@dataclass(frozen=True, slots=True)
class HardwareTask:
    """A task of an accelerator with its true busy time. `engine` is DLA0, DLA1 or PVA."""

    engine: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class CaptureInfo:
    """What the export states about itself. `exporter` and `schema` are versions, empty in very old exports.

    `l4t` is the device's Linux for Tegra (`35.4.1`), `command` what was profiled; nothing else of the system's
    environment is read. `domains` are the NVTX domains, `missing` the tables that are not there (exports are lazy: no
    table means no such event).
    """

    exporter: str
    schema: str
    l4t: str
    command: str
    gpu: str
    domains: tuple[str, ...]
    missing: tuple[str, ...]
    cuda_graphs: bool


def read_info(path: str | Path) -> CaptureInfo:
    """What the export states about itself. Raises InputError when it is no readable export."""
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
        where += f" AND {_in_domains(own)}"
    return (
        f"SELECT start, end, globalTid, {text_of(tables)} FROM {NVTX} WHERE {where} ORDER BY globalTid, start, end DESC"
    )


def _domains_of_inferences(tables: Tables) -> list[tuple[int, int]]:
    """Where no domain has TensorRT's name: those that hold inferences, by domain and process."""
    named = _named(tables, "ExecutionContext::%")
    if not named or not tables.has(NVTX, "domainId"):
        return []
    query = f"SELECT DISTINCT domainId, globalTid / {PROCESS} FROM {NVTX} WHERE {named}"
    return [(whole(domain), whole(process)) for domain, process in tables.rows(query)]


def _in_domains(domains: list[tuple[int, int]]) -> str:
    """The condition that an NVTX event is of one of these domains, each with its process."""
    pairs = (f"(domainId = {domain} AND globalTid / {PROCESS} = {process})" for domain, process in domains)
    return f"({' OR '.join(pairs)})"


def _named(tables: Tables, pattern: str) -> str:
    """The condition that an NVTX event's name matches an SQL LIKE pattern; empty where none can."""
    parts = [f"text LIKE '{pattern}'"] if tables.has(NVTX, "text") else []
    if tables.has(NVTX, "textId") and (ids := tables.string_ids(pattern)):
        parts.append(f"textId IN ({_listed(ids)})")
    return f"({' OR '.join(parts)})" if parts else ""


def _listed(ids: list[int]) -> str:
    return ",".join(map(str, ids))


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
            yield _Event(*map(whole, row))


def _submits(tables: Tables) -> Generator[_Event, None, None]:
    """Submissions to the DLA: cuDLA ranges, NvMedia calls, or, where neither was traced, what only a DLA layer does."""
    own = [(domain, process) for name, domain, process in domains(tables) if name == "cuDLA"]
    sources = []
    guessed = 0
    if own and (named := _named(tables, "cudlaSubmitTask%")):
        sources.append(f"{NVTX} WHERE eventType IN ({PUSH_POP}, {START_END}) AND {_in_domains(own)} AND {named}")
    if tables.has(NVMEDIA, "start", "globalTid", "nameId"):
        calls = tables.string_ids("%DlaSubmit%", "%Dla%Submit%", "cudlaSubmitTask%")
        sources.append(f"{NVMEDIA} WHERE nameId IN ({_listed(calls) or 'NULL'})")
    if not sources and (waits := tables.string_ids("cuStreamWriteValue32%")) and tables.has(RUNTIME, "nameId", "start"):
        sources.append(f"{RUNTIME} WHERE nameId IN ({_listed(waits)})")
        guessed = _GUESSED
    if sources:
        parts = (f"SELECT globalTid AS thread, start AS call FROM {source}" for source in sources)
        for row in tables.rows(f"{' UNION ALL '.join(parts)} ORDER BY thread, call"):
            thread, call = map(whole, row)
            yield _Event(thread, call, kind=guessed)


def _resolved(inference: _Inference, launches: _Cursor, submits: _Cursor) -> Enqueue:
    """Give every layer its device and its work."""
    before = None
    for event in launches.upto(inference.thread, inference.start):
        before = event.gpu_end if event.thread == inference.thread else before
    for _ in submits.upto(inference.thread, inference.start):
        pass
    works = list(launches.upto(inference.thread, inference.end))
    tasks = list(submits.upto(inference.thread, inference.end))
    within = zip(inference.ranges, _by_range(works, inference), _by_range(tasks, inference), strict=True)
    layers = tuple(_layer(name, start, end, work, submitted) for (start, end, name), work, submitted in within)
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


def _by_range(events: list[_Event], inference: _Inference) -> Iterator[list[_Event]]:
    """The events of each range of an inference; one on the border of two belongs to the first."""
    at = 0
    for start, end, _ in inference.ranges:
        while at < len(events) and events[at].start < start:
            at += 1
        first = at
        while at < len(events) and events[at].start <= end:
            at += 1
        yield events[first:at]


def _layer(name: str, start: int, end: int, works: list[_Event], tasks: list[_Event]) -> LayerRange:
    if not works and not tasks:
        return LayerRange(name, start, end, "")
    # Stream writes alone may come from GPU layers as well: then the layer must be a DLA candidate without work.
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
        gpu_start=min((event.gpu_start for event in works), default=None),
        gpu_end=max((event.gpu_end for event in works), default=None),
    )


_ENGINES = {0xF3: "DLA0", 0xF4: "DLA1", 0xF1: "PVA", 0xF2: "PVA"}


def read_hardware_tasks(path: str | Path) -> tuple[HardwareTask, ...]:
    """The tasks of DLA and PVA by their end (`--accelerator-trace`): the only place where the true busy time stands.

    Begin and end are paired by class, syncpoint and threshold. Written from the schema that reports carry (provider
    mm_nvhost): no filled capture is public, so what does not fit is skipped and this is untested on real data.
    Raises InputError when the file is no readable export.
    """
    with Tables(path) as tables:
        return tuple(_tasks(tables))


def _tasks(tables: Tables) -> Iterator[HardwareTask]:
    if not tables.has(GENERIC, "rawTimestamp", "typeId", "data"):
        return
    time = "coalesce(timestamp, rawTimestamp)" if tables.has(GENERIC, "timestamp") else "rawTimestamp"
    names = _type_names(tables)
    open_tasks: dict[tuple[int, int, int], int] = {}
    for at, kind, data in tables.rows(f"SELECT {time}, typeId, data FROM {GENERIC} ORDER BY 1"):
        fields = _fields(data)
        name = names.get(kind if isinstance(kind, int) else 0, "") or str(fields.get("name", ""))
        key = _key(fields)
        if key is None or not isinstance(at, int):
            continue
        if name.endswith("task_begin"):
            open_tasks[key] = at
        elif name.endswith("task_end") and key in open_tasks:
            yield HardwareTask(_ENGINES.get(key[0], f"0x{key[0]:x}"), open_tasks.pop(key), at)


def _type_names(tables: Tables) -> dict[int, str]:
    if not tables.has("GENERIC_EVENT_TYPES", "typeId", "data"):
        return {}
    names = {}
    for key, data in tables.rows("SELECT typeId, data FROM GENERIC_EVENT_TYPES"):
        fields = _fields(data)
        name = fields.get("Name") or fields.get("name")
        if isinstance(key, int) and isinstance(name, str):
            names[key] = name
    return names


def _fields(data: object) -> dict[str, object]:
    """The fields of a JSON text, those of a nested `data` or `Fields` object lifted to the top."""
    try:
        fields = as_fields(json.loads(data)) if isinstance(data, str) else {}
    except (ValueError, RecursionError):
        return {}
    nested = as_fields(fields.get("data")) or as_fields(fields.get("Fields"))
    return {**fields, **nested}


def _key(fields: dict[str, object]) -> tuple[int, int, int] | None:
    values = []
    for name in ("class_id", "syncpt_id", "syncpt_thresh"):
        value = fields.get(name)
        number = int(value, 0) if isinstance(value, str) and value.strip().isdigit() else as_int(value)
        if number is None:
            return None
        values.append(number)
    return values[0], values[1], values[2]


RUNTIME = "CUPTI_ACTIVITY_KIND_RUNTIME"
KERNEL = "CUPTI_ACTIVITY_KIND_KERNEL"
MEMCPY = "CUPTI_ACTIVITY_KIND_MEMCPY"
MEMSET = "CUPTI_ACTIVITY_KIND_MEMSET"
NVTX = "NVTX_EVENTS"
NVMEDIA = "TRACE_PROCESS_EVENT_NVMEDIA"
GENERIC = "GENERIC_EVENTS"

DOMAIN_CREATED, PUSH_POP, START_END = 75, 59, 60
"""Values of `NVTX_EVENTS.eventType`."""

PROCESS = 0x1000000
"""A globalTid divided by this is the process."""

Row = tuple[int | float | str | None, ...]

_DAMAGE = (sqlite3.Error, UnicodeDecodeError, OverflowError)
"""What SQLite raises on a damaged file: its own messages may quote bytes that are no UTF-8."""


class Tables:
    """The open export. Use it as a context; every damage of the file becomes an InputError."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        check_regular(self.path)
        # `immutable` keeps SQLite from making lock files beside a report that may lie in a read-only folder.
        uri = f"{self.path.resolve().as_uri()}?mode=ro&immutable=1"
        try:
            self._connection = sqlite3.connect(uri, uri=True)
            self._connection.text_factory = _decoded
            self._connection.execute("PRAGMA cache_size = -65536")
            self._connection.execute("PRAGMA trusted_schema = OFF")
            names = [row[0] for row in self._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            self.columns = {
                str(name): frozenset(
                    str(row[1]) for row in self._connection.execute(f"PRAGMA table_info({_quoted(name)})")
                )
                for name in names
            }
        except _DAMAGE as error:
            raise self._damaged(error) from None
        self._strings: dict[int, str] = {}

    def __enter__(self) -> Tables:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def _damaged(self, error: Exception) -> InputError:
        return InputError(
            f"{self.path} is not a readable Nsight Systems export ({error})",
            expected="an SQLite file of `nsys export --type sqlite`",
            then="Export the report again.",
        )

    def has(self, table: str, *columns: str) -> bool:
        """Whether the table is there with all these columns."""
        return table in self.columns and self.columns[table].issuperset(columns)

    def rows(self, query: str, parameters: tuple[int | str, ...] = ()) -> Iterator[Row]:
        """The rows of a query, one at a time."""
        try:
            yield from self._connection.execute(query, parameters)
        except _DAMAGE as error:
            raise self._damaged(error) from None

    def string(self, key: int | float | str | None) -> str:
        """The text of a string id; unknown ids are empty."""
        if not isinstance(key, int):
            return ""
        if key not in self._strings:
            found = list(self.rows("SELECT value FROM StringIds WHERE id = ?", (key,))) if self.has("StringIds") else []
            self._strings[key] = str(found[0][0]) if found else ""
        return self._strings[key]

    def string_ids(self, *patterns: str) -> list[int]:
        """The ids of strings that match any SQL LIKE pattern."""
        if not self.has("StringIds", "id", "value"):
            return []
        where = " OR ".join("value LIKE ?" for _ in patterns)
        return [whole(row[0]) for row in self.rows(f"SELECT id FROM StringIds WHERE {where}", patterns)]


def whole(value: int | float | str | None) -> int:
    """An integer column's value; SQLite keeps any type anywhere, so what is no number counts as 0."""
    return value if isinstance(value, int) else int(value) if isinstance(value, float) and abs(value) < 2**62 else 0


def _decoded(raw: bytes) -> str:
    return raw.decode(errors="replace")


def _quoted(name: object) -> str:
    return '"' + str(name).replace('"', '""') + '"'


def capture_info(tables: Tables) -> CaptureInfo:
    """What the export states about itself, personal entries left out."""
    pairs = list(_metadata(tables))
    values = dict(pairs)
    command = [value for name, value in pairs if name == "PROCESS_0:COMMAND"]
    arguments = [value for name, value in pairs if name.startswith("PROCESS_0:ARGUMENT_")]
    wanted = (NVTX, RUNTIME, KERNEL, MEMCPY)
    return CaptureInfo(
        exporter=values.get("EXPORT_PRODUCT_VERSION", ""),
        schema=values.get("EXPORT_SCHEMA_VERSION", ""),
        l4t=_first(tables, "TARGET_INFO_SYSTEM_ENV", "value", "name = 'L4TVersion'"),
        command=" ".join(command + arguments),
        gpu=_first(tables, "TARGET_INFO_GPU", "name", "1"),
        domains=tuple(sorted({name for name, _, _ in domains(tables)})),
        missing=tuple(table for table in wanted if not tables.has(table)),
        cuda_graphs=_launches_graphs(tables),
    )


def _metadata(tables: Tables) -> Iterator[tuple[str, str]]:
    for table in ("EXPORT_META_DATA", "META_DATA_EXPORT", "META_DATA_CAPTURE"):
        if tables.has(table, "name", "value"):
            for name, value in tables.rows(f"SELECT name, value FROM {table}"):
                yield str(name), str(value)


def _first(tables: Tables, table: str, column: str, where: str) -> str:
    if not tables.has(table, column, *(["name"] if "name" in where else [])):
        return ""
    found = list(tables.rows(f"SELECT {column} FROM {table} WHERE {where} LIMIT 1"))
    return str(found[0][0] or "") if found else ""


def _launches_graphs(tables: Tables) -> bool:
    ids = tables.string_ids("cudaGraphLaunch%", "cuGraphLaunch%")
    if not ids or not tables.has(RUNTIME, "nameId"):
        return False
    return any(True for _ in tables.rows(f"SELECT 1 FROM {RUNTIME} WHERE nameId IN ({_listed(ids)}) LIMIT 1"))


def domains(tables: Tables) -> list[tuple[str, int, int]]:
    """The NVTX domains as (name, domainId, process): ids are a process's own."""
    if not tables.has(NVTX, "eventType", "domainId", "globalTid"):
        return []
    query = f"SELECT {text_of(tables)}, domainId, globalTid / {PROCESS} FROM {NVTX} WHERE eventType = {DOMAIN_CREATED}"
    return [
        (name if isinstance(name, str) else tables.string(name), whole(domain), whole(process))
        for name, domain, process in tables.rows(query)
    ]


def text_of(tables: Tables) -> str:
    """The column expression of an NVTX event's name: its own text, or the id of a string."""
    has_text, has_id = tables.has(NVTX, "text"), tables.has(NVTX, "textId")
    if has_text and has_id:
        return "coalesce(text, textId)"
    return "text" if has_text else "textId" if has_id else "NULL"
