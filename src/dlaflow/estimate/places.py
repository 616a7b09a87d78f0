"""Where layers run, as a placement says, and the helper layers that it names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dlaflow.estimate.program import Assignment
from dlaflow.graph.layer import Layer, Network, Shuffle, Tensor
from dlaflow.types import Device, Placement


def assignments_of(placement: Placement) -> dict[str, Assignment]:
    """Layer name → place."""
    return {layer.name: Assignment(layer.device, layer.loadable) for layer in placement.layers}


def with_helpers(network: Network, placement: Placement) -> Network:
    """The network as placed: with the helpers that the builder adds as layers, and their readers reading them."""
    known = {layer.name: layer for layer in network.layers}
    tensors = {tensor.name: tensor for tensor in network.inputs}
    tensors |= {tensor.name: tensor for layer in network.layers for tensor in (*layer.inputs, *layer.outputs)}
    made: dict[str, str] = {}
    layers: list[Layer] = []
    for placed in placement.layers:
        layer = known.get(placed.name)
        if layer is not None:
            read = iter(placed.inputs)
            inputs = tuple(
                tensor if tensor.constant else _read(tensor, next(read), made, tensors) for tensor in layer.inputs
            )
            layers.append(replace(layer, inputs=inputs))
        elif placed.inputs[0] in tensors:
            source = tensors[placed.inputs[0]]
            output = tensors[placed.outputs[0]] = replace(source, name=placed.outputs[0])
            made[output.name] = source.name
            layers.append(
                Layer(len(layers), placed.name, "SHUFFLE", "", (), (source,), (output,), Shuffle(helper=True))
            )
    on_dla = {name for placed in placement.layers if placed.device is Device.DLA for name in placed.inputs}
    leaving = {source: tensors[name] for name, source in made.items() if name not in on_dla}
    outputs = tuple(leaving.get(tensor.name, tensor) for tensor in network.outputs)
    return replace(network, layers=tuple(layers), outputs=outputs)


def _read(tensor: Tensor, name: str, made: Mapping[str, str], tensors: Mapping[str, Tensor]) -> Tensor:
    """What a layer reads: a helper's output where there is one. An erased reshape keeps its own output's form."""
    return tensors[name] if name in made else tensor
