"""What to change first: the GPU stretches that cut the DLA's work, by their cost, with the reason in the log."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from dlaflow.observed.build import ObservedBuild
from dlaflow.observed.names import parts_of
from dlaflow.parse.log import LogRun
from dlaflow.parse.messages import is_harmless
from dlaflow.profile.breakdown import Breakdown
from dlaflow.profile.capture import CaptureSummary
from dlaflow.profile.iteration import REFORMAT
from dlaflow.profile.names import cause_of
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
        found.append(
            Advice(
                title=_title(subject, stretches),
                why=_why(stretches),
                then=_fix(stretches, predicted),
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


def _subject(stretch: _Stretch) -> str:
    """What stretches of the same kind have in common."""
    names = _working(stretch)
    if not names:
        return ""
    return cause_of(names) or parts_of(names[0])[0]


def _title(subject: str, stretches: list[_Stretch]) -> str:
    if not subject:
        return "Join neighbouring DLA subgraphs that only a reformat parts"
    first = parts_of(_working(stretches[0])[0])[0]
    where = first if len(stretches) == 1 else f"{len(stretches)} places, {first} first"
    return f"Move {subject} to the DLA ({where})"


def _why(stretches: list[_Stretch]) -> str:
    cuts = sum(stretch.between for stretch in stretches)
    copies = sum(len(stretch.names) - len(_working(stretch)) for stretch in stretches)
    changes = len(stretches) + cuts
    verb = f"cuts the DLA's work {'once' if cuts == 1 else f'{cuts} times'}" if cuts else "stands at an end"
    text = f"It {verb}: {changes} change{'s' if changes > 1 else ''} of device, "
    text += f"{copies} reformat{'s' if copies != 1 else ''}."
    reason = next((stretch.reason for stretch in stretches if stretch.reason), "")
    return f"{text} TensorRT: {reason}" if reason else text


def _fix(stretches: list[_Stretch], predicted: Placement | None) -> str:
    """The remedy that the rules know for one of these layers, rather for one that works than for a reshape."""
    if predicted is None:
        return "`dlaflow check` on the model tells the rule and the remedy."
    names = {part for stretch in stretches for name in stretch.names for part in parts_of(name)}
    layers = [layer for layer in predicted.layers if layer.name in names]
    for layer in sorted(layers, key=lambda layer: is_harmless(layer.name, layer.kind)):
        for finding in layer.findings:
            if finding.fix and finding.verdict is not Verdict.NATIVE:
                return f"Remedy: {finding.fix}"
    return ""


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
