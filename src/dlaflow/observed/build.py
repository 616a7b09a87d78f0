"""What a real build or run did: any of NVIDIA's files becomes one record, the strongest evidence first.

In order: the final engine of a verbose log, detailed layer information, a capture, a per-layer profile, and the printed
placement lists, which are candidates and come without an order. The lists name single layers where an engine names
fused ones, so they are kept beside it; what the log says later of a layer ("Switching to GPU for layer X", when the
limit of loadables is reached) corrects them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from pathlib import Path

from dlaflow.errors import InputError
from dlaflow.observed.names import parts_of
from dlaflow.parse.exports import LayerInfo, parse_layer_info, parse_profile
from dlaflow.parse.log import DlaNode, LogRun, Outcome, PrintedTensor, Profile, ValidatorMessage
from dlaflow.parse.messages import PLACEMENT_RULES, Effect
from dlaflow.parse.nodes import brace_groups, dla_node, foreign_ends
from dlaflow.parse.nsys import LayerRange, read_enqueues
from dlaflow.parse.rows import RowKind, classified, dla_names
from dlaflow.parse.trtexec import parse_log
from dlaflow.types import Device

_IDLE_KINDS = frozenset({"NoOp", "Constant", "CONSTANT"})
_TO_GPU = frozenset(rule.reason for rule in PLACEMENT_RULES if rule.effect is Effect.FALLBACK)
_DOUBT = "names alone do not tell the DLA's ForeignNodes from those of Myelin on the GPU; all are taken for the DLA's"


@dataclass(frozen=True, slots=True)
class ObservedLayer:
    """A layer of the engine, or an entry of a printed list, with the device it ran on.

    `kind` is empty where nothing tells it. `members` are all its layers where a DLA node lists them (TensorRT 7, single
    layers), None where it prints its ends alone. `idle`: it took no time.
    """

    name: str
    kind: str
    device: Device
    outputs: tuple[PrintedTensor, ...] = ()
    messages: tuple[ValidatorMessage, ...] = ()
    members: tuple[str, ...] | None = None
    idle: bool = False

    @property
    def works(self) -> bool:
        """Whether it leaves work at run time that took any time."""
        return self.device is not Device.FOLDED and not self.idle

    @property
    def ends(self) -> tuple[str, str]:
        """The first and the last layer of a DLA node."""
        if self.members:
            return self.members[0], self.members[-1]
        return foreign_ends(self.name) or (self.name, self.name)


@dataclass(frozen=True, slots=True)
class ObservedBuild:
    """What one build placed where.

    `layers` are those of `source`; `ordered`: they stand in execution order, and `device_changes` counts how often the
    device differs between neighbours in it (None without an order). `listed` are the entries of the printed placement
    lists. `loadables` is the number of the engine's DLA nodes and `ends` their first and last layers (None: not told).
    `switches` is for whoever lays the build over a placed graph. `complete` is false for excerpts: they say nothing of
    what they do not name. `doubt` says what is uncertain about the reading. `outcome` says whether the run worked
    (None: no log tells of it).
    """

    layers: tuple[ObservedLayer, ...]
    source: str
    ordered: bool
    loadables: int | None
    switches: int | None = None
    device_changes: int | None = None
    listed: tuple[ObservedLayer, ...] = ()
    ends: tuple[tuple[str, str], ...] | None = None
    messages: tuple[ValidatorMessage, ...] = ()
    complete: bool = True
    doubt: str = ""
    file: str = ""
    outcome: Outcome | None = None

    @property
    def entries(self) -> tuple[ObservedLayer, ...]:
        """What the build names layer by layer: its lists where it prints them, else the layers of the engine."""
        return self.listed or self.layers


@dataclass(frozen=True, slots=True)
class Sources:
    """What is at hand of one build; `inference` are the layers of one inference of a capture."""

    run: LogRun | None = None
    layer_info: LayerInfo | None = None
    profile: Profile | None = None
    inference: tuple[LayerRange, ...] = ()


def observe(sources: Sources, file: str = "") -> ObservedBuild | None:
    """The build as the strongest source tells it, or None when nothing tells where layers ran."""
    listed = _listed(sources.run) if sources.run else ()
    for source, found in (
        ("the engine's layers in the verbose log", _of_engine),
        ("the engine's layer information", _of_layer_info),
        ("the capture", _of_capture),
        ("the rows of the profile", _of_profile),
        ("the names in the layer information", _of_names),
    ):
        if layers := found(sources):
            build = _ordered(layers, source)
            break
    else:
        run = sources.run
        if run is None or not (run.placement.printed or run.dla.loadables):
            return None
        build = ObservedBuild(listed, "the printed placement lists", ordered=False, loadables=_listed_count(run))
        build = replace(build, ends=_listed_ends(run))
    messages = sources.run.messages if sources.run else ()
    return replace(
        build,
        layers=tuple(_with_messages(build.layers, sources.run)) if sources.run else build.layers,
        listed=listed,
        messages=messages,
        doubt=_DOUBT if _is_doubtful(build, sources) else "",
        file=file,
        outcome=sources.run.outcome if sources.run else None,
    )


def _is_doubtful(build: ObservedBuild, sources: Sources) -> bool:
    """Whether a ForeignNode was taken for the DLA's by its name alone."""
    traced = any(layer.device == "DLA" for layer in sources.inference)
    if sources.run is not None or traced or (sources.layer_info and sources.layer_info.detailed):
        return False
    return any(layer.device is Device.DLA and foreign_ends(layer.name) for layer in build.layers)


