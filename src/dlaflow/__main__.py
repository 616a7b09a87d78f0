"""`python -m dlaflow`."""

from __future__ import annotations

import atexit
import os
import sys

from dlaflow.cli import main
from dlaflow.errors import EXIT_INTERRUPTED

if __name__ == "__main__":
    code = main()
    if code >= EXIT_INTERRUPTED:
        # Under -m, Python ends by the signal itself when Ctrl-C fell into code that a library runs from C (pybind11's
        # exec does), although it was caught above. Scripts are promised the exit code.
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
