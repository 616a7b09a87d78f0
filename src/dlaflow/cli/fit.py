"""Long lines on a terminal break at words, under their own column, rather than in the middle of a word."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO, cast

_GAPS = re.compile(r"\s{2,}")
_HANGING = 4
_NARROWEST = 24
"""A column that would be narrower than this is not worth keeping: the rest then hangs under the start of the line."""


def fit(line: str, width: int) -> str:
    """The line in at most `width` columns (where words allow it), continued under its last column.

    Lines that hold escape sequences were laid out by someone who knew the width, and stay.
    """
    if len(line) <= width or "\x1b" in line:
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


class _Fitted:
    """A terminal whose long lines are fitted; everything else is the terminal's own."""

    def __init__(self, stream: TextIO, width: int) -> None:
        self._stream = stream
        self._width = width

    def write(self, text: str) -> int:
        return self._stream.write("\n".join(fit(line, self._width) for line in text.split("\n")))

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


@contextmanager
def fitted_output() -> Iterator[None]:
    """While this is open, what is written to stdout fits the terminal; files and pipes get every line whole."""
    if not sys.stdout.isatty():
        yield
        return
    stream = sys.stdout
    sys.stdout = cast("TextIO", _Fitted(stream, shutil.get_terminal_size().columns))
    try:
        yield
    finally:
        sys.stdout = stream
