"""trtexec logs (TensorRT 5 to 11), and the log of the same library in other programs, become records."""

from __future__ import annotations

import re
from dataclasses import replace

from dlaflow.parse.log import LogRun, Note, TrtexecLog
from dlaflow.parse.run_reader import RunReader
from dlaflow.parse.text import Source, lines_of
from dlaflow.parse.wrapped import whole_lines

_MARK = re.compile(
    r"&&&& (RUNNING|PASSED|FAILED|WAIVED|SKIPPED) (\S+)(?: \[TensorRT v([\d.]+)\])?(?: \[b(\d+)\])?(?: # (.*))?"
)


_MIXED = Note(
    "mixed", "Two runs wrote into this file at the same time: their lines cannot be told apart. Give each its own file."
)


def parse_log(source: Source) -> TrtexecLog:
    """Read a log from a path or from its text: one record a run, in the order of the file.

    Never fails on text: what is not understood is kept and counted in its run. Figures are milliseconds and MiB.
    Raises InputError when the file cannot be read.
    """
    readers = [RunReader()]
    count = 0
    for count, raw in whole_lines(lines_of(source)):
        if "&&&&" in raw and (mark := _MARK.search(raw)):
            _mark(readers, mark)
        else:
            readers[-1].feed(raw, count)
    if len(readers) == 1 and count == 1 and readers[0].empty:
        return TrtexecLog((), count)
    return TrtexecLog(tuple(_finished(reader) for reader in readers), count)


def _finished(reader: RunReader) -> LogRun:
    run = reader.finish()
    return replace(run, notes=(*run.notes, _MIXED)) if reader.mixed else run


def _mark(readers: list[RunReader], mark: re.Match[str]) -> None:
    """Open or close a run. What stands before the first RUNNING (stderr comes early) belongs to the first run."""
    word, program, version, build, command = mark.groups()
    current = readers[-1]
    if word != "RUNNING" and command and command.strip() != current.command:
        others = [each for each in readers if each.command == command.strip() and not each.result]
        if others:
            others[-1].result = word
            others[-1].mixed = current.mixed = True
            return
    if (word == "RUNNING" and (current.command or current.result)) or (word != "RUNNING" and current.result):
        readers.append(RunReader())
    current = readers[-1]
    current.close_lists()
    current.program = program
    current.command = command.strip() if command else current.command
    current.version = version_of(version) if version else current.version
    current.build_number = int(build) if build else current.build_number
    if word != "RUNNING":
        current.result = word


def version_of(digits: str) -> str:
    """`8502` → 8.5.2, `8510` → 8.5.10, `100300` → 10.3.0; a dotted version stays.

    Below 100000 the number is major * 1000 + minor * 100 + patch, from there on major * 10000 + minor * 100 + patch.
    """
    if not digits.isdigit():
        return digits.strip(".")
    value = int(digits)
    unit = 1000 if value < 100000 else 10000
    return f"{value // unit}.{value % unit // 100}.{value % 100}"
