"""How a profile looks on the terminal and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlaflow.cli.terminal import styled
from dlaflow.parse.failures import reasons
from dlaflow.parse.log import Outcome, ValidatorMessage
from dlaflow.parse.messages import is_harmless
from dlaflow.parse.nodes import foreign_ends
from dlaflow.parse.outcome import short
from dlaflow.profile.capture import CaptureSummary
from dlaflow.profile.compare import Comparison
from dlaflow.profile.iteration import REFORMAT
from dlaflow.profile.profile import Profiled
from dlaflow.report.score_text import lenient_names
from dlaflow.rules.registry import RULES
from dlaflow.types import Device

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table

SCHEMA = "dlaflow.profile/1"
_LONGEST = 48
_ERRORS = 12
"""So many error lines are shown: the first tells most, and the last are about what follows from it."""


def profile_view(profile: Profiled) -> Group:
    """Everything that one profile answers, the most wanted first."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [styled((headline(profile), "bold"))]
    parts += [f"  {line}" for line in (*_failure(profile.outcome), *_remarks(profile.outcome), *_numbers(profile))]
    if profile.top:
        parts += ["", _top_table(profile)]
    if profile.capture is not None and profile.capture.crossings:
        parts += ["", _crossing_table(profile.capture)]
    if refused := _refusals(profile):
        parts += ["", Text("TensorRT's reasons", "bold"), *(f"  {line}" for line in refused[:8])]
    if profile.advice:
        parts += ["", Text("Change first", "bold")]
        for place, advice in enumerate(profile.advice[:3], start=1):
            gain = "" if advice.gain_ms is None else f": about {advice.gain_ms:.3g} ms of GPU time in each inference"
            parts.append(f"  {place}. {advice.title}{gain}")
            parts.append(styled((f"     {advice.why} {advice.then}".rstrip(), "dim")))
    notes = [note.text for note in profile.notes] + ([lenient_names(profile.lenient)] if profile.lenient else [])
    if notes:
        parts += ["", Text("Know this", "bold"), *(f"  - {text}" for text in notes)]
    return Group(*parts, "")


def _failure(outcome: Outcome) -> list[str]:
    """The error lines in their order, what to do, and what knows more; nothing unless the run failed."""
    if outcome.state != "failed":
        return []
    shown = outcome.errors[:_ERRORS]
    lines = [f"line {each.line}: {short(each.text)}" for each in shown]
    if len(outcome.errors) > len(shown):
        lines.append(f"and {len(outcome.errors) - len(shown)} more error lines (--json has them all)")
    lines.append(f"What to do: {outcome.then}")
    if outcome.option:
        lines.append(f"`dlaflow build` has {outcome.option} for it.")
    foreseen = f"; `dlaflow check` foresees it by {', '.join(outcome.rules)}" if outcome.rules else ""
    if outcome.id not in {"unknown", "silent"}:
        lines.append(f"More: `dlaflow explain {outcome.id}`{foreseen}")
    return lines


def _remarks(outcome: Outcome) -> list[str]:
    return [
        f"{each.what[0].upper()}{each.what[1:]}"
        + (f" ({each.count} times)" if each.count > 1 else "")
        + (f": {each.text}" if each.text else "")
        + (f" {each.then}" if each.then else "")
        for each in outcome.remarks
    ]


def _refusals(profile: Profiled) -> list[str]:
    """Why layers that work are not on the DLA: one line for each kind of reason, with the first of its texts.

    Behind it the rules that foresee this kind. The plain "unsupported" line is left out where the line before it gave
    the reason.
    """
    messages = [
        each
        for each in (profile.run.messages if profile.run else ())
        if profile.measured is None or not is_harmless(each.layer, each.type)
    ]
    explained = {each.layer for each in messages if each.reason != "unsupported_layer"}
    alike: dict[tuple[str, str, str], list[ValidatorMessage]] = {}
    for each in messages:
        if each.reason != "unsupported_layer" or each.layer not in explained:
            alike.setdefault((each.reason, each.type, each.operation), []).append(each)
    return [
        group[0].text
        + (f" (and {len(group) - 1} more of this kind)" if len(group) > 1 else "")
        + f" [{_foreseen(reason, kind)}]"
        for (reason, kind, _), group in alike.items()
    ]


def _foreseen(reason: str, kind: str) -> str:
    """The rules that predict a message; of a refusal without a reason, those of the layer's kind."""
    rules = next((each.rules for each in reasons() if each.id == reason), ())
    if rules:
        return ", ".join(rules)
    of_kind = [rule.id for rule in RULES if kind and kind in rule.kinds]
    return f"{kind}: one of {', '.join(of_kind)}" if of_kind else f"`dlaflow explain {reason}`"


