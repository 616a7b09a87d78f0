"""From points to cases: the network, its placement, the board's clocks, and what exactly was measured."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from dlaflow.estimate.clocks import Clocks, clocks_of
from dlaflow.estimate.dla import Conditions
from dlaflow.estimate.program import Assignment, assemble, on_gpu
from dlaflow.estimate.split import Workload
from dlaflow.estimate.width import FEW_STEPS
from dlaflow.graph.layer import Network
from dlaflow.targets.board import find_board
from dlaflow.targets.version import Version
from dlaflow.types import Device
from tools.fit.builds import with_alone, with_builds
from tools.fit.draw import Drawing, Window
from tools.fit.exported import EXPORTED, Placed, placed, with_exported
from tools.fit.networks import NETWORKS, single_conv, single_linear
from tools.fit.points import Collection, Point, Skipped, read_collection, repository

GPU_KINDS = frozenset({"REDUCE", "NORMALIZATION", "SHUFFLE", "SOFTMAX"})
"""What falls back in the hybrid builds among the points (their logs say so)."""


@dataclass(frozen=True, slots=True)
class Case:
    """A measurement that the model can compute.

    `subject` is the whole model or the layer kind that cross-validation holds out; `scope` is network, layer (an engine
    of one layer) or profile (one layer inside a network); `source` is the repository that published it; `what` is dla,
    gpu or together. `measured` is in ms a batch for dla and gpu, and in images/s for together. Cases with `use` False
    are predicted but not fitted, for `why`. `graphs`: launched from CUDA graphs (MLPerf), which trtexec does not do.
    """

    index: int
    clocks: Clocks
    subject: str
    scope: str
    what: str
    precision: str
    conditions: Conditions
    measured: float
    dla: Workload | None = None
    gpu: Workload | None = None
    batches: tuple[int, int] = (1, 1)
    use: bool = True
    why: str = ""
    source: str = ""
    graphs: bool = False

    @property
    def generation(self) -> str:
        """That of the DLA: v1 on Xavier, v2 on Orin."""
        return _generation(self.clocks)

    @property
    def key(self) -> str:
        """The set of DLA parameters that it belongs to."""
        return f"{self.generation}-{self.precision}"


_BOARDS = (
    (re.compile(r"AGX Orin 32GB"), "agx-orin-32gb"),
    (re.compile(r"AGX Orin"), "agx-orin-64gb"),
    (re.compile(r"DRIVE Orin"), "drive-orin"),
    (re.compile(r"Orin NX"), "orin-nx-16gb"),
    (re.compile(r"AGX Xavier"), "agx-xavier-32gb"),
    (re.compile(r"Xavier NX"), "xavier-nx-8gb"),
)
_PUBLISHED = {
    "ResNet34-backbone": ("resnet34_backbone", 768, 1280),
    "RetinaNet-ResNet34": ("retinanet_resnet34", 768, 1280),
    "RetinaNet-ResNeXt50": ("retinanet_resnext50", 800, 800),
    "SSD-ResNet34": ("ssd_resnet34", 1200, 1200),
    "SSD-MobileNetV1": ("ssd_mobilenet_v1", 300, 300),
    "ResNet50": ("resnet50_prepared", 224, 224),
    "resnet": ("resnet50_prepared", 224, 224),
    "resnet50": ("resnet50_prepared", 224, 224),
    "ssd-large": ("ssd_resnet34", 1200, 1200),
    "ssd-resnet34": ("ssd_resnet34", 1200, 1200),
    "ssd-small": ("ssd_mobilenet_v1", 300, 300),
    "mobilenet": ("mobilenet_v1", 224, 224),
    "retinanet": ("retinanet_resnext50", 800, 800),
    "torchvision ResNet-50": ("resnet50", 224, 224),
    "AlexNet layers on the DLA": ("alexnet", 227, 227),
    "GoogleNet": ("googlenet", 224, 224),
    "GoogleNet whole engine on DLA (prob on GPU)": ("googlenet", 224, 224),
    "HEAL PyramidFusion planes 16/32/64": ("pyramid_fusion", 128, 256),
    "HEAL PyramidFusion planes 64/128/256": ("pyramid_fusion_wide", 128, 256),
    "HEAL pyramid stages 0+1 (E3 pipeline)": ("pyramid_front", 128, 256),
    "HEAL pyramid stage 2 (E3 pipeline)": ("pyramid_back", 64, 128),
    "CIFAR CNN with GroupNorm": ("cifar_groupnorm", 32, 32),
    "CIFAR CNN with BatchNorm": ("cifar_batchnorm", 32, 32),
}
_PAIRS = dict.fromkeys(("pyramid_fusion", "pyramid_fusion_wide", "pyramid_front", "pyramid_back"), 2)
"""Two vehicles share an inference: the first dimension is 2 although the batch is called 1."""
_FAMILY = {"resnet50": "resnet50_prepared", **dict.fromkeys(_PAIRS, "pyramid_fusion")}
"""Networks that differ in their head only are one subject, so that neither vouches for the other."""
_BUILT_SO = "ismetdagli/HaX-CoNN"
"""Its tables tell no precision, its build scripts do: FP16 on Xavier (src/build_engine.py), INT8 on Orin."""
_MLPERF = "mlperf"
_OFFLINE_BATCHES = {"ssd_resnet34": (1, 2), "retinanet_resnext50": (1, 4)}
"""(DLA, GPU) batch of MLPerf's Offline runs from the submitters' settings; the small networks ran 32 and 64."""


def read_evidence(evidence: Path) -> Collection:
    """The file of points with what builds, captures and concurrent runs add.

    Raises InputError when a file of points is absent or has another form.
    """
    collection = read_collection(evidence / "perf" / "measured_perf.json")
    collection = with_exported(with_builds(collection, evidence / "placement"))
    return with_alone(collection, evidence / "perf" / "concurrent.json")


def read_cases(evidence: Path) -> tuple[Collection, list[Case], list[Skipped]]:
    """The collection of an evidence folder, its cases, and what is left out. Raises as `read_evidence`."""
    collection = read_evidence(evidence)
    return collection, *build_cases(collection.points, evidence / "placement" / "models")


def build_cases(points: Sequence[Point], models: Path | None = None) -> tuple[list[Case], list[Skipped]]:
    """Turn points into cases, and name the reason for each one that cannot be turned.

    `models` is the folder of the networks that exist as files; without it their points are left out.
    """
    cases: list[Case] = []
    skipped: list[Skipped] = []
    for index, point in enumerate(points):
        outcome = _case(index, point, models)
        if isinstance(outcome, Case):
            cases.append(replace(outcome, source=repository(point.source), graphs=_MLPERF in point.source.lower()))
        else:
            skipped.append(Skipped(index, point, outcome))
    return cases, skipped


def _case(index: int, point: Point, models: Path | None) -> Case | str:
    if point.kind:
        return "a setting typed in by the submitter, not a measurement"
    board = next((board for pattern, board in _BOARDS if pattern.search(point.device)), None)
    if board is None:
        return "board not known"
    if "MaxQ" in (point.power_mode or ""):
        return "tuned power settings whose clocks are not published"
    version = _version(point)
    mode = re.search(r"(?:\b|_)(\d+W|MAXN_SUPER)\b", point.power_mode or "")
    clocks = clocks_of(find_board(board), version, mode[1] if mode else None)
    if mhz := re.search(r"DLA (\d+) MHz", point.power_mode or ""):
        clocks = Clocks("measured", float(mhz[1]), 1.0, clocks.gpu, clocks.gpu_generation, "stated in the source")
    if clocks.dla_mhz is None:
        return "the DLA clock of this power mode is not published"
    if point.model in EXPORTED:
        return _exported(index, point, clocks, models, board)
    if point.model.startswith("layer:"):
        return _engine_of_one_layer(index, point, clocks)
    if "layer:" in point.model:
        return _profiled_layer(index, point, clocks)
    return _network(index, point, clocks, version)


def _exported(index: int, point: Point, clocks: Clocks, models: Path | None, board: str) -> Case | str:
    """A network that exists as a file, or one loadable of it."""
    exported, precision = EXPORTED[point.model], point.precision or ""
    found = placed(exported, models, board, precision) if models else None
    if found is None:
        return "the network's file is not here"
    cores = 2 if point.accelerator.startswith("2x") else 1
    rate = point.img_per_s or point.qps or 0
    measured = point.latency_ms or 1e3 * cores / rate
    conditions = Conditions(clocks.dla_mhz or 0, clocks.dram_share, clocks.cpu_share, cores=cores)
    small = len(found.dla.program.steps) <= FEW_STEPS
    scope, subject = ("layer", _kinds(found)) if small else ("network", exported.subject)
    if point.accelerator == "GPU":
        return Case(index, clocks, subject, "network", "gpu", precision, conditions, measured, gpu=found.gpu)
    return Case(index, clocks, subject, scope, "dla", precision, conditions, measured, dla=found.dla)


def _kinds(found: Placed) -> str:
    """The layer kind that stands for a small loadable: what of it takes most elements."""
    return max(found.dla.program.steps, key=lambda step: step.points).kind.lower()


def _version(point: Point) -> Version:
    found = re.search(r"\d+\.\d+(\.\d+)*", point.trt_version or "8.5.2")
    return Version.parse(found[0] if found else "8.5.2")


def _generation(clocks: Clocks) -> str:
    return "v1" if clocks.gpu_generation == "volta" else "v2"


def _engine_of_one_layer(index: int, point: Point, clocks: Clocks) -> Case | str:
    """branes-ai's engines of one layer: float32 in and out, clocks not locked, one run at a time."""
    p, name = point.params or {}, point.model
    if "Conv2d" in name:
        window = Window(p["kernel_size"], p["stride"], p["padding"])
        network = single_conv(1, (p["in_channels"], p["out_channels"]), p["input_hw"], window)
        kind = "first convolution" if p["in_channels"] == 3 else f"convolution {p['kernel_size']}x{p['kernel_size']}"
    elif "DWConv" in name:
        c = p["channels"]
        window = Window(p["kernel_size"], p["stride"], p["padding"], groups=c)
        network, kind = single_conv(1, (c, c), p["input_hw"], window), "depthwise convolution"
    elif "FC" in name:
        network, kind = single_linear(1, p["in_features"], p["out_features"]), "fully connected"
    else:
        return "layer kind not known"
    outlier = name == "layer:FC(1024,1024)" and point.power_mode == "50W" and point.precision == "int8"
    conditions = Conditions(clocks.dla_mhz or 0, clocks.dram_share, clocks.cpu_share, locked=False)
    given = (index, clocks, kind, "layer", "dla", point.precision or "", conditions, point.latency_ms or 0)
    return Case(
        *given,
        dla=_hybrid(network),
        use=not outlier,
        why="2.8 times its own MAXN time on both cores while smaller and larger ones take 1.1 times" if outlier else "",
    )


