"""From TensorRT's layers and their devices to the steps that take time: fused operations, kernels, copies.

On the DLA a convolution takes its bias, scale, activation and residual sum with it (facts of the DLA compiler), and a
pooling behind it works on the pixels as they come; other layers are passes of their own. On the GPU chains of
point-wise layers become one kernel and plain reshapes cost nothing. A tensor that enters or leaves a DLA loadable
towards the GPU or the host is copied once into the other format.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

from dlaflow.graph.layer import (
    PRODUCTS,
    Activation,
    Convolution,
    ElementWise,
    Layer,
    MatrixMultiply,
    Network,
    Shuffle,
    Tensor,
    elements,
)
from dlaflow.graph.typed import PAIR
from dlaflow.types import Device, Placement

POINTWISE = frozenset({"ACTIVATION", "ELEMENTWISE", "SCALE", "UNARY", "PARAMETRIC_RELU", "CAST", "SELECT", "IDENTITY"})
_NORMALIZATIONS = frozenset({"NORMALIZATION", "PLUGIN", "PLUGIN_V2", "PLUGIN_V3"})
_NORMALIZATION_KERNELS = 6
"""A float32 plugin between INT8 layers: conversion in, mean, variance, normalisation, affine part, conversion out."""
_FREE = PAIR | {"CONSTANT"}
"""Quantisation becomes part of the layers beside it, on both devices; at the edge it is the copy that is counted."""
_STEERING = frozenset({"TRIP_LIMIT", "CONDITION"})
"""Layers that decide how often, or whether, others run."""
_WIDTHS = {"int8": 1, "float16": 2, "float32": 4}
_DLA_FUSED_ACTIVATIONS = frozenset({"RELU", "CLIP", "LEAKY_RELU"})


@dataclass(frozen=True, slots=True)
class Assignment:
    """Where a layer runs: its device and the index of its loadable (None off the DLA)."""

    device: Device
    loadable: int | None = None


@dataclass(frozen=True, slots=True)
class TimedStep:
    """One operation that takes time.

    `inputs`, `outputs` and `weights` count elements, `macs` multiply-accumulates. For matrix work `reduced` is the
    number of input channels of one group, `produced` its output channels, `positions` the output pixels of one image
    and `batch` the images; `points` counts the elements that a point-wise or pooling engine visits; `edge` those inputs
    and outputs that other steps of the same loadable neither make nor use, and that therefore pass through DRAM.
    `groups` is that of a convolution; `transposes` tells that elements change their order; `kernels` is how many
    launches the step is on the GPU; `width` the bytes per element where the types of the file say it (0: as the
    engine).
    """

    name: str
    kind: str
    assignment: Assignment
    inputs: int
    outputs: int
    weights: int = 0
    macs: int = 0
    reduced: int = 0
    produced: int = 0
    positions: int = 0
    batch: int = 1
    points: int = 0
    edge: int = 0
    groups: int = 1
    kernels: int = 1
    layers: tuple[str, ...] = ()
    width: int = 0
    transposes: bool = False

    @property
    def grouped(self) -> bool:
        """True for convolutions in groups of several channels."""
        return self.groups > 1 and self.reduced > 1

    @property
    def matrix(self) -> bool:
        """True for convolutions and matrix products."""
        return self.kind in PRODUCTS


@dataclass(frozen=True, slots=True)
class Copy:
    """A tensor that changes format: `inward` on its way to the DLA; `host` when its other end is the network's edge."""

    tensor: str
    elements: int
    inward: bool
    host: bool


@dataclass(frozen=True, slots=True)
class Program:
    """All that takes time in one inference.

    `unknown` names layers whose size or device nobody knows, `steering` those of loops and branches: the steps stand
    here once, however often they would run.
    """

    steps: tuple[TimedStep, ...]
    copies: tuple[Copy, ...]
    loadables: int
    unknown: tuple[str, ...] = ()
    steering: tuple[str, ...] = ()


