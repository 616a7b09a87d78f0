"""What `dlaflow fix` did, on the terminal and as JSON: the answer, then each rewrite with its gain, then the proof."""

from __future__ import annotations

import math
from collections import defaultdict

from dlaflow.estimate.text import move_text, speed_text
from dlaflow.files import record_json
from dlaflow.report.units import count
from dlaflow.rewrites.records import CutTensor, FixReport, Gain, Refused
from dlaflow.rules.reading import no_engine, speaks_first
from dlaflow.types import Finding, Summary
from dlaflow.visible import text_of, wrap

FIX_SCHEMA = "dlaflow.fix/1"
_WIDTH = 100
_SHOWN = 12


def fix_json(report: FixReport) -> bytes:
    """The file of `dlaflow fix --json`."""
    return record_json(FIX_SCHEMA, report)


def fix_text(report: FixReport) -> str:
    """The answer of `dlaflow fix`."""
    target = report.target
    lines = [
        f"{report.model} on {target.board}, TensorRT {target.tensorrt}, {target.precision}, allowing {report.allow}",
        "",
        *_before_after(report),
    ]
    if report.frozen_inputs:
        lines.append(f"  fixed the open dimensions of {', '.join(report.frozen_inputs)}, batch {target.batch}")
    if report.speed:
        lines += ["", *_wrapped(speed_text(report.speed))]
    if report.applied:
        lines += ["", "Rewrites, in order, each with what it removes after those before it:"]
        for each in report.applied:
            first = f", first {each.sites[0]}" if each.sites else ""
            lines.append(f"  {each.rewrite} x{len(each.sites)} ({each.safety}): {_gain(each.gain)}")
            lines.append(f"      {each.title}{first}")
    else:
        lines += ["", "No rewrite helps."]
    if report.cut:
        cut = report.cut
        lines += [
            "",
            f"Cut at {count(len(cut.tensors), 'tensor')}:",
            f"  {cut.backbone}: {_placed(cut.summary)}",
            *(line for each in cut.outputs for line in _handed_over(each)),
            f"  {cut.post}: the decode part, for the GPU or the CPU",
            f"  both chained differ from the whole by {cut.relative:.1e} of the largest output",
        ]
    lines += _refusals(report.refused)
    alone = report.target.mode == "standalone"
    lines += _remaining(report.remaining, "Still in the way of a standalone build:" if alone else "Still on the GPU:")
    lines += _proof(report)
    for number in report.measurements:
        lines.append(f"  {number.quantity} {number.subject}: {number.value:.2f} {number.unit} ({number.n:,} images)")
    if report.move:
        lines += ["", "A choice of the build, not of the file:", *move_text(report.move)]
    if report.out:
        lines += ["", f"Wrote {report.out} in {report.seconds:.1f} s."]
    elif report.proof:
        lines += ["", f"Nothing was written: no better than the model, after {report.seconds:.1f} s."]
    else:
        lines += ["", f"A dry run of {report.seconds:.1f} s: nothing was written."]
    return text_of(lines)


def _handed_over(tensor: CutTensor) -> list[str]:
    """A tensor of a cut with its shape, and what its channels hold."""
    runs = ", ".join(
        (f"{each.first}" if each.first == each.last else f"{each.first}-{each.last}")
        + f" {each.meaning}"
        + (f" ({each.through})" if each.through else "")
        for each in tensor.channels
    )
    holds = f"{tensor.repeats} times ({runs})" if tensor.repeats > 1 else runs
    text = f"{tensor.name} {'x'.join(map(str, tensor.shape))}: channels {holds}"
    return wrap(text, _WIDTH, initial_indent="    ", subsequent_indent="        ")


def _before_after(report: FixReport) -> list[str]:
    before, after = report.before, report.after
    rows = [
        ("switches", str(before.switches), str(after.switches)),
        ("loadables", str(before.loadables), str(after.loadables)),
        ("layers on the GPU", str(before.gpu_layers), str(after.gpu_layers)),
        ("multiply-accumulates on the DLA", *(_share(each.dla_mac_share) for each in (before, after))),
    ]
    if not report.read_before:
        rows.insert(0, ("read by the release's parser", "no", "no" if no_engine(report.remaining) else "yes"))
    if report.target.mode == "standalone":
        possible = ["yes" if each.standalone_ok else "no" for each in (before, after)]
        rows.append(("standalone build possible", possible[0], possible[1]))
    return [f"  {was:>6} -> {now:>6}  {name}" for name, was, now in rows]


def _placed(summary: Summary) -> str:
    return (
        f"{count(summary.loadables, 'loadable')}, {count(summary.switches, 'switch')}, "
        f"{_share(summary.dla_mac_share)} of the multiply-accumulates on the DLA"
    )


def _share(share: float | None) -> str:
    return "unknown" if share is None else f"{share:.1%}"


def _gain(gain: Gain) -> str:
    numbers = ((gain.switches, "switch"), (gain.loadables, "loadable"), (gain.gpu_layers, "GPU layer"))
    gone = ", ".join(count(number, name) for number, name in numbers if number > 0)
    come = ", ".join(count(-number, name) for number, name in numbers if number < 0)
    parts = [f"removes {gone}"] * bool(gone) + [f"adds {come}"] * bool(come)
    return ", ".join(parts) or "removes no switch by itself; the next ones build on it"


def _refusals(refused: list[Refused]) -> list[str]:
    if not refused:
        return []
    grouped: dict[tuple[str, str], list[str]] = defaultdict(list)
    for each in refused:
        grouped[each.rewrite, each.reason].append(each.site)
    lines = ["", "Not rewritten:"]
    for (rewrite, reason), sites in list(grouped.items())[:_SHOWN]:
        lines += _wrapped(f"{rewrite} x{len(sites)}, first {sites[0]}: {reason}")
    if len(grouped) > _SHOWN:
        lines.append(f"  and {len(grouped) - _SHOWN} more (--json tells all)")
    return lines


def _remaining(findings: list[Finding], head: str) -> list[str]:
    lines = [""]
    for unread in no_engine(findings):
        text = f"Still not read: {unread.message} ({unread.rule}). {unread.fix}"
        lines += wrap(text, _WIDTH, subsequent_indent="  ")
    grouped: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        if not speaks_first(finding.rule):
            grouped[finding.rule].append(finding)
    if not grouped:
        return lines if len(lines) > 1 else []
    lines += [head]
    for rule, found in list(grouped.items())[:_SHOWN]:
        where = f" x{len(found)}, first {found[0].layer}" if found[0].layer else ""
        lines += _wrapped(f"{rule}{where}: {found[0].message}")
    return lines


def _wrapped(text: str) -> list[str]:
    return wrap(text, _WIDTH, initial_indent="  ", subsequent_indent="      ")


def _proof(report: FixReport) -> list[str]:
    if not report.proof:
        return []
    terms = f"up to {report.floor:g} of the largest value + {report.bound:g} of each value may differ"
    lines = ["", f"Proof on onnxruntime; {terms if math.isfinite(report.bound) else 'measured, not bounded'}:"]
    for each in report.proof:
        size = f"{each.absolute:.1e}, {each.relative:.1e} of the largest value"
        told = size if each.output else "no value to compare"
        told += f" of {each.output}, {each.used:.1%} of what is allowed ({each.decided} term)" if each.decided else ""
        told += "" if each.agreement is None else f", {each.agreement:.1%} {each.agreed_on}"
        lines += _wrapped(f"{each.inputs}: {told}")
        lines += [line for why in each.passed_over for line in _wrapped(f"    {why}")]
    return lines
