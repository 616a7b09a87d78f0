"""TensorRT's INT8 calibration cache: read anything that TensorRT wrote, write what it reads.

A header such as `TRT-8502-EntropyCalibration2`, then one line a tensor: the name, `: `, and the bits of the float32
scale as hex digits without leading zeros (zero is `0`). Names contain colons, slashes and blanks: the last `: ` counts.
Scale = largest representable magnitude / 127.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dlaflow.errors import InputError, UsageError
from dlaflow.files import write_atomic
from dlaflow.parse.trtexec import version_of
from dlaflow.reading import LOG_LINES, read_bytes
from dlaflow.targets.features import has
from dlaflow.targets.version import Version

_HEADER = re.compile(r"^TRT-(\d+)-(\w+)$")
_ENTRY = re.compile(r"^(.+): ([0-9a-fA-F]{1,8})$")
_BINARY = re.compile(r"[\x00-\x08\x0e-\x1a]")
"""What a file that is no text mostly begins with."""
_DECIMAL = re.compile(r"^\S.* -?\d+(\.\d+)?(e[-+]?\d+)?$")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line. `text` is the line as found ("" for one that dlaflow made): nothing changes on a round trip."""

    name: str
    scale: float
    text: str = ""


@dataclass(frozen=True, slots=True)
class CacheFile:
    """A cache. `header` is its first line ("" when the file has none), `tail` what follows the last entry.

    Blank lines appear as entries without a name.
    """

    header: str
    entries: tuple[Entry, ...]
    tail: str = "\n"

    @property
    def scales(self) -> dict[str, float]:
        """Name → scale."""
        return {entry.name: entry.scale for entry in self.entries if entry.name}

    @property
    def tensorrt(self) -> str:
        """The release in the header, such as "8.5.2"; "" without a header."""
        match = _HEADER.match(self.header)
        return version_of(match.group(1)) if match else ""


def header_for(tensorrt: str) -> str:
    """The first line for a release: 8.5.2 → TRT-8502-EntropyCalibration2, 10.3.0 → TRT-100300-EntropyCalibration2.

    Raises UsageError when `tensorrt` is no version.
    """
    major, minor, patch = Version.parse(tensorrt).release.parts
    number = major * 10_000 + minor * 100 + patch if major >= 10 else major * 1_000 + minor * 100 + patch
    return f"TRT-{number}-EntropyCalibration2"


def header_for_reader(tensorrt: str) -> str:
    """The first line of a file that a user asks for.

    Raises UsageError when `tensorrt` is no version, or one that reads no cache.
    """
    header = header_for(tensorrt)
    if not has("implicit_int8", Version.parse(tensorrt)):
        raise UsageError(
            f"TensorRT {tensorrt} reads no calibration cache",
            expected="a release before 11",
            received=tensorrt,
            then="Write a Q/DQ model instead (`dlaflow calibrate --qdq`, `dlaflow cache to-qdq`).",
        )
    return header


def hex_of(scale: float) -> str:
    """The digits for a scale, as TensorRT prints them."""
    return f"{struct.unpack('>I', struct.pack('>f', scale))[0]:x}"


def parse_cache(text: str, origin: str = "the cache") -> CacheFile:
    """Read a cache's text.

    Raises InputError for a line that is no entry, with the number of the line.
    """
    LOG_LINES.check(text.count("\n"), origin)
    lines = text.split("\n")
    header = lines[0].rstrip("\r") if _HEADER.match(lines[0].rstrip("\r")) else ""
    body = lines[1:] if header else lines
    tail = "\n" if body and body[-1] == "" else ""
    if tail:
        body = body[:-1]
    entries = tuple(_entry(line, number, origin) for number, line in enumerate(body, start=2 if header else 1))
    if not header and not any(entry.name for entry in entries):
        raise InputError(f"{origin} is no calibration cache", expected="a line such as TRT-8502-EntropyCalibration2")
    return CacheFile(lines[0] if header else "", entries, tail)


def _entry(line: str, number: int, origin: str) -> Entry:
    if not line.strip():
        return Entry("", 0.0, line)
    match = _ENTRY.match(line.rstrip("\r"))
    if match:
        scale = struct.unpack(">f", bytes.fromhex(match.group(2).zfill(8)))[0]
        return Entry(match.group(1), scale, line)
    if _DECIMAL.match(line):
        raise InputError(
            f"{origin} is a calibration table of ONNX Runtime, not of TensorRT",
            expected="`name: hex digits`",
            received=f"line {number}: {line[:60]}",
            then="Calibrate again with `dlaflow calibrate`, or convert its Q/DQ model with `dlaflow cache from-qdq`.",
        )
    if number == 1 and _BINARY.search(line):
        raise InputError(
            f"{origin} is no calibration cache",
            expected="a text with `name: hex digits` a line",
            received="a binary file",
            then="`dlaflow calibrate MODEL --data ... --cache FILE` makes one.",
        )
    raise InputError(
        f"{origin} has a line that is no entry", expected="`name: hex digits`", received=f"line {number}: {line[:60]!r}"
    )


def cache_text(cache: CacheFile) -> str:
    """The text of a cache; for one that was read it is the text that was read."""
    lines = [cache.header] if cache.header else []
    lines += [
        entry.text if entry.text or not entry.name else f"{entry.name}: {hex_of(entry.scale)}"
        for entry in cache.entries
    ]
    return "\n".join(lines) + cache.tail


def read_cache(path: str | Path) -> CacheFile:
    """Read a cache file.

    Raises InputError when it cannot be read or is something else.
    """
    return parse_cache(read_bytes(path).decode("utf-8", errors="surrogateescape"), str(path))


def save_cache(cache: CacheFile, path: str | Path) -> None:
    """Write a cache file, whole or not at all."""
    write_atomic(path, cache_text(cache).encode("utf-8", errors="surrogateescape"))


def write_cache(scales: Mapping[str, float], tensorrt: str, path: str | Path) -> None:
    """Write scales as the cache of a TensorRT release.

    Raises InputError for a name of several lines: what follows its first would be read as another entry.
    """
    if torn := next((name for name in scales if not {"\n", "\r", "\0"}.isdisjoint(name)), None):
        raise InputError(
            "a tensor cannot stand in a cache", expected="a name of one line", received=torn, then="Rename it."
        )
    entries = tuple(Entry(name, scale) for name, scale in scales.items())
    save_cache(CacheFile(header_for(tensorrt), entries), path)
