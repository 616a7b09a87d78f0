"""One line of a TensorRT log: its level, whether the library itself speaks, and the text.

The same library prints through trtexec, Python, C++ samples and ONNX Runtime, each with its own prefix; under threads
prefixes interleave, so any number of dates is tolerated.
"""

from __future__ import annotations

import re

Line = tuple[str, bool, str]
"""Level (F, E, W, I, V, or empty for a line without a prefix), whether the library speaks, and the text.

A plain tuple, since a verbose log has millions of them.
"""

_LEVELS = frozenset("FEWIV")
_WORDS = {"INTERNAL_ERROR": "F", "FATAL": "F", "ERROR": "E", "WARNING": "W", "INFO": "I", "DEBUG": "V", "VERBOSE": "V"}

_DATES = re.compile(r"(?:\[\d\d/\d\d/\d{4}-\d\d:\d\d:\d\d\] ?)+")
_TAGS = re.compile(r"(?:\[TRT\] )?\[([FEWIV])\] ?(\[TRT\] ?)?")
_SAMPLE = re.compile(
    r"(?:\[TensorRT\] )?(INTERNAL_ERROR|FATAL|ERROR|WARNING|INFO|DEBUG|VERBOSE): "
    r"(\[TRT\]:? ?|\[Torch-TensorRT[^\]]*\] - )?"
)
_WORD = re.compile(r"\[?k?(INTERNAL_ERROR|FATAL|ERROR|WARNING|INFO|VERBOSE)\]?:? +", re.IGNORECASE)
_ANYWHERE = re.compile(r"\[(\d\d/\d\d/\d{4}-\d\d:\d\d:\d\d)\] (\[TRT\] )?\[([FEWIV])\] ?(\[TRT\] ?)?|\[TRT\]:? ")
_ORT = re.compile(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d +(INTERNAL_ERROR|FATAL|ERROR|WARNING|INFO|VERBOSE)\] ")


def split_line(raw: str) -> Line:
    """Take the prefix off `raw`."""
    if raw[:1] == "[" and raw[20:23] == "] [" and raw[24:26] == "] " and raw[23] in _LEVELS:
        if raw[26:31] == "[TRT]" and raw[31:32] in {" ", ""}:
            return raw[23], True, raw[32:]
        return raw[23], False, raw[26:]
    return _split_slowly(raw)


def _split_slowly(raw: str) -> Line:
    dates = _DATES.match(raw)
    rest = raw[dates.end() :] if dates else raw
    if tags := _TAGS.match(rest):
        library = bool(tags.group(2)) or rest.startswith("[TRT]")
        return tags.group(1), library, rest[tags.end() :]
    if dates:
        return "", False, rest
    if other := _ORT.match(raw):
        return _WORDS[other.group(1)], True, raw[other.end() :]
    if sample := _SAMPLE.match(raw):
        library = bool(sample.group(2)) or raw.startswith("[TensorRT]")
        return _WORDS[sample.group(1)], library, raw[sample.end() :]
    if "[TRT]" in raw and (inside := _ANYWHERE.search(raw)):
        text = raw[inside.end() :].lstrip(" ")
        if not inside.group(3) and (word := _WORD.match(text)):
            return _WORDS[word.group(1).upper()], True, text[word.end() :]
        return inside.group(3) or "", True, text
    return "", False, raw
