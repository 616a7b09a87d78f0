"""Ask every rule about every layer and report all that fail, not only the first."""

from __future__ import annotations

from collections import defaultdict

from dlaflow.graph.layer import Layer
from dlaflow.rules.base import ModelRule, Rule
from dlaflow.rules.case import Case
from dlaflow.rules.registry import LAYER_RULES, MODEL_RULES
from dlaflow.types import Device, Finding, Verdict


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
        return [finding for rule in rules if (finding := rule.examine(layer, case)) is not None]

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


_WORST = (Verdict.FALLBACK, Verdict.UNKNOWN, Verdict.CONDITIONAL)


def verdict(findings: list[Finding]) -> Verdict:
    """The worst verdict among the findings; `native` without any."""
    found = {finding.verdict for finding in findings}
    return next((worst for worst in _WORST if worst in found), Verdict.NATIVE)