def _profiled_layer(index: int, point: Point, clocks: Clocks) -> Case | str:
    """Fused layers inside the ResNet-34 backbone, from cuDLA's layer statistics."""
    d = Drawing()
    if "MaxPool_222" in point.model:
        x = d.input(1, 64, 384, 640)
        network, kind = d.network(d.pool(x, Window(3, 2))), "pooling"
    elif "Conv_219" in point.model:
        y = d.conv(d.input(1, 3, 768, 1280), 64, Window(7, 2))
        network, kind = d.network(d.pool(y, Window(3, 2))), "first convolution"
    else:
        strided = "Conv_244" in point.model
        y = d.conv(d.input(1, 64, 192, 320), 128 if strided else 64, Window(3, 2 if strided else 1))
        if "Add" in point.model:
            y = d.elementwise(y, d.input(1, 64, 192, 320))
        network, kind = d.network(y), "convolution 3x3"
    conditions = Conditions(clocks.dla_mhz or 0, native_io=True)
    given = (index, clocks, kind, "profile", "dla", point.precision or "", conditions, point.latency_ms or 0)
    return Case(*given, dla=_whole(network))


def _network(index: int, point: Point, clocks: Clocks, version: Version) -> Case | str:
    one_shot = "branes" in point.source and point.model in NETWORKS
    if not one_shot and point.model not in _PUBLISHED:
        return "architecture, input size or pipeline not published"
    subject, height, width = (point.model, 224, 224) if one_shot else _PUBLISHED[point.model]
    family = _FAMILY.get(subject, subject)
    untold = "not" in (point.precision or "not")
    ambiguous = untold and _BUILT_SO not in point.source
    precision = "fp16" if untold and _generation(clocks) == "v1" else "int8" if untold else point.precision or ""
    batch = point.batch or 1
    if point.scenario == "Offline":
        if "2xDLA" not in point.accelerator:
            return "batch of the GPU run not published"
        if clocks.gpu is None:
            return "GPU figures of the board not published"
        batches = _OFFLINE_BATCHES.get(subject, (32, 64))
        work = _whole(NETWORKS[subject](batches[0], height, width))
        gpu = Workload.of(on_gpu(NETWORKS[subject](batches[1], height, width)))
        conditions = Conditions(clocks.dla_mhz or 0, clocks.dram_share, clocks.cpu_share, cores=2, native_io=True)
        given = (index, clocks, family, "network", "together", precision, conditions, point.img_per_s or 0)
        return Case(*given, dla=work, gpu=gpu, batches=batches)
    network = NETWORKS[subject](_PAIRS.get(subject, batch), height, width)
    if point.accelerator.startswith("GPU"):
        if "+" in point.accelerator or clocks.gpu is None or point.latency_ms is None:
            return "GPU figures, batch or latency not published"
        gpu = Workload.of(on_gpu(network))
        conditions = Conditions(clocks.dla_mhz or 0, clocks.dram_share)
        given = (index, clocks, family, "network", "gpu", precision, conditions, point.latency_ms)
        why = "precision not stated" if ambiguous else ""
        return Case(*given, gpu=gpu, use=not ambiguous, why=why)
    return _on_dla(index, point, clocks, version, (family, precision, network, ambiguous))