def assemble(network: Network, assignments: Mapping[str, Assignment]) -> Program:
    """Fuse the layers of `network` into steps. `assignments` is by layer name; what it lacks is on the GPU.

    Layers that are folded, and those placed as FOLDED, take no time.
    """
    consumers: dict[str, list[int]] = {}
    network = _without_folded(network, assignments)
    work = list(network.layers)
    for position, layer in enumerate(work):
        for tensor in layer.inputs:
            if not tensor.constant:
                consumers.setdefault(tensor.name, []).append(position)
    kept = {tensor.name for tensor in network.outputs}
    groups = _fuse(work, assignments, consumers, kept)
    hybrid = any(_assignment(layer, assignments).device is Device.DLA for layer in work)
    inside = _inside(work, assignments, kept)
    written = {tensor.name for layer in work if _on_gpu(layer, assignments) for tensor in layer.outputs} - kept
    steps = tuple(
        _step(group, _assignment(group[0], assignments), inside)
        for group in _side_by_side(groups, assignments)
        if hybrid or not all(_free_on_gpu(layer, written) for layer in group)
    )
    unknown = tuple(
        layer.name for layer in work if any(tensor.shape is None or None in tensor.shape for tensor in layer.outputs)
    )
    loadables = {step.assignment.loadable for step in steps if step.assignment.device is Device.DLA}
    steering = tuple(layer.name for layer in work if layer.kind in _STEERING)
    return Program(steps, _copies(network, work, assignments), len(loadables), unknown, steering)


def assignments_of(placement: Placement) -> dict[str, Assignment]:
    """Where each layer of a placement runs, by its name."""
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


def _without_folded(network: Network, assignments: Mapping[str, Assignment]) -> Network:
    """The layers that take time; whoever reads what a vanished reshape makes reads what that reshape read."""
    origin: dict[str, Tensor] = {}
    layers: list[Layer] = []
    for layer in network.layers:
        inputs = tuple(origin.get(tensor.name, tensor) for tensor in layer.inputs)
        if _assignment(layer, assignments).device is not Device.FOLDED:
            layers.append(replace(layer, inputs=inputs))
            continue
        live = [tensor for tensor in inputs if not tensor.constant]
        if len(live) == 1:
            origin |= {tensor.name: live[0] for tensor in layer.outputs if not tensor.constant}
    outputs = tuple(origin.get(tensor.name, tensor) for tensor in network.outputs)
    return replace(network, layers=tuple(layers), outputs=outputs)


def on_gpu(network: Network) -> Program:
    """The same network wholly on the GPU."""
    return assemble(network, {})


def _on_gpu(layer: Layer, assignments: Mapping[str, Assignment]) -> bool:
    return _assignment(layer, assignments).device is Device.GPU


def _assignment(layer: Layer, assignments: Mapping[str, Assignment]) -> Assignment:
    if layer.folded or layer.kind in _FREE:
        return Assignment(Device.FOLDED)
    return assignments.get(layer.name, Assignment(Device.GPU))


def _fuse(
    work: list[Layer], assignments: Mapping[str, Assignment], consumers: Mapping[str, list[int]], kept: set[str]
) -> list[list[Layer]]:
    """Partition layers into groups that run as one step, each in network order."""
    group_of: dict[int, int] = {}
    groups: list[list[Layer]] = []
    producer = {tensor.name: position for position, layer in enumerate(work) for tensor in layer.outputs}
    for position, layer in enumerate(work):
        home = None
        for tensor in layer.inputs:
            source = producer.get(tensor.name)
            if source is None or source >= position:
                continue  # the network's input, or what a loop carries over from its last turn
            if tensor.name in kept or len(consumers.get(tensor.name, ())) != 1:
                continue
            candidate = groups[group_of[source]]
            if candidate[-1] is work[source] and _joins(candidate, layer, assignments):
                home = max(group_of[source], home if home is not None else -1)
        if home is None:
            home = len(groups)
            groups.append([])
        groups[home].append(layer)
        group_of[position] = home
    return groups


