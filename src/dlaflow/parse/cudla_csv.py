"""The layer statistics (CSV) of NVIDIA's cuDLA samples, read by the header.

Written from the manual and its one printed sample, which puts names in single quotes: untested on real files.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass

from dlaflow.parse.text import Source, lines_of, number


@dataclass(frozen=True, slots=True)
class CudlaLayer:
    """One layer inside a DLA loadable. `other` keeps the columns without a field of their own, in file order."""

    name: str
    start_ms: float | None
    end_ms: float | None
    compute_precision: str
    other: tuple[tuple[str, str], ...]


def parse_cudla_csv(source: Source) -> tuple[CudlaLayer, ...]:
    """Read layer statistics from a path or from text; rows that do not fit are left out.

    Raises InputError when the file cannot be read.
    """
    lines = (line.replace("\0", "") for line in lines_of(source))
    header: list[str] = []
    layers = []
    for line in lines:
        cells = _cells(line.strip())
        if "layer_name" in cells:
            header = cells
        elif header and len(cells) >= 3:
            layers.append(_layer(dict(zip(header, cells, strict=False))))
    return tuple(layers)


def _cells(line: str) -> list[str]:
    quote = "'" if line.startswith("'") else '"'
    try:
        return [cell.strip() for row in csv.reader([line], quotechar=quote, skipinitialspace=True) for cell in row]
    except csv.Error:
        return []


def _layer(cells: dict[str, str]) -> CudlaLayer:
    own = {"layer_name", "start_ms", "end_ms", "compute_precision", "compute_precisions"}
    return CudlaLayer(
        name=cells.get("layer_name", ""),
        start_ms=number(cells.get("start_ms", "")),
        end_ms=number(cells.get("end_ms", "")),
        compute_precision=cells.get("compute_precision", cells.get("compute_precisions", "")),
        other=tuple((key, value) for key, value in cells.items() if key not in own),
    )
