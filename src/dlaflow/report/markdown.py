"""Runs as a Markdown table, for a pull request."""

from __future__ import annotations

import re
from collections.abc import Sequence

from dlaflow.report.compare import Regression
from dlaflow.report.records import RunRecord, Variant
from dlaflow.report.text import precisions_of
from dlaflow.report.tradeoff import latency_of
from dlaflow.report.units import percent
from dlaflow.report.verdict import headline, number

_SPECIAL = re.compile(r"([\\`*_\[\]|#~<>&@])")


def run_markdown(run: RunRecord, regressions: Sequence[Regression] | None = None) -> str:
    """The answer, the regressions (None: nobody asked for them), and a table with one line a variant."""
    precisions = precisions_of(run)
    timed = any(latency_of(variant) for variant in run.variants)
    titles = ["variant", "loadables", "switches", "MACs on the DLA", *(f"top-1 {name}" for name in precisions)]
    titles += ["latency"] if timed else []
    lines = [f"**{escape(headline(run))}**", ""]
    if regressions is not None:
        lines += _regression_lines(regressions)
    lines += [_row(titles), _row([":--", *["--:"] * (len(titles) - 1)])]
    lines += [_row(_cells(variant, precisions, timed)) for variant in run.variants]
    lines += [f"\n> {escape(notice)}" for notice in run.notices]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Text that Markdown shows as it is: no markup, no mention, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _regression_lines(regressions: Sequence[Regression]) -> list[str]:
    if not regressions:
        return ["No regression.", ""]
    lines = [f"- {escape(each.variant)}: {escape(each.what)}, {each.before} → {each.after}" for each in regressions]
    return ["Worse than before:", "", *lines, ""]


def _cells(variant: Variant, precisions: list[str], timed: bool) -> list[str]:
    cells = [escape(variant.name)]
    if variant.placement is None:
        cells += ["–"] * 3
    else:
        summary = variant.placement.summary
        cells += [str(summary.loadables), str(summary.switches), percent(summary.dla_mac_share)]
    for precision in precisions:
        top1 = number(variant, "top1", precision)
        spread = f" ± {top1.spread * 100:.1f}" if top1 and top1.spread is not None else ""
        cells.append(f"{percent(top1.value)}{spread}" if top1 else "–")
    if timed:
        time = latency_of(variant)
        cells.append(f"{time.value:.3g} {time.unit} ({time.provenance.value})" if time else "–")
    return cells


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
