"""A command of a fraction of a second goes without what pays off only in longer ones."""

from __future__ import annotations

import atexit
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

_BLAS_THREADS = "OPENBLAS_NUM_THREADS"
_OBJECTS = 100_000
"""New objects between two searches for garbage. Loading the modules makes 80,000, most of which stay; with Python's own
number (700 to 2,000) they are looked through a hundred times."""


@contextmanager
def short_lived() -> Iterator[None]:
    """While this is open, modules load without searches for garbage, and numpy without threads.

    numpy's BLAS starts a thread a core when it is imported, for products of large matrices: on two cores this takes as
    much processor time as the import itself. A number of threads that the user chose is kept. Nor is garbage looked
    for when the process ends and its memory goes back anyway.
    """
    atexit.register(gc.freeze)
    thresholds = gc.get_threshold()
    gc.set_threshold(_OBJECTS, *thresholds[1:])
    ours = _BLAS_THREADS not in os.environ
    os.environ.setdefault(_BLAS_THREADS, "1")
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        if ours:
            del os.environ[_BLAS_THREADS]
