"""A score on the terminal and as JSON: the agreement first, then each disagreement with both sides' reasons."""

from __future__ import annotations

from dlaflow.files import json_bytes
from dlaflow.observed.score import Disagreement, Score
from dlaflow.report.profile_text import ended, failure, lenient_names
from dlaflow.types import Placement
from dlaflow.version import __version__
from dlaflow.visible import text_of

_SHOWN = 40


_WRITTEN = (
    *("named", "named_agreeing", "named_share", "layers", "layers_agreeing", "layer_share", "macs", "mac_share"),
    *("loadables_predicted", "loadables_real", "loadables", "disagreements", "doubt"),
    *("switches_predicted", "switches_real", "lenient", "outcome"),
)
"""What the file holds of a score, shares in 0..1."""


def score_json(score: Score, placement: Placement) -> bytes:
    """The score as a file (schema dlaflow.score/1)."""
    record = {
        "schema": "dlaflow.score/1",
        "dlaflow": __version__,
        "model": placement.model.path,
        "target": placement.target,
        "build": score.source,
        **{name: getattr(score, name) for name in _WRITTEN},
    }
    return json_bytes(record, indent=2)


def score_text(score: Score, placement: Placement) -> str:
    """The answer of `dlaflow score`."""
    target = placement.target
    lines = [
        f"{placement.model.path} against {score.source}: {target.board}, TensorRT {target.tensorrt}, "
        f"{target.precision}, batch {target.batch}",
        "",
        f"  {score.named_share:7.1%} of the entries that the build names ({score.named_agreeing} of {score.named})",
        f"  {score.layer_share:7.1%} of the layers whose device it tells ({score.layers_agreeing} of {score.layers})",
        f"  {score.mac_share:7.1%} of their multiply-accumulates",
        f"  {_loadables(score)}",
        f"  {_switches(score)}",
    ]
    if score.outcome is not None and score.outcome.state != "passed":
        lines.insert(1, f"  The build{ended(score.outcome)}")
        lines[2:2] = [f"    {line}" for line in failure(score.outcome)]
    if score.lenient:
        lines.append(f"  Note: {lenient_names(score.lenient)}")
    if score.doubt:
        lines.append(f"  Note: {score.doubt}.")
    missing = [match for match in score.loadables if match.predicted is None]
    if missing:
        lines += ["", "Loadables of the build that the prediction has not:"]
        lines += [f"  {each.first}" + (f" ... {each.last}" if each.first != each.last else "") for each in missing]
    if score.disagreements:
        lines += ["", "Disagreements:"]
        for each in score.disagreements[:_SHOWN]:
            lines += _disagreement(each)
        if len(score.disagreements) > _SHOWN:
            lines.append(f"  and {len(score.disagreements) - _SHOWN} more (--json tells all)")
    return text_of(lines)


def _loadables(score: Score) -> str:
    if score.loadables_real is None:
        return f"{score.loadables_predicted:7} loadables predicted; the build does not tell how many it has"
    if not score.loadables:
        return f"{score.loadables_predicted:7} loadables predicted, {score.loadables_real} in the build"
    same = sum(match.predicted is not None for match in score.loadables)
    return (
        f"{score.loadables_predicted:7} loadables predicted, {score.loadables_real} in the build, "
        f"{same} with the same first and last layer"
    )


def _switches(score: Score) -> str:
    if score.switches_real is None:
        return f"{score.switches_predicted:7} switches predicted; an excerpt does not tell them"
    return (
        f"{score.switches_predicted:7} switches predicted, {score.switches_real} in the build, over the model's graph"
    )


def _disagreement(each: Disagreement) -> list[str]:
    predicted = each.predicted.value if each.predicted else "absent"
    head = f"  {each.layer} {each.kind}".rstrip() + f": predicted {predicted}, ran on {each.real.value}"
    lines = [head + (", said without doubt" if each.certain else "")]
    lines += [f"      ours: {finding.rule} {finding.verdict.value}: {finding.message}" for finding in each.ours]
    if not each.ours:
        lines.append("      ours: no rule speaks against it" if each.predicted else "      ours: no such layer")
    return lines + [f"      log:  {text}" for text in each.theirs[:3]]