def headline(profile: Profiled) -> str:
    """One line: whether it worked, where the layers ran, and how that compares with the prediction."""
    measured, outcome = profile.measured, profile.outcome
    if outcome.state == "failed":
        return f"{profile.name}: FAILED: {outcome.what}"
    said = f"{profile.name}: PASSED" if outcome.state == "passed" else profile.name
    if measured is None:
        if profile.run is not None and outcome.state == "unknown":
            said = f"{said}: no line tells whether it worked, and no error is there"
            if profile.run.messages:
                return f"{said}; {_count(len(profile.run.messages), 'message')} about layers and the DLA"
        return f"{said}: the files do not tell where the layers ran"
    working = [layer for layer in measured.layers if layer.works and layer.device is Device.GPU]
    on_gpu = sum(not layer.name.startswith("Ref") for layer in working)
    loadables = "DLA subgraphs not told" if measured.loadables is None else _count(measured.loadables, "DLA subgraph")
    text = f"{said}: {loadables}, {_count(on_gpu, 'GPU layer')}"
    if profile.predicted is not None and measured.switches is not None:
        expected = profile.predicted.summary
        text += f", {_count(measured.switches, 'switch', 'switches')} over the model's graph"
        text += (
            f" (predicted: {_count(expected.loadables, 'subgraph')}, {_count(expected.switches, 'switch', 'switches')})"
        )
    elif measured.device_changes is not None:
        text += f", {_count(measured.device_changes, 'change')} of device along the list"
    text = f"{text}, from {measured.source}"
    return f"{text} ({measured.doubt})" if measured.doubt else text


def _count(amount: int, one: str, many: str = "") -> str:
    return f"{amount} {one if amount == 1 else many or f'{one}s'}"


def _numbers(profile: Profiled) -> list[str]:
    found = []
    for each in profile.measurements:
        spread = f" ± {_digits(each.spread)}" if each.spread is not None else ""
        subject = each.subject.removeprefix(profile.name).strip()
        label = f"{each.quantity} {subject}".strip()
        n = f"n = {each.n}" if each.n else ""
        note = "; ".join(part for part in (n, each.detail) if part)
        found.append(f"{label:<18} {each.value:.6g}{spread} {each.unit}  ({note})")
    return found


def _digits(spread: float) -> str:
    """Two digits that tell, and never an exponent for whole numbers."""
    return f"{spread:.0f}" if spread >= 10 else f"{spread:.2g}"


def _top_table(profile: Profiled) -> Table:
    from rich.table import Table

    table = Table(title="Where the time goes", title_justify="left", box=None, pad_edge=False)
    for name in ("ms", "share", "device", "layer"):
        table.add_column(name, justify="right" if name in {"ms", "share"} else "left", no_wrap=True)
    if profile.onnx_nodes:
        table.add_column("ONNX nodes", no_wrap=True)
    for layer in profile.top:
        cells = [f"{layer.ms:.4g}", f"{layer.share:.1%}", layer.device, _short(layer.name, _LONGEST)]
        if profile.onnx_nodes:
            cells.append(_short(_summary(profile.onnx_nodes.get(layer.name, [])), _LONGEST))
        table.add_row(*cells)
    return table


def _summary(nodes: list[str]) -> str:
    if len(nodes) <= 2:
        return ", ".join(nodes)
    return f"{len(nodes)} nodes: {nodes[0]} ... {nodes[-1]}"


def _crossing_table(capture: CaptureSummary) -> Table:
    from rich.table import Table

    table = Table(title="Changes of device in order", title_justify="left", box=None, pad_edge=False)
    for name in ("to", "copies", "ms", "from", "into"):
        table.add_column(name, justify="right" if name in {"copies", "ms"} else "left", no_wrap=True)
    for crossing in capture.crossings:
        table.add_row(
            "DLA" if crossing.into_dla else "GPU",
            str(crossing.reformats),
            f"{crossing.reformat_ms.mean:.3g}",
            _short(crossing.source, 28),
            _short(crossing.to, 28),
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
    """The end of a name tells more than its beginning."""
    return text if len(text) <= room else f"…{text[-room + 1 :]}"


def comparison_view(comparison: Comparison) -> Group:
    """Profiles side by side, ratios to the first, and the cause."""
    from rich.console import Group
    from rich.table import Table

    table = Table(title="Side by side", title_justify="left", box=None, pad_edge=False)
    table.add_column("")
    for name in comparison.names:
        table.add_column(_short(name, _LONGEST), justify="right")
    for row in comparison.rows:
        cells = [f"{row.quantity} {f'({row.unit})' if row.unit else ''}".strip()]
        for value, ratio in zip(row.values, row.ratios, strict=True):
            times = "" if ratio is None or ratio == 1 else f" (x{ratio:.3g})"
            cells.append("-" if value is None else f"{value:.5g}{times}")
        table.add_row(*cells)
    parts: list[RenderableType] = [table]
    if comparison.factor is not None:
        faster = comparison.names[-1] if comparison.factor >= 1 else comparison.names[0]
        factor = max(comparison.factor, 1 / comparison.factor)
        parts += ["", styled((f"{faster} is {factor:.3g} times as fast. {comparison.cause}".rstrip(), "bold"))]
    elif comparison.cause:
        parts += ["", styled((comparison.cause, "bold"))]
    return Group(*parts)
