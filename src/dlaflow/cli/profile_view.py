"""How a profile looks on the terminal and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dlaflow.cli.terminal import styled
from dlaflow.parse.nodes import foreign_ends
from dlaflow.profile.changes import DeviceChange
from dlaflow.profile.comparison import Comparison
from dlaflow.profile.iteration import REFORMAT
from dlaflow.profile.profile import Profiled
from dlaflow.report.comparison_text import cells_of, sentences
from dlaflow.report.interval import beside
from dlaflow.report.profile_text import failure, headline, notes, refusals, remarks
from dlaflow.visible import visible

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table

_LONGEST = 48


def profile_view(profile: Profiled) -> Group:
    """Everything that one profile answers, the most wanted first."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [styled((headline(profile), "bold"))]
    parts += [f"  {line}" for line in (*failure(profile.outcome), *remarks(profile.outcome), *_numbers(profile))]
    if profile.top:
        parts += ["", _top_table(profile)]
    if any(change.ms is not None for change in profile.changes):
        parts += ["", _change_table(profile.changes)]
    if refused := refusals(profile):
        parts += ["", Text("TensorRT's reasons", "bold"), *(f"  {line}" for line in refused[:8])]
    if profile.advice:
        parts += ["", Text("Change first", "bold")]
        for place, advice in enumerate(profile.advice[:3], start=1):
            gain = "" if advice.gain_ms is None else f": about {advice.gain_ms:.3g} ms of GPU time in each inference"
            parts.append(f"  {place}. {advice.title}{gain}")
            parts.append(styled((f"     {advice.why} {advice.then}".rstrip(), "dim")))
    if known := notes(profile):
        parts += ["", Text("Know this", "bold"), *(f"  - {text}" for text in known)]
    return Group(*parts, "")


def _numbers(profile: Profiled) -> list[str]:
    found = []
    for each in profile.measurements:
        subject = each.subject.removeprefix(profile.name).strip()
        label = f"{each.quantity} {subject}".strip()
        n = f"n = {each.n}" if each.n else ""
        note = "; ".join(part for part in (n, each.detail) if part)
        found.append(f"{label:<18} {each.value:.6g}{beside(each, '{:.6g}')} {each.unit}  ({note})")
    return found


def _top_table(profile: Profiled) -> Table:
    from rich.table import Table

    table = Table(title="Where the time goes", title_justify="left", box=None, pad_edge=False)
    rows = [
        [f"{layer.ms:.4g}", f"{layer.share:.1%}", layer.device, _short(layer.name, _LONGEST)] for layer in profile.top
    ]
    for at, name in enumerate(("ms", "share", "device", "layer")):
        # In a narrow terminal names give way, not numbers.
        least = max(len(each) for each in (name, *(row[at] for row in rows))) if name != "layer" else None
        table.add_column(name, justify="right" if name in {"ms", "share"} else "left", no_wrap=True, min_width=least)
    if profile.onnx_nodes:
        table.add_column("ONNX nodes", no_wrap=True)
    for layer, cells in zip(profile.top, rows, strict=True):
        nodes = _short(_summary(profile.onnx_nodes.get(layer.name, [])), _LONGEST)
        table.add_row(*cells, *([nodes] if profile.onnx_nodes else []))
    return table


def _summary(nodes: list[str]) -> str:
    if len(nodes) <= 2:
        return ", ".join(nodes)
    return f"{len(nodes)} nodes: {nodes[0]} ... {nodes[-1]}"


def _change_table(changes: Sequence[DeviceChange]) -> Table:
    from rich.table import Table

    table = Table(title="Changes of device in order", title_justify="left", box=None, pad_edge=False)
    for name in ("to", "copies", "ms", "from", "into"):
        table.add_column(name, justify="right" if name in {"copies", "ms"} else "left", no_wrap=True)
    for change in changes:
        table.add_row(
            "DLA" if change.into_dla else "GPU",
            str(change.copies),
            f"{change.ms:.3g}",
            _short(change.source, 28),
            _short(change.to, 28),
        )
    return table


def _short(name: str, room: int) -> str:
    """A layer's name within `room` characters: subgraphs by their ends, reformats by what they feed."""
    if name.startswith(REFORMAT):
        return f"reformat for {_short(name.partition(' to ')[2], room - 13)}"
    if ends := foreign_ends(name):
        half = (room - 3) // 2
        return _cut(ends[0], room) if ends[0] == ends[1] else f"{_cut(ends[0], half)} … {_cut(ends[1], half)}"
    return _cut(name, room)


def _cut(text: str, room: int) -> str:
    """The end of a name, as it will be shown, tells more than its beginning."""
    text = visible(text)
    return text if len(text) <= room else f"…{text[-room + 1 :]}"


def comparison_view(comparison: Comparison, *, failures: bool = True) -> Group:
    """Runs side by side, ratios to the first, then what that means in words; `failures` as of `sentences`."""
    from rich.console import Group
    from rich.table import Table

    table = Table(title="Side by side", title_justify="left", box=None, pad_edge=False)
    table.add_column("")
    for name in comparison.names:
        table.add_column(_short(name, _LONGEST), justify="right")
    for cells in cells_of(comparison):
        table.add_row(*cells)
    return Group(table, "", *sentences(comparison, failures=failures))