def _side_by_side(groups: list[list[Layer]], assignments: Mapping[str, Assignment]) -> list[list[Layer]]:
    """The groups with GPU convolutions of 1x1 that read the same tensor in one: TensorRT's horizontal fusion."""
    found: dict[object, list[Layer]] = {}
    for place, group in enumerate(groups):
        first, kinds = group[0], tuple(layer.kind for layer in group)
        key: object = place
        match first.attributes:
            case Convolution(groups=1) as own if {*own.kernel} == {1} and "ELEMENTWISE" not in kinds:
                if _on_gpu(first, assignments):
                    key = (first.inputs[0].name, replace(own, out_channels=0), kinds)
        found.setdefault(key, []).extend(group)
    return list(found.values())


def _joins(group: list[Layer], layer: Layer, assignments: Mapping[str, Assignment]) -> bool:
    """Whether `layer` becomes part of the step that `group` already is."""
    assignment = _assignment(layer, assignments)
    if assignment != _assignment(group[0], assignments):
        return False
    if layer.kind == "POOLING":
        return (
            assignment.device is Device.DLA
            and group[0].kind in PRODUCTS
            and all(other.kind != "POOLING" for other in group)
        )
    if layer.kind not in POINTWISE or group[-1].kind == "POOLING":
        return False
    if assignment.device is Device.GPU:
        return group[0].kind in PRODUCTS or group[0].kind in POINTWISE
    if group[0].kind not in PRODUCTS:
        return group[0].kind == "ELEMENTWISE" and _fits_dla(layer) and layer.kind != "ELEMENTWISE"
    return _fits_dla(layer)


def _fits_dla(layer: Layer) -> bool:
    """Whether the DLA's point-wise stage behind a convolution takes the layer without another pass."""
    match layer.attributes:
        case Activation(type=kind):
            return kind in _DLA_FUSED_ACTIVATIONS
        case ElementWise(operation=operation):
            return operation in {"SUM", "SUB"}
    return layer.kind in {"SCALE", "PARAMETRIC_RELU"}


def _inside(work: list[Layer], assignments: Mapping[str, Assignment], kept: set[str]) -> set[str]:
    """Tensors that are made and used within one loadable only."""
    made = {tensor.name: _assignment(layer, assignments) for layer in work for tensor in layer.outputs}
    inside = {name for name, assignment in made.items() if assignment.device is Device.DLA and name not in kept}
    for layer in work:
        assignment = _assignment(layer, assignments)
        inside -= {tensor.name for tensor in layer.inputs if made.get(tensor.name, assignment) != assignment}
    return inside


