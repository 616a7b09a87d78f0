"""`python -m dlaflow`."""

from __future__ import annotations

import sys

from dlaflow.cli import main

sys.exit(main())
