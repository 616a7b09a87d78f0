"""A schedule on the terminal, as a page, as a picture over time and as Trace Events for ui.perfetto.dev."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from dlaflow.estimate.schedule import Assigned, Found, Schedule
from dlaflow.estimate.schedule_flow import GPU
from dlaflow.estimate.schedule_timeline import Span, timeline
from dlaflow.estimate.text import span
from dlaflow.report.timeline import COLOURS, LEFT, ROW, rows_svg
from dlaflow.report.trace import Slice, trace_events
from dlaflow.report.units import count, plain
from dlaflow.visible import text_of, visible

if TYPE_CHECKING:
    from dlaflow.api.schedule import Scheduled

COLUMNS = ("network", "runs on", "images/s", "latency ms", "asked for")
FRONT = ("schedule", "images/s", "latency ms", "board W", "mJ/image", "unmet")
_SHADES = (1.0, 0.72, 0.48, 0.86, 0.6)
"""Opacity by network: a core keeps its colour, networks on it differ."""
_NOTHING = "–"


def schedule_text(found: Scheduled) -> str:
    """The answer of `dlaflow schedule`: the recommended one, why the next best loses, the front, the commands."""
    best = found.found.best
    title = f"{count(len(best.networks), 'network')} on {found.board}, {found.release}, {found.mode}, {found.precision}"
    lines = [title, "", f"Recommended: {best.title}", *_table(COLUMNS, [_row(each) for each in best.networks]), ""]
    lines += [*facts(found.found), "", *_table(FRONT, [front_row(each) for each in found.found.front]), ""]
    lines += after_fix_words(found)
    lines += ["Do it:", *(f"  {line}" for line in found.commands), ""]
    return text_of([*lines, *(f"Note: {note}." for note in found.notes), "Ranges are 80% intervals."])


def facts(found: Found) -> list[str]:
    """What to know of the best schedule, in sentences."""
    best = found.best
    loads = ", ".join(f"{core} {load:.0%}" for core, load in best.loads)
    lines = [f"Taken: {loads}." + (f" Without an engine of its own: {', '.join(found.idle)}." if found.idle else "")]
    if len(best.loads) > 1 and not any(core != GPU for each in best.networks for core in each.cores):
        lines.append("Leave the DLA idle: no schedule that uses it is better.")
    if best.watts and best.energy_mj:
        lines.append(
            f"Board: {span(best.watts)} W, {span(best.energy_mj)} mJ an image over all networks, idle included."
        )
    for each in best.networks:
        if each.cut:
            lines.append(f"Cut {each.name} at {', '.join(each.cut)}: {each.cores[0]} hands over to {each.cores[1]}.")
        if each.met == "no":
            lines.append(f"NOT reached: {each.name}, {each.missed}. No assignment reaches more.")
    if found.next_best:
        doubt = "" if found.certain else " Too close to tell within the intervals: a bench of both decides."
        lines.append(f"Next best: {found.next_best.title}; it loses: {found.why}.{doubt}")
    how = "every one judged" if found.complete else f"{found.judged:,} judged by a bounded search"
    return [*lines, f"{count(found.assignments, 'assignment')}, {how}; these are the ones that no other beats:"]


def after_fix_words(found: Scheduled) -> list[str]:
    """What `dlaflow fix` gains: the best scheduler there is where engines visit the GPU."""
    after = found.after_fix
    if after is None:
        return []
    if not after.rewrites:
        return ["`dlaflow fix` changes none of these models: nothing is gained there.", ""]
    before, now = found.found.best, after.found.best
    lines = [f"After `dlaflow fix` of {', '.join(after.rewrites)}: {now.title}"]
    for old, new in zip(before.networks, now.networks, strict=True):
        gain = new.rate.value / old.rate.value if old.rate.value else 1.0
        if abs(gain - 1) > 0.01 or old.met != new.met:
            met = "" if old.met == new.met else f", reached: {new.met}"
            met += ": slower, so keep it as it is" if gain < 1 else ""
            lines.append(f"  {old.name}: {plain(new.rate.value, 3)} images/s, {gain:.2f} times as many{met}")
        elif abs(new.latency.value / old.latency.value - 1) > 0.01:
            lines.append(f"  {old.name}: {new.latency.value:.3g} instead of {old.latency.value:.3g} ms")
    if before.watts and now.watts and abs(now.watts.value / before.watts.value - 1) > 0.01:
        lines.append(f"  board: {now.watts.value:.3g} instead of {before.watts.value:.3g} W")
    if len(lines) == 1:
        lines.append("  no faster: its visits to the GPU are not what limits this schedule")
    return [*lines, ""]


def _row(found: Assigned) -> list[str]:
    asked = {"yes": "reached", "likely": "reached at the median", "no": f"missed: {found.missed}"}[found.met]
    return [found.name, " then ".join(found.cores), span(found.rate), span(found.latency), asked]


def front_row(found: Schedule) -> list[str]:
    """The cells of a schedule of the front, in the order of FRONT."""
    rate = sum(each.rate.value for each in found.networks)
    latency = " / ".join(f"{each.latency.value:.3g}" for each in found.networks)
    power = [f"{each.value:.3g}" if each else _NOTHING for each in (found.watts, found.energy_mj)]
    return [found.title, plain(rate, 3), latency, *power, str(found.unmet)]


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [list(map(visible, line)) for line in (columns, *rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    return ["  " + "  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]


def schedule_page(found: Scheduled, created: str) -> str:
    """One self-contained HTML file: the answer, the picture, the front, the commands."""
    from markupsafe import Markup

    from dlaflow.report.html import render_page

    best = found.found.best
    return render_page(
        "schedule.html.j2",
        found=found,
        title=f"{count(len(best.networks), 'network')} on {found.board}",
        columns=COLUMNS,
        rows=[_row(each) for each in best.networks],
        facts=facts(found.found),
        picture=Markup(schedule_svg(best)),
        front_columns=FRONT,
        front=[front_row(each) for each in found.found.front],
        after=after_fix_words(found),
        created=created,
    )


def schedule_svg(found: Schedule) -> str:
    """The first inferences of a schedule: a row a core, time from left to right, in the colours of the report."""
    spans = timeline(found)
    length = max((each.end for each in spans), default=1.0)
    networks = list(dict.fromkeys(each.name for each in found.networks))

    def boxes(core: str, top: float, scale: float) -> list[str]:
        return [_box(each, top, scale, networks) for each in spans if each.core == core]

    label = f"{visible(found.title)} over {length:.3g} ms"
    return rows_svg(label, [core for core, _ in found.loads], length, boxes)


def _box(found: Span, top: float, scale: float, networks: Sequence[str]) -> str:
    left, wide = LEFT + found.start * scale, max((found.end - found.start) * scale, 0.5)
    shade = _SHADES[networks.index(found.network) % len(_SHADES)]
    name = escape(visible(found.network))
    taken = f"{found.end - found.start:.3g} ms from {found.start:.3g} ms"
    tip = f"{name}, inference {found.inference}: {taken} ({found.kind})"
    label = ""
    if wide > 7 * len(found.network) and found.kind != "copy":
        label = f'<text x="{left + 3:.2f}" y="{top + 17:g}" fill="#000">{name}</text>'
    return (
        f'<g><title>{tip}</title><rect x="{left:.2f}" y="{top:g}" width="{wide:.2f}" height="{ROW:g}" '
        f'fill="{COLOURS[found.kind]}" fill-opacity="{shade:g}" stroke="#fff" stroke-width="0.5"/>{label}</g>'
    )


def schedule_trace(found: Schedule) -> bytes:
    """The same as Trace Events: a track a core, and one for the visits of each DLA core to the GPU."""
    cores = [core for core, _ in found.loads]
    visits = {core: f"visits of {core} to the GPU" for core in cores if core != GPU}
    slices = [
        Slice(
            visits.get(each.visitor, each.core),
            f"{each.network} {each.inference}",
            each.kind,
            round(each.start * 1e6),
            round(each.end * 1e6),
        )
        for each in timeline(found)
    ]
    return trace_events(f"dlaflow schedule: {found.title}", (*cores, *visits.values()), slices)
