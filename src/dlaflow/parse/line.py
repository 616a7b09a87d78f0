"""The lines of a TensorRT log as TensorRT printed them, out of files as they are kept: level, speaker, text.

The same library prints through trtexec, Python, C++ samples and ONNX Runtime, each with its own prefix; under threads
prefixes interleave, so any number of dates is tolerated. Around them stand the prefixes of docker, ROS, journald or a
timestamper, and colours. Two threads that write into one file tear lines: a warning then starts in the middle of
another line, whose rest follows without a prefix.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator

from dlaflow.parse.text import as_fields, as_text

Line = tuple[str, bool, str]
"""Level (F, E, W, I, V, or empty for a line without a prefix), whether the library printed it, and the text.

A plain tuple, since a verbose log has millions of them.
"""

_LEVELS = frozenset("FEWIV")
_WORDS = {
    "INTERNAL_ERROR": "F",
    "FATAL": "F",
    "CRITICAL": "F",
    "ERROR": "E",
    "WARNING": "W",
    "WARN": "W",
    "INFO": "I",
    "FIXME": "W",
    "DEBUG": "V",
    "LOG": "V",
    "TRACE": "V",
    "MEMDUMP": "V",
    "VERBOSE": "V",
}

_DATES = re.compile(r"(?:\[\d\d/\d\d/\d{4}-\d\d:\d\d:\d\d\] ?)+")
_TAGS = re.compile(r"(?:\[TRT\] )?\[([FEWIV])\] ?(\[TRT\] ?)?")
_SAMPLE = re.compile(
    r"(?:\[TensorRT\] )?(INTERNAL_ERROR|FATAL|ERROR|WARNING|INFO|DEBUG|VERBOSE): "
    r"(\[TRT\]:? ?|\[Torch-TensorRT[^\]]*\] - )?"
)
_WORD = re.compile(r"\[?k?(INTERNAL_ERROR|FATAL|ERROR|WARNING|INFO|VERBOSE)\]?:? +", re.IGNORECASE)
_ANYWHERE = re.compile(r"\[(\d\d/\d\d/\d{4}-\d\d:\d\d:\d\d)\] (\[TRT\] )?\[([FEWIV])\] ?(\[TRT\] ?)?|\[TRT\]:? ")
_OTHERS = (
    re.compile(r"(?P<glog>[IWEF])\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ [\w./-]{1,80}:\d+\] "),  # Triton
    re.compile(
        r"\d+:\d\d:\d\d\.\d+ +\d+ +0x[0-9a-f]+ +(?P<word>[A-Z]+) +nvinfer .{0,300}?\[UID ?=? ?\d{1,6}\]: "
        r"(?:.{0,300}?\[UID ?= ?\d{1,6}\]: )?"
    ),  # DeepStream
    re.compile(
        r"(?P<word>DEBUG|INFO|WARNING|ERROR|CRITICAL):(?:torch_tensorrt|tensorrt|polygraphy|TensorRT|trt|TRT)[\w.]{0,200}"
        r"(?: \[[^\]]{0,200}\])?:"
    ),  # Python's logging
)
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
    for pattern in _OTHERS:
        if other := pattern.match(raw):
            found = other.groupdict()
            return found.get("glog") or _WORDS.get(found.get("word") or "", ""), True, raw[other.end() :].strip('"')
    if sample := _SAMPLE.match(raw):
        library = bool(sample.group(2)) or raw.startswith("[TensorRT]")
        return _WORDS[sample.group(1)], library, raw[sample.end() :]
    if "[TRT]" in raw and (inside := _ANYWHERE.search(raw)):
        text = raw[inside.end() :].lstrip(" ")
        if not inside.group(3) and (word := _WORD.match(text)):
            return _WORDS[word.group(1).upper()], True, text[word.end() :]
        return inside.group(3) or "", True, text
    return "", False, raw


_STAMP = r"\[\d\d/\d\d/\d{4}-\d\d:\d\d:\d\d\] "
_INNER = re.compile(
    rf"{_STAMP}|\[(?:TRT\] \[)?[FEWIV]\] |&&&& |\[TensorRT\] [A-Z]+: |(?:ERROR|WARNING|INFO|VERBOSE): \[TRT\]"
    r"|\[TRT\] |\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d +[A-Z_]+\] "
)
_PREFIX = re.compile(rf"(?:{_STAMP})+(?:\[TRT\] )?\[([FEWIV])\] ")
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
_WRAPPERS = tuple(
    re.compile(expression)
    for expression in (
        r"[\w./-]+ *\| ?",  # docker compose
        r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)? "
        r"(?:std(?:out|err) [FP] |\S+ [^\s:\[]+\[\d+\]: )?",
        r"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d (?:\S+ [^\s:\[]+(?:\[\d+\])?: )?",  # journald, syslog, ts
        r"\[[A-Za-z][\w./-]*-\d+\] ",  # ROS launch
        r"\[(?:DEBUG|INFO|WARN|ERROR|FATAL)\] \[\d+\.\d+\](?: \[[^\]]*\])?: ",  # a ROS node
        r"\[[A-Z]:onnxruntime:[^\]]*\] ",
        r"\[\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[^\]]*\] ",
        r"\[ *\d+\.\d+\] |\d\d:\d\d:\d\d(?:\.\d+)? ",
        r"\d+[:\t]",  # grep -n, cat -n
        r"[#>] ?",  # a comment, a quotation
    )
)
_INDENT = re.compile(r"[ \t]+")
_HEAD = 240
"""No wrapper is longer than this."""
_SHAPES = 32
"""No file has more kinds of wrappers."""
_DIGITS = re.compile(r"\d+")


class Unwrapper:
    """Takes wrappers off the lines of one file; what it met before a TensorRT prefix it takes off bare lines too.

    A wrapper that no expression knows is what stands before trtexec's first line, or before two lines alike but for
    digits: once may be a line that another one broke into.
    """

    def __init__(self) -> None:
        self._met: tuple[re.Pattern[str], ...] = ()
        self._seen: dict[str, tuple[re.Pattern[str], ...]] = {}

    def line(self, raw: str) -> str:
        """`raw` as TensorRT printed it, as far as can be known."""
        if "\r" in raw:
            # A progress bar draws over its line: its last state runs into the next text.
            raw = raw.rpartition("\r")[2]
        if raw.startswith('{"log":'):
            raw = _of_docker(raw)
        if "\x1b" in raw:
            raw = _COLOUR.sub("", raw)
        if _INNER.match(raw):
            return raw
        if inner := _INNER.search(raw, 1, _HEAD):
            head = raw[: inner.start()]
            found = _consumed(head)
            if found is None and inner.group() != "[TRT] ":  # the level may stand in the head then
                found = self._unknown(head, sure=inner.group() == "&&&& ")
            if found is not None:
                self._met = found or self._met
                return raw[inner.start() :]
        rest = raw
        for wrapper in self._met:
            if wrapper.fullmatch(f"{rest} "):
                # An empty line often loses the blank at the wrapper's end.
                return ""
            if (match := wrapper.match(rest)) is None:
                return raw
            rest = rest[match.end() :]
        return rest

    def _unknown(self, head: str, *, sure: bool) -> tuple[re.Pattern[str], ...] | None:
        """The wrapper that `head` is, by what stood before earlier lines, or None."""
        shape = _DIGITS.sub(r"\\d+", re.escape(head))
        if shape in self._seen:
            return self._seen[shape]
        if len(self._seen) < _SHAPES:
            self._seen[shape] = (re.compile(shape),)
        return self._seen[shape] if sure and shape in self._seen else None


def _of_docker(raw: str) -> str:
    """The line inside docker's own log file: `{"log":"...\\n","stream":"stdout","time":"..."}`."""
    try:
        return as_text(as_fields(json.loads(raw)).get("log")).rstrip("\r\n")
    except (ValueError, RecursionError):
        return raw


