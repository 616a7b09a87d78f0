"""Take Q/DQ out of a model that somebody else quantised: a plain model, its scales, and what stays in FP16.

Understood are pairs on activations, fake-quantised float weights (pytorch-quantization), INT8 weights behind a single
DequantizeLinear (ModelOpt, onnxruntime) and INT32 biases. Weights come out as the values that the quantised model
computes with, so that quantising them again changes nothing. FP16 types become float32, and Casts between them vanish.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dlaflow.errors import InputError
from dlaflow.graph.load import Model, as_model
from dlaflow.graph.verify import replace_nodes
from dlaflow.quantize.fp16 import widened
from dlaflow.quantize.model import QDQ, Graph, add_constant, drop_unused_constants, has_qdq, index
from dlaflow.quantize.plan import LINEAR, PASS_THROUGH, plan
from dlaflow.reading import read_text

if TYPE_CHECKING:
    import onnx

_SUFFIX = re.compile(r"_(int8|quantized|QuantizeLinear_Output)$")
"""What dlaflow, onnxruntime and ModelOpt append to the name of a quantised weight."""


@dataclass(frozen=True, eq=False)
class Stripped:
    """`model` without Q/DQ, `scales` by tensor name, `float_nodes` with weights that were not quantised."""

    model: onnx.ModelProto
    scales: Mapping[str, float]
    float_nodes: tuple[str, ...]


def strip_qdq(path: Model | Path) -> Stripped:
    """Separate a Q/DQ model into its parts.

    Raises InputError when there is no Q/DQ, values are not INT8, a zero point is not symmetric, a weight is quantised
    in blocks, or an activation has a scale per channel.
    """
    held = as_model(path)
    model = widened(held.whole())
    graph = index(model)
    if not has_qdq(model):
        raise InputError(f"{held.path} has no Q/DQ nodes", expected="a quantised model", then="Calibrate it instead.")
    reader = _Reader(graph)
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear":
            reader.take(node)
    quantised = {
        node.name
        for node in model.graph.node
        if node.op_type in LINEAR and all(reader.is_quantised(name) for name in node.input[:2])
    }
    reader.apply()
    left = tuple(node.name for node in model.graph.node if node.op_type in LINEAR and node.name not in quantised)
    return Stripped(model, _spread(index(model), reader.scales), left)


class _Reader:
    """Collects scales and replacements node by node."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.scales: dict[str, float] = {}
        self.replaced: dict[str, str] = {}
        self._put_names: set[str] = set()

    def take(self, node: onnx.NodeProto) -> None:
        """Account for one DequantizeLinear and the QuantizeLinear before it."""
        scale = self._constant(node, 1)
        before = self._graph.producer.get(node.input[0])
        source = before.input[0] if before is not None and before.op_type == "QuantizeLinear" else node.input[0]
        value = self._graph.value(source)
        self._refuse(node, value if source == node.input[0] else None)
        if value is not None:
            self._store(node, source, np.asarray(value), scale)
            return
        if source == node.input[0]:
            raise InputError(
                f"{node.name or node.output[0]!r} dequantises a tensor that is INT8 from the start",
                expected="QuantizeLinear or a constant before DequantizeLinear",
                received=source,
            )
        if scale.size != 1:
            raise InputError(
                f"activation {source!r} has a scale per channel", expected="one scale", received=f"{scale.size} scales"
            )
        self.scales[source] = max(self.scales.get(source, 0.0), float(scale.reshape(())))
        self.replaced[node.output[0]] = source

    def is_quantised(self, name: str) -> bool:
        """Whether a tensor comes out of a pair, also behind operators that only move values."""
        while name not in self.replaced:
            node = self._graph.producer.get(name)
            if node is None or node.op_type not in PASS_THROUGH:
                return False
            name = node.input[0]
        return True

    def apply(self) -> None:
        """Rewire the graph around the pairs and drop them; an output of the network keeps its name."""
        from onnx import helper

        graph = self._graph.proto.graph
        outputs = {value.name for value in graph.output}
        kept = [node for node in graph.node if node.op_type not in QDQ]
        renamed = {}
        for behind, source in self.replaced.items():
            if behind in outputs and source in self._graph.producer:
                renamed[source] = behind
                self.scales[behind] = self.scales.pop(source)
        for node in kept:
            node.input[:] = [self._end(name, renamed) for name in node.input]
            node.output[:] = [renamed.get(name, name) for name in node.output]
        for behind, source in self.replaced.items():
            if behind in outputs and source not in self._graph.producer:
                kept.append(helper.make_node("Identity", [source], [behind], name=f"{behind}/Identity"))
        replace_nodes(graph, kept)
        del graph.value_info[:]
        drop_unused_constants(self._graph.proto)

    def _end(self, name: str, renamed: Mapping[str, str]) -> str:
        while name in self.replaced:
            name = self.replaced[name]
        return renamed.get(name, name)

    def _store(self, node: onnx.NodeProto, source: str, value: NDArray[np.generic], scale: NDArray[np.float32]) -> None:
        """Keep a constant as the values that the quantised model computes with; `source` is INT8 or still float."""
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
        shape = [-1 if i == axis % value.ndim else 1 for i in range(value.ndim)] if scale.size > 1 else []
        if scale.size > 1 and scale.size != value.shape[axis % value.ndim]:
            raise InputError(
                f"{node.name or node.output[0]!r} has scales that do not fit its weight",
                expected=f"1 or {value.shape[axis % value.ndim]} scales",
                received=f"{list(scale.shape)} for a weight {list(value.shape)}",
                then="Quantise the weights per tensor or per output channel, not in blocks.",
            )
        shaped = scale.reshape(shape)
        whole = value.astype(np.float32)
        if source != node.input[0]:
            whole = np.clip(np.rint(whole / np.where(shaped > 0, shaped, 1)), -128, 127)
        self.replaced[node.output[0]] = self._put(source, (whole * shaped).astype(np.float32))

    def _put(self, quantised: str, value: NDArray[np.float32]) -> str:
        """Store a weight under the name that it had before quantisation, when that is free."""
        stem = _SUFFIX.sub("", quantised)
        taken = stem in self._graph.stored or stem in self._graph.producer or stem in self._put_names
        name = f"{quantised}_folded" if taken else stem
        self._put_names.add(name)
        return add_constant(self._graph.proto, name, value)

    def _constant(self, node: onnx.NodeProto, position: int) -> NDArray[np.float32]:
        value = self._graph.value(node.input[position])
        if value is None:
            raise InputError(
                f"{node.name or node.output[0]!r} has a scale that is computed", expected="a constant scale"
            )
        return np.asarray(value, np.float32)

    def _refuse(self, node: onnx.NodeProto, stored: NDArray[np.generic] | None) -> None:
        """Zero points must be 0; a calibration cache has INT8 alone, while constants may be INT32 too (biases)."""
        label = node.name or node.output[0]
        zero = self._graph.value(node.input[2]) if len(node.input) > 2 and node.input[2] else None
        if zero is not None and np.any(np.asarray(zero, np.int64) != 0):
            raise InputError(
                f"{label!r} is asymmetric",
                expected="zero points of 0",
                received=f"zero point {np.asarray(zero).reshape(-1)[0]}",
                then="Quantise again symmetrically: the DLA's cache has no zero points.",
            )
        known = stored if stored is not None else zero
        kind = "uint8" if known is None else known.dtype.name
        if kind != "int8" and not (kind == "int32" and stored is not None):
            raise InputError(
                f"{label!r} holds {kind} values",
                expected="int8",
                received=kind,
                then="Quantise again with signed INT8 (QInt8, symmetric).",
            )


