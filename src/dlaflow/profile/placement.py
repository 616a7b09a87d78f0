"""Where the layers really ran, from the strongest evidence at hand.

In order: the final engine of a verbose log, detailed layer information, a capture, a per-layer profile, and last the
printed placement lists, which are candidates and come without an order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

from dlaflow.parse.log import LogRun, Tensor, ValidatorMessage
from dlaflow.parse.nodes import foreign_ends
from dlaflow.parse.rows import RowKind, classified, dla_names
from dlaflow.profile.evidence import Evidence
from dlaflow.profile.names import members_between, onnx_nodes_of, parts_of
from dlaflow.types import Confidence, Device, Finding, Loadable, PlacedLayer, Placement, Summary, Switch, Verdict

_IDLE_KINDS = frozenset({"NoOp", "Constant", "CONSTANT"})
_BYTES = {"Float": 4, "Half": 2, "Int8": 1, "Int32": 4, "Int64": 8, "Bool": 1, "UInt8": 1, "BFloat16": 2, "BF16": 2}


@dataclass(frozen=True, slots=True)
class MeasuredLayer:
    """A layer of the engine with the device it ran on. `kind` is empty where nothing tells it."""

    name: str
    kind: str
    device: Device
    outputs: tuple[Tensor, ...] = ()
    messages: tuple[ValidatorMessage, ...] = ()


@dataclass(frozen=True, slots=True)
class MeasuredPlacement:
    """Where layers ran. `ordered`: the layers stand in execution order, so that switches can be counted."""

    layers: tuple[MeasuredLayer, ...]
    source: str
    ordered: bool
    loadables: int
    switches: int | None


def measured_placement(evidence: Evidence) -> MeasuredPlacement | None:
    """The placement of the strongest evidence, or None when nothing tells one."""
    for found in (_of_engine, _of_layer_info, _of_capture, _of_profile, _of_lists):
        placement = found(evidence)
        if placement is not None:
            return placement
    return None


def _placed(evidence: Evidence, layers: list[MeasuredLayer], source: str, *, ordered: bool) -> MeasuredPlacement:
    layers = [_with_messages(layer, evidence.run) for layer in layers]
    active = [layer.device for layer in layers if layer.device is not Device.FOLDED]
    changes = sum(here is not there for here, there in pairwise(active))
    return MeasuredPlacement(
        layers=tuple(layers),
        source=source,
        ordered=ordered,
        loadables=sum(layer.device is Device.DLA for layer in layers),
        switches=changes if ordered else None,
    )


def _with_messages(layer: MeasuredLayer, run: LogRun | None) -> MeasuredLayer:
    """Attach what the validators said; a printed kind of the placement list fills an unknown one."""
    if run is None or layer.device is Device.DLA:
        return layer
    names = {layer.name, *parts_of(layer.name)}
    kinds = {node.name: node.type for node in run.placement.gpu}
    messages = tuple(message for message in run.messages if message.layer in names)
    return replace(layer, messages=messages, kind=kinds.get(layer.name) or layer.kind)


def _of_engine(evidence: Evidence) -> MeasuredPlacement | None:
    if evidence.run is None or not evidence.run.engine_layers:
        return None
    layers = [
        MeasuredLayer(layer.name, layer.kind, _device_of(layer.kind), layer.outputs)
        for layer in evidence.run.engine_layers
    ]
    return _placed(evidence, layers, "the engine's layers in the verbose log", ordered=True)


def _device_of(kind: str) -> Device:
    if kind == "DLA":
        return Device.DLA
    return Device.FOLDED if kind in _IDLE_KINDS else Device.GPU


def _of_layer_info(evidence: Evidence) -> MeasuredPlacement | None:
    info = evidence.layer_info
    if info is None or not info.detailed:
        return None
    known = dla_names(evidence.run.placement) if evidence.run else None
    layers = [
        MeasuredLayer(
            layer.name,
            layer.type,
            Device.DLA if known and layer.name in known else _device_of(layer.type),
            tuple(Tensor(tensor.name, tensor.datatype, tensor.dimensions) for tensor in layer.outputs),
        )
        for layer in info.layers
    ]
    return _placed(evidence, layers, "the engine's layer information", ordered=True)


def _of_capture(evidence: Evidence) -> MeasuredPlacement | None:
    capture = evidence.capture
    if capture is None or not capture.sample:
        return None
    devices = {"DLA": Device.DLA, "GPU": Device.GPU}
    sample = capture.sample[capture.first_warm]
    layers = [MeasuredLayer(layer.name, "", devices.get(layer.device, Device.FOLDED)) for layer in sample.layers]
    return _placed(evidence, layers, "the capture", ordered=True)


def _of_profile(evidence: Evidence) -> MeasuredPlacement | None:
    if evidence.profile is None:
        return None
    known = dla_names(evidence.run.placement) if evidence.run else None
    layers = []
    rows = [row for row in classified(evidence.profile, known) if row.row.average_ms or row.row.total_ms]
    for on_dla, group in groupby(rows, key=lambda row: row.kind in {RowKind.DLA, RowKind.DLA_COPY}):
        for row in group:
            if on_dla and row.kind is RowKind.DLA_COPY:
                continue
            layers.append(MeasuredLayer(row.row.name, "", Device.DLA if on_dla else Device.GPU))
    return _placed(evidence, layers, "the rows of the profile", ordered=True)


def _of_lists(evidence: Evidence) -> MeasuredPlacement | None:
    if evidence.run is None or not evidence.run.placement.printed:
        return None
    placement = evidence.run.placement
    layers = [MeasuredLayer(node.raw, "", Device.DLA) for node in placement.dla]
    layers += [
        MeasuredLayer(node.name, node.type, Device.FOLDED if node.type in _IDLE_KINDS else Device.GPU)
        for node in placement.gpu
    ]
    found = _placed(evidence, layers, "the printed placement lists", ordered=False)
    if placement.style == "layers":
        return replace(found, loadables=len(evidence.run.dla.loadables))
    return found


def in_model_order(measured: MeasuredPlacement, placement: Placement) -> MeasuredPlacement:
    """The layers of `as_placement` in the model's order, where the evidence has none: switches can then be counted.

    The engine may run independent layers in another order, so the count is that of the model's own order.
    """
    messages = {layer.name: layer.messages for layer in measured.layers}
    for layer in measured.layers:
        for part in parts_of(layer.name):
            messages.setdefault(part, layer.messages)
    layers = [
        MeasuredLayer(layer.name, layer.kind, layer.device, messages=messages.get(layer.name, ()))
        for layer in placement.layers
        if layer.device is not Device.FOLDED
    ]
    changes = sum(here.device is not there.device for here, there in pairwise(layers))
    source = f"{measured.source}, in the model's order"
    return MeasuredPlacement(tuple(layers), source, ordered=True, loadables=measured.loadables, switches=changes)


def as_placement(measured: MeasuredPlacement, predicted: Placement) -> Placement:
    """The model's own layers with the devices that were measured.

    Layers that no evidence names keep the predicted device, with the verdict `unknown`. MACs, bytes and ONNX nodes come
    from the prediction.
    """
    on_gpu = [layer.name for layer in measured.layers if layer.device is Device.GPU]
    members = [_members(layer, predicted, on_gpu) for layer in measured.layers if layer.device is Device.DLA]
    loadable_of = {layer.name: place for place, group in enumerate(members) for layer in group}
    gpu = {part for name in on_gpu for part in parts_of(name) if not name.startswith("Reformatting")}
    findings = _findings(measured)
    layers = []
    for layer in predicted.layers:
        found = [finding for finding in findings if finding.layer == layer.name]
        if layer.name in loadable_of:
            layers.append(_moved(layer, Device.DLA, Verdict.NATIVE, loadable_of[layer.name], found))
        elif layer.name in gpu:
            layers.append(_moved(layer, Device.GPU, Verdict.FALLBACK, None, found))
        elif layer.device is Device.FOLDED:
            layers.append(layer)
        else:
            layers.append(_moved(layer, layer.device, Verdict.UNKNOWN, None, found))
    loadables = [
        Loadable(
            place, group[0].name, group[-1].name, [layer.name for layer in group], sum(layer.macs for layer in group)
        )
        for place, group in enumerate(members)
        if group
    ]
    moved = replace(predicted, layers=layers)
    in_order = measured if measured.ordered else in_model_order(measured, moved)
    return replace(
        moved,
        loadables=loadables,
        switches=_switches(in_order),
        summary=_summary(layers, in_order),
        findings=[finding for finding in findings if finding.layer not in {layer.name for layer in predicted.layers}],
    )


def _members(layer: MeasuredLayer, predicted: Placement, on_gpu: list[str]) -> tuple[PlacedLayer, ...]:
    ends = foreign_ends(layer.name)
    if ends is not None:
        return members_between(ends[0], ends[1], predicted, on_gpu)
    names = set(parts_of(layer.name))
    return tuple(each for each in predicted.layers if each.name in names)


def _moved(
    layer: PlacedLayer, device: Device, verdict: Verdict, loadable: int | None, findings: list[Finding]
) -> PlacedLayer:
    return replace(layer, device=device, verdict=verdict, loadable=loadable, findings=[*layer.findings, *findings])


def _findings(measured: MeasuredPlacement) -> list[Finding]:
    return [
        Finding(
            rule=message.reason,
            layer=message.layer or layer.name,
            verdict=Verdict.FALLBACK,
            message=message.text,
            expected="" if message.limit is None else str(message.limit),
            received=message.operation or ("" if message.received is None else str(message.received)),
            source=f"log line {message.line}",
            fix="",
            confidence=Confidence.MEASURED,
        )
        for layer in measured.layers
        for message in layer.messages
    ]


def _switches(measured: MeasuredPlacement) -> list[Switch]:
    active = [layer for layer in measured.layers if layer.device is not Device.FOLDED]
    found = []
    for here, there in pairwise(active):
        if here.device is not there.device:
            tensor = here.outputs[0] if here.outputs else None
            size = _BYTES.get(tensor.dtype, 0) * math.prod(tensor.dimensions) if tensor else 0
            found.append(Switch(here.name, there.name, tensor.name if tensor else "", size))
    return found


def _summary(layers: list[PlacedLayer], measured: MeasuredPlacement) -> Summary:
    on_dla = [layer for layer in layers if layer.device is Device.DLA]
    on_gpu = [layer for layer in layers if layer.device is Device.GPU]
    macs = sum(layer.macs for layer in layers)
    return Summary(
        layers=len(layers),
        dla_layers=len(on_dla),
        gpu_layers=len(on_gpu),
        folded_layers=len(layers) - len(on_dla) - len(on_gpu),
        unknown_layers=sum(layer.verdict is Verdict.UNKNOWN for layer in layers),
        dla_mac_share=sum(layer.macs for layer in on_dla) / macs if macs else 0.0,
        loadables=measured.loadables,
        loadables_before_cap=measured.loadables,
        switches=measured.switches or 0,
        standalone_ok=not on_gpu,
    )


def nodes_behind(measured: MeasuredPlacement, predicted: Placement) -> dict[str, list[str]]:
    """The ONNX nodes behind each layer of the engine, subgraphs resolved; empty lists where the names do not match."""
    layers = {layer.name: layer for layer in predicted.layers}
    on_gpu = [layer.name for layer in measured.layers if layer.device is Device.GPU]
    found = {}
    for layer in measured.layers:
        if layer.device is Device.DLA:
            members = _members(layer, predicted, on_gpu)
            found[layer.name] = list(dict.fromkeys(node for each in members for node in each.onnx_nodes))
        else:
            found[layer.name] = onnx_nodes_of([layer.name], layers)
    return found
