"""A placement on the terminal: the answer first, then the reasons, in 80 columns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dlaflow.placement.extract import Extracted
from dlaflow.report.grouping import SEVERITY, FindingGroup, group_findings, release_title
from dlaflow.report.units import count
from dlaflow.report.verdict import opening
from dlaflow.rules.limits_of_model import leftovers
from dlaflow.rules.model import FixedInputs
from dlaflow.rules.reading import no_engine, speaks_first
from dlaflow.types import Confidence, Device, Placement, Verdict
from dlaflow.visible import text_of, wrap

WIDTH = 100
"""Columns of a text that goes to a file, and the most on a terminal."""
_NARROW = 30
"""Columns beside the head of a reason, below which its words stand under it."""
_SHOWN_SWITCHES = 12


def placement_text(placement: Placement, estimate: str = "", width: int = WIDTH) -> str:
    """The answer of `dlaflow check`: the shares, the loadables, the switches, and the reasons grouped.

    `estimate` is one line on the expected latency, empty when there is none. Reasons are broken at `width` columns.
    """
    target, summary = placement.target, placement.summary
    work = summary.dla_layers + summary.gpu_layers
    lines = [
        *_no_engine(placement, width),
        f"{placement.model.path} on {target.board}, {release_title(target)} (TensorRT {target.tensorrt}), "
        f"{target.precision}, batch {target.batch}, {target.mode}",
        *_opening_lines(placement, width),
        "",
        f"  {_share(summary.dla_mac_share)} of the multiply-accumulates, "
        f"{summary.dla_layers} of {work} layers on the DLA",
        f"  {summary.loadables:7} loadable{'s' * (summary.loadables != 1)}" + _beyond(placement),
        f"  {summary.switches:7} switch{'es' * (summary.switches != 1)} between DLA and GPU",
        f"  {'yes' if summary.standalone_ok else 'no':>7} standalone build possible" + _hidden_reason(placement),
    ]
    if estimate:
        lines.append(f"  {'about':>7} {estimate}")
    if summary.unknown_layers:
        lines.append(f"  {summary.unknown_layers:7} layers of which nobody knows (verdict unknown)")
    found = group_findings(_main_reasons(placement))
    groups = [group for group in found if not _is_remark(group) and not speaks_first(group.rule)]
    remarks = [group for group in found if _is_remark(group)]
    if groups:
        lines += ["", "Reasons:", *(line for group in groups for line in _reason(group, width))]
    if remarks:
        lines += ["", "Remarks:", *(line for group in remarks for line in _reason(group, width))]
    if placement.loadables:
        lines += ["", "Loadables:"]
        lines += [
            f"  {each.index:>2}  {each.first} ... {each.last} ({len(each.layers)} layers)"
            for each in placement.loadables
        ]
    if placement.switches:
        lines += ["", "Switches:"]
        lines += [
            f"      {each.source} -> {each.to}  {each.bytes:,} bytes" for each in placement.switches[:_SHOWN_SWITCHES]
        ]
        if len(placement.switches) > _SHOWN_SWITCHES:
            lines.append(f"      and {len(placement.switches) - _SHOWN_SWITCHES} more (--json tells all)")
    if groups:
        lines += ["", f"`dlaflow explain {groups[0].rule}` tells more about a rule."]
    return text_of(lines)


def _opening_lines(placement: Placement, width: int) -> list[str]:
    """It stands before the numbers, which say little without a size; the option to add stays whole for copying."""
    found = opening(placement)
    if found is None:
        return []
    advice = f"use instead: {found.fix} The numbers below are those of a range."
    wrapped = wrap(advice, width - 4, break_long_words=False)
    return ["", found.received, f"    expected {found.expected}", *("    " + line for line in wrapped)]


def _share(share: float | None) -> str:
    return "unknown share" if share is None else f"{share:7.1%}"


def _no_engine(placement: Placement, width: int) -> list[str]:
    """What comes before all numbers: the release's parser does not read the model."""
    found = no_engine(placement.findings)
    if not found:
        return []
    lines = [line for each in found for line in (f"{each.message} ({each.rule}).", f"Instead: {each.fix}")]
    lines.append("What follows assumes that this is repaired.")
    return [*(line for each in lines for line in wrap(each, width)), ""]


def layer_text(placement: Placement) -> str:
    """Every layer with its device, verdict and loadable, in network order."""
    lines = ["Layers:"]
    for layer in placement.layers:
        place = "" if layer.loadable is None else f"#{layer.loadable}"
        lines.append(f"  {layer.device.value:<6} {place:<4} {layer.verdict.value:<11} {layer.kind:<16} {layer.name}")
    return text_of(lines)


