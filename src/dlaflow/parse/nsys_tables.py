"""An Nsight Systems SQLite export, opened read-only and asked by table and column name.

Exports of ten years differ: tables are lazy (a missing one means "no such event"), columns come and go, names move.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from dlaflow.errors import InputError
from dlaflow.parse.capture import CaptureInfo

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
"""A globalTid divided by this tells the process."""

Row = tuple[int | float | str | None, ...]

_DAMAGE = (sqlite3.Error, UnicodeDecodeError, OverflowError)
"""What SQLite raises on a damaged file: its own messages may quote bytes that are no UTF-8."""


class Tables:
    """The open export. Use it as a context; every damage of the file becomes an InputError."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise InputError(f"cannot read {self.path}: no such file", then="Check the path.")
        # `immutable` keeps SQLite from making lock files beside a report that may lie in a read-only folder.
        uri = f"{self.path.resolve().as_uri()}?mode=ro&immutable=1"
        try:
            self._connection = sqlite3.connect(uri, uri=True)
            self._connection.text_factory = _decoded
            self._connection.execute("PRAGMA cache_size = -65536")
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
    """What the export tells of itself, personal entries left out."""
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
        cuda_graphs=bool(_graph_launches(tables)),
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


def _graph_launches(tables: Tables) -> int:
    ids = tables.string_ids("cudaGraphLaunch%", "cuGraphLaunch%")
    if not ids or not tables.has(RUNTIME, "nameId"):
        return 0
    marks = ",".join(map(str, ids))
    return sum(1 for _ in tables.rows(f"SELECT 1 FROM {RUNTIME} WHERE nameId IN ({marks}) LIMIT 1"))


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