def _consumed(head: str) -> tuple[re.Pattern[str], ...] | None:
    """The wrappers that `head` is made of (none for an indent), or None when it is something else."""
    found: list[re.Pattern[str]] = []
    while head:
        if indent := _INDENT.match(head):
            head = head[indent.end() :]
            continue
        match = next((match for wrapper in _WRAPPERS if (match := wrapper.match(head))), None)
        if match is None or len(found) == 4:
            return None
        found.append(match.re)
        head = head[match.end() :]
    return tuple(found)


def whole_lines(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Number (from 1) and text of every line, unwrapped, torn ones put together again."""
    unwrapper = Unwrapper()
    torn = ""
    for number, raw in enumerate(lines, start=1):
        # Nearly every line of a verbose log is plain: a few cheap looks settle it.
        if raw[:1] != "[" or raw[20:23] != "] [" or raw[24:26] != "] " or "\x1b" in raw:
            raw = unwrapper.line(raw)
            if torn and not _INNER.match(raw):
                yield number, torn + raw
                torn = ""
                continue
        if torn:
            yield number, torn
            torn = ""
        if raw.find("/20", 20) < 0:
            yield number, raw
            continue
        pieces = _pieces(raw)
        if _is_torn(pieces):
            torn = pieces.pop(0)
        for piece in pieces:
            yield number, piece
    if torn:
        yield number, torn


def _pieces(raw: str) -> list[str]:
    """The lines in `raw`: a second prefix with text before it starts another one."""
    first = _PREFIX.match(raw)
    starts = [match.start() for match in _PREFIX.finditer(raw, first.end())] if first else []
    return [raw[start:end] for start, end in zip([0, *starts], [*starts, len(raw)], strict=True)]


def _is_torn(pieces: list[str]) -> bool:
    """Whether an error or a warning broke into an unfinished line of information."""
    levels = [match.group(1) for piece in pieces if (match := _PREFIX.match(piece))]
    unfinished = not pieces[0].rstrip().endswith(".")
    return len(levels) == 2 and levels[0] in "IV" and levels[1] in "FEW" and unfinished