def _on_dla(
    index: int, point: Point, clocks: Clocks, version: Version, drawn: tuple[str, str, Network, bool]
) -> Case | str:
    family, precision, network, ambiguous = drawn
    two = point.accelerator.startswith("2xDLA")
    alone = point.accelerator == "2xDLA"
    rate, batch = point.img_per_s or (point.qps or 0) * (point.batch or 1), point.batch or 1
    measured = point.latency_ms or (batch * 1000 * (2 if two else 1) / rate if rate else 0)
    if not measured:
        return "neither latency nor rate given"
    one_shot = "branes" in point.source
    conditions = Conditions(
        clocks.dla_mhz or 0,
        clocks.dram_share,
        clocks.cpu_share,
        cores=2 if two else 1,
        sparse=(point.sparsity or "dense") != "dense",
        native_io=alone,
        shared_passes=version >= Version.parse("8.5"),
        locked=not one_shot,
    )
    why = "precision not stated: taken as FP16 from its GPU time" if ambiguous and precision == "fp16" else ""
    fragmented = one_shot and precision == "int8"
    if fragmented:
        why = (
            f"the engine holds {point.dla_layer_count} DLA and {point.gpu_layer_count} GPU layers: not the placement "
            "of this network, and nobody published which it is"
        )
    scope = "profile" if point.model.endswith("layers on the DLA") else "network"
    given = (index, clocks, family, scope, "dla", precision, conditions, measured)
    return Case(*given, dla=_whole(network) if alone else _hybrid(network), use=not fragmented, why=why)


@lru_cache(maxsize=256)
def _whole(network: Network) -> Workload:
    """Everything in one loadable."""
    return Workload.of(assemble(network, {layer.name: Assignment(Device.DLA, 0) for layer in network.layers}))


@lru_cache(maxsize=256)
def _hybrid(network: Network) -> Workload:
    """What is known to fall back on the GPU, the rest in loadables between."""
    assignments: dict[str, Assignment] = {}
    normalised = any(layer.kind == "NORMALIZATION" for layer in network.layers)
    loadable, open_loadable = -1, False
    for layer in network.layers:
        if layer.kind in GPU_KINDS or (normalised and layer.kind == "SCALE"):
            assignments[layer.name] = Assignment(Device.GPU)
            open_loadable = False
        else:
            loadable += 0 if open_loadable else 1
            open_loadable = True
            assignments[layer.name] = Assignment(Device.DLA, loadable)
    return Workload.of(assemble(network, assignments))
