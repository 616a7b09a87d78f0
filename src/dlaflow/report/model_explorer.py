"""Node data for Google's Model Explorer: each ONNX node coloured by the device that it would run on."""

from __future__ import annotations

from dlaflow.files import json_bytes
from dlaflow.types import Device, Placement

_COLOURS = {Device.DLA: "#3f9142", Device.GPU: "#8a8a8a", Device.FOLDED: "#d9d9d9"}
_FIRST = (Device.GPU, Device.DLA, Device.FOLDED)
"""A node with layers on several devices shows the first of these."""


def node_data_json(placement: Placement) -> bytes:
    """A node data file for the graph of the model: node name → device, with a legend of colours."""
    devices: dict[str, set[Device]] = {}
    for layer in placement.layers:
        for node in layer.onnx_nodes:
            devices.setdefault(node, set()).add(layer.device)
    chosen = {node: next(device for device in _FIRST if device in found) for node, found in devices.items()}
    graph = {"results": {node: {"value": device.value, "bgColor": _COLOURS[device]} for node, device in chosen.items()}}
    return json_bytes({"main_graph": graph})
