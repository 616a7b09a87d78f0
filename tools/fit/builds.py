"""Measurements that stand with the placement logs: a few builds name their latency or rate beside their layers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import msgspec

from dlaflow.errors import InputError
from tools.fit.points import Collection, Point


class _Build(msgspec.Struct, frozen=True):
    source: str
    tensorrt_version: str | None = None
    latency_ms: dict[str, float] | None = None
    throughput_qps: float | None = None
    notes: str = ""


_REPEATED = "a blog that repeats the walk-through"
KATECH = "github.com/yyshin-katech/embedded-ai-quantization-guide"


@dataclass(frozen=True, slots=True)
class _Known:
    """A build of known network, batch and conditions. `rate` finds one in its notes, a group named by the unit.

    `source` is who published it where the record names only a copy.
    """

    file: str
    model: str
    precision: str
    batch: int = 1
    accelerator: str = "DLA0+GPU fallback"
    rate: str = ""
    source: str = ""


BUILDS = (
    _Known("torchvision_resnet50_int8-agx_orin_64gb-trt103-1", "torchvision ResNet-50", "int8", source=KATECH),
    _Known("torchvision_resnet50_fp16-agx_orin_64gb-trt103-1", "torchvision ResNet-50", "fp16", source=KATECH),
    _Known("tutorial_model_bn-agx_orin_64gb-trt852-1", "CIFAR CNN with BatchNorm", "int8", 32, source=_REPEATED),
    _Known(
        "tutorial_model_bn-agx_orin_64gb-trt852-1",
        "CIFAR CNN with GroupNorm",
        "int8",
        32,
        rate=r"model_gn .*?(?P<qps>[\d.]+) qps",
        source=_REPEATED,
    ),
    _Known(
        "ssd_mobilenet_v1_int8-agx_orin-trt85-1", "SSD-MobileNetV1", "int8", 2, "2xDLA", r"(?P<img>[\d.]+) images/s"
    ),
)
"""The builds of evidence/placement whose time can be computed, all with full clocks."""


def with_builds(collection: Collection, folder: Path) -> Collection:
    """The collection with the measurements of the builds in `folder` behind its own; those absent there are left out.

    Raises InputError for a file of another form.
    """
    found = [_point(known, folder / f"{known.file}.json") for known in BUILDS]
    extra = tuple(point for point in found if point is not None)
    return msgspec.structs.replace(collection, points=(*collection.points, *extra))


def _point(known: _Known, path: Path) -> Point | None:
    if not path.exists():
        return None
    try:
        build = msgspec.json.decode(path.read_bytes(), type=_Build)
    except msgspec.DecodeError as error:
        raise InputError(f"{path} is not a recorded build", received=str(error)) from None
    times, found = build.latency_ms or {}, re.search(known.rate, build.notes) if known.rate else None
    latency = (
        None if known.rate else next((times[name] for name in ("gpu_compute_median", "median") if name in times), None)
    )
    qps = None if known.rate or latency else build.throughput_qps
    rates = {name: float(value) for name, value in found.groupdict().items()} if found else {}
    if not (latency or qps or rates):
        return None
    return Point(
        model=known.model,
        device="Jetson AGX Orin 64GB",
        accelerator=known.accelerator,
        source=known.source or build.source,
        precision=known.precision,
        batch=known.batch,
        power_mode="MAXN",
        latency_ms=latency,
        qps=rates.get("qps", qps),
        img_per_s=rates.get("img"),
        trt_version=(build.tensorrt_version or "8.5.2").replace("8.5 ", "8.5.2 "),
    )
