"""Findings become devices, devices become loadables and switches: the prediction itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from dlaflow.graph.layer import Network, Tensor, elements, has_known_macs
from dlaflow.placement.answers import Known, settled
from dlaflow.placement.grouping import group, keep_largest
from dlaflow.placement.lifting import settle_shapes
from dlaflow.placement.nodes import Node
from dlaflow.placement.switches import switches
from dlaflow.rules.case import Case, make_case
from dlaflow.rules.examine import Examiner, verdict
from dlaflow.rules.limits_of_model import LoadableLimit
from dlaflow.rules.model import holds_without_dla, nothing_runs
from dlaflow.rules.registry import LAYER_RULES, PLACEMENT_RULES
from dlaflow.targets.target import Target
from dlaflow.types import Device, Finding, Loadable, ModelInfo, PlacedLayer, Placement, Summary, Verdict

_ELEMENT_BYTES = {"int64": 8, "uint64": 8, "int32": 4, "uint32": 4, "bool": 1, "int8": 1, "uint8": 1}
_TYPED_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
_OF_CANDIDATES = frozenset(rule.id for rule in LAYER_RULES if rule.judges_candidates)


@dataclass(frozen=True, slots=True)
class _Built:
    """What the builder would end with."""

    nodes: list[Node]
    loadables: list[list[Node]]
    before_limit: int


def place(
    network: Network,
    model: ModelInfo,
    target: Target,
    answers: Mapping[str, Known] | None = None,
    aside: frozenset[str] = frozenset(),
) -> Placement:
    """Predict what runs where.

    `network` comes from `dlaflow.graph.lower`; `model` is only carried into the result; `answers` of boards, by the
    signature of the layer, settle what the rules leave unknown; `aside` names layers that the build is told to leave on
    the GPU (`--layerDeviceTypes`).
    """
    case = make_case(network, target)
    examiner = Examiner()
    findings = examiner.model(case)
    blocked = nothing_runs(findings)
    if blocked:
        findings = [each for each in findings if holds_without_dla(each)]
    nodes = _examine(case, examiner, answers or {}, blocked=blocked)
    for node in nodes:
        if node.name in aside and node.device is Device.DLA:
            node.device = Device.GPU
    built = _build(nodes, case)
    placement = _record(built, case, model, findings)
    if blocked:
        return replace(placement, summary=replace(placement.summary, standalone_ok=False))
    found = {rule: rule().examine_placement(placement, case) for rule in PLACEMENT_RULES}
    findings = [*findings, *(each for rule, each in found.items() if each is not None and target.mode in rule.modes)]
    alone = all(each is None for rule, each in found.items() if "hybrid" not in rule.modes)
    return replace(placement, findings=findings, summary=replace(placement.summary, standalone_ok=alone))


def _examine(case: Case, examiner: Examiner, answers: Mapping[str, Known], *, blocked: bool) -> list[Node]:
    nodes = []
    standalone = case.target.mode == "standalone"
    for order, layer in enumerate(case.network.layers):
        passed = blocked or (layer.folded and not standalone)
        found = [] if passed else settled(layer, examiner.layer(layer, case), answers)
        device = Device.GPU if blocked else examiner.device(found)
        if layer.folded:
            device = Device.FOLDED
        nodes.append(Node(layer.name, layer.kind, order, device, layer.inputs, layer.outputs, layer, found))
    return nodes


def _build(nodes: list[Node], case: Case) -> _Built:
    """Run the builder's passes in its order."""
    later = {
        node.name
        for node in nodes
        if node.device is Device.GPU
        and (against := {finding.rule for finding in _against(node)})
        and against <= _OF_CANDIDATES
    }
    for node in nodes:
        if node.name in later:
            node.device = Device.DLA
    nodes = settle_shapes(nodes, case.network, case.target.version)
    candidates = group(nodes, case.target.version, later)
    limit = case.limit(LoadableLimit.limit)
    kept, dropped = keep_largest(candidates, nodes, limit.max if limit and limit.max else len(candidates))
    for members in dropped:
        for node in members:
            node.device = Device.GPU
            if limit is not None and node.layer is not None:
                node.findings.append(LoadableLimit().beyond(node.layer, limit, len(candidates)))
    return _Built(nodes, kept, len(candidates))


def _against(node: Node) -> list[Finding]:
    return [finding for finding in node.findings if finding.verdict in {Verdict.FALLBACK, Verdict.UNKNOWN}]


