"""Text as it comes: any encoding, any line ending, from a string or a file, without ever failing on its content.

JSON too, as NVIDIA's tools write it: several documents in one file, bare `nan`, control characters, a torn end.
"""

from __future__ import annotations

import codecs
import gzip
import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dlaflow.errors import InputError

Source = str | os.PathLike[str]
"""Either the text itself (a string) or a path object. A string without a line break that names a file is read too."""

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def path_of(source: Source) -> Path | None:
    """The path that `source` means, or None when it is text."""
    if not isinstance(source, str):
        return Path(source)
    if "\n" in source or not source or len(source) > 4096 or "\0" in source:
        return None
    try:
        return Path(source) if Path(source).is_file() else None
    except OSError:
        return None


def lines_of(source: Source) -> Iterator[str]:
    """The lines of `source` without their endings, one at a time; a file may be gzipped.

    Broken bytes become U+FFFD, NULs go (a shell that appends UTF-16 to other text leaves them). Raises InputError when
    a file cannot be read.
    """
    path = path_of(source)
    if path is None:
        for line in str(source).split("\n"):
            yield line.rstrip("\r")
        return
    try:
        if _is_gzip(path):
            yield from _gzip_lines(path)
            return
        with path.open(encoding=encoding_of(path), errors="replace", newline="\n") as file:
            for line in file:
                yield (line.replace("\0", "") if "\0" in line else line).rstrip("\r\n")
    except OSError as error:
        raise _unreadable(path, error) from None


def text_of(source: Source) -> str:
    """The whole of `source`. Raises InputError when a file cannot be read."""
    path = path_of(source)
    if path is None:
        return str(source)
    try:
        if _is_gzip(path):
            return "\n".join(_gzip_lines(path))
        return path.read_bytes().decode(encoding_of(path), errors="replace")
    except OSError as error:
        raise _unreadable(path, error) from None


def head_of(path: Path, size: int) -> bytes:
    """The first `size` bytes, unzipped. Raises InputError when the file cannot be read."""
    try:
        if _is_gzip(path):
            return next(_unzipped(path), b"")[:size]
        with path.open("rb") as file:
            return file.read(size)
    except OSError as error:
        raise _unreadable(path, error) from None


def decoded(head: bytes) -> str:
    """A file's beginning as text, in whatever encoding it is."""
    return head.decode(_encoding(head), errors="replace").replace("\0", "")


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(f"cannot read {path}: {error.strerror}", then="Check the path.")


def encoding_of(path: Path) -> str:
    """UTF-8, or what a byte order mark or the NULs show (PowerShell redirects as UTF-16). Raises OSError."""
    with path.open("rb") as file:
        return _encoding(file.read(64))


def _encoding(head: bytes) -> str:
    for mark, name in _BOMS:
        if head.startswith(mark):
            return name
    half = len(head) // 2
    if half >= 4 and head[1::2].count(0) >= half - 1 and 0 not in head[::2]:
        return "utf-16-le"
    if half >= 4 and head[::2].count(0) >= half - 1 and 0 not in head[1::2]:
        return "utf-16-be"
    return "utf-8"


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _unzipped(path: Path) -> Iterator[bytes]:
    """The contents in pieces, as far as a torn or damaged file goes."""
    with gzip.open(path) as file, suppress(EOFError, zlib.error, gzip.BadGzipFile):
        while piece := file.read1(1 << 18):
            yield piece


def _gzip_lines(path: Path) -> Iterator[str]:
    decoder: codecs.IncrementalDecoder | None = None
    rest = ""
    for piece in _unzipped(path):
        if decoder is None:
            decoder = codecs.getincrementaldecoder(_encoding(piece[:64]))(errors="replace")
        *lines, rest = (rest + decoder.decode(piece)).split("\n")
        for line in lines:
            yield line.rstrip("\r")
    if rest:
        yield rest.rstrip("\r")


def number(text: str) -> float | None:
    """A number as C++ prints it (`nan`, `-nan`, `inf`, `1e-05`), or None when it is none."""
    try:
        return float(text)
    except ValueError:
        return None


def integer(text: str) -> int | None:
    """A decimal integer, or None when it is none."""
    return int(text) if text.isascii() and text.lstrip("-").isdigit() and text.count("-") <= 1 else None


def integers(parts: Iterable[str]) -> tuple[int, ...]:
    """The decimal integers among texts: dimensions, split at whatever a release puts between them."""
    return tuple(value for part in parts if (value := integer(part.strip())) is not None)


_BARE = re.compile(r"(?<=[:\[,\s])(-?)(nan|inf)(?:\(ind\))?(?=[\s,}\]])")
_DECODER = json.JSONDecoder(strict=False)


@dataclass(frozen=True, slots=True)
class Documents:
    """The documents of one text. `rest` is what could not be read (a torn or broken end), empty when all was."""

    values: tuple[object, ...]
    rest: str


def documents_of(text: str, between: str = "") -> Documents:
    """Decode every document of `text`, one after the other; the signs of `between` may part them. Never fails."""
    found = _decode(text, between)
    if found.rest and _BARE.search(text):
        found = _decode(_BARE.sub(lambda match: match.group(1) + _NUMBERS[match.group(2)], text), between)
    return found


_NUMBERS = {"nan": "NaN", "inf": "Infinity"}


def _decode(text: str, between: str) -> Documents:
    values: list[object] = []
    position, length = 0, len(text)
    while True:
        while position < length and (text[position].isspace() or text[position] in f"\ufeff\0{between}"):
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
