"""Measurements of several boards side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from dlaflow.report.records import RunRecord
from dlaflow.types import Measurement

if TYPE_CHECKING:
    from rich.table import Table

_OF_RUNS = ("latency", "top1", "throughput", "throughput kept beside the others", "energy per inference")
"""What a run shows of its boards; the rest stands in its report and in the files of each board."""

_COLUMNS = 3
"""More boards than that do not fit beside each other on a terminal of 80 columns."""


def board_table(found: Mapping[str, Sequence[Measurement]], title: str) -> Table:
    """Board → its measurements, as a rich table: a column a board, or a row each where they are too many for that."""
    from rich.table import Table

    table = Table("quantity", "of", title=title, title_justify="left")
    cells: dict[tuple[str, str], dict[str, Measurement]] = {}
    for name, rows in found.items():
        for row in rows:
            cells.setdefault((row.quantity, row.subject), {}).setdefault(name, row)
    if len(found) > _COLUMNS:
        for title in ("board", "value", "n"):
            table.add_column(title, justify="left" if title == "board" else "right")
        for key, by_board in cells.items():
            for place, (name, row) in enumerate(by_board.items()):
                table.add_row(*(key if place == 0 else ("", "")), name, _cell(row), str(row.n))
        return table
    for name in (*found, "n"):
        table.add_column(name, justify="right")
    for key, by_board in cells.items():
        counts = "/".join(dict.fromkeys(str(row.n) for row in by_board.values()))
        table.add_row(*key, *(_cell(by_board.get(name)) for name in found), counts)
    return table


def of_run(record: RunRecord, boards: Sequence[str]) -> dict[str, list[Measurement]]:
    """What each board measured in a run, with the variant in front of the subject."""
    return {
        board: [
            replace(row, subject=f"{variant.name} {rest}".strip())
            for variant in record.variants
            for row in variant.measurements
            if row.quantity in _OF_RUNS and (rest := _without(board, row.subject)) is not None
        ]
        for board in boards
    }


def _without(board: str, subject: str) -> str | None:
    """The subject without its board (`orin dla0`, `int8 on orin`, `orin`); None for another board's, or the host's."""
    if subject == board:
        return ""
    if subject.endswith(f" on {board}"):
        return subject.removesuffix(f" on {board}")
    return subject.removeprefix(f"{board} ") if subject.startswith(f"{board} ") else None


def _cell(row: Measurement | None) -> str:
    if row is None:
        return ""
    spread = f" ±{row.spread:.3g}" if row.spread is not None else ""
    return f"{row.value:,.4g}{spread} {row.unit}"
