"""The flags that a trtexec or an nsys knows, from its own `--help`: probe the program rather than trust its number."""

from __future__ import annotations

import re

from dlaflow.parse.text import Source, lines_of

_FLAG = re.compile(r"^\s+(?:-\w+, ?)?(--[A-Za-z0-9][\w-]*)")
_MISSPELT = {"--layerPrecision": "--layerPrecisions"}


def parse_help(source: Source) -> frozenset[str]:
    """The long flags of a help text, `--` included; trtexec lists `--layerPrecisions` under a wrong name.

    Raises InputError when the file cannot be read.
    """
    flags = set()
    for line in lines_of(source):
        if match := _FLAG.match(line):
            flags.add(_MISSPELT.get(match.group(1), match.group(1)))
    return frozenset(flags)
