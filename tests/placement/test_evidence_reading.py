"""Whatever a board has built its release's parser has read: none of those models may be called refused or misread.

Builds of TensorRT 7 are left out: those boards read Caffe files or older opsets than the re-created models have.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from graphs.catalogue import CASES, Case

from dlaflow.observed.score import Score
from dlaflow.rules.reading import no_engine
from dlaflow.types import Placement


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.record)
def test_what_was_built_was_read(case: Case, scored: Callable[[Case], tuple[Score, Placement]]) -> None:
    placement = scored(case)[1]
    if not placement.target.tensorrt.startswith("7."):
        assert no_engine(placement.findings) == []
