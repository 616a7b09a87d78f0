"""What a calibration is made of and what it yields: the records, and the file that stands beside a cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from dlaflow.errors import InputError, UsageError, unknown_name
from dlaflow.files import record_json, write_atomic
from dlaflow.fixed_shape import FixedShape
from dlaflow.quantize.methods import AUTO, METHODS
from dlaflow.reading import read_bytes

SCHEMA = "dlaflow.calibration/1"
LEVELS = 127
"""The largest magnitude of symmetric INT8: scale = threshold / 127."""


@dataclass(frozen=True)
class CalibrationConfig:
    """How to calibrate.

    `method` is entropy, percentile, minmax, mse or auto; `percentile` the share in percent that the percentile
    method keeps; `images` how many images to use at most (None: all that come); `checkpoint` where an interrupted run
    keeps its state (None: nowhere), written every `checkpoint_seconds`; `shapes` fix the size of an open input.
    """

    method: str = "entropy"
    percentile: float = 99.99
    images: int | None = None
    checkpoint: Path | None = None
    checkpoint_seconds: float = 20.0
    shapes: tuple[FixedShape, ...] = ()

    def __post_init__(self) -> None:
        if self.images is not None and self.images < 1:
            raise UsageError("too few calibration images", expected="at least 1", received=self.images)
        if self.method not in (*METHODS, AUTO):
            raise unknown_name("calibration method", self.method, (*METHODS, AUTO))
        if not 0 < self.percentile <= 100:
            raise UsageError("percentile out of range", expected="above 0, at most 100", received=self.percentile)


@dataclass(frozen=True, slots=True)
class TensorScale:
    """The scale of one tensor. `largest` is the largest magnitude seen, `method` what chose the threshold.

    `origin` tells why: "" for a measured tensor, else the tensor that it follows or is tied to.
    """

    name: str
    scale: float
    largest: float
    method: str
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Scales for every tensor of one model.

    `model_sha256` and `data_sha256` are fingerprints of the model file and of the images in the order they were used.
    """

    tensors: tuple[TensorScale, ...]
    method: str
    images: int
    model_sha256: str
    data_sha256: str
    warnings: tuple[str, ...] = ()

    @property
    def scales(self) -> dict[str, float]:
        """Name → scale, in network order."""
        return {tensor.name: tensor.scale for tensor in self.tensors}


def sidecar_of(cache: str | Path) -> Path:
    """The file beside a cache that says which model and which images it was made from."""
    return Path(f"{cache}.json")


def write_calibration(calibration: Calibration, path: str | Path) -> None:
    """Write a calibration as JSON, whole or not at all."""
    write_atomic(path, record_json(SCHEMA, calibration))


def read_calibration(path: str | Path) -> Calibration:
    """Read what `write_calibration` wrote.

    Raises InputError when the file cannot be read or holds something else.
    """
    try:
        content = read_bytes(path)
        schema = msgspec.json.decode(content, type=dict[str, object]).get("schema")
        calibration = msgspec.json.decode(content, type=Calibration)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path} is no calibration record", expected=SCHEMA, received=str(error)) from None
    if schema != SCHEMA:
        raise InputError(f"{path} is no calibration record", expected=SCHEMA, received=schema)
    return calibration


def scales_by_name(tensors: Mapping[str, float]) -> Calibration:
    """A calibration around bare scales, for those that come from elsewhere (a cache, someone's Q/DQ model)."""
    records = tuple(TensorScale(name, scale, scale * LEVELS, "given") for name, scale in tensors.items())
    return Calibration(records, "given", 0, "", "")
