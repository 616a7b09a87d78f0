"""The networks of tests/placement/graphs serve here too."""

from __future__ import annotations

import sys
from pathlib import Path

GRAPHS = Path(__file__).resolve().parents[1] / "placement"
if str(GRAPHS) not in sys.path:
    sys.path.insert(0, str(GRAPHS))