def _step(group: list[Layer], assignment: Assignment, inside: set[str]) -> TimedStep:
    """The step that a group of layers runs as."""
    first = group[0]
    inner = {tensor.name for layer in group for tensor in layer.outputs}
    live = {tensor.name: tensor for layer in group for tensor in layer.inputs if not tensor.constant}
    read = [tensor for name, tensor in live.items() if name not in inner]
    written = [tensor for layer in group for tensor in layer.outputs if tensor.name not in live]
    inputs = sum(elements(tensor.shape) for tensor in read)
    outputs = sum(elements(tensor.shape) for tensor in written)
    edge = sum(elements(tensor.shape) for tensor in (*read, *written) if tensor.name not in inside)
    made = first.outputs[0].shape if first.outputs else None  # what steers a loop or a branch makes no tensor
    shape = tuple(size or 1 for size in made or ())
    batch = shape[0] if shape else 1
    reduced, produced = _channels(first)
    pixels = prod(shape[2:]) if len(shape) > 2 else 1
    if first.kind == "MATRIX_MULTIPLY" and produced:
        pixels = max(1, prod(shape) // (batch * produced))
    return TimedStep(
        name=first.name,
        kind=first.kind,
        assignment=assignment,
        inputs=inputs,
        outputs=outputs,
        weights=sum(_weights(layer) for layer in group),
        macs=sum(layer.macs for layer in group),
        reduced=reduced,
        produced=produced,
        positions=pixels,
        batch=batch,
        points=max(_points(layer) for layer in group if layer is first or layer.kind == "POOLING"),
        edge=edge,
        groups=first.attributes.groups if isinstance(first.attributes, Convolution) else 1,
        kernels=_NORMALIZATION_KERNELS if first.kind in _NORMALIZATIONS else 1,
        layers=tuple(layer.name for layer in group),
        width=_WIDTHS.get(first.precision, 0),
        transposes=any(_transposes(layer) for layer in group),
    )


def _channels(layer: Layer) -> tuple[int, int]:
    """Input and output channels of one group."""
    match layer.attributes:
        case Convolution(groups=groups, in_channels=c, out_channels=k):
            return max(1, c // max(1, groups)), max(1, k // max(1, groups))
        case MatrixMultiply(in_features=c, out_features=k) if c and k:
            return c, k
    if layer.kind in PRODUCTS and layer.macs and layer.outputs:
        outputs = elements(layer.outputs[0].shape) or 1
        return max(1, layer.macs // outputs), int((layer.outputs[0].shape or (1,))[-1] or 1)
    return 0, 0


def _weights(layer: Layer) -> int:
    """The constants that a layer reads: its own, or those of the CONSTANT layers before a product."""
    if layer.kind not in PRODUCTS:
        return layer.weight_elements
    return max(layer.weight_elements, sum(elements(tensor.shape) for tensor in layer.inputs if tensor.constant))


def _points(layer: Layer) -> int:
    """Elements that a pooling or point-wise engine visits: all that a convolution makes passes through it once.

    A pooling sees each of its inputs once, whatever its window; behind a convolution both engines work side by side.
    """
    outputs = sum(elements(tensor.shape) for tensor in layer.outputs)
    if layer.kind in PRODUCTS or layer.kind in POINTWISE:
        return outputs
    return max(outputs, sum(elements(tensor.shape) for tensor in layer.inputs if not tensor.constant))


def _free_on_gpu(layer: Layer, written: set[str]) -> bool:
    """Whether the GPU has no kernel for it; a concatenation has none where its inputs are written in place."""
    if layer.kind == "CONCATENATION":
        return all(tensor.name in written for tensor in layer.inputs)
    return layer.kind in {"SQUEEZE", "UNSQUEEZE", "SHAPE"} or (layer.kind == "SHUFFLE" and not _transposes(layer))


def _transposes(layer: Layer) -> bool:
    match layer.attributes:
        case Shuffle(first_transpose=first, second_transpose=second):
            return _moves(first) or _moves(second)
    return False


def _moves(permutation: tuple[int, ...]) -> bool:
    return permutation != tuple(range(len(permutation)))


def _copies(network: Network, work: list[Layer], assignments: Mapping[str, Assignment]) -> tuple[Copy, ...]:
    """Tensors that cross the border of the DLA, each once per direction."""
    places: dict[str, Assignment | None] = {tensor.name: None for tensor in network.inputs}
    sizes: dict[str, int] = {tensor.name: elements(tensor.shape) for tensor in network.inputs}
    copies: dict[tuple[str, bool], Copy] = {}
    for layer in work:
        assignment = _assignment(layer, assignments)
        for tensor in layer.inputs:
            if tensor.constant or tensor.name not in places:
                continue
            source = places[tensor.name]
            if source is None and assignment.device is Device.DLA:
                copies[tensor.name, True] = Copy(tensor.name, sizes[tensor.name], inward=True, host=True)
            elif source is not None and source.device is not assignment.device:
                inward = assignment.device is Device.DLA
                copies[tensor.name, inward] = Copy(tensor.name, sizes[tensor.name], inward=inward, host=False)
        for tensor in layer.outputs:
            places[tensor.name] = assignment
            sizes[tensor.name] = elements(tensor.shape)
    for tensor in network.outputs:
        source = places.get(tensor.name)
        if source is not None and source.device is Device.DLA:
            copies[tensor.name, False] = Copy(tensor.name, sizes[tensor.name], inward=False, host=True)
    return tuple(copies.values())
