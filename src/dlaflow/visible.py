"""What comes from outside (names, paths, messages of others) as text that cannot act: the one place that decides it.

A name can hold an escape sequence that repaints the terminal, a newline that makes a line of its own, a bidirectional
mark that turns the words around, or nothing that is seen at all. Printed, each such character is its escape, which is
printable itself, so that applying this twice changes nothing. Files that are data (JSON, SARIF) keep the true names.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable

_UNSEEN = "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef"
"""Shown as nothing although Python counts them as printable: Unicode's Default_Ignorable_Code_Point, blank Braille."""
_UNSEEN_CHARACTER = re.compile(f"[{_UNSEEN}]")
_COMMAND = re.compile(r"^[^\S\n]*:(?=:)|(?<=#)#(?=\w*\[)", re.MULTILINE)
"""What a CI runner obeys: `::error::` at the start of a line (GitHub); `##[error]`, `##vso[` anywhere in it (GitHub's
older form, Azure, TeamCity). Source: ActionCommand.cs of github.com/actions/runner."""


def visible(text: str, *, keep: str = "") -> str:
    """`text` with every control, bidirectional, invisible, unassigned and separator character as an escape.

    Those are what `str.isprintable` refuses (the categories Cc, Cf, Cs, Co, Cn, Zl, Zp, and Zs but the space) and what
    is printable by name only. Those in `keep` stay. C0's become `\\x1b` or `\\n`; all others become JSON's escapes
    (`\\u202e`), so that JSON, which escapes the former itself, stays JSON with the same names.
    """
    if text.isprintable() and (text.isascii() or not _UNSEEN_CHARACTER.search(text)):
        return text
    return "".join(each if each in keep or _is_seen(each) else _escape(each) for each in text)


def _is_seen(character: str) -> bool:
    return character.isprintable() and not _UNSEEN_CHARACTER.match(character)


def _escape(character: str) -> str:
    return ascii(character)[1:-1] if character < " " else json.dumps(character)[1:-1]


def text_of(lines: Iterable[str]) -> str:
    """Lines as one text in which each stays one line, whatever names it holds."""
    return "\n".join(map(visible, lines))


def wrap(text: str, width: int, **how: str | bool) -> list[str]:
    """`textwrap.wrap` over visible text: it would turn a newline in a name into a space."""
    return textwrap.wrap(visible(text), width, break_on_hyphens=False, **how)  # type: ignore[arg-type]


def inert(text: str) -> str:
    """Printed text in which no CI runner finds a command: an escape breaks up what looks like one."""
    return _COMMAND.sub(lambda found: f"{found[0][:-1]}\\u{ord(found[0][-1]):04x}", text)
