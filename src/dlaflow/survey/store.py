"""The file of a survey: a line for each result, added as trials end: whatever dies loses no more than a trial."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import msgspec

from dlaflow.errors import InputError
from dlaflow.reading import LOG_BYTES, read_bytes
from dlaflow.survey.records import SCHEMA, Key, Result


def read_results(path: Path) -> list[Result]:
    """The results, each model in each case once: the last line of it, with the boards of earlier ones that it lacks.

    What is no line of a survey (the half of one that a kill left) is passed over. Raises InputError for a file that
    cannot be read.
    """
    found: dict[Key, Result] = {}
    for result in _lines(path):
        before = found.pop(result.key, None)
        found[result.key] = result if before is None else joined(before, result)
    return list(found.values())


def joined(before: Result, after: Result) -> Result:
    """The later of two results of the same, with the boards of the earlier one that it lacks."""
    if after.status != "done" or before.status != "done" or before.dlaflow != after.dlaflow:
        return after
    have = {(each.board, each.mode) for each in after.boards}
    older = [each for each in before.boards if (each.board, each.mode) not in have]
    return replace(after, boards=[*older, *after.boards])


def add_results(path: Path, results: Iterable[Result]) -> None:
    """Write the results behind what is there, each as one line. Raises InputError when that is not possible."""
    lines = b"".join(msgspec.json.encode(result) + b"\n" for result in results)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                lines = lines if file.read() == b"\n" else b"\n" + lines
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}", then="Make room, or choose another --out.") from None


def _lines(path: Path) -> Iterable[Result]:
    if not path.exists():
        return
    for line in read_bytes(path, LOG_BYTES).splitlines():
        try:
            result = msgspec.json.decode(line, type=Result)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        # A row of the gallery tells before, after and what was done.
        if result.schema == SCHEMA and (not result.boards or None not in (result.before, result.after, result.fix)):
            yield result
