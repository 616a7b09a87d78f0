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
from typing import BinaryIO

from dlaflow.errors import InputError
from dlaflow.reading import DOCUMENT_BYTES, LOG_BYTES, LOG_LINES, Limit, open_regular

Source = str | os.PathLike[str]
"""Either the text itself (a string) or a path object. A string without a line break that names a file is read too."""

_PIECE = 1 << 18
_LONGEST_LINE = 1 << 24
"""A longer line is read as several: no log has one, and parsers look at lines as a whole."""

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
        yield from (_ENDLESS.sub("...", line).rstrip(" \t\r") for line in str(source).split("\n"))
        return
    LOG_LINES.check(sum(piece.count(b"\n") for piece in _pieces(path, LOG_BYTES)), path)
    decoder: codecs.IncrementalDecoder | None = None
    rest: list[str] = []
    held = 0
    for piece in _pieces(path, LOG_BYTES):
        if decoder is None:
            decoder = codecs.getincrementaldecoder(_encoding(piece[:64]))(errors="replace")
        first, *others = decoder.decode(piece).split("\n")
        rest.append(first)
        held += len(first)
        if not others and held < _LONGEST_LINE:
            continue
        for line in ("".join(rest), *others[:-1]):
            yield _plain(line)
        rest = others[-1:]
        held = len(rest[0]) if rest else 0
    if held:
        yield _plain("".join(rest))


_ENDLESS = re.compile(r"(?<![.\w])\d{20,}|\d{300,}")
"""Digits that are no number of any tool's: nanoseconds have 19, and Python reads no number of 4,300."""


def _plain(line: str) -> str:
    """A line without its ending and without NULs; a number without end becomes three dots."""
    if "\0" in line:
        line = line.replace("\0", "")
    return _ENDLESS.sub("...", line).rstrip(" \t\r")


def text_of(source: Source) -> str:
    """The whole of `source`. Raises InputError when a file cannot be read, or is larger than a document may be."""
    path = path_of(source)
    if path is None:
        return str(source)
    content = b"".join(_pieces(path, DOCUMENT_BYTES))
    return content.decode(_encoding(content[:64]), errors="replace")


def head_of(path: Path, size: int) -> bytes:
    """The first `size` bytes, unzipped. Raises InputError when the file cannot be read."""
    try:
        with open_regular(path) as file:
            if not _is_gzip(file):
                return file.read(size)
            return next(_unzipped(file), b"")[:size]
    except OSError as error:
        raise _unreadable(path, error) from None


def decoded(head: bytes) -> str:
    """A file's beginning as text, in whatever encoding it is."""
    return head.decode(_encoding(head), errors="replace").replace("\0", "")


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(f"cannot read {path}: {error.strerror}", then="Check the path.")


def _encoding(head: bytes) -> str:
    """UTF-8, or what a byte order mark or the NULs show (PowerShell redirects as UTF-16)."""
    for mark, name in _BOMS:
        if head.startswith(mark):
            return name
    half = len(head) // 2
    if half >= 4 and head[1::2].count(0) >= half - 1 and 0 not in head[::2]:
        return "utf-16-le"
    if half >= 4 and head[::2].count(0) >= half - 1 and 0 not in head[1::2]:
        return "utf-16-be"
    return "utf-8"


def _is_gzip(file: BinaryIO) -> bool:
    head = file.read(2)
    file.seek(0)
    return head == b"\x1f\x8b"


def _unzipped(file: BinaryIO) -> Iterator[bytes]:
    """The contents in pieces, as far as a torn or damaged file goes."""
    with gzip.open(file) as contents, suppress(EOFError, zlib.error, gzip.BadGzipFile):
        while piece := contents.read1(_PIECE):
            yield piece


def _pieces(path: Path, limit: Limit) -> Iterator[bytes]:
    """The contents, unzipped. How much a gzip file comes to is counted before any of it is read in earnest.

    Raises InputError when it cannot be read or comes to more than the limit.
    """
    try:
        with open_regular(path, limit) as file:
            if not _is_gzip(file):
                while piece := file.read(_PIECE):
                    yield piece
                return
            total = 0
            for piece in _unzipped(file):
                total += len(piece)
                limit.check(total, f"{path}, unzipped,")
            file.seek(0)
            yield from _unzipped(file)
    except OSError as error:
        raise _unreadable(path, error) from None


_DIGITS = 30
"""An integer of more digits is no size, count or clock; Python itself refuses to read 4,300."""


def number(text: str) -> float | None:
    """A number as C++ prints it (`nan`, `-nan`, `inf`, `1e-05`), or None when it is none."""
    try:
        return float(text)
    except ValueError:
        return None


def integer(text: str) -> int | None:
    """A decimal integer, or None when it is none."""
    plain = text.isascii() and text.lstrip("-").isdigit() and text.count("-") <= 1
    return int(text) if plain and len(text) <= _DIGITS else None


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
        values.append(_whole(value) if "\\u" in text else value)


def _whole(value: object) -> object:
    """A value whose texts hold no half of a surrogate pair, which JSON can name and UTF-8 cannot hold."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {str(_whole(key)): _whole(item) for key, item in value.items()}
    return value


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
