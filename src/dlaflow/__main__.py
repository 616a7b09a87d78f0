"""`python -m dlaflow`."""

from __future__ import annotations

import sys

from dlaflow.cli import main

if __name__ == "__main__":
    sys.exit(main())