def _with_messages(layers: Iterable[ObservedLayer], run: LogRun) -> Iterator[ObservedLayer]:
    """Attach what the validators said of each layer; a printed kind of the placement list fills an unknown one."""
    kinds = {node.name: node.type for node in run.placement.gpu}
    about: dict[str, list[ValidatorMessage]] = defaultdict(list)
    for message in run.messages:
        about[message.layer].append(message)
    for layer in layers:
        if layer.device is Device.DLA:
            yield layer
            continue
        names = dict.fromkeys((layer.name, *parts_of(layer.name)))
        messages = sorted((each for name in names for each in about.get(name, ())), key=lambda each: each.line)
        yield replace(layer, messages=tuple(messages), kind=kinds.get(layer.name) or layer.kind)


def read_log(path: Path) -> tuple[ObservedBuild, LogRun]:
    """The build in a log, and its run: the first one that tells what runs where.

    Raises InputError when there is none.
    """
    log = parse_log(path)
    for run in log.runs:
        build = observe(Sources(run), path.name)
        if build is not None:
            return build, run
    if log.outcome.state == "failed":
        raise InputError(
            f"the build in {path} FAILED before it placed a layer: {log.outcome.what}",
            expected="the log of a build that passed",
            received=log.outcome.evidence or "no error line",
            then=f"{log.outcome.then} `dlaflow profile {path}` shows the error lines.",
        )
    raise InputError(
        f"{path} does not tell which layers run where",
        expected="the lists `Layers Running on DLA` and `Layers Running on GPU` of a build with --useDLACore",
        received="a log without them",
        then="A run that loads an engine does not print them: give the log of the build (trtexec --saveEngine).",
    )


def read_layer_info(path: Path) -> ObservedBuild:
    """The build in a file of --exportLayerInfo.

    Raises InputError when it names no layer.
    """
    build = observe(Sources(layer_info=parse_layer_info(path)), path.name)
    if build is None:
        raise InputError(f"{path} names no layers", expected="a file written by trtexec --exportLayerInfo")
    return build


def read_profile(path: Path) -> ObservedBuild:
    """The build in a file of --exportProfile.

    Raises InputError when it names no layer.
    """
    build = observe(Sources(profile=next(iter(parse_profile(path).profiles), None)), path.name)
    if build is None:
        raise InputError(f"{path} names no layers", expected="a file written by trtexec --exportProfile")
    return build


def read_capture(path: Path) -> ObservedBuild:
    """The build in an Nsight Systems export (SQLite) of a run: the layers of its first inference.

    Raises InputError when the capture names no layers.
    """
    first = next(iter(islice(read_enqueues(path), 1)), None)
    build = observe(Sources(inference=first.layers if first else ()), path.name)
    if build is None:
        raise InputError(
            f"{path} names no layers of TensorRT",
            expected="an export with NVTX ranges",
            then="Capture with `nsys profile --trace=nvtx,cudla,cuda` and `nsys export --type sqlite`.",
        )
    return build


def device_changes(layers: Iterable[ObservedLayer]) -> int:
    """How often the device differs between neighbours; what leaves no work is passed over.

    That is what a list can tell. Switches are tensors, and only the model's graph knows those.
    """
    devices = [layer.device for layer in layers if layer.works]
    return sum(here is not there for here, there in pairwise(devices))


def _ordered(layers: list[ObservedLayer], source: str) -> ObservedBuild:
    on_dla = [layer for layer in layers if layer.device is Device.DLA]
    return ObservedBuild(
        layers=tuple(layers),
        source=source,
        ordered=True,
        loadables=len(on_dla),
        device_changes=device_changes(layers),
        ends=tuple(layer.ends for layer in on_dla),
    )


def _of_engine(sources: Sources) -> list[ObservedLayer]:
    layers = sources.run.engine_layers if sources.run else ()
    return [
        ObservedLayer(layer.name, layer.kind, _device_of(layer.kind), layer.outputs, members=_members(layer.name))
        for layer in layers
    ]


def _device_of(kind: str) -> Device:
    if kind == "DLA":
        return Device.DLA
    return Device.FOLDED if kind in _IDLE_KINDS else Device.GPU


