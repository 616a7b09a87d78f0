"""From a file and a target to a placement: what `dlaflow check` calls."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dlaflow.fixed_shape import FixedShape
from dlaflow.graph.inputs import batch_of
from dlaflow.graph.layer import Network
from dlaflow.graph.load import Model, load_model
from dlaflow.graph.lower import lower
from dlaflow.graph.shapes import Shapes, infer
from dlaflow.graph.typed import typed
from dlaflow.placement.answers import Known, known_answers
from dlaflow.placement.place import place
from dlaflow.rules.case import judged
from dlaflow.targets.features import has
from dlaflow.targets.limits import find_limit
from dlaflow.targets.target import Target
from dlaflow.targets.version import Version
from dlaflow.types import ModelInfo, Placement


def check(path: str | Path, target: Target) -> Placement:
    """Predict where the layers of an ONNX file run on a target.

    What boards answered to `dlaflow remote BOARD probe` settles what the rules leave unknown.
    Raises InputError when the file cannot be used, or when a file of answers is damaged.
    """
    return check_model(load_model(path), target)


def check_model(model: Model, target: Target, answers: Mapping[str, Known] | None = None) -> Placement:
    """The same for a model that is already loaded; `answers` stand in place of those kept on this computer."""
    return check_network(model, network_of(model, target), target, answers)


def shapes_of(model: Model, target: Target) -> Shapes:
    """What is known of a model's tensors with the target's batch and shapes.

    Raises UsageError for shapes that do not fit the model.
    """
    return infer(model, batch_of(model.proto.graph, target.batch, target.shapes), target.shapes)


def network_of(model: Model, target: Target, shapes: Shapes | None = None) -> Network:
    """The layers of a model as the target's release parses it; `shapes` are those of `shapes_of` where they are known.

    Raises UsageError for shapes that do not fit the model.
    """
    network = lower(model, tensorrt=str(target.version), batch=target.batch, fixed=target.shapes, shapes=shapes)
    return _with_types(network, target.version, target.dla)


def network_placed(model: Model, placement: Placement) -> Network:
    """The network that `placement` was made of, read from the model again: the record tells release and sizes."""
    known = {name: dims for name, dims in placement.model.inputs.items() if dims and -1 not in dims}
    fixed = tuple(FixedShape(name, tuple(dims)) for name, dims in known.items())
    batch = None if fixed else placement.target.batch or None
    network = lower(model, tensorrt=placement.target.tensorrt, batch=batch, fixed=fixed)
    return _with_types(network, Version.parse(placement.target.tensorrt), placement.target.dla)


def _with_types(network: Network, version: Version, dla: str | None) -> Network:
    """The network as its types make it, where types alone decide and the DLA takes pairs."""
    pairs = find_limit("quantize.available", version, dla or "v2")
    return typed(network) if pairs is not None and has("typed_only", version) else network


def check_network(
    model: Model,
    network: Network,
    target: Target,
    answers: Mapping[str, Known] | None = None,
    aside: frozenset[str] = frozenset(),
) -> Placement:
    """The same for a model whose network is already there; the build is told to leave the layers `aside` on the GPU."""
    target = judged(network, target)
    if answers is None:
        answers = known_answers(target.board.soc, target.release.tensorrt, target.precision)
    inputs = {tensor.name: [-1 if dim is None else dim for dim in tensor.shape or ()] for tensor in network.inputs}
    return place(network, ModelInfo(str(model.path), model.sha256, inputs), target, answers, aside)
