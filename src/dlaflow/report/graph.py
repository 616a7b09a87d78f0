"""The data of the network graph: layers and connections as compact JSON; the page lays it out and opens its modules.

Layers that fold away are left out. A layer's module path comes from the name of its ONNX node (`/cnn/cnn.0/Conv`).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from dlaflow.report.records import Variant
from dlaflow.report.units import si
from dlaflow.types import Device, PlacedLayer
from dlaflow.visible import visible

_UNNAMED = "(Unnamed Layer"
_Json = dict[str, object]


def graph_data(variants: Mapping[str, Variant]) -> str:
    """JSON that can stand in a page, by anchor: nothing in it can end the block that holds it. Empty without edges."""
    graphs = {anchor: graph for anchor, variant in variants.items() if (graph := _graph(variant))}
    return script_json(graphs) if graphs else ""


def script_json(data: object) -> str:
    """JSON that can stand in a page: nothing in it can end the block that holds it."""
    text = msgspec.json.encode(data).decode()
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _graph(variant: Variant) -> _Json | None:
    if variant.placement is None or not variant.edges:
        return None
    live = [layer for layer in variant.placement.layers if layer.device is not Device.FOLDED]
    index = {layer.name: position for position, layer in enumerate(live)}
    pairs = {(edge.source, edge.to) for edge in variant.edges}
    found = {(index[source], index[to]) for source, to in pairs if source in index and to in index}
    return {"nodes": [_node(layer) for layer in live], "edges": sorted(found)}


def _node(layer: PlacedLayer) -> _Json:
    *path, leaf = map(visible, _split(layer))
    if leaf.startswith(_UNNAMED):
        leaf = layer.kind.replace("_", " ").capitalize()
    node: _Json = {
        "name": visible(layer.name),
        "leaf": leaf,
        "kind": layer.kind,
        "device": layer.device,
        "verdict": layer.verdict,
    }
    optional: _Json = {
        "path": path,
        "loadable": layer.loadable,
        "macs": f"{si(layer.macs)}MAC" if layer.macs else "",
        "findings": [
            {"rule": each.rule, "verdict": each.verdict, "message": visible(each.message)}
            | ({"fix": visible(each.fix)} if each.fix else {})
            for each in layer.findings
        ],
    }
    return node | {key: value for key, value in optional.items() if value not in (None, "", [])}


def _split(layer: PlacedLayer) -> list[str]:
    """The modules and the last part of the layer's name; helpers take the modules of the ONNX node that they serve."""
    node = next((name for name in layer.onnx_nodes if name.startswith("/")), "")
    if layer.name.startswith("/") and " " not in layer.name:
        return [part for part in layer.name.split("/") if part] or [layer.name]
    return [*(part for part in node.split("/")[:-1] if part), layer.name]
