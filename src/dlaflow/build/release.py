"""TensorRT version numbers: comparing them, and the two spellings NVIDIA's files use."""

from __future__ import annotations

import re

from dlaflow.errors import UsageError

Version = tuple[int, int, int]

_SPELLING = re.compile(r"^(\d+)\.(\d+)(?:\.(\d+))?(?:[.+~-].*)?$")
_FIRST_SIX_DIGIT_MAJOR = 10


def version_of(text: str) -> Version:
    """`8.5.2` → (8, 5, 2); `10.3` → (10, 3, 0); a build number after the third part is dropped.

    Raises UsageError for anything else.
    """
    found = _SPELLING.match(text.strip())
    if found is None:
        raise UsageError("cannot read a TensorRT version", expected="a form such as 8.5.2", received=repr(text))
    major, minor, patch = found.groups()
    return int(major), int(minor), int(patch or 0)


def tag_of(tensorrt: str) -> str:
    """The number of cache headers and trtexec banners: 8.5.2 → `8502`, 10.3.0 → `100300`."""
    major, minor, patch = version_of(tensorrt)
    scale = 10_000 if major >= _FIRST_SIX_DIGIT_MAJOR else 1_000
    return str(major * scale + minor * 100 + patch)


def from_tag(tag: str) -> str:
    """The version behind such a number: `8502` → 8.5.2, `101601` → 10.16.1."""
    number = int(tag)
    scale = 10_000 if number >= _FIRST_SIX_DIGIT_MAJOR * 10_000 else 1_000
    return f"{number // scale}.{number % scale // 100}.{number % 100}"
