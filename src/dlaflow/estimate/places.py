"""Where layers run: as a placement says, and as it would be after the rewrites that it names."""

from __future__ import annotations

from dataclasses import replace

from dlaflow.estimate.program import Assignment
from dlaflow.graph.layer import Layer, Network, Shuffle, Tensor
from dlaflow.types import Device, Placement, Verdict

_BEFORE = ("reshape_before_", "unsqueeze_node_after_")
"""Names of the shuffles that the builder adds before a layer on the DLA; the others stand after one."""


def assignments_of(placement: Placement) -> dict[str, Assignment]:
    """Layer name → place."""
    return {layer.name: Assignment(layer.device, layer.loadable) for layer in placement.layers}


def with_helpers(network: Network, placement: Placement) -> Network:
    """The network with the shuffles that the builder adds around tensors of fewer than four dimensions.

    A placement names them; the network, which is what the parser makes, does not have them.
    """
    known = {layer.name: layer for layer in network.layers}
    layers = [layer.name for layer in placement.layers]
    inserted: list[Layer] = []
    renamed: dict[tuple[str, Device], Tensor] = {}
    device = {layer.name: layer.device for layer in placement.layers}
    for position, name in enumerate(layers):
        if (layer := known.get(name)) is not None:
            inputs = tuple(renamed.get((tensor.name, device[name]), tensor) for tensor in layer.inputs)
            inserted.append(replace(layer, inputs=inputs))
            continue
        before = name.startswith(_BEFORE)
        nearby = layers[position + 1 :] if before else layers[position - 1 :: -1] if position else []
        neighbour = next((known[other] for other in nearby if other in known and not known[other].folded), None)
        tensors = () if neighbour is None else neighbour.inputs if before else neighbour.outputs
        tensor = next((tensor for tensor in tensors if not tensor.constant), None)
        if tensor is None:
            continue
        output = replace(tensor, name=f"{tensor.name}_{name}")
        renamed[tensor.name, Device.DLA if before else Device.GPU] = output
        shuffle = Shuffle(helper=True)
        inserted.append(Layer(len(inserted), name, "SHUFFLE", "", (), (tensor,), (output,), shuffle))
    outputs = tuple(renamed.get((tensor.name, Device.GPU), tensor) for tensor in network.outputs)
    return replace(network, layers=tuple(inserted), outputs=outputs)


def repaired(network: Network, placement: Placement) -> dict[str, Assignment] | None:
    """The places if every layer with a named rewrite ran on the DLA; None when no layer has one.

    Loadables are runs of DLA layers in network order, which is how a repaired graph groups.
    """
    movable = {
        layer.name
        for layer in placement.layers
        if layer.device is Device.GPU
        and layer.verdict in (Verdict.CONDITIONAL, Verdict.FALLBACK)
        and layer.findings
        and all(finding.fix for finding in layer.findings if finding.verdict is not Verdict.NATIVE)
    }
    if not movable:
        return None
    before = assignments_of(placement)
    assignments: dict[str, Assignment] = {}
    loadable, inside = -1, False
    for layer in network.layers:
        assignment = before.get(layer.name, Assignment(Device.GPU))
        if assignment.device is Device.FOLDED or layer.folded:
            assignments[layer.name] = Assignment(Device.FOLDED)
        elif assignment.device is Device.DLA or layer.name in movable:
            loadable += 0 if inside else 1
            inside = True
            assignments[layer.name] = Assignment(Device.DLA, loadable)
        else:
            inside = False
            assignments[layer.name] = Assignment(Device.GPU)
    return assignments
