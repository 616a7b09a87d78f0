"""rich's console for text from anywhere: no markup, no emoji codes, and nothing but rich's own styles acts.

A piece of text is what is printed in one go, such as a cell: a newline in it is part of a name and shown as an escape.
Whoever wants several lines prints several pieces.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.measure import Measurement
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from dlaflow.visible import visible

_UNBOUNDED = 100_000
"""Columns in which every table fits: only there does rich tell how many the longest words take."""


class HarmlessConsole(Console):
    """A console on which square brackets in a name are no markup, and each str and Text is made visible."""

    def __init__(self, *, stderr: bool, quiet: bool, soft_wrap: bool) -> None:
        super().__init__(stderr=stderr, quiet=quiet, soft_wrap=soft_wrap, highlight=False, markup=False, emoji=False)

    def render_str(self, text: str, **how: Any) -> Text:
        """A str as rich prints it."""
        return super().render_str(visible(text), **how)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Everything that is printed comes through here, tables cell by cell."""
        if isinstance(renderable, Text):
            renderable = self._shown(renderable)
        elif isinstance(renderable, Table) and renderable.show_header:  # bars of progress are tables too
            room = options or self.options
            whole = Measurement.get(self, room.update(max_width=_UNBOUNDED), renderable)
            if whole.minimum > room.max_width:
                renderable = _stacked(renderable)
        return super().render(renderable, options)

    def _shown(self, text: Text) -> Text:
        if visible(text.plain) == text.plain:
            return text
        shown = text.blank_copy()
        for segment in text.render(self):
            shown.append(visible(segment.text), segment.style)
        return shown


def _stacked(table: Table) -> Group:
    """A table that is too wide for the terminal as one block of lines a row, so that no word is cut."""
    lines: list[RenderableType] = [Text(table.title, "italic")] if isinstance(table.title, str) else []
    columns = [(Text(f"{column.header} ", "dim"), list(column.cells)) for column in table.columns]
    for row in range(table.row_count):
        for number, (header, cells) in enumerate(columns):
            cell = cells[row]
            text = Text(visible(cell)) if isinstance(cell, str) else cell
            if isinstance(text, Text) and text.plain:
                lines.append(Padding(header + text if number else text, (0, 0, 0, 2 * (number > 0)), expand=False))
    return Group(*lines)


def styled(*parts: str | tuple[str, str]) -> Text:
    """A piece of text of strings and of (string, style) pairs; rich's own Text would drop some characters unseen."""
    return Text.assemble(*(visible(each) if isinstance(each, str) else (visible(each[0]), each[1]) for each in parts))
