"""The connections between layers, for the network graph."""

from __future__ import annotations

from dlaflow.graph.layer import Network
from dlaflow.report.records import Edge


def edges_of(network: Network) -> list[Edge]:
    """Each tensor that one layer makes and another reads, in network order."""
    maker = {tensor.name: layer.name for layer in network.layers for tensor in layer.outputs}
    return [
        Edge(maker[tensor.name], layer.name, tensor.name)
        for layer in network.layers
        for tensor in layer.inputs
        if tensor.name in maker and maker[tensor.name] != layer.name
    ]
