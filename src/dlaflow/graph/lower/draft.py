"""A layer while the network is being built, and the finished list: names settled, constants told, in reading order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from dlaflow.graph.cost import layer_macs
from dlaflow.graph.layer import Attributes, Layer, Tensor
from dlaflow.graph.lower.sizes import plain

_LOOP_KINDS = frozenset({"RECURRENCE", "ITERATOR", "TRIP_LIMIT", "LOOP_OUTPUT", "CONDITION", "CONDITIONAL_OUTPUT"})


@dataclass(slots=True)
class Draft:
    """A layer whose outputs may still be renamed."""

    index: int
    name: str
    kind: str
    op: str
    node: str
    inputs: list[Tensor]
    outputs: list[Tensor]
    attributes: Attributes | None
    weight_elements: int = 0


def is_constant(kind: str, inputs: Sequence[Tensor]) -> bool:
    """Whether a layer's result is known before run time."""
    if kind in _LOOP_KINDS or not inputs:
        return False
    if kind == "SHAPE":
        shape = inputs[0].shape
        return inputs[0].constant or (shape is not None and None not in shape)
    return all(tensor.constant for tensor in inputs)


def _finished(draft: Draft) -> Layer:
    layer = Layer(
        draft.index,
        draft.name,
        draft.kind,
        draft.op,
        (draft.node,) if draft.node else (),
        tuple(closed(tensor) for tensor in draft.inputs),
        tuple(closed(tensor) for tensor in draft.outputs),
        draft.attributes,
        folded=_is_folded(draft),
        weight_elements=draft.weight_elements,
    )
    return replace(layer, macs=layer_macs(layer))


def _is_folded(draft: Draft) -> bool:
    if draft.kind == "ASSERTION":
        return True  # a comparison of sizes, made before the run
    if draft.kind == "CONDITION":
        return all(tensor.constant for tensor in draft.inputs)
    return bool(draft.outputs) and all(tensor.constant for tensor in draft.outputs)


def closed(tensor: Tensor) -> Tensor:
    """The tensor with ordinary integers for dimensions."""
    return replace(tensor, shape=plain(tensor.shape))


def finished(drafts: Sequence[Draft]) -> tuple[Layer, ...]:
    """The layers in network order, but each one behind what it reads."""
    return tuple(_finished(draft) for draft in _behind_what_they_read(drafts))


def _behind_what_they_read(drafts: Sequence[Draft]) -> list[Draft]:
    """The parser adds a layer and then those that compute its size: these move in front of it, all else stays.

    What a loop hands back to its own start, the second input of a RECURRENCE, comes from behind.
    """
    makers = {tensor.name: draft for draft in drafts for tensor in draft.outputs}
    ordered: list[Draft] = []
    begun: set[int] = set()
    for first in drafts:
        path = [(first, _read(first))] if first.index not in begun else []
        begun.add(first.index)
        while path:
            draft, inputs = path[-1]
            found = (makers[tensor.name] for tensor in inputs if tensor.name in makers)
            maker = next((each for each in found if each.index not in begun), None)
            if maker is None:
                ordered.append(draft)
                path.pop()
            else:
                begun.add(maker.index)
                path.append((maker, _read(maker)))
    return ordered


def _read(draft: Draft) -> Iterator[Tensor]:
    return iter(draft.inputs[:1] if draft.kind == "RECURRENCE" else draft.inputs)
