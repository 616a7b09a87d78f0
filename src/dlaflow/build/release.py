"""TensorRT version numbers that compare: three parts, since build numbers are not told everywhere."""

from __future__ import annotations

import re

from dlaflow.errors import UsageError

Version = tuple[int, int, int]

_SPELLING = re.compile(r"^(\d+)\.(\d+)(?:\.(\d+))?(?:[.+~-].*)?$")


def version_of(text: str) -> Version:
    """`8.5.2` → (8, 5, 2); `10.3` → (10, 3, 0); a build number after the third part is dropped.

    Raises UsageError for anything else.
    """
    found = _SPELLING.match(text.strip())
    if found is None:
        raise UsageError("cannot read a TensorRT version", expected="a form such as 8.5.2", received=repr(text))
    major, minor, patch = found.groups()
    return int(major), int(minor), int(patch or 0)
