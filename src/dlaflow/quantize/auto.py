"""The `auto` method: for each tensor the threshold that does the least harm where it matters, behind the next layer.

Each method proposes thresholds for a tensor. One extra model computes, for every proposal, the layer behind that tensor
with the tensor rounded and as it is, and returns only the sum of squared differences: a second pass over a few images,
in which no activation leaves onnxruntime. Layers that only pass values on (pooling, reshapes, ReLU) are walked through
up to the next layer with weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dlaflow.progress import Progress, silent
from dlaflow.quantize.calibration import LEVELS
from dlaflow.quantize.feed import Batch
from dlaflow.quantize.histogram import Histogram
from dlaflow.quantize.methods import entropy, minmax, mse, percentile
from dlaflow.quantize.model import Graph, add_constant
from dlaflow.quantize.plan import PASS_THROUGH
from dlaflow.quantize.session import Session

if TYPE_CHECKING:
    import onnx

IMAGES = 256
"""Images of the second pass, at most: fewer let chance decide between close thresholds."""

_WALKED = PASS_THROUGH | {"Relu", "Clip", "GlobalAveragePool"}
_DEPTH = 4
_CLOSE = 0.01
"""Thresholds closer than this share of each other are one."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A threshold and the method that proposes it."""

    method: str
    threshold: float


def proposals(histogram: Histogram) -> list[Proposal]:
    """What the methods say of a tensor, without near duplicates; nothing for a tensor of zeros."""
    candidates = [
        Proposal("mse", mse(histogram)),
        Proposal("entropy", entropy(histogram)),
        Proposal("minmax", minmax(histogram)),
        *(Proposal(f"percentile {share}", percentile(histogram, share)) for share in (99.9, 99.99, 99.999)),
    ]
    kept: list[Proposal] = []
    for proposal in candidates:
        apart = all(abs(other.threshold - proposal.threshold) > _CLOSE * other.threshold for other in kept)
        if proposal.threshold > 0 and apart:
            kept.append(proposal)
    return kept


def best_proposals(
    graph: Graph,
    proposed: Mapping[str, Sequence[Proposal]],
    batches: Iterable[Batch],
    progress: Progress = silent,
) -> dict[str, Proposal]:
    """For each tensor the proposal with the least squared error behind the next layers, over `batches`."""
    open_choices = {name: candidates for name, candidates in proposed.items() if len(candidates) > 1}
    chosen = {name: candidates[0] for name, candidates in proposed.items() if len(candidates) == 1}
    if not open_choices:
        return chosen
    model = _probe(graph, open_choices)
    runner = Session(model)
    model.Clear()
    total: list[NDArray[np.float64]] = [np.zeros(len(candidates), np.float64) for candidates in open_choices.values()]
    with progress("compare methods", None, "images") as task:
        for batch in batches:
            step = runner.batch or 8
            for start in range(0, len(batch), step):
                part = batch[start : start + step]
                for sums, errors in zip(total, runner.run_all(part), strict=True):
                    sums += errors.reshape(-1).astype(np.float64)
                task.advance(len(part))
    for (name, candidates), sums in zip(open_choices.items(), total, strict=True):
        chosen[name] = candidates[int(np.argmin(sums))]
    return chosen


def _probe(graph: Graph, proposed: Mapping[str, Sequence[Proposal]]) -> onnx.ModelProto:
    """The model whose outputs are, for each tensor, the relative squared error of each proposal."""
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(graph.proto)
    del model.graph.output[:]
    writer = _ProbeWriter(graph, model)
    for position, (name, candidates) in enumerate(proposed.items()):
        rows = [
            writer.error(name, proposal.threshold / LEVELS, f"probe{position}_{row}")
            for row, proposal in enumerate(candidates)
        ]
        output = writer.node("Concat", rows, f"probe{position}", axis=0)
        model.graph.output.append(onnx.helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None))
    return model


class _ProbeWriter:
    """Adds nodes to the probe."""

    def __init__(self, graph: Graph, model: onnx.ModelProto) -> None:
        self._graph = graph
        self._model = model
        self._flat = add_constant(model, "probe_flat", np.array([-1], np.int64))
        self._zero = add_constant(model, "probe_zero", np.int8(0))
        self._tiny = add_constant(model, "probe_tiny", np.array([1e-30], np.float32))
        self._norms: dict[str, str] = {}

    def node(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        from onnx import helper

        self._model.graph.node.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def error(self, name: str, scale: float, stem: str) -> str:
        """The sum over the layers behind `name` of (rounded - exact)² / exact², shape [1]."""
        step = add_constant(self._model, f"{stem}_scale", np.float32(scale))
        quantised = self.node("QuantizeLinear", [name, step, self._zero], f"{stem}_q")
        rounded = self.node("DequantizeLinear", [quantised, step, self._zero], f"{stem}_r")
        terms = [
            self._relative(exact, other, f"{stem}_{i}")
            for i, (exact, other) in enumerate(self._ends(name, rounded, stem))
        ]
        return terms[0] if len(terms) == 1 else self.node("Sum", terms, f"{stem}_sum")

    def _ends(self, name: str, rounded: str, stem: str) -> list[tuple[str, str]]:
        """Tensors behind `name`, each with its copy computed from `rounded`; the pair itself when nothing is behind."""
        import onnx

        ends: list[tuple[str, str]] = []
        front = [(name, rounded, 0)]
        while front:
            exact, other, depth = front.pop()
            consumers = [
                node for node in self._graph.consumers.get(exact, ()) if self._graph.is_activation(node.output[0])
            ]
            if not consumers or exact in self._graph.outputs:
                ends.append((exact, other))
            for node in consumers:
                copy = onnx.NodeProto()
                copy.CopyFrom(node)
                suffix = f"{stem}_{len(self._model.graph.node)}"
                copy.name = suffix
                copy.input[:] = [other if value == exact else value for value in node.input]
                copy.output[:] = [f"{suffix}_{position}" if value else "" for position, value in enumerate(node.output)]
                self._model.graph.node.append(copy)
                pair = (node.output[0], copy.output[0])
                if node.op_type in _WALKED and depth < _DEPTH:
                    front.append((*pair, depth + 1))
                else:
                    ends.append(pair)
        return ends

    def _relative(self, exact: str, other: str, stem: str) -> str:
        if exact not in self._norms:
            norm = self._squares(exact, f"{stem}_norm")
            self._norms[exact] = self.node("Max", [norm, self._tiny], f"{stem}_normed")
        difference = self.node("Sub", [other, exact], f"{stem}_d")
        return self.node("Div", [self._squares(difference, f"{stem}_e"), self._norms[exact]], f"{stem}_relative")

    def _squares(self, name: str, stem: str) -> str:
        return self.node("Reshape", [self.node("ReduceSumSquare", [name], f"{stem}_s"), self._flat], f"{stem}_v")
