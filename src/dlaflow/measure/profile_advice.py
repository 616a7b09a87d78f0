"""What to change first: the GPU stretches that cut the DLA's work, by their cost, with the reason in the log."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from dlaflow.measure.profile_breakdown import Breakdown
from dlaflow.measure.profile_capture import CaptureSummary
from dlaflow.measure.profile_iteration import REFORMAT
from dlaflow.measure.profile_names import cause_of, parts_of
from dlaflow.measure.profile_placement import MeasuredPlacement
from dlaflow.parse.log import LogRun
from dlaflow.parse.messages import is_harmless
from dlaflow.types import Device, Placement, Verdict


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
    names: tuple[str, ...]
    between: bool
    reason: str


def advise(
    placement: MeasuredPlacement | None,
    run: LogRun | None,
    times: dict[str, float],
    predicted: Placement | None = None,
) -> list[Advice]:
    """All advice, most gain first; `times` are milliseconds of GPU time by layer name (`times_of`)."""
    found = []
    for stretch in _stretches(placement) if placement else []:
        costs = [times[name] for name in stretch.names if name in times]
        found.append(
            Advice(
                title=_title(stretch),
                why=_why(stretch),
                then=_fix(stretch, predicted),
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
        return {row.row.name: row.row.average_ms for row in breakdown.rows}
    return {}


def _stretches(placement: MeasuredPlacement) -> list[_Stretch]:
    """Runs of GPU layers with work of their own; those between two DLA runs cost switches."""
    if not placement.ordered or not any(layer.device is Device.DLA for layer in placement.layers):
        return []
    active = [layer for layer in placement.layers if layer.device is not Device.FOLDED]
    runs = [(device, list(group)) for device, group in groupby(active, key=lambda layer: layer.device)]
    found = []
    for place, (device, layers) in enumerate(runs):
        if device is not Device.GPU:
            continue
        reasons = [message for layer in layers for message in layer.messages]
        reasons.sort(
            key=lambda message: (is_harmless(message.layer, message.type), message.reason == "unsupported_layer")
        )
        found.append(
            _Stretch(
                names=tuple(layer.name for layer in layers),
                between=0 < place < len(runs) - 1,
                reason=reasons[0].text if reasons else "",
            )
        )
    return [stretch for stretch in found if _working(stretch) or stretch.between]


def _working(stretch: _Stretch) -> list[str]:
    return [name for name in stretch.names if not name.startswith(REFORMAT)]


def _title(stretch: _Stretch) -> str:
    names = _working(stretch)
    if not names:
        targets = [name.partition(" to ")[2] for name in stretch.names]
        reordered = [target for target in targets if not target.startswith("{")]
        return f"Keep {reordered[0]} on the DLA" if reordered else "Join two neighbouring DLA subgraphs"
    cause = cause_of(names)
    example = parts_of(names[0])[0] if parts_of(names[0]) else names[0]
    return f"Move {cause or example} to the DLA ({example}{' ...' if len(names) > 1 else ''})"


def _why(stretch: _Stretch) -> str:
    copies = len(stretch.names) - len(_working(stretch))
    cost = "It cuts the DLA's work in two: two switches" if stretch.between else "It stands at an end: one switch"
    text = f"{cost}, {copies} reformat{'s' if copies != 1 else ''}."
    return f"{text} TensorRT: {stretch.reason}" if stretch.reason else text


def _fix(stretch: _Stretch, predicted: Placement | None) -> str:
    """The remedy that the rules know for one of these layers."""
    names = {part for name in stretch.names for part in parts_of(name)}
    for layer in predicted.layers if predicted else []:
        if layer.name not in names:
            continue
        for finding in layer.findings:
            if finding.fix and finding.verdict is not Verdict.NATIVE:
                return finding.fix
    return "`dlaflow check` on the model tells the rule and the remedy." if predicted is None else ""


def _settings(run: LogRun | None) -> list[Advice]:
    """What the log itself says of its settings."""
    if run is None:
        return []
    found = []
    for note in run.notes:
        if note.code == "bound" and "Enqueue" in note.text:
            found.append(
                Advice("Use CUDA graphs", note.text, "Add --useCudaGraph, or run with --useSpinWait.", gain_ms=None)
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
    on_dla = "useDLACore" in run.command or any(node for node in run.placement.dla)
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
