"""Findings that are the same for many layers become one, with a count and the first layer's name.

Releases and rules in words: a rule in one sentence, with the bounds that hold for a target put in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from dlaflow.errors import UsageError
from dlaflow.rules.base import title
from dlaflow.rules.limits_of_model import LoadableLimit
from dlaflow.rules.registry import find_rule
from dlaflow.rules.remedies import fix_call
from dlaflow.targets.limits import find_limit
from dlaflow.targets.version import Version
from dlaflow.types import Confidence, Finding, Placement, TargetInfo, Verdict

_MOVING = {"SHUFFLE", "CONSTANT", "SQUEEZE", "UNSQUEEZE", "SLICE", "CONCATENATION", "CAST"}
_BOUND = re.compile(r"\{([a-z0-9_.]+)\}")
SEVERITY = {Verdict.FALLBACK: 0, Verdict.UNKNOWN: 1, Verdict.CONDITIONAL: 2, Verdict.NATIVE: 3}


@dataclass(frozen=True, slots=True)
class FindingGroup:
    """What one rule finds in several layers. `first` is the finding of the first of them in network order.

    `title` is the rule's condition in one sentence (the message of `first` where the rule is not known), `fix_call`
    tells what `dlaflow fix` has for them.
    """

    rule: str
    title: str
    verdict: Verdict
    first: Finding
    layers: list[str]
    fix_call: str = ""

    @property
    def count(self) -> int:
        """How many layers it is about."""
        return len(self.layers)

    @property
    def confidence(self) -> Confidence:
        """How the fact behind the rule is known."""
        return self.first.confidence


def group_findings(placement: Placement) -> list[FindingGroup]:
    """Group the findings of a placement by rule, verdict and remedy.

    The worst verdict comes first, beside it what falls back until `dlaflow fix` changes it; layers that compute come
    before those that only move data, which mostly follow from them; then the most layers. The limit of loadables comes
    behind all that, which cut the network into so many, and before the remarks.
    """
    moving = {layer.name for layer in placement.layers if layer.kind in _MOVING}
    groups: dict[tuple[str, Verdict, str], list[Finding]] = {}
    for finding in [*placement.findings, *(finding for layer in placement.layers for finding in layer.findings)]:
        groups.setdefault((finding.rule, finding.verdict, finding.fix), []).append(finding)
    grouped = [
        FindingGroup(
            rule,
            rule_title(rule, placement.target) or found[0].message,
            verdict,
            found[0],
            list(dict.fromkeys(finding.layer for finding in found)),
            fix_call(found),
        )
        for (rule, verdict, _), found in groups.items()
    ]
    return sorted(grouped, key=lambda group: (*_severity(group), group.first.layer in moving, -group.count, group.rule))


def _severity(group: FindingGroup) -> tuple[int, bool]:
    if group.rule == LoadableLimit.id:
        return SEVERITY[Verdict.CONDITIONAL], True
    return 0 if group.verdict is Verdict.CONDITIONAL and group.fix_call else SEVERITY[group.verdict], False


def release_title(target: TargetInfo) -> str:
    """The release as people say it: `JetPack 5.1.1`, `drive-6.0.9.0`, `TensorRT 8.5.2`."""
    if target.jetpack.startswith(("TensorRT", "drive")):
        return target.jetpack
    return f"JetPack {target.jetpack.removeprefix('jetpack-')}"


def rule_title(rule: str, target: TargetInfo) -> str:
    """The rule's condition as a sentence; empty for a rule that this dlaflow does not know (a file of another one)."""
    try:
        sentence = title(find_rule(rule))
        version = Version.parse(target.tensorrt)
    except (UsageError, ValueError):
        return ""

    def bound(match: re.Match[str]) -> str:
        limit = find_limit(match.group(1), version, target.dla)
        return limit.text if limit else "what the release allows"

    try:
        return _BOUND.sub(bound, sentence)
    except KeyError:
        return ""
