"""Hardware tasks of the accelerators (`--accelerator-trace`): the only place where the DLA's true busy time stands.

Written from the schema that reports carry (provider mm_nvhost): no filled capture is public, so everything that does
not fit is skipped and this is untested on real data.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from dlaflow.parse.capture import HardwareTask
from dlaflow.parse.json_documents import as_fields, as_int
from dlaflow.parse.nsys_tables import GENERIC, Tables

_ENGINES = {0xF3: "DLA0", 0xF4: "DLA1", 0xF1: "PVA", 0xF2: "PVA"}


def read_hardware_tasks(path: str | Path) -> tuple[HardwareTask, ...]:
    """The tasks of DLA and PVA by their end, begin and end paired by class, syncpoint and threshold.

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
