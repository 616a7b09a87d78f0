"""The state of an interrupted calibration: the histograms so far, and which images are in them.

A state fits only the same model, the same tensors and the same images in the same order; images are compared by a
running fingerprint, so that a changed folder starts from the beginning instead of mixing two data sets.
"""

from __future__ import annotations

import hashlib
import io
import time
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from dlaflow.files import at_once, once_written, write_atomic
from dlaflow.quantize.feed import Batch, Feed
from dlaflow.quantize.histogram import BINS, Histogram

_VERSION = 1


@dataclass
class RunningFingerprint:
    """SHA-256 over batches, each hashed together with what came before it; unlike a hash object it can be stored."""

    value: str = ""

    def add(self, batch: Batch) -> None:
        """Take in one batch."""
        own = hashlib.sha256()
        for array in batch.arrays.values() if isinstance(batch, Feed) else [batch]:
            own.update(np.ascontiguousarray(array).data)
        self.value = hashlib.sha256(self.value.encode() + own.digest()).hexdigest()


@dataclass(frozen=True)
class State:
    """What is read back: `images` were counted, `fingerprint` is theirs."""

    images: int
    fingerprint: str
    histograms: Sequence[Histogram]


class Checkpoint:
    """Keeps the state of one calibration in `path` (None: keeps nothing), at most every `seconds`."""

    def __init__(self, path: Path | None, key: str, seconds: float) -> None:
        self._path = path
        self._key = key
        self._seconds = seconds
        self._written = time.monotonic()

    def due(self) -> bool:
        """Whether it is time to write."""
        return self._path is not None and time.monotonic() - self._written >= self._seconds

    def write(self, histograms: Sequence[Histogram], images: int, fingerprint: str) -> None:
        """Write the state, whole or not at all."""
        if self._path is None:
            return
        packed = io.BytesIO()
        np.savez_compressed(
            packed,
            key=np.array([self._key, fingerprint]),
            images=np.array(images),
            counts=np.stack([histogram.counts for histogram in histograms]),
            floats=np.array([[histogram.range, histogram.largest] for histogram in histograms]),
            whole=np.array([[histogram.signed, histogram.total] for histogram in histograms], np.int64),
        )
        with at_once():
            write_atomic(self._path, packed.getvalue())
        self._written = time.monotonic()

    def read(self, names: Sequence[str]) -> State | None:
        """The state that fits, or None: there is none, it is damaged, or it belongs to another calibration."""
        if self._path is None or not self._path.is_file():
            return None
        try:
            with np.load(self._path, allow_pickle=False) as stored:
                key, fingerprint = map(str, stored["key"])
                counts, floats, whole = stored["counts"], stored["floats"], stored["whole"]
                images = int(stored["images"])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        if key != self._key or counts.shape != (len(names), BINS):
            return None
        histograms = [Histogram(name) for name in names]
        for index, histogram in enumerate(histograms):
            histogram.counts = counts[index]
            histogram.range, histogram.largest = map(float, floats[index])
            histogram.signed, histogram.total = bool(whole[index][0]), int(whole[index][1])
        return State(images, fingerprint, histograms)

    def remove(self) -> None:
        """Forget the state, once what came out is written: the calibration is complete."""
        if self._path is not None:
            once_written(partial(self._path.unlink, missing_ok=True))


def key_of(model_sha256: str, names: Sequence[str]) -> str:
    """What a state must fit: this model, these tensors, this way of counting."""
    return hashlib.sha256("\n".join([str(_VERSION), str(BINS), model_sha256, *names]).encode()).hexdigest()


def skip(batches: Iterable[Batch], state: State) -> Iterator[Batch] | None:
    """The batches behind those of `state`; None when they do not begin with the very same images."""
    remaining = iter(batches)
    running = RunningFingerprint()
    images = 0
    while images < state.images:
        batch = next(remaining, None)
        if batch is None:
            return None
        running.add(batch)
        images += len(batch)
    return remaining if images == state.images and running.value == state.fingerprint else None
