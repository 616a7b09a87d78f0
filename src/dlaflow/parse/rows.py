"""Which device a profile row stands for, and the DLA's true time: rows are summed over each DLA region.

TensorRT 7.1 books the DLA's time on `{...} output reformatter 0`, 8.2 on `X from nvm`, and only 8.5 on the node itself,
so a single row may say nothing. A region is an unbroken run of rows of the DLA node and its copies and waits.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from dlaflow.parse.log import EngineLayer, PlacementList, Profile, ProfileRow


class RowKind(str, Enum):
    """What a row stands for."""

    DLA = "dla"
    """The DLA task itself."""
    DLA_COPY = "dla copy"
    """A copy or a wait around it (7.x to 8.2); one of them holds its time."""
    REFORMAT = "reformat"
    COPY = "copy"
    GPU = "gpu"


@dataclass(frozen=True, slots=True)
class Row:
    """A profile row with its kind. `assumed`: only the name says DLA, and Myelin nodes on the GPU look the same."""

    row: ProfileRow
    kind: RowKind
    assumed: bool = False


@dataclass(frozen=True, slots=True)
class Region:
    """A DLA region: its node's name, rows, and milliseconds an inference, copies and waits included."""

    name: str
    rows: tuple[Row, ...]
    average_ms: float
    on_node_ms: float


_DLA_SUFFIX = re.compile(
    r" (?:(?:input|output) reformatter \d+|reformatted input \d+ finish|output to be reformatted \d+ finish)$"
)
_NVM = re.compile(r"(?: to nvm| from nvm| copy finish)$")
_REFORMAT = re.compile(r"^Reformatting CopyNode | (?:input|output) reformatter \d+$")
_COPY = re.compile(r"(?: copy|_copy_output)$")
_PROFILE_SUFFIX = re.compile(r" \[profile \d+\]$")


def dla_names(placement: PlacementList | None, engine: Iterable[EngineLayer] = ()) -> frozenset[str] | None:
    """The names that are known to be DLA nodes, or None when nothing states it."""
    layers = list(engine)
    if layers:
        return frozenset(layer.name for layer in layers if layer.kind == "DLA")
    if placement is None or not placement.printed or placement.style == "layers":
        return None
    return frozenset(node.raw for node in placement.dla)


def kind_of(name: str, known: frozenset[str] | None = None) -> tuple[RowKind, bool]:
    """The kind of one row, and whether it is assumed from the name alone."""
    name = _PROFILE_SUFFIX.sub("", name)
    if name.startswith("{"):
        node = _DLA_SUFFIX.sub("", name)
        if node.endswith("}"):
            if node != name:
                return RowKind.DLA_COPY, False
            foreign = name.startswith("{ForeignNode[")
            if known is not None:
                return (RowKind.DLA if name in known or not foreign else RowKind.GPU), False
            return RowKind.DLA, foreign
    if known is not None and name in known:
        return RowKind.DLA, False
    if _NVM.search(name):
        return RowKind.DLA_COPY, False
    if _REFORMAT.search(name):
        return RowKind.REFORMAT, False
    return (RowKind.COPY if _COPY.search(name) else RowKind.GPU), False


def classified(profile: Profile, known: frozenset[str] | None = None) -> tuple[Row, ...]:
    """Every row with its kind; `known` are the names of DLA nodes (`dla_names`)."""
    return tuple(Row(row, *kind_of(row.name, known)) for row in profile.rows)


def dla_regions(rows: Iterable[Row]) -> tuple[Region, ...]:
    """The DLA regions in order."""
    regions = []
    run: list[Row] = []
    for row in [*rows, None]:
        if row is not None and row.kind in {RowKind.DLA, RowKind.DLA_COPY}:
            run.append(row)
        elif run:
            nodes = [each for each in run if each.kind is RowKind.DLA]
            # Copies without a node are the tail of a region that other rows interrupt: they still wait for the DLA.
            name = nodes[0].row.name if nodes else run[0].row.name
            regions.append(Region(name, tuple(run), _sum(run), _sum(nodes)))
            run = []
    return tuple(regions)


def device_changes(rows: Iterable[Row]) -> int:
    """Changes between DLA and GPU along the rows; rows of zero time leave no work and do not count."""
    devices = [row.kind in {RowKind.DLA, RowKind.DLA_COPY} for row in rows if row.row.average_ms or row.row.total_ms]
    return sum(first != second for first, second in itertools.pairwise(devices))


def _sum(rows: Iterable[Row]) -> float:
    return math.fsum(row.row.average_ms for row in rows if math.isfinite(row.row.average_ms))
