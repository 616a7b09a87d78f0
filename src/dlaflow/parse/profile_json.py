"""`--exportProfile`: one JSON array a run, several in a file when runs were appended.

The C++ code writes names unescaped, so a name with a quote or a backslash breaks the JSON: then each row is read alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from dlaflow.parse.json_documents import as_fields, as_float, as_int, as_items, documents_of
from dlaflow.parse.log import Profile, ProfileRow
from dlaflow.parse.text import Source, number, text_of

_ITEM = re.compile(
    r'\{\s*"count"\s*:\s*(?P<count>\d+)\s*\}'
    r'|\{\s*"name"\s*:\s*"(?P<name>.{0,8000}?)"\s*,\s*"timeMs"\s*:\s*(?P<total>[^\s,]+)\s*,\s*"averageMs"\s*:\s*(?P<average>[^\s,]+)'
    r'\s*,(?:\s*"medianMs"\s*:\s*(?P<median>[^\s,]+)\s*,)?\s*"percentage"\s*:\s*(?P<percent>[^\s}]+)\s*\}?'
)


@dataclass(frozen=True, slots=True)
class ProfileFile:
    """The profiles of one file. `complete` is false when its end is torn or lines could not be read."""

    profiles: tuple[Profile, ...]
    complete: bool


def parse_profile(source: Source) -> ProfileFile:
    """Read the profiles from a path or from text; never fails on text. Raises InputError when it cannot be read."""
    text = text_of(source)
    found = documents_of(text)
    if found.rest:
        return _by_rows(text)
    profiles = tuple(profile for value in found.values if (profile := _profile(value)) is not None)
    return ProfileFile(profiles, complete=bool(profiles))


def _profile(value: object) -> Profile | None:
    iterations: int | None = None
    rows = []
    for item in as_items(value):
        fields = as_fields(item)
        if "count" in fields:
            iterations = as_int(fields["count"])
        elif isinstance(name := fields.get("name"), str) and "percentage" in fields:
            median = as_float(fields.get("medianMs"))
            rows.append(_row(name, fields.get("timeMs"), fields.get("averageMs"), median, fields.get("percentage")))
    return Profile(iterations, tuple(rows)) if rows or iterations is not None else None


def _row(name: str, total: object, average: object, median: float | None, percent: object) -> ProfileRow:
    nan = float("nan")
    values = [nan if (value := as_float(field)) is None else value for field in (total, average, percent)]
    return ProfileRow(name, values[0], values[1], median, values[2])


def _by_rows(text: str) -> ProfileFile:
    """Each row stands on its own: read what can be read."""
    profiles: list[Profile] = []
    iterations: int | None = None
    rows: list[ProfileRow] = []
    for match in _ITEM.finditer(text):
        if match["count"]:
            if rows or iterations is not None:
                profiles.append(Profile(iterations, tuple(rows)))
            iterations, rows = int(match["count"]), []
        else:
            figures = [number(match[key] or "") for key in ("total", "average", "median", "percent")]
            total, average, median, percent = figures
            rows.append(_row(match["name"], total, average, median, percent))
    if rows or iterations is not None:
        profiles.append(Profile(iterations, tuple(rows)))
    left = _ITEM.sub("", text).strip("\ufeff[], \t\r\n")
    return ProfileFile(tuple(profiles), complete=not left and text.rstrip().endswith("]"))
