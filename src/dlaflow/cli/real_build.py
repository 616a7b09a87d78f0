"""Logs, layer infos, profiles and captures of a real build become the plain records that `placement.score` reads."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from dlaflow.errors import InputError
from dlaflow.parse.layer_info import parse_layer_info
from dlaflow.parse.log import LogRun
from dlaflow.parse.nodes import brace_groups, dla_node, foreign_ends
from dlaflow.parse.nsys import read_enqueues
from dlaflow.parse.profile_json import parse_profile
from dlaflow.parse.trtexec import parse_log
from dlaflow.placement.build import DlaEntry, GpuEntry, RealBuild, Word


def run_of(path: Path) -> LogRun:
    """The first run of a log that lists what runs where.

    Raises InputError when there is none.
    """
    runs = [run for run in parse_log(path).runs if run.placement.printed or run.dla.loadables]
    if not runs:
        raise InputError(
            f"{path} does not tell which layers run where",
            expected="the lists `Layers Running on DLA` and `Layers Running on GPU` of a build with --useDLACore",
            received="a log without them",
            then="A run that loads an engine does not print them: give the log of the build (trtexec --saveEngine).",
        )
    return runs[0]


def build_of_log(run: LogRun, source: str) -> RealBuild:
    """The placement of a run."""
    listed = run.placement
    dla = tuple(DlaEntry(node.first, node.last, node.members) for node in listed.dla)
    ends: tuple[tuple[str, str], ...] | None
    if listed.style == "layers":
        ends = tuple(each for node in run.dla.loadables if (each := foreign_ends(node.name))) or None
    else:
        ends = tuple((node.first, node.last) for node in listed.dla)
    count = len(ends) if ends is not None else run.dla.offloaded
    return RealBuild(
        source=source,
        dla=dla,
        gpu=tuple(GpuEntry(node.name, node.type) for node in listed.gpu),
        loadables=ends,
        count=count if listed.dla or listed.printed else None,
        words=tuple(Word(each.layer, each.reason, each.text) for each in run.messages),
    )


def build_of_layers(names: list[tuple[str, str]], source: str) -> RealBuild:
    """The placement of an engine's layers, given as (name, kind); kinds may be empty.

    Kind DLA tells a DLA node. Without kinds a ForeignNode is taken for one, and so is the `{a,b,c}` of TensorRT 7; as
    Myelin, the GPU's compiler, makes ForeignNodes too, the build then carries a doubt.
    """
    dla, gpu, doubt = [], [], ""
    for name, kind in names:
        foreign = foreign_ends(name) is not None
        if kind.upper() == "DLA" or (foreign and not kind):
            node = dla_node(name)
            dla.append(DlaEntry(node.first, node.last, node.members))
            doubt = doubt or ("" if kind else _DOUBT)
        elif name.startswith("{") and name.endswith("}") and not foreign:
            dla += [DlaEntry(node.first, node.last, node.members) for node in brace_groups(name)]
        else:
            gpu.append(GpuEntry(name, kind.upper()))
    loadables = tuple((entry.first, entry.last) for entry in dla)
    return RealBuild(source, tuple(dla), tuple(gpu), loadables, len(loadables), doubt=doubt)


_DOUBT = "names alone do not tell the DLA's ForeignNodes from those of Myelin on the GPU; all are taken for the DLA's"


def build_of_layer_info(path: Path) -> RealBuild:
    """The placement in a file of --exportLayerInfo.

    Raises InputError when it names no layer.
    """
    layers = parse_layer_info(path).layers
    if not layers:
        raise InputError(f"{path} names no layers", expected="a file written by trtexec --exportLayerInfo")
    return build_of_layers([(layer.name, layer.type) for layer in layers], path.name)


def build_of_profile(path: Path) -> RealBuild:
    """The placement in a file of --exportProfile.

    Raises InputError when it names no layer.
    """
    rows = [row for profile in parse_profile(path).profiles[:1] for row in profile.rows]
    if not rows:
        raise InputError(f"{path} names no layers", expected="a file written by trtexec --exportProfile")
    return build_of_layers([(name, "") for name in dict.fromkeys(row.name for row in rows)], path.name)


def build_of_capture(path: Path) -> RealBuild:
    """The placement in an Nsight Systems export (SQLite) of a run: the layers of its first inference.

    Raises InputError when the capture names no layers.
    """
    enqueues = list(islice(read_enqueues(path), 1))
    if not enqueues or not enqueues[0].layers:
        raise InputError(
            f"{path} names no layers of TensorRT",
            expected="an export with NVTX ranges",
            then="Capture with `nsys profile --trace=nvtx,cudla,cuda` and `nsys export --type sqlite`.",
        )
    names = dict.fromkeys((layer.name, layer.device) for layer in enqueues[0].layers)
    return build_of_layers(list(names), path.name)


@dataclass(frozen=True, slots=True)
class Told:
    """What a log tells of its target; None where it does not. `mode` is hybrid or standalone."""

    board: str | None = None
    tensorrt: str | None = None
    precision: str | None = None
    batch: int | None = None
    mode: str = "hybrid"


_BOARDS = (("Xavier", "agx-xavier-32gb"), ("Orin", "agx-orin-64gb"))


def told_by(run: LogRun | None) -> Told:
    """The target of a run, from its banner, its device and its command."""
    if run is None:
        return Told()
    device = run.device.name if run.device else ""
    board = next((board for word, board in _BOARDS if word in device), None)
    precision = next((option.value for option in run.options if option.key == "Precision"), "")
    words = run.command.split()
    inputs = [binding for binding in run.bindings if binding.role == "input" and binding.dimensions]
    batch = inputs[0].dimensions[0] if inputs and len(inputs[0].dimensions) >= 4 else None
    allowed = precision + " ".join(words).upper()
    return Told(
        board=board,
        tensorrt=run.tensorrt,
        precision="int8" if "INT8" in allowed else "fp16" if "FP16" in allowed else None,
        batch=batch if batch and batch > 0 else None,
        mode="standalone" if "--buildDLAStandalone" in words else "hybrid",
    )
