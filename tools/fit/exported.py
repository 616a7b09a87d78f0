"""Measurements of networks that exist as files: their placement is predicted, not drawn.

The loadables of YOLO11n come from an Nsight capture, one time for each task; YOLO26n was measured whole, with its
attention on the GPU, and loadable by loadable.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import msgspec

from dlaflow.estimate.program import Assignment, Program, assemble, assignments_of, on_gpu, with_helpers
from dlaflow.estimate.split import Workload
from dlaflow.fixed_shape import FixedShape
from dlaflow.graph.layer import Network
from dlaflow.graph.load import load_model
from dlaflow.placement.check import check_network, network_of
from dlaflow.targets.target import resolve_target
from dlaflow.types import Device, Placement
from tools.fit.builds import KATECH
from tools.fit.points import Collection, Point


@dataclass(frozen=True, slots=True)
class Exported:
    """A network as a file of evidence/placement/models, and what of it was measured.

    `jetpack` tells the release; `aside` stands in the names of layers that the build left on the GPU; `part` is the
    first layer of the loadable that was timed; `stand_in` names the layers that are left out.
    """

    file: str
    subject: str
    jetpack: str
    aside: str = ""
    part: str = ""
    stand_in: tuple[str, ...] = ()


_YOLO26N = Exported("yolo26n_640_nc1_oldhead.onnx", "yolo26n", "6.2")
_YOLO11N = Exported("yolo11n_ultralytics_dynamic.onnx", "yolo11n", "5.1.2")
_CONVOLUTIONS_ONLY = replace(
    _YOLO11N, jetpack="6.2", stand_in=("Softmax", "MatMul", "Transpose", "Reshape", "/dfl/", "attn/Mul", "attn/Split")
)
"""YOLO11-DLA-n: convolutions in place of attention, raw maps as outputs; those of the attention stand for them."""

_SHAPE = FixedShape("images", (1, 3, 640, 640))
_CAPTURE = "github AbelHaro/TFG 2024_11_28_canicas_yolo11n_FP16_DLA0 (Nsight capture, gaps on the stream)"
_LOADABLES = {
    "/model.0/conv/Conv": 10.23,
    "/model.10/m/m.0/attn/Split": 0.186,
    "/model.10/m/m.0/attn/Split_45": 3.534,
    "/model.10/m/m.0/attn/pe/conv/Conv": 0.0956,
    "/model.10/Split": 0.0763,
    "/model.10/m/m.0/attn/Add": 8.197,
}
"""Milliseconds by the first layer; the clocks are not told, the attention's clocks an element say full ones."""
_NSYS = {"/model.10/m/m.0/attn/Split_18": 4.56, "/model.22/m.0/m.0.1/attn/Split_42": 4.59}
_NX_SOURCE = "github 51hhh/YOLO11-pose docs/DLA_comprehensive_report.md (nsys)"

EXPORTED: dict[str, Exported] = {
    "yolo26n nc=1 pre-NMS (5 loadables)": _YOLO26N,
    "yolo26n nc=1 pre-NMS": _YOLO26N,
    "yolo26n nc=1 pre-NMS, 36 attention layers forced to GPU (Hybrid A)": replace(_YOLO26N, aside="/attn/"),
    "yolo11n (ultralytics, 6 DLA loadables)": _YOLO11N,
    "YOLO11-DLA-n": _CONVOLUTIONS_ONLY,
    "DETR-ResNet-50": Exported("detr_sim.onnx", "detr", "6.2.1"),
    **{f"yolo11n loadable {part}": replace(_YOLO11N, part=part) for part in _LOADABLES},
    **{f"yolo26n loadable {part}": replace(_YOLO26N, part=part) for part in _NSYS},
}


def with_exported(collection: Collection) -> Collection:
    """The collection with the measurements that stand in captures and build records instead of the file of points."""
    change = msgspec.structs.replace
    orin = Point("", "Jetson AGX Orin 64GB", "DLA0", _CAPTURE, "fp16", batch=1, power_mode="MAXN", trt_version="8.5.2")
    nx = change(
        orin, device="Jetson Orin NX 16GB (Super)", source=_NX_SOURCE, precision="int8", power_mode="MAXN_SUPER"
    )
    found = [change(orin, model=f"yolo11n loadable {part}", latency_ms=ms) for part, ms in _LOADABLES.items()]
    found += [
        change(nx, model=f"yolo26n loadable {part}", latency_ms=ms, trt_version="10.3.0") for part, ms in _NSYS.items()
    ]
    strict = "https://github.com/IntelligentSystemsLabUTV/yolo11_dla docs/BUILD.md"
    found.append(change(orin, model="YOLO11-DLA-n", source=strict, qps=37.2062, trt_version="10.3.0"))
    found.append(change(orin, model="DETR-ResNet-50", source=KATECH, latency_ms=398.64, trt_version="10.3.0"))
    found.append(
        change(
            orin,
            model="torchvision ResNet-50",
            source=KATECH,
            precision="int8",
            accelerator="2xDLA (one process each)",
            qps=1351.5,
            trt_version="10.3.0",
        )
    )
    return change(collection, points=(*collection.points, *found))


@dataclass(frozen=True, slots=True)
class Placed:
    """A measured network or loadable, laid out for computing: as placed, and wholly on the GPU."""

    dla: Workload
    gpu: Workload
    batch: int = 1


@cache
def placed(exported: Exported, folder: Path, board: str, precision: str) -> Placed | None:
    """What was measured, as this release places it; None when the file, or the loadable in it, is not there."""
    path = folder / exported.file
    if not path.exists():
        return None
    model = load_model(path)
    shapes = (_SHAPE,) if "dynamic" in exported.file else ()
    target = replace(resolve_target(board, exported.jetpack, precision=precision), shapes=shapes)
    network = network_of(model, target)
    aside = frozenset(layer.name for layer in network.layers if exported.aside and exported.aside in layer.name)
    placement = check_network(model, network, target, {}, aside)
    program = _program(network, placement, exported)
    return Placed(Workload.of(program), Workload.of(on_gpu(network))) if program.steps else None


def _program(network: Network, placement: Placement, exported: Exported) -> Program:
    assignments = assignments_of(placement)
    if exported.stand_in:
        one = Assignment(Device.DLA, 0)
        assignments = {
            name: one
            if found.device is Device.DLA and not any(each in name for each in exported.stand_in)
            else Assignment(Device.FOLDED)
            for name, found in assignments.items()
        }
    program = assemble(with_helpers(network, placement), assignments)
    if not exported.part:
        return program
    index = next((found.index for found in placement.loadables if exported.part in found.layers), None)
    steps = tuple(step for step in program.steps if index is not None and step.assignment.loadable == index)
    return replace(program, steps=steps, copies=(), loadables=1)
