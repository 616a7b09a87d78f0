"""From a file and a target to a placement: what `dlaflow check` calls."""

from __future__ import annotations

from pathlib import Path

from dlaflow.graph.layer import Network
from dlaflow.graph.load import Model, load_model
from dlaflow.graph.lower import lower
from dlaflow.placement.place import place
from dlaflow.targets.target import Target
from dlaflow.types import ModelInfo, Placement


def check(path: str | Path, target: Target) -> Placement:
    """Predict where the layers of an ONNX file run on a target.

    Raises InputError when the file cannot be used.
    """
    return check_model(load_model(path), target)


def check_model(model: Model, target: Target) -> Placement:
    """The same for a model that is already loaded."""
    return check_network(model, network_of(model, target), target)


def network_of(model: Model, target: Target) -> Network:
    """The layers of a model as the target's release parses it, with the target's batch."""
    return lower(model, tensorrt=str(target.version), batch=target.batch)


def check_network(model: Model, network: Network, target: Target) -> Placement:
    """The same for a model whose network is already there."""
    inputs = {tensor.name: [-1 if dim is None else dim for dim in tensor.shape or ()] for tensor in network.inputs}
    return place(network, ModelInfo(str(model.path), model.sha256, inputs), target)
