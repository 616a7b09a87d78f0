"""A comparison in words and cells, the same on the terminal, in Markdown and in the page."""

from __future__ import annotations

from collections.abc import Iterator

from dlaflow.parse.log import Outcome
from dlaflow.profile.comparison import Change, Comparison, Moved, NamedAlone
from dlaflow.profile.names import cause_of
from dlaflow.report.profile_text import ended, failure
from dlaflow.report.units import count

_SHOWN = 12
"""So many moved layers are listed."""


def cells_of(comparison: Comparison) -> list[list[str]]:
    """One row a quantity: its name, then a cell a run. How they ended comes first, then what they were built for."""
    rows = [["outcome", *map(_ended, comparison.outcomes)]] if any(comparison.outcomes) else []
    rows += [[row.setting, *(value or "-" for value in row.values)] for row in comparison.settings]
    for row in comparison.rows:
        cells = [f"{row.quantity} {f'({row.unit})' if row.unit else ''}".strip()]
        for value, ratio in zip(row.values, row.ratios, strict=True):
            times = "" if ratio is None or ratio == 1 else f" (x{ratio:.3g})"
            cells.append("-" if value is None else f"{value:.5g}{times}")
        rows.append(cells)
    return rows


def _ended(outcome: Outcome | None) -> str:
    return {"passed": "PASSED", "failed": "FAILED"}.get(outcome.state, "not told") if outcome else "-"


def sentences(comparison: Comparison, *, failures: bool = True) -> Iterator[str]:
    """Who failed and why (unless that was told before), how fast the runs are, which layers moved."""
    pairs = zip(comparison.names, comparison.outcomes, strict=True)
    failed = {name: outcome for name, outcome in pairs if outcome is not None and outcome.state == "failed"}
    for name, outcome in failed.items() if failures else ():
        yield f"{name}{ended(outcome)}"
        yield from failure(outcome)
    yield from (f"{doubt}." for doubt in comparison.doubts)
    for change in comparison.changes:
        yield from _speed(change)
        if change.same_network is not None or not failed.keys() & {change.before, change.after}:
            yield from _layers(change, f"{change.after} against {change.before}")


def _speed(change: Change) -> Iterator[str]:
    if change.factor is None:
        if change.cause:
            yield change.cause
        return
    fast, slow = (change.after, change.before) if change.factor >= 1 else (change.before, change.after)
    factor = f"{max(change.factor, 1 / change.factor):.3g}"
    if factor == "1":
        yield f"{change.after} is as fast as {change.before}."
    else:
        yield f"{fast} is {factor} times as fast as {slow}. {change.cause}".rstrip()


def _layers(change: Change, pair: str) -> Iterator[str]:
    if change.same_network is None:
        yield f"{pair}: not both tell where the layers are, so layers are not compared."
        return
    if not change.same_network:
        shared = f"{change.shared} of {change.known} layer names are shared"
        yield f"{pair}: they are different networks ({shared}), so layers are not compared."
        return
    stayed = change.shared - len(change.moved)
    yield f"{pair}: {stayed} of the {change.shared} layers that both name are on the same device."
    for each in change.moved[:_SHOWN]:
        yield f"  moved: {_layer(each)}: {each.before.value} → {each.after.value}{_because(each)}"
    if len(change.moved) > _SHOWN:
        yield f"  and {len(change.moved) - _SHOWN} more that moved (--json has them all)"
    for alone, here, there, whole in (
        (change.only_before, change.before, change.after, change.whole_after),
        (change.only_after, change.after, change.before, change.whole_before),
    ):
        if alone:
            what = cause_of(each.layer for each in alone) or alone[0].layer
            inside = "" if whole else f"; they may lie inside a loadable of {there}, which prints its ends alone"
            yield f"  {here} alone names {count(len(alone), 'layer')} ({what}){inside}."
            if len(alone) <= _SHOWN:
                yield from (f"    {_layer(each)} on the {each.device.value}{_because(each)}" for each in alone)


def _layer(each: Moved | NamedAlone) -> str:
    return f"{each.layer} {each.kind}".rstrip()


def _because(each: Moved | NamedAlone) -> str:
    return f" ({each.why})" if each.why else ""
