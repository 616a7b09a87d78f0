"""The networks of real builds are drawn once a session; the facts of the builds are committed beside the tests.

The evidence that they were taken from is read where it lies, only to tell that they are still the same.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from graphs.catalogue import Case

    from dlaflow.observed.score import Score
    from dlaflow.types import Placement

    Scored = Callable[[Case], tuple[Score, Placement]]

Drawn = Callable[[str, Callable[[Path], object]], Path]
HERE = Path(__file__).resolve().parent
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))


@pytest.fixture(scope="session")
def evidence() -> Path:
    """The evidence folder (`DLAFLOW_EVIDENCE`, default beside the repository); skips where it is absent."""
    default = HERE.parents[1].parent / "shared" / "evidence"
    folder = Path(os.environ.get("DLAFLOW_EVIDENCE", default))
    if not folder.is_dir():
        pytest.skip(f"no evidence folder at {folder}")
    return folder


@pytest.fixture(scope="session")
def scored(drawn: Drawn) -> Scored:
    """Gives the score and the prediction of a case, made when it is first asked for."""
    from graphs.builds import run

    known: dict[Case, tuple[Score, Placement]] = {}

    def scores(case: Case) -> tuple[Score, Placement]:
        if case not in known:
            known[case] = run(case, drawn(case.graph, case.draw))
        return known[case]

    return scores


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    """Gives the file of a network, written when it is first asked for."""
    folder = tmp_path_factory.mktemp("graphs")

    def draw(name: str, write: Callable[[Path], object]) -> Path:
        path = folder / f"{name}.onnx"
        if not path.exists():
            write(path)
        return path

    return draw
