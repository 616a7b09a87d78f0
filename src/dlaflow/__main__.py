"""`dlaflow` and `python -m dlaflow`."""

from __future__ import annotations

import atexit
import os
import signal
import sys

_KILLED = 128
"""What a shell adds to the number of the signal that ended a program."""


def start() -> None:
    """Run the command line and leave. Until it heeds signals itself, Ctrl-C ends the process without a word."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda number, frame: os._exit(_KILLED + number))
    from dlaflow.cli import main
    from dlaflow.errors import EXIT_INTERRUPTED

    code = main()
    if code >= EXIT_INTERRUPTED:
        # Python ends by the signal itself when Ctrl-C fell into code that a library runs from C (pybind11's exec does),
        # although it was caught above. Scripts are promised the exit code.
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    start()
