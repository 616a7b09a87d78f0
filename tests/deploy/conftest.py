"""The folder that engines are written into."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.deploy.engines import Engines


@pytest.fixture
def engines(tmp_path: Path) -> Engines:
    return Engines(tmp_path)
