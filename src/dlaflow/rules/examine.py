"""Ask every rule about every layer and report all that fail, not only the first."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from dlaflow.graph.layer import Layer
from dlaflow.rules.base import ModelRule, Rule
from dlaflow.rules.case import Case
from dlaflow.rules.registry import LAYER_RULES, MODEL_RULES
from dlaflow.targets.features import has
from dlaflow.targets.version import Version
from dlaflow.types import Confidence, Device, Finding, Verdict


class Examiner:
    """The rules, sorted by the kind of layer that they look at."""

    def __init__(self) -> None:
        self._rules = {rule.id: rule() for rule in LAYER_RULES}
        self._of_kind: dict[str, list[Rule]] = defaultdict(list)
        for rule in self._rules.values():
            for kind in rule.kinds:
                self._of_kind[kind].append(rule)

    def layer(self, layer: Layer, case: Case) -> list[Finding]:
        """All findings on one layer: what its kind asks first, then what every layer must keep."""
        own = self._of_kind.get(layer.kind, [])
        rules = own if layer.folded else own + self._of_kind["*"]
        found = [(rule, finding) for rule in rules if (finding := rule.examine(layer, case)) is not None]
        return [doubted(finding, case.target.version) if rule.of_rank else finding for rule, finding in found]

    def model(self, case: Case) -> list[Finding]:
        """All findings on the model and the target."""
        rules: list[ModelRule] = [rule() for rule in MODEL_RULES]
        return [finding for rule in rules if (finding := rule.examine_model(case)) is not None]

    def device(self, findings: list[Finding]) -> Device:
        """Where a layer with these findings most likely runs."""
        for finding in findings:
            if finding.verdict is Verdict.FALLBACK:
                return Device.GPU
            undecided = finding.verdict in (Verdict.UNKNOWN, Verdict.CONDITIONAL)
            if undecided and self._rules[finding.rule].unknown_runs_on is Device.GPU:
                return Device.GPU
        return Device.DLA


def doubted(finding: Finding, version: Version) -> Finding:
    """A finding about ranks where the parser may reshape for the DLA: inferred, as no log shows such a build."""
    if finding.confidence is Confidence.INFERRED or not has("adjusts_for_dla", version):
        return finding
    refused = finding.verdict is Verdict.FALLBACK
    source = f"{finding.source}; from 10.16 on the parser's flag for the DLA may change shapes"
    verdict = Verdict.UNKNOWN if refused else finding.verdict
    return replace(finding, verdict=verdict, source=source, confidence=Confidence.INFERRED)


_WORST = (Verdict.FALLBACK, Verdict.UNKNOWN, Verdict.CONDITIONAL)


def verdict(findings: list[Finding]) -> Verdict:
    """The worst verdict among the findings; `native` without any."""
    found = {finding.verdict for finding in findings}
    return next((worst for worst in _WORST if worst in found), Verdict.NATIVE)
