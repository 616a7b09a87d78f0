"""Measurements that stand elsewhere: builds that name their latency or rate beside their layers, and what engines of
concurrent runs took alone."""

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


class _Alone(msgspec.Struct):
    model: str
    precision: str | None = None
    device: str | None = None
    alone: dict[str, float | str] | None = None


class _Run(msgspec.Struct):
    board: str
    source: str
    engines: tuple[_Alone, ...]
    power_mode: str = ""
    tensorrt: str = ""


_ALONE = {
    "ResNet50 (torchvision)": "torchvision ResNet-50",
    "DETR": "DETR-ResNet-50",
    "AlexNet": "AlexNet layers on the DLA",
}
"""Networks of the concurrent runs whose times alone are known, as points name them. Full clocks only: of a sweep whose
30W and 15W rows are invalid (the modes need a reboot) nobody knows whether 50W was in force, and the DLA kept its rate.
"""


def with_alone(collection: Collection, path: Path) -> Collection:
    """The collection with what engines of concurrent runs took alone; those that it has already are left out.

    Raises InputError for a file of another form.
    """
    if not path.exists():
        return collection
    try:
        runs = msgspec.json.decode(path.read_bytes(), type=tuple[_Run, ...])
    except msgspec.DecodeError as error:
        raise InputError(f"{path} holds no concurrent runs", received=str(error)) from None
    known = {(point.model, point.precision, point.accelerator[:3], point.power_mode) for point in collection.points}
    found: dict[object, Point] = {}
    for run in (run for run in runs if run.power_mode == "MAXN"):
        for engine in run.engines:
            latency = (engine.alone or {}).get("latency_ms")
            told = isinstance(latency, float) and engine.precision != "fp32"
            if engine.model not in _ALONE or not told or engine.device == "DLA1":
                continue
            device = engine.device or ""
            key = (_ALONE[engine.model], engine.precision, device[:3], run.power_mode)
            point = Point(
                model=key[0],
                device=run.board,
                accelerator=device if device == "GPU" else "DLA0+GPU fallback",
                source=run.source,
                precision=engine.precision,
                batch=1,
                power_mode=run.power_mode,
                latency_ms=float(latency or 0),
                trt_version=run.tensorrt,
            )
            if key not in known:
                found.setdefault(key, point)
    return msgspec.structs.replace(collection, points=(*collection.points, *found.values()))


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
