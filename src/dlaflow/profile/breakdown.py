"""A per-layer profile (`--exportProfile`, `--dumpProfile`) by device, with the DLA's time put right per region."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dlaflow.parse.log import Profile
from dlaflow.parse.rows import Region, Row, RowKind, classified, device_changes, dla_regions


@dataclass(frozen=True, slots=True)
class TopLayer:
    """A layer or DLA region and its milliseconds an inference; `share` is of the profiled total (0..1).

    `device` is DLA, GPU, or what the GPU did for a switch: reformat, copy.
    """

    name: str
    device: str
    ms: float
    share: float


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Milliseconds an inference by device. DLA time is summed per region, copies and waits around the node included.

    `total_ms` is larger than the un-profiled latency: the profiler waits after each layer. `assumed`: rows count as DLA
    by their name alone.
    """

    rows: tuple[Row, ...]
    regions: tuple[Region, ...]
    total_ms: float
    dla_ms: float
    reformat_ms: float
    copy_ms: float
    gpu_ms: float
    switches: int
    iterations: int | None
    assumed: bool
    moved: bool
    """Whether the release books DLA time on rows beside the node (7.x to 8.2)."""


def breakdown_of(profile: Profile, known: frozenset[str] | None = None) -> Breakdown:
    """Split a profile by device; `known` names the DLA nodes where a log or layer information tells them."""
    rows = classified(profile, known)
    regions = dla_regions(rows)
    dla = math.fsum(region.average_ms for region in regions)
    on_nodes = math.fsum(region.on_node_ms for region in regions)
    return Breakdown(
        rows=rows,
        regions=regions,
        total_ms=_sum(rows, None),
        dla_ms=dla,
        reformat_ms=_sum(rows, RowKind.REFORMAT),
        copy_ms=_sum(rows, RowKind.COPY),
        gpu_ms=_sum(rows, RowKind.GPU),
        switches=device_changes(rows),
        iterations=profile.iterations,
        assumed=any(row.assumed for row in rows),
        moved=bool(regions) and on_nodes < dla / 2,
    )


def top_layers(breakdown: Breakdown, count: int = 10) -> list[TopLayer]:
    """The rows that cost most, DLA regions as one."""
    total = breakdown.total_ms or 1.0
    found = [TopLayer(region.name, "DLA", region.average_ms, region.average_ms / total) for region in breakdown.regions]
    for row in breakdown.rows:
        if row.kind not in {RowKind.DLA, RowKind.DLA_COPY} and math.isfinite(row.row.average_ms):
            device = "GPU" if row.kind is RowKind.GPU else row.kind.value
            found.append(TopLayer(row.row.name, device, row.row.average_ms, row.row.average_ms / total))
    return sorted(found, key=lambda layer: -layer.ms)[:count]


def _sum(rows: tuple[Row, ...], kind: RowKind | None) -> float:
    return math.fsum(
        row.row.average_ms for row in rows if (kind is None or row.kind is kind) and math.isfinite(row.row.average_ms)
    )
