"""What a person would call the layers of an engine, by the operators that exporters leave in their names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from itertools import groupby

from dlaflow.observed.names import parts_of

_UNNAMED = re.compile(r"\(Unnamed Layer\* \d+\) \[[^\]]*\](?:_output)?")
_OPERATOR = re.compile(r"([A-Z][A-Za-z]+?)(?:_\d+)?$")

GROUP_NORM = "GroupNorm"
_WRITTEN_OUT = ("Reshape", "InstanceNormalization", "Reshape", "Mul")
"""How exporters write a GroupNorm, up to the Mul and Add that its scale and bias become."""


def operators_of(names: Iterable[str]) -> tuple[str, ...]:
    """The ONNX operators that exporters leave in names (`/layer/Conv_1`, `Conv_12`), most frequent first."""
    return tuple(operator for operator, _ in Counter(_operators(names)).most_common())


def cause_of(names: Iterable[str]) -> str:
    """What a person would call the operators in `names`, which stand in the model's order.

    InstanceNormalization is GroupNorm where exporters write one so: between two reshapes, with a Mul behind them.
    """
    found = _operators(names)
    operators = operators_of(found)
    if "GroupNormalization" in operators:
        return GROUP_NORM
    if "InstanceNormalization" in operators:
        chain = [operator for operator, _ in groupby(found)]
        places = [place for place, operator in enumerate(chain) if operator == "InstanceNormalization"]
        written_out = all(tuple(chain[max(place - 1, 0) : place + 3]) == _WRITTEN_OUT for place in places)
        return GROUP_NORM if written_out else "InstanceNormalization"
    return ", ".join(operators[:3])


def _operators(names: Iterable[str]) -> list[str]:
    found = []
    for name in names:
        for part in parts_of(name):
            tail = _UNNAMED.sub("", part).rstrip("/ ").rsplit("/", 1)[-1]
            if match := _OPERATOR.search(tail.split(".")[-1]):
                found.append(match.group(1))
    return found
