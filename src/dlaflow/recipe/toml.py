"""TOML files as records: unknown keys, wrong types and what is no TOML at all are one clear line each."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import msgspec

from dlaflow.errors import InputError
from dlaflow.reading import TOML_BYTES, read_text

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found,unused-ignore]

_Section = TypeVar("_Section")


def read_toml(path: str | Path, what: str) -> dict[str, object]:
    """The tables of a TOML file that is a `what` (recipe, sweep).

    Raises InputError for a file that cannot be read or is not TOML.
    """
    try:
        return tables(read_text(path, TOML_BYTES))
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, UnicodeDecodeError, a number of 5,000 digits
        raise InputError(f"the {what} {path} is not TOML", received=str(error)) from None


def tables(text: str) -> dict[str, object]:
    """The tables of a TOML text. Raises ValueError or RecursionError for what is not TOML."""
    body: dict[str, object] = tomllib.loads(text)
    return body


def struct_of(body: object, kind: type[_Section], where: str) -> _Section:
    """`body` as a record; `where` is the file in errors, such as `recipe x.toml`. Raises InputError."""
    try:
        return msgspec.convert(body, kind)
    except msgspec.ValidationError as error:
        place = str(error).replace("`$.", "`").replace("Object missing", f"the {where.partition(' ')[0]} misses")
        raise InputError(f"the {where} has a wrong value: {place}") from None


def check_keys(body: object, section: type, place: str, where: str) -> None:
    """Raise InputError for a key of a table that the record does not know, with the nearest one that it does."""
    if not isinstance(body, dict):
        return
    described = msgspec.inspect.type_info(section)
    known = [field.encode_name for field in getattr(described, "fields", ())]
    for key in body:
        if key not in known:
            raise InputError(
                f"the {where}: {place}has an unknown key",
                expected=f"one of {', '.join(known)}",
                received=repr(key),
                then=nearest(key, known),
            )


def nearest(received: str, known: Iterable[str]) -> str | None:
    near = difflib.get_close_matches(received, list(known), n=1, cutoff=0.4)
    return f"Did you mean {near[0]!r}?" if near else None
