"""INT8 calibration through TensorRT's own calibrator (releases 8.4 to 10.x): fed with our images, cache read and kept.

The DLA takes scales of the entropy calibrator (version 2) alone, so that is the only one here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from dlaflow.build.device_memory import DeviceBuffer, DeviceMemory
from dlaflow.errors import InputError
from dlaflow.files import at_once, write_atomic
from dlaflow.progress import Task
from dlaflow.quantize.cache import header_for

Batches = Callable[[], Iterable[NDArray[np.float32]]]
"""Opens the calibration images: float32 batches [n, ...] of one size, normalised as the model wants them."""


@dataclass
class Feed:
    """What the calibrator hands to TensorRT, and what TensorRT asked of it.

    Without images `cache` is read. With images it is written and never read, since a cache left from another model
    would be taken silently. `asked_in_vain` turns true when TensorRT was given a cache and still wanted images:
    it did not accept that cache.
    """

    batches: Batches | None
    batch_size: int
    cache: Path | None
    tensorrt: str
    memory: DeviceMemory | None = None
    task: Task | None = None
    asked_in_vain: bool = False
    _images: Iterable[NDArray[np.float32]] | None = field(default=None, repr=False)
    _buffer: DeviceBuffer | None = field(default=None, repr=False)

    def next_address(self) -> int | None:
        """Upload the next batch and return its device address; None after the last one."""
        if self.batches is None or self.memory is None:
            self.asked_in_vain = True
            return None
        if self._images is None:
            self._images = iter(self.batches())
        batch = next(iter(self._images), None)
        # TensorRT reads a whole batch from the address, so a short last one must not be offered.
        if batch is None or len(batch) < self.batch_size:
            return None
        values = np.ascontiguousarray(batch[: self.batch_size], dtype=np.float32)
        if self._buffer is None:
            self._buffer = self.memory.allocate(values.nbytes)
        self._buffer.upload(values)
        if self.task:
            self.task.advance()
        return self._buffer.address

    def read(self) -> bytes | None:
        """The cache for TensorRT, its first line naming this release (10.x refuses another); None with images."""
        if self.batches is not None or self.cache is None or not self.cache.is_file():
            return None
        return fitted_cache(self.cache.read_bytes(), self.tensorrt)

    def write(self, content: bytes) -> None:
        """Keep what TensorRT computed; a cache that was only read stays as it is."""
        if self.cache is not None and self.batches is not None:
            with at_once():
                write_atomic(self.cache, content)


def fitted_cache(content: bytes, tensorrt: str) -> bytes:
    """The cache with `tensorrt` in its first line; the scales do not depend on the release.

    Raises InputError when the first line is not that of an entropy calibration cache.
    """
    first, newline, rest = content.partition(b"\n")
    parts = first.strip().split(b"-")
    if len(parts) != 3 or parts[0] != b"TRT" or not parts[1].isdigit():
        raise InputError(
            "not a TensorRT calibration cache",
            expected="a first line such as TRT-8502-EntropyCalibration2",
            received=repr(first[:60].decode("utf-8", errors="replace")),
            then="`dlaflow calibrate` writes one.",
        )
    if parts[2] != b"EntropyCalibration2":
        raise InputError(
            "the DLA takes scales of the entropy calibrator alone",
            expected="EntropyCalibration2",
            received=parts[2].decode("ascii", errors="replace"),
            then="Calibrate again with --method entropy.",
        )
    return header_for(tensorrt).encode() + newline + rest


def names_release(content: bytes, tensorrt: str) -> bool:
    """Whether the first line of a cache names this release; TensorRT 10 refuses a cache where it does not."""
    release, _, _ = header_for(tensorrt).rpartition("-")
    return content.startswith(f"{release}-".encode())


def make_calibrator(trt: ModuleType, feed: Feed) -> object:
    """A TensorRT calibrator over `feed`. Keep a reference to it until the build is done."""

    class Calibrator(trt.IInt8EntropyCalibrator2):  # type: ignore[misc, name-defined]  # base known at run time only
        def __init__(self) -> None:
            trt.IInt8EntropyCalibrator2.__init__(self)

        def get_batch_size(self) -> int:
            return feed.batch_size

        def get_batch(self, names: Sequence[str]) -> list[int] | None:
            address = feed.next_address()
            return None if address is None else [address]

        def read_calibration_cache(self) -> bytes | None:
            return feed.read()

        def write_calibration_cache(self, cache: bytes) -> None:
            feed.write(bytes(cache))

    return Calibrator()
