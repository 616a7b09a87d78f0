"""What a person would call the layers of an engine, by the operators that exporters leave in their names."""

from __future__ import annotations

import re
from collections.abc import Iterable

from dlaflow.observed.names import parts_of

_UNNAMED = re.compile(r"\(Unnamed Layer\* \d+\) \[[^\]]*\](?:_output)?")
_OPERATOR = re.compile(r"([A-Z][A-Za-z]+?)(?:_\d+)?$")

GROUP_NORM = "GroupNorm"
_NORMS = {"InstanceNormalization", "GroupNormalization"}


def operators_of(names: Iterable[str]) -> tuple[str, ...]:
    """The ONNX operators that exporters leave in names (`/layer/Conv_1`, `Conv_12`), most frequent first."""
    counts: dict[str, int] = {}
    for name in names:
        for part in parts_of(name):
            tail = _UNNAMED.sub("", part).rstrip("/ ").rsplit("/", 1)[-1]
            if match := _OPERATOR.search(tail.split(".")[-1]):
                counts[match.group(1)] = counts.get(match.group(1), 0) + 1
    return tuple(sorted(counts, key=lambda name: -counts[name]))


def cause_of(names: Iterable[str]) -> str:
    """What a person would call the operators in `names`: GroupNorm is exported as five of them."""
    operators = operators_of(names)
    if _NORMS & set(operators):
        return GROUP_NORM
    return ", ".join(operators[:3])
