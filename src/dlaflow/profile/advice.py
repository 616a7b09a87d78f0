"""What to change first: the GPU stretches that cut the DLA's work, by their cost, with the reason in the log."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from math import isfinite

from dlaflow.observed.build import ObservedBuild, ObservedLayer
from dlaflow.observed.names import parts_of
from dlaflow.parse.log import LogRun
from dlaflow.parse.messages import is_harmless
from dlaflow.profile.breakdown import Breakdown
from dlaflow.profile.capture import CaptureSummary
from dlaflow.profile.iteration import REFORMAT
from dlaflow.profile.names import GROUP_NORM, cause_of
from dlaflow.rules.remedies import fix_call, has_remedy
from dlaflow.types import Device, Finding, Placement, Verdict


@dataclass(frozen=True, slots=True)
class Advice:
    """One change.

    `gain_ms` is what the stretch costs on the GPU in each inference, its copies included: about what the change saves,
    before the time that the DLA then takes and besides the hand-overs. None where the files do not tell.
    """

    title: str
    why: str
    then: str
    gain_ms: float | None


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Neighbouring GPU layers, TensorRT's reason, and the name of the DLA layer or subgraph behind them."""

    names: tuple[str, ...]
    between: bool
    reason: str
    behind: str


def advise(
    placement: ObservedBuild | None,
    run: LogRun | None,
    times: dict[str, float],
    predicted: Placement | None = None,
) -> list[Advice]:
    """All advice, most gain first; `times` are milliseconds of GPU time by layer name (`times_of`)."""
    alike: dict[str, list[_Stretch]] = {}
    for stretch in _stretches(placement) if placement else []:
        alike.setdefault(_subject(stretch), []).append(stretch)
    found = []
    for subject, stretches in alike.items():
        costs = [times[name] for stretch in stretches for name in stretch.names if name in times]
        findings = findings_of([name for each in stretches for name in each.names], predicted) if predicted else []
        found.append(
            Advice(
                title=_title(subject, stretches, stays=bool(findings) and not any(map(has_remedy, findings))),
                why=_why(stretches),
                then=_then(findings) if predicted else "`dlaflow check` on the model tells the rule and the remedy.",
                gain_ms=sum(costs) if costs else None,
            )
        )
    found.sort(key=lambda advice: -(advice.gain_ms or 0.0))
    return [*found, *_settings(run)]


def times_of(breakdown: Breakdown | None, capture: CaptureSummary | None) -> dict[str, float]:
    """GPU milliseconds an inference by layer name; a capture is preferred, as it does not slow the layers down."""
    if capture is not None and capture.layer_times:
        return {layer.name: layer.gpu_ms for layer in capture.layer_times if layer.device == "GPU"}
    if breakdown is not None:
        # A damaged row tells no time.
        return {row.row.name: row.row.average_ms for row in breakdown.rows if isfinite(row.row.average_ms)}
    return {}


def _stretches(placement: ObservedBuild) -> list[_Stretch]:
    """Runs of GPU layers with work of their own; those between two DLA runs cost switches."""
    if not placement.ordered or not any(layer.device is Device.DLA for layer in placement.layers):
        return []
    active = [layer for layer in placement.layers if layer.works]
    runs = [(device, list(group)) for device, group in groupby(active, key=lambda layer: layer.device)]
    found = []
    for place, (device, layers) in enumerate(runs):
        if device is not Device.GPU:
            continue
        found.append(
            _Stretch(
                names=tuple(layer.name for layer in layers),
                between=0 < place < len(runs) - 1,
                reason=reason_of(layers),
                behind=runs[place + 1][1][0].name if place + 1 < len(runs) else "",
            )
        )
    return [stretch for stretch in found if _working(stretch) or stretch.between]


def reason_of(layers: Iterable[ObservedLayer]) -> str:
    """The log's reason that tells most of why layers are on the GPU; empty where it gives none."""
    reasons = [message for layer in layers for message in layer.messages]
    reasons.sort(key=lambda message: (is_harmless(message.layer, message.type), message.reason == "unsupported_layer"))
    return reasons[0].text if reasons else ""


