"""The smallest model that shows what `check` says of a layer: for a board, or for a report of a bug.

It begins with the nodes that are asked for, and what is known of their inputs as values. Where these alone are placed
otherwise or raise other findings, the constants come along as the model computes them, since a rule may look at that;
then what stands around, twice as far each time, since a rule may look at neighbours.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dlaflow.errors import InputError, UsageError, unknown_name
from dlaflow.graph.inline import first_line
from dlaflow.graph.inputs import open_inputs
from dlaflow.graph.layer import Network
from dlaflow.graph.load import Model
from dlaflow.graph.lower.naming import node_name, uncounted
from dlaflow.graph.piece import Wires, piece_of, whole_piece
from dlaflow.graph.shapes import infer
from dlaflow.graph.tensor_type import TensorType
from dlaflow.placement.check import check_network, network_of, shapes_of
from dlaflow.rules.limits_of_model import LoadableLimit
from dlaflow.targets.target import Target
from dlaflow.types import Device, PlacedLayer, Placement

if TYPE_CHECKING:
    import numpy as np
    import onnx

_Told = tuple[str, tuple[str, ...], str, str, str, str]
"""What the placement says of nodes: kind, nodes, device, and a finding's rule, expected and received."""


@dataclass(frozen=True)
class Extracted:
    """A piece of a model: its bytes, the nodes asked for, how many it has, and what `check` says of them.

    `shows` is what the whole model shows there (rules, devices, a parser's refusal), `differs` what the piece shows
    otherwise, `refused` is what ONNX's checker says against it ("" where it takes it).
    """

    content: bytes
    asked: list[str]
    nodes: int
    shows: list[str]
    differs: list[str]
    refused: str = ""


def extract(model: Model, network: Network, placement: Placement, target: Target, what: str) -> Extracted:
    """Cut `what` out of a model whose network and placement on `target` are known.

    `what` is the name of an ONNX node, a layer or a tensor, `A:B` for what lies between two tensors (or several, with
    commas), or the index of a loadable. Raises UsageError for what the model does not have.
    """
    wires = Wires(model)
    asked, exactly = _asked(wires, placement, what)
    names = {node_name(wires.nodes[number]) for number in asked}
    beyond = {
        tuple(layer.onnx_nodes) for layer in placement.layers if _is_beyond(layer) and names & {*layer.onnx_nodes}
    }
    asked_for = _Asked(asked, names, beyond, _told(network, placement, names, beyond))
    piece, other = _smallest(wires, asked_for, target, exactly=exactly)
    proto = whole_piece(wires, piece)
    for key, value in (("dlaflow.source_sha256", model.sha256), ("dlaflow.piece", what)):
        proto.metadata_props.add(key=key, value=value)
    shows, differs = ({told[3] or f"on the {told[2]}" for told in found} for found in (asked_for.told, other))
    differs |= {LoadableLimit.id} if beyond else set()
    return Extracted(
        proto.SerializeToString(), sorted(names), len(proto.graph.node), sorted(shows), sorted(differs), _refusal(proto)
    )


def _asked(wires: Wires, placement: Placement, what: str) -> tuple[list[int], bool]:
    """The nodes that are meant, and whether these and no others."""
    named = {name for layer in placement.layers if layer.name == what for name in layer.onnx_nodes}
    found = [number for name in named or {what} for number in wires.named(name)]
    if found or what in wires.makers:
        return found or [wires.makers[what]], False
    tensors = wires.makers.keys() | wires.readers.keys()
    for place in (place for place, letter in enumerate(what) if letter == ":"):
        first, last = _listed(what[:place], tensors), _listed(what[place + 1 :], tensors)
        if first and last:
            between = wires.between(first, last)
            if not between:
                raise UsageError(
                    "nothing lies between these tensors", received=what, then="Name the earlier one first."
                )
            return sorted(between), True
    if what.isdecimal() and int(what) < len(placement.loadables):
        inside = {name for layer in placement.layers if layer.loadable == int(what) for name in layer.onnx_nodes}
        return [number for number, node in enumerate(wires.nodes) if node_name(node) in inside], False
    helper = next((layer for layer in placement.layers if layer.name == what), None)
    if helper is not None:
        near = [wires.makers[name] for name in helper.inputs if name in wires.makers]
        near += [number for name in helper.outputs for number in wires.readers.get(name, ())]
        if near:
            return near, False
    raise unknown_name("node (or layer, tensor, loadable, A:B of tensors)", what, {*map(node_name, wires.nodes)})


