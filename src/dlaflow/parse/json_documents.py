"""JSON as NVIDIA's tools write it: several documents in one file, bare `nan`, control characters, a torn end."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

_BARE = re.compile(r"(?<=[:\[,\s])(-?)(nan|inf)(?:\(ind\))?(?=[\s,}\]])")
_DECODER = json.JSONDecoder(strict=False)


@dataclass(frozen=True, slots=True)
class Documents:
    """The documents of one text. `rest` is what could not be read (a torn or broken end), empty when all was."""

    values: tuple[object, ...]
    rest: str


def documents_of(text: str) -> Documents:
    """Decode every document of `text`, one after the other. Never fails."""
    found = _decode(text)
    if found.rest and _BARE.search(text):
        found = _decode(_BARE.sub(lambda match: match.group(1) + _WORDS[match.group(2)], text))
    return found


_WORDS = {"nan": "NaN", "inf": "Infinity"}


def _decode(text: str) -> Documents:
    values: list[object] = []
    position, length = 0, len(text)
    while True:
        while position < length and (text[position].isspace() or text[position] in "\ufeff\0"):
            position += 1
        if position >= length:
            return Documents(tuple(values), "")
        try:
            value, position = _DECODER.raw_decode(text, position)
        except (ValueError, RecursionError):
            return Documents(tuple(values), text[position:])
        values.append(value)


def as_items(value: object) -> list[object]:
    """The items of a list, or none."""
    return value if isinstance(value, list) else []


def as_fields(value: object) -> dict[str, object]:
    """The fields of an object, or none."""
    return value if isinstance(value, dict) else {}


def as_text(value: object) -> str:
    """A string; anything else becomes its JSON text, nothing an empty one."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value)


def as_float(value: object) -> float | None:
    """A number, or None."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        try:
            return float(value)
        except OverflowError:
            return None
    return None


def as_int(value: object) -> int | None:
    """A whole number, or None."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None
