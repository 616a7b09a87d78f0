"""The working graph of a prediction: TensorRT's layers, and the helper shuffles that its builder adds."""

from __future__ import annotations

from dataclasses import dataclass, field

from dlaflow.graph.layer import Layer, Tensor
from dlaflow.types import Device, Finding


@dataclass(slots=True, eq=False)
class Node:
    """A layer (or a helper, whose `layer` is None) with its place in the order and the tensors that it really reads."""

    name: str
    kind: str
    order: float
    device: Device
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    layer: Layer | None = None
    findings: list[Finding] = field(default_factory=list)
    batch: int | None = None
    """The effective batch, when it runs on the DLA."""

    @property
    def runs(self) -> bool:
        """Whether anything of it is left at run time."""
        return self.device is not Device.FOLDED


@dataclass(slots=True)
class Wiring:
    """Who makes and who takes each tensor among the nodes that run."""

    producers: dict[str, Node]
    consumers: dict[str, list[Node]]

    @classmethod
    def of(cls, nodes: list[Node]) -> Wiring:
        """Index the nodes that run; constants and erased shuffles do not appear."""
        producers: dict[str, Node] = {}
        consumers: dict[str, list[Node]] = {}
        for node in nodes:
            if not node.runs:
                continue
            for tensor in node.outputs:
                producers[tensor.name] = node
            for name in dict.fromkeys(tensor.name for tensor in node.inputs):
                consumers.setdefault(name, []).append(node)
        return cls(producers, consumers)

    def after(self, node: Node) -> list[Node]:
        """The nodes that read what `node` writes."""
        return [consumer for tensor in node.outputs for consumer in self.consumers.get(tensor.name, ())]

    def before(self, node: Node) -> list[Node]:
        """The nodes whose output `node` reads."""
        return [self.producers[tensor.name] for tensor in node.inputs if tensor.name in self.producers]
