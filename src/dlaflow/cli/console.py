"""rich's console for text from anywhere: no markup, no emoji codes, and nothing but rich's own styles acts.

A piece of text is what is printed in one go, such as a cell: a newline in it is part of a name and shown as an escape.
Whoever wants several lines prints several pieces.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from dlaflow.visible import visible


class HarmlessConsole(Console):
    """A console on which square brackets in a name are no markup, and each str and Text is made visible."""

    def __init__(self, *, stderr: bool, quiet: bool, soft_wrap: bool) -> None:
        super().__init__(stderr=stderr, quiet=quiet, soft_wrap=soft_wrap, highlight=False, markup=False, emoji=False)

    def render_str(self, text: str, **how: Any) -> Text:
        """A str as rich prints it."""
        return super().render_str(visible(text), **how)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Everything that is printed comes through here, tables cell by cell."""
        return super().render(self._shown(renderable) if isinstance(renderable, Text) else renderable, options)

    def _shown(self, text: Text) -> Text:
        if visible(text.plain) == text.plain:
            return text
        shown = text.blank_copy()
        for segment in text.render(self):
            shown.append(visible(segment.text), segment.style)
        return shown


def styled(*parts: str | tuple[str, str]) -> Text:
    """A piece of text of strings and of (string, style) pairs; rich's own Text would drop some characters unseen."""
    return Text.assemble(*(visible(each) if isinstance(each, str) else (visible(each[0]), each[1]) for each in parts))
