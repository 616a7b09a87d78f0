"""Rules and rewrites tell one story: what a rule calls exact is what a rewrite does, or what the author must do."""

from __future__ import annotations

import pytest

from dlaflow.rewrites.base import SAFETIES
from dlaflow.rewrites.registry import REWRITES
from dlaflow.rules.normalization import NormalizationLayer
from dlaflow.rules.registry import RULES
from dlaflow.types import Remedy

BY_HAND = {
    "DLA005": "`dlaflow cache from-qdq` does it",
    "DLA013": "the exporter writes INT32 bounds",
    "DLA022": "the exporter takes another opset",
    "DLA101": "the batch is split outside of the network",
    "DLA102": "which axis to fold is the author's choice",
    "DLA104": "`dlaflow export --simplify`",
    "DLA112": "no rewrite yet",
    "DLA115": "no rewrite yet",
    "DLA117": "no rewrite yet",
    "DLA118": "no rewrite yet: 1-D as 2-D",
    "DLA119": "`dlaflow fix` folds such constants when it reads the model",
    "DLA137": "no rewrite yet",
    "DLA139": "no rewrite yet: 1-D as 2-D",
    "DLA157": "no rewrite yet: 1-D as 2-D",
    "DLA183": "no rewrite yet",
    "DLA211": "`dlaflow fix` drops it when it reads the model",
    "DLA212": "no rewrite yet",
    "DLA231": "fixed shapes",
    "DLA261": "keep four dimensions",
    "DLA282": "`dlaflow fix` drops it when it reads the model",
    "DLA290": "`dlaflow cache from-qdq` does it",
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_rule_promises_what_the_safest_rewrite_keeps(rule) -> None:
    safeties = {rewrite.safety.value for rewrite in REWRITES if rule.id in rewrite.answers}
    safeties |= {"data"} if rule is NormalizationLayer else set()
    if safeties:
        assert rule.remedy.value == min(safeties, key=SAFETIES.index)
        assert rule.id not in BY_HAND
    else:
        assert (rule.remedy is Remedy.EXACT) == (rule.id in BY_HAND)
        assert rule.otherwise is None


def test_rewrites_answer_rules_that_exist() -> None:
    known = {rule.id for rule in RULES}
    assert not {answer for rewrite in REWRITES for answer in rewrite.answers} - known


def test_the_best_remedy_stands_before_what_is_left() -> None:
    order = list(Remedy)
    for rule in RULES:
        assert rule.otherwise is None or order.index(rule.remedy) < order.index(rule.otherwise), rule.id
