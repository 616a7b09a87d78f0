"""A run as a table, one line a variant: on the terminal in 80 columns, and as Markdown for a pull request."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dlaflow.report.comparison_text import cells_of, sentences
from dlaflow.report.interval import ends, told, told_share
from dlaflow.report.records import RunRecord, Variant
from dlaflow.report.tradeoff import latency_of
from dlaflow.report.units import percent
from dlaflow.report.verdict import PRECISIONS, headline, number
from dlaflow.visible import visible

if TYPE_CHECKING:
    from rich.table import Table

    from dlaflow.report.compare import Regression

_SPECIAL = re.compile(r"([\\`*_\[\]|#~<>&@])")


def precisions_of(run: RunRecord) -> list[str]:
    """The precisions that any variant of the run was evaluated in."""
    return [name for name in PRECISIONS if any(number(variant, "top1", name) for variant in run.variants)]


def table_notes(run: RunRecord) -> list[str]:
    """What the numbers in the table are: the widest interval of the accuracies, the origin of the latencies."""
    notes = []
    shown = [top1 for variant in run.variants for name in PRECISIONS if (top1 := number(variant, "top1", name))]
    if shown:
        widest = max(abs(end - top1.value) for top1 in shown for end in ends(top1))
        images = f"{min(top1.n for top1 in shown):,} test images"
        names = ", ".join(precisions_of(run))
        notes.append(f"{names}: top-1 of {images}, measured here; 95% intervals within {widest * 100:.1f} points")
    times = [time for variant in run.variants if (time := latency_of(variant))]
    if times:
        sides = [end / time.value for time in times if time.value for end in ends(time)]
        kinds = " and ".join(dict.fromkeys(time.provenance.value for time in times))
        if sides:
            notes.append(f"latency: {kinds}; {times[0].spread_kind} {min(sides):.2f} to {max(sides):.2f} times that")
    return notes


def run_table(run: RunRecord) -> Table:
    """The comparison of the variants as a rich table."""
    from rich.table import Table

    precisions = precisions_of(run)
    timed = any(latency_of(variant) for variant in run.variants)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold underline")
    table.add_column("variant", overflow="fold")
    for title in ("loadables", "switches", "DLA MACs", *precisions):
        table.add_column(title, justify="right", no_wrap=True)
    if timed:
        table.add_column("latency", justify="right")
    for variant in run.variants:
        tops = [number(variant, "top1", name) for name in precisions]
        cells = [variant.name, *_placement_cells(variant), *(percent(top1.value) if top1 else "–" for top1 in tops)]
        if timed:
            time = latency_of(variant)
            cells.append(f"{time.value:.2f} {time.unit}" if time else "–")
        table.add_row(*cells)
    return table


def _placement_cells(variant: Variant) -> tuple[str, str, str]:
    if variant.placement is None:
        return ("–", "–", "–")
    summary = variant.placement.summary
    return (str(summary.loadables), str(summary.switches), percent(summary.dla_mac_share))


def run_markdown(run: RunRecord, regressions: Sequence[Regression] | None = None) -> str:
    """The answer, the regressions (None: nobody asked for them), and a table with one line a variant."""
    precisions = precisions_of(run)
    timed = any(latency_of(variant) for variant in run.variants)
    titles = ["variant", "loadables", "switches", "MACs on the DLA", *(f"top-1 {name}" for name in precisions)]
    titles += ["latency"] if timed else []
    lines = [f"**{escape(headline(run))}**", ""]
    if regressions:
        lines += ["Worse than before:", ""]
        lines += [
            f"- {escape(each.variant)}: {escape(each.what)}, {each.before} → {each.after}" for each in regressions
        ]
        lines.append("")
    elif regressions is not None:
        lines += ["No regression.", ""]
    lines += [_row(titles), _row([":--", *["--:"] * (len(titles) - 1)])]
    lines += [_row(_cells(variant, precisions, timed)) for variant in run.variants]
    for each in run.comparisons:
        lines += ["", _row(["", *map(escape, each.names)]), _row([":--", *["--:"] * len(each.names)])]
        lines += [_row([escape(cell) for cell in cells]) for cells in cells_of(each)]
        lines += ["", *(f"- {escape(sentence)}" for sentence in sentences(each))]
    lines += [f"\n> {escape(notice)}" for notice in run.notices]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Text that Markdown shows as it is: no markup, no mention, nothing unseen, on one line."""
    return _SPECIAL.sub(r"\\\1", visible(" ".join(text.split())))


def _cells(variant: Variant, precisions: list[str], timed: bool) -> list[str]:
    cells = [escape(variant.name), *_placement_cells(variant)]
    for precision in precisions:
        top1 = number(variant, "top1", precision)
        interval = told_share(top1) if top1 else ""
        cells.append(f"{percent(top1.value)}{f' ({interval})' if interval else ''}" if top1 else "–")
    if timed:
        time = latency_of(variant)
        interval = f"{told(time)}, " if time and time.spread is not None else ""
        cells.append(f"{time.value:.3g} {time.unit} ({interval}{time.provenance.value})" if time else "–")
    return cells


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