def _listed(text: str, tensors: Collection[str]) -> list[str]:
    """The tensors that a text names, with commas between them; none where it names something else."""
    names = [text] if text in tensors else text.split(",")
    return names if all(name in tensors for name in names) else []


@dataclass(frozen=True)
class _Asked:
    """The nodes that are asked for, by number and by name, and what is told of them.

    `beyond` are those on the GPU because the whole model has too many loadables, which no piece of it shows.
    """

    numbers: Sequence[int]
    names: set[str]
    beyond: set[tuple[str, ...]]
    told: set[_Told]


def _is_beyond(layer: PlacedLayer) -> bool:
    return any(finding.rule == LoadableLimit.id for finding in layer.findings)


def _smallest(wires: Wires, asked: _Asked, target: Target, *, exactly: bool) -> tuple[Model, set[_Told]]:
    """The piece, and what is told of it and of the whole, but not of both."""
    types, values = _known(wires.model, target)
    alone = replace(target, batch=None, shapes=())
    computed = {name for number in wires.constant for name in wires.nodes[number].output}
    runtime = {name: value for name, value in values.items() if name not in computed}

    def tried(chosen: Collection[int], values: Mapping[str, np.ndarray]) -> tuple[Model, set[_Told]]:
        piece = piece_of(wires, chosen, types, values)
        with suppress(InputError):  # too little of the model to make sense of
            network = network_of(piece, alone)
            return piece, asked.told ^ _told(network, check_network(piece, network, alone), asked.names, asked.beyond)
        return piece, asked.told

    piece, missing = tried(asked.numbers, values)
    chosen, steps = set(asked.numbers), 0
    while missing:
        grown = chosen
        for _ in range(steps):
            grown = wires.around(grown)
        if steps and (exactly or grown == chosen):
            break
        chosen, steps = grown, 2 * steps or 1
        piece, missing = tried(chosen, runtime)
    return piece, missing


def _known(model: Model, target: Target) -> tuple[dict[str, TensorType], Mapping[str, np.ndarray]]:
    """The types and the known values of a model's tensors. A batch that model and target leave open stays open."""
    fixed = shapes_of(model, target)
    if target.batch is not None or target.shapes or not open_inputs(model.proto.graph):
        return dict(fixed.types), fixed.values
    opened = infer(model, None)
    types = {
        name: TensorType((None, *known.shape[1:]), known.dtype)
        if known.shape and (opened.type_of(name).shape or (0,))[0] is None
        else known
        for name, known in fixed.types.items()
    }
    return types, opened.values


def _refusal(proto: onnx.ModelProto) -> str:
    """What ONNX's checker says against a model."""
    import onnx

    try:
        onnx.checker.check_model(proto)
    except Exception as error:  # the checker raises its own ValidationError, and what protobuf raises
        return first_line(error)
    return ""


def _told(network: Network, placement: Placement, names: set[str], beyond: Collection[tuple[str, ...]]) -> set[_Told]:
    """What is said of the nodes of these names; for those `beyond` the limit of loadables the device does not count."""
    found: set[_Told] = set()
    for layer in placement.layers:
        if names.isdisjoint(layer.onnx_nodes):
            continue
        where = layer.kind, tuple(layer.onnx_nodes), "" if tuple(layer.onnx_nodes) in beyond else layer.device.value
        if layer.device is not Device.FOLDED and where[2]:
            found.add((*where, "", "", ""))
        kept = (each for each in layer.findings if each.rule != LoadableLimit.id)
        found.update((*where, each.rule, each.expected, uncounted(each.received)) for each in kept)
    refused = (each for each in network.refusals if each.node in names)
    found.update(
        (each.op, (each.node,), "", f"{each.reading.value} by the parser", each.reason, "") for each in refused
    )
    return found