def _spread(graph: Graph, scales: Mapping[str, float]) -> dict[str, float]:
    """The scales in network order, with those that follow from a known one: fused and pass-through tensors."""
    relations = plan(graph)
    found = dict(scales)
    for members in relations.families:
        known = [scales[name] for name in members if name in scales]
        if known:
            found.update({name: max(known) for name in members if name not in scales})
    ordered = {name: found[name] for name in relations.tensors if name in found}
    return {**ordered, **found}


def layer_precisions(nodes: tuple[str, ...] | list[str], precision: str = "fp16") -> str:
    """The value of trtexec's --layerPrecisions for nodes that shall not run in INT8."""
    return ",".join(f"{name}:{precision}" for name in nodes)


def float_nodes_of(path: Path) -> tuple[str, ...]:
    """The nodes of a file that holds such a value; names may contain colons.

    Raises InputError when it cannot be read or holds something else.
    """
    try:
        text = read_text(path).strip()
    except UnicodeDecodeError:
        raise InputError(f"cannot read {path}: no text", then="Check the path.") from None
    items = [item.strip().rpartition(":") for item in text.split(",") if item.strip()]
    for name, _, precision in items:
        if not name or precision not in {"fp16", "fp32"}:
            raise InputError(
                f"{path} holds no --layerPrecisions value", expected="layer:fp16,layer:fp16", received=text[:60]
            )
    return tuple(name for name, _, _ in items)