def comparison_text(first: Placement, second: Placement) -> str:
    """What changes for a model between two releases."""
    lines = [f"Under {second.target.jetpack} (TensorRT {second.target.tensorrt}) instead of {first.target.jetpack}:"]
    for name, before, after in (
        ("loadables", first.summary.loadables, second.summary.loadables),
        ("switches", first.summary.switches, second.summary.switches),
        ("layers on the DLA", first.summary.dla_layers, second.summary.dla_layers),
        ("layers on the GPU", first.summary.gpu_layers, second.summary.gpu_layers),
    ):
        lines.append(f"  {name}: {before} -> {after}" if before != after else f"  {name}: {before}, the same")
    # The two parsers name helper layers differently: compare by the ONNX nodes that do work.
    was = _devices_by_node(first)
    now = _devices_by_node(second)
    changed = [(node, was[node], now[node]) for node in was if node in now and was[node] != now[node]]
    lines += [f"  {node}: {before} -> {after}" for node, before, after in changed]
    if not changed:
        lines.append("  every ONNX node keeps its device")
    return text_of(lines)


def extract_text(piece: Extracted, out: Path, width: int = WIDTH) -> str:
    """What `check --extract` wrote."""
    shown = f"as in the whole model: {', '.join(piece.shows)}"
    if piece.differs:
        shown += f"; alone it is another case in {', '.join(piece.differs)}"
    asked = piece.asked[0] + (f" and {len(piece.asked) - 1} more" if len(piece.asked) > 1 else "")
    lines = wrap(f"Wrote {out}: {count(piece.nodes, 'node')} with {asked}; {shown}.", width, subsequent_indent="  ")
    if piece.refused:
        lines += wrap(f"ONNX's checker refuses it: {piece.refused}", width, subsequent_indent="  ")
    return text_of(lines)


def _main_reasons(placement: Placement) -> Placement:
    """The placement with one finding a layer, the first of the worst: the others follow from it or repeat it (--json
    tells all).

    That sizes are open stands above the numbers already.
    """
    findings = [finding for finding in placement.findings if finding.rule != FixedInputs.id]
    layers = [
        replace(layer, findings=sorted(layer.findings, key=lambda each: SEVERITY[each.verdict])[:1])
        for layer in placement.layers
    ]
    return replace(placement, layers=layers, findings=findings)


def _devices_by_node(placement: Placement) -> dict[str, str]:
    """Each ONNX node with the devices of its layers that run, such as `DLA` or `DLA and GPU`."""
    found: dict[str, set[str]] = {}
    for layer in placement.layers:
        if layer.device is not Device.FOLDED:
            for node in layer.onnx_nodes:
                found.setdefault(node, set()).add(layer.device.value)
    return {node: " and ".join(sorted(devices)) for node, devices in found.items()}


def _beyond(placement: Placement) -> str:
    dropped = placement.summary.loadables_before_cap - placement.summary.loadables
    return f", {dropped} more beyond the limit of a core moved to the GPU" if dropped else ""


def _hidden_reason(placement: Placement) -> str:
    """Why no standalone build is possible, where no layer on the GPU says so."""
    if placement.summary.standalone_ok or placement.summary.gpu_layers or placement.target.mode == "standalone":
        return ""
    names = [layer.name for layer in leftovers(placement)]
    first = f" ({count(len(names), 'layer')} left that a hybrid build folds, the first is {names[0]})" if names else ""
    return f"{first}: --mode standalone tells why"


def _is_remark(group: FindingGroup) -> bool:
    return group.verdict is Verdict.NATIVE


def _reason(group: FindingGroup, width: int) -> list[str]:
    finding = group.first
    count = f"x{group.count}" if finding.layer else ""
    known = "" if finding.confidence is Confidence.DOCUMENTED else f" ({finding.confidence.value})"
    where = f" first {finding.layer}:" if finding.layer else ""
    head = f"  {group.rule} {count:>5} {group.verdict.value:<11}"
    text = f"{where} {finding.message}{known}".strip()
    if width - len(head) < _NARROW:
        lines = [head.rstrip(), *(" " * 4 + line for line in wrap(text, width - 4))]
    else:
        body = wrap(text, width - len(head))
        lines = [f"{head} {body[0]}", *(" " * (len(head) + 1) + rest for rest in body[1:])]
    if finding.fix and group.verdict is not Verdict.NATIVE:
        advice = f"use instead: {finding.fix} {group.fix_call}".rstrip()
        lines += [" " * 8 + line for line in wrap(advice, width - 8)]
    return lines