def _record(built: _Built, case: Case, model: ModelInfo, findings: list[Finding]) -> Placement:
    loadable_of = {id(node): index for index, members in enumerate(built.loadables) for node in members}
    blocked = nothing_runs(findings)
    layers = [_placed(node, loadable_of.get(id(node)), case, blocked=blocked) for node in built.nodes]
    loadables = [
        Loadable(index, members[0].name, members[-1].name, [node.name for node in members], _macs(members))
        for index, members in enumerate(built.loadables)
    ]
    tensors = {tensor.name: _bytes(tensor, case) for node in built.nodes for tensor in _live(node)}
    crossing = switches(layers, tensors)
    return Placement(
        model=model,
        target=case.target.info(_batch_of(case)),
        summary=replace(
            summary_of(layers, len(loadables), len(crossing), _mac_share(layers, case.network, findings)),
            loadables_before_cap=built.before_limit,
        ),
        layers=layers,
        loadables=loadables,
        switches=crossing,
        findings=findings,
        tensors=tensors,
    )


def _live(node: Node) -> Iterator[Tensor]:
    """The tensors that a node reads and writes at run time."""
    yield from (tensor for tensor in (*node.inputs, *node.outputs) if not tensor.constant)


def _placed(node: Node, loadable: int | None, case: Case, *, blocked: bool) -> PlacedLayer:
    layer = node.layer
    weights = layer.weight_elements * case.bytes_of(layer) if layer else 0
    return PlacedLayer(
        name=node.name,
        kind=node.kind,
        onnx_nodes=list(layer.onnx_nodes) if layer else [],
        device=node.device,
        verdict=Verdict.FALLBACK if blocked and node.device is Device.GPU else verdict(node.findings),
        loadable=loadable,
        macs=layer.macs if layer else 0,
        bytes=weights + sum(_bytes(tensor, case) for tensor in node.outputs),
        findings=list(node.findings),
        inputs=[tensor.name for tensor in node.inputs if not tensor.constant],
        outputs=[tensor.name for tensor in node.outputs if not tensor.constant],
    )


def summary_of(layers: list[PlacedLayer], loadables: int, switches: int, mac_share: float | None) -> Summary:
    """The counts of a placed graph, all of whose loadables are within the limit."""
    on = {device: [layer for layer in layers if layer.device is device] for device in Device}
    return Summary(
        layers=len(layers),
        dla_layers=len(on[Device.DLA]),
        gpu_layers=len(on[Device.GPU]),
        folded_layers=len(on[Device.FOLDED]),
        unknown_layers=sum(layer.verdict is Verdict.UNKNOWN for layer in layers),
        dla_mac_share=mac_share,
        loadables=loadables,
        loadables_before_cap=loadables,
        switches=switches,
        standalone_ok=not on[Device.GPU],
    )


def _mac_share(layers: list[PlacedLayer], network: Network, findings: list[Finding]) -> float | None:
    """The DLA's share; None where the size of an input, or of a layer that counts, is not known."""
    on_dla, on_gpu = ([layer for layer in layers if layer.device is device] for device in (Device.DLA, Device.GPU))
    if nothing_runs(findings) or not (on_dla or network.dynamic_inputs):
        return 0.0
    if network.dynamic_inputs or not all(map(has_known_macs, network.layers)):
        return None
    there, elsewhere = (sum(layer.macs for layer in part) for part in (on_dla, on_gpu))
    return there / (there + elsewhere) if there + elsewhere else float(not on_gpu)


def _macs(nodes: Iterable[Node]) -> int:
    return sum(node.layer.macs for node in nodes if node.layer)


def _bytes(tensor: Tensor, case: Case) -> int:
    """The bytes of a tensor as the types of the file have it, else the target's precision; 0 for an unknown shape."""
    width = _ELEMENT_BYTES.get(tensor.dtype, case.bytes_per_element)
    if case.network.typed:
        width = 1 if tensor.scale is not None else _TYPED_BYTES.get(tensor.dtype, width)
    return elements(tensor.shape) * width


def _batch_of(case: Case) -> int:
    """The batch of the network as checked: the first dimension of its first input."""
    if case.target.batch is not None:
        return case.target.batch
    for tensor in case.network.inputs:
        if tensor.shape and tensor.shape[0] is not None:
            return tensor.shape[0]
    return 1
