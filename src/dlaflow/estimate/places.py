"""Where layers run: as a placement says, and as it would be after the rewrites that it names."""

from __future__ import annotations

from dlaflow.estimate.program import Spot
from dlaflow.graph.layer import Network
from dlaflow.types import Device, Placement, Verdict


def spots_of(placement: Placement) -> dict[str, Spot]:
    """Layer name → place."""
    return {layer.name: Spot(layer.device, layer.loadable) for layer in placement.layers}


def repaired(network: Network, placement: Placement) -> dict[str, Spot] | None:
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
    before = spots_of(placement)
    spots: dict[str, Spot] = {}
    loadable, inside = -1, False
    for layer in network.layers:
        spot = before.get(layer.name, Spot(Device.GPU))
        if spot.device is Device.FOLDED or layer.folded:
            spots[layer.name] = Spot(Device.FOLDED)
        elif spot.device is Device.DLA or layer.name in movable:
            loadable += 0 if inside else 1
            inside = True
            spots[layer.name] = Spot(Device.DLA, loadable)
        else:
            inside = False
            spots[layer.name] = Spot(Device.GPU)
    return spots
