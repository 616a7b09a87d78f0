"""Where the real artefacts lie; the files belong to others and are read in place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def evidence() -> Path:
    """The evidence folder (`DLAFLOW_EVIDENCE`, default beside the repository); skips where it is absent."""
    default = Path(__file__).resolve().parents[2].parent / "shared" / "evidence"
    folder = Path(os.environ.get("DLAFLOW_EVIDENCE", default))
    if not folder.is_dir():
        pytest.skip(f"no evidence folder at {folder}")
    return folder


@pytest.fixture(scope="session")
def artefacts(evidence: Path) -> Path:
    """The folder of real logs, profiles and captures."""
    return evidence / "artefacts" / "open"
