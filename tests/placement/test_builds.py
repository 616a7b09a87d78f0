"""Builds that came after the rules: never predicted worse than on the day they came, wherever they lie."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from graphs.builds import contributed, facts, file_of
from graphs.catalogue import CASES, LATER, Case
from graphs.evidence import collected

from dlaflow.observed.score import Score
from dlaflow.observed.shared import Agreement, read_shared
from dlaflow.types import Placement

Scored = Callable[[Case], tuple[Score, Placement]]
CAME_LATER = (*LATER, *contributed())


@pytest.mark.parametrize("case", CAME_LATER, ids=lambda case: case.record)
def test_a_build_is_never_predicted_worse_than_when_it_came(case: Case, scored: Scored) -> None:
    then, now = facts(case).scored, Agreement.of(scored(case)[0])
    assert then is not None, "a build that comes later says how it was predicted that day"
    assert now.named_agreeing >= then.named_agreeing
    assert now.named - now.named_agreeing <= then.named - then.named_agreeing
    assert now.layers_agreeing >= then.layers_agreeing
    assert now.layers - now.layers_agreeing <= then.layers - then.layers_agreeing
    assert now.ends >= then.ends
    if then.loadables == (built := facts(case).loadables):
        assert now.loadables == built


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.record)
def test_the_facts_are_those_of_the_evidence(case: Case, evidence: Path) -> None:
    """Whoever has the logs can tell that the committed facts are what the logs say (scripts/collect_builds)."""
    kept = facts(case)
    found = collected(case, evidence)
    for name in found.__struct_fields__:
        if name not in ("dlaflow", "added", "scored", "graph"):
            assert getattr(kept, name) == getattr(found, name), name


def test_files_are_written_as_they_are_read() -> None:
    """A file that `dlaflow score --share` wrote can be read and written again without a change."""
    for case in CASES:
        assert read_shared(file_of(case)).encoded() == file_of(case).read_bytes(), case.record
