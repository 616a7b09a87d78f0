"""stdout and stderr as commands see them: what is written there cannot act on a terminal or on a CI runner.

This is the border behind `dlaflow.visible`: a call that forgets it, a warning of Python's, a traceback, whatever writes
to `sys.stdout`, pass here. Styles are rich's business: its consoles write past the escaping (`rich_proxied_file`),
after `dlaflow.cli.console` did it for each piece of text.
"""

from __future__ import annotations

import io
import os
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TextIO, cast

from dlaflow.visible import inert, visible

STDOUT = "<stdout>"
_GAPS = re.compile(r"\s{2,}")
_HANGING = 4
_COLUMNS = 20, 1000
_NARROWEST = 24
"""A column that would be narrower than this is not worth keeping: the rest then hangs under the start of the line."""


class Inert:
    """A stream in which no CI runner finds a command, and whose errors bear its name; all else is its own."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self.stream = stream
        self.name = name

    def write(self, text: str) -> int:
        with self._named():
            return self.stream.write(inert(text))

    def flush(self) -> None:
        with self._named():
            self.stream.flush()

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            error.filename = self.name
            raise

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> object:
        return getattr(self.stream, name)


class Output(Inert):
    """A stream on which only line breaks and tabs are more than what is seen."""

    width: int | None = None
    """Columns that lines are fitted into; None leaves them whole."""

    @property
    def rich_proxied_file(self) -> Inert:
        """Where rich writes what it laid out, escape sequences of its styles included."""
        return Inert(self.stream, self.name)

    def write(self, text: str) -> int:
        shown = visible(text, keep="\n\t")
        if self.width:
            shown = "\n".join(fit(line, self.width) for line in shown.split("\n"))
        super().write(shown)
        return len(text)


def fit(line: str, width: int) -> str:
    """The line in at most `width` columns (where words allow it), continued under its last column."""
    if len(line) <= width:
        return line
    start = len(line) - len(line.lstrip())
    columns = [gap.end() for gap in _GAPS.finditer(line) if gap.start() > start]
    under = next((at for at in reversed(columns) if at <= width - _NARROWEST), start + _HANGING)
    parts = textwrap.wrap(
        line.strip(),
        width,
        initial_indent=" " * start,
        subsequent_indent=" " * under,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(parts)


@contextmanager
def harmless_output() -> Iterator[None]:
    """While this is open, stdout and stderr are an `Output`, take any text, and exist even where they were closed.

    No encoding refuses a character: it is written as its escape. A process that was started with closed streams (`>&-`)
    gets others. Their numbers are taken too: otherwise the next file that is opened would get one of them, and what a
    library prints would land inside it.
    """
    _bound_columns()
    for number in range(3):
        if not _is_open(number):
            os.open(os.devnull, os.O_RDWR)
    before = sys.stdout, sys.stderr = sys.stdout or cast("TextIO", _Closed()), sys.stderr or io.StringIO()
    sys.stdout, sys.stderr = cast("TextIO", _output(before[0], STDOUT)), cast("TextIO", _output(before[1], "<stderr>"))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _bound_columns() -> None:
    """Keep COLUMNS to widths at which words can be laid out: at none the parser of arguments would search for ever."""
    given = os.environ.get("COLUMNS", "").strip()
    if given.isdecimal():
        columns = int(given[:6])
        os.environ["COLUMNS"] = str(min(max(columns, _COLUMNS[0]), _COLUMNS[1]))


def _output(stream: TextIO, name: str) -> Output:
    if isinstance(stream, Output):
        return stream
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return Output(stream, name)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


class _Closed(io.TextIOBase):
    """A stdout that was closed before the command started."""

    encoding = "utf-8"

    def write(self, text: str, /) -> int:
        raise OSError(None, "it is closed")


def flush() -> None:
    """Write out what stdout still holds, so that a full disk is noticed while it can be told."""
    if not sys.stdout.closed:
        sys.stdout.flush()


def abandon(stream: object) -> None:
    """Keep the interpreter from failing at exit over what a stream could not write and still holds."""
    stream = stream.stream if isinstance(stream, Inert) else stream
    if not isinstance(stream, io.TextIOWrapper) or stream.closed:
        return
    try:
        stream.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