def _working(stretch: _Stretch) -> list[str]:
    return [name for name in stretch.names if not name.startswith(REFORMAT)]


def _subject(stretch: _Stretch) -> str:
    """What stretches of the same kind have in common.

    The scale of a GroupNorm may run on the DLA behind its normalization, so that the name there may tell what it is.
    """
    names = _working(stretch)
    if not names:
        return ""
    if cause_of([*names, *parts_of(stretch.behind)[:1]]) == GROUP_NORM:
        return GROUP_NORM
    return cause_of(names) or parts_of(names[0])[0]


def _title(subject: str, stretches: list[_Stretch], *, stays: bool) -> str:
    if not subject:
        return "Join neighbouring DLA subgraphs that only a reformat parts"
    first = parts_of(_working(stretches[0])[0])[0]
    where = first if len(stretches) == 1 else f"{len(stretches)} places, {first} first"
    return f"{subject} stays on the GPU ({where})" if stays else f"Move {subject} to the DLA ({where})"


def _why(stretches: list[_Stretch]) -> str:
    cuts = sum(stretch.between for stretch in stretches)
    copies = sum(len(stretch.names) - len(_working(stretch)) for stretch in stretches)
    changes = len(stretches) + cuts
    verb = f"cuts the DLA's work {'once' if cuts == 1 else f'{cuts} times'}" if cuts else "stands at an end"
    text = f"It {verb}: {changes} change{'s' if changes > 1 else ''} of device, "
    text += f"{copies} reformat{'s' if copies != 1 else ''}."
    reason = next((stretch.reason for stretch in stretches if stretch.reason), "")
    return f"{text} TensorRT: {reason}" if reason else text


def findings_of(names: Iterable[str], predicted: Placement) -> list[Finding]:
    """What the rules have against layers of the engine; reshapes count only where nothing else is there."""
    parts = {part for name in names for part in parts_of(name)}
    layers = [layer for layer in predicted.layers if layer.name in parts]
    layers = [layer for layer in layers if not is_harmless(layer.name, layer.kind)] or layers
    return [finding for layer in layers for finding in layer.findings if finding.verdict is not Verdict.NATIVE]


def _then(findings: list[Finding]) -> str:
    """The remedy of the first layer that has one, with the call of `dlaflow fix` where a rewrite matches."""
    if not findings:
        return ""
    first = next((finding for finding in findings if has_remedy(finding)), None)
    if first is None:
        return f"The rules know no remedy ({findings[0].rule})."
    call = fix_call([finding for finding in findings if finding.rule == first.rule])
    return f"Remedy: {first.fix} {call}".rstrip()


def _settings(run: LogRun | None) -> list[Advice]:
    """What the log itself says of its settings."""
    if run is None or run.outcome.state == "failed":
        return []
    no_graphs = any(each.id == "cuda_graph_refused" for each in run.outcome.remarks)
    found = []
    for note in run.notes:
        if note.code == "bound" and "Enqueue" in note.text:
            then = "Run with --useSpinWait." if no_graphs else "Add --useCudaGraph, or run with --useSpinWait."
            found.append(
                Advice("Shorten the enqueue" if no_graphs else "Use CUDA graphs", note.text, then, gain_ms=None)
            )
        elif note.code in {"made_up_ranges", "random_calibration", "calibration_cache_header"}:
            found.append(
                Advice("Calibrate", note.text, "`dlaflow calibrate` writes a cache; give it with --calib.", None)
            )
        elif note.code == "candidates_refused":
            found.append(
                Advice("Shorten the subgraphs", note.text, "Give the DLA larger memory pools or fewer layers.", None)
            )
    precision = next((option.value for option in run.options if option.key == "Precision"), "")
    on_dla = bool(run.placement.dla) or ("useDLACore" in run.command and not run.placement.printed)
    if on_dla and "FP16" in precision and "INT8" not in precision:
        found.append(
            Advice(
                "Build for INT8",
                "The DLA's convolutions are far faster in INT8: ResNet-50 on Orin took 17.7 ms in FP16 and 1.3 ms in "
                "INT8, with the same placement.",
                "`dlaflow calibrate`, then build with --int8 and the cache.",
                None,
            )
        )
    return found
