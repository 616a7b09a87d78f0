"""Many estimates of one model as a table: on the terminal and as a page."""

from __future__ import annotations

from collections.abc import Sequence

from dlaflow.estimate.answer import Estimate
from dlaflow.estimate.text import span
from dlaflow.visible import text_of

_WHERE = ("board", "release", "mode", "precision", "batch")
COLUMNS = (*_WHERE, "latency ms", "images/s", "both cores", "GPU ms", "mJ/image", "worth it")
_NOTHING = "–"


def cells(release: str, found: Estimate) -> list[str]:
    """The cells of one row, in the order of COLUMNS; a dash where no data supports an answer."""
    where = [found.board, release, found.mode, found.precision, str(found.batch)]
    ranges = (found.latency, found.throughput, found.two_cores, found.gpu_alone, found.energy_mj)
    return [*where, *(span(each) if each else _NOTHING for each in ranges), found.advice.worth.value]


def estimate_table_text(model: str, rows: Sequence[tuple[str, Estimate]], left_out: Sequence[str]) -> str:
    """The table as aligned columns, then why some rows have no answer and which choices do not exist."""
    lines = [list(COLUMNS), *(cells(release, found) for release, found in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(COLUMNS))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return text_of([f"{model}: medians with 80% intervals", "", *table, "", *_notes(rows, left_out)])


def estimate_table_page(model: str, rows: Sequence[tuple[str, Estimate]], left_out: Sequence[str], created: str) -> str:
    """One self-contained HTML file with the table."""
    from dlaflow.report.html import render_page

    table = [cells(release, found) for release, found in rows]
    return render_page(
        "estimates.html.j2",
        model=model,
        columns=COLUMNS,
        rows=table,
        notes=_notes(rows, left_out),
        created=created,
    )


def _notes(rows: Sequence[tuple[str, Estimate]], left_out: Sequence[str]) -> list[str]:
    unknown = (
        f"Unknown: {found.board}, {found.mode}: {'; '.join(found.unknown)}." for _, found in rows if found.unknown
    )
    return [*dict.fromkeys(unknown), *(f"Left out: {each}." for each in left_out)]