def _members(name: str) -> tuple[str, ...] | None:
    """All layers of a node whose name lists them, as `{a,b,c}` of TensorRT 7 does, or that is a single one."""
    if foreign_ends(name) is None and name.startswith("{"):
        return tuple(member for group in brace_groups(name) for member in group.members or ())
    return dla_node(name).members


def _of_layer_info(sources: Sources) -> list[ObservedLayer]:
    info = sources.layer_info
    if info is None or not info.detailed:
        return []
    known = dla_names(sources.run.placement) if sources.run else None
    return [
        ObservedLayer(
            layer.name,
            layer.type,
            Device.DLA if known and layer.name in known else _device_of(layer.type),
            tuple(PrintedTensor(tensor.name, tensor.datatype, tensor.dimensions) for tensor in layer.outputs),
            members=_members(layer.name),
        )
        for layer in info.layers
    ]


def _of_capture(sources: Sources) -> list[ObservedLayer]:
    """By what each layer submitted or launched; without a trace of the DLA's tasks a ForeignNode is taken for its."""
    devices = {"DLA": Device.DLA, "GPU": Device.GPU}
    untraced = not any(layer.device == "DLA" for layer in sources.inference)
    found = []
    for layer in sources.inference:
        silent = Device.DLA if untraced and foreign_ends(layer.name) else Device.FOLDED
        device = devices.get(layer.device, silent)
        found.append(ObservedLayer(layer.name, "", device, members=_members(layer.name)))
    return found


def _of_profile(sources: Sources) -> list[ObservedLayer]:
    if sources.profile is None:
        return []
    known = dla_names(sources.run.placement, sources.run.engine_layers) if sources.run else None
    layers = []
    for row in classified(sources.profile, known):
        if row.kind is not RowKind.DLA_COPY:
            idle = not (row.row.average_ms or row.row.total_ms)
            device = Device.DLA if row.kind is RowKind.DLA else Device.GPU
            layers.append(ObservedLayer(row.row.name, "", device, members=_members(row.row.name), idle=idle))
    return layers


def _of_names(sources: Sources) -> list[ObservedLayer]:
    """Layer information without types: a ForeignNode is taken for the DLA's, which `observe` says."""
    layers = []
    for layer in sources.layer_info.layers if sources.layer_info else ():
        on_dla = layer.name.startswith("{") and layer.name.endswith("}")
        device = Device.DLA if on_dla else Device.GPU
        layers.append(ObservedLayer(layer.name, "", device, members=_members(layer.name)))
    return layers


def _listed(run: LogRun) -> tuple[ObservedLayer, ...]:
    """The printed lists; layers that the log sends to the GPU afterwards are moved there."""
    moved = {message.layer for message in run.messages if message.reason in _TO_GPU and message.layer}
    moved |= _outside(run)
    kinds = {message.layer: message.type for message in run.messages if message.type}

    def entry(node: DlaNode) -> ObservedLayer:
        if node.first == node.last and node.first in moved:
            return ObservedLayer(node.first, kinds.get(node.first, ""), Device.GPU)
        return ObservedLayer(node.raw, "", Device.DLA, members=node.members)

    on_gpu = (
        ObservedLayer(node.name, node.type, Device.FOLDED if node.type in _IDLE_KINDS else Device.GPU)
        for node in run.placement.gpu
    )
    return (*map(entry, run.placement.dla), *on_gpu)


def _outside(run: LogRun) -> set[str]:
    """The single layers of the DLA's list that lie in none of the loadables that were built.

    Of a candidate beyond the limit the log names the first layer alone ("Switching to GPU for layer X"): in DETR under
    10.3 it says so 146 times, for 165 layers.
    """
    names = [node.first for node in run.placement.dla]
    ends = [foreign_ends(node.name) for node in run.dla.loadables]
    if run.placement.style != "layers" or len(ends) != run.dla.offloaded:
        return set()
    order = {name: index for index, name in enumerate(names)}
    spans = [(order.get(each[0]), order.get(each[1])) for each in ends if each is not None]
    if not spans or any(low is None or high is None for low, high in spans):
        return set()
    inside = {index for low, high in spans if low is not None and high is not None for index in range(low, high + 1)}
    return {name for index, name in enumerate(names) if index not in inside}


def _listed_ends(run: LogRun) -> tuple[tuple[str, str], ...] | None:
    """The loadables of a log without an engine: the compiled ones, where the list names single layers."""
    if run.placement.style == "layers":
        return tuple(ends for node in run.dla.loadables if (ends := foreign_ends(node.name))) or None
    return tuple((node.first, node.last) for node in run.placement.dla)


def _listed_count(run: LogRun) -> int | None:
    ends = _listed_ends(run)
    return len(ends) if ends is not None else run.dla.offloaded
