"""Text as it comes: any encoding, any line ending, from a string or a file, without ever failing on its content."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator
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
    """The lines of `source` without their endings, one at a time.

    Broken bytes become U+FFFD. Raises InputError when a file cannot be read.
    """
    path = path_of(source)
    if path is None:
        for line in str(source).split("\n"):
            yield line.rstrip("\r")
        return
    try:
        with path.open(encoding=encoding_of(path), errors="replace", newline="\n") as file:
            for line in file:
                yield line.rstrip("\r\n")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", then="Check the path.") from None


def text_of(source: Source) -> str:
    """The whole of `source`. Raises InputError when a file cannot be read."""
    path = path_of(source)
    if path is None:
        return str(source)
    try:
        return path.read_bytes().decode(encoding_of(path), errors="replace")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", then="Check the path.") from None


def encoding_of(path: Path) -> str:
    """UTF-8, or what a byte order mark says (PowerShell redirects as UTF-16). Raises OSError."""
    with path.open("rb") as file:
        head = file.read(4)
    return next((name for mark, name in _BOMS if head.startswith(mark)), "utf-8")


def number(text: str) -> float | None:
    """A number as C++ prints it (`nan`, `-nan`, `inf`, `1e-05`), or None when it is none."""
    try:
        return float(text)
    except ValueError:
        return None


def integer(text: str) -> int | None:
    """A decimal integer, or None when it is none."""
    return int(text) if text.isascii() and text.lstrip("-").isdigit() and text.count("-") <= 1 else None
