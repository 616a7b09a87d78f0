"""Make onnxruntime compute a quantised model as the DLA does, as closely as it can.

- INT8 layers: values are rounded where the file has Q/DQ; products of INT8 values and their sums are computed in
  float32, which is exact up to 2^24 steps and beyond that off by less than a rounding of the result. The DLA sums in
  INT32. onnxruntime's own integer kernels are not used: see `dlaflow.quantize.session.SessionOptions`.
- Sigmoid, Tanh, LRN and Softmax run in FP16 on the DLA although the engine is INT8: what goes in and what comes out is
  rounded to FP16.
- FP16 models: every tensor is rounded to FP16; in a Q/DQ model with FP16 types those that no pair rounds to INT8.

onnxruntime's CPU kernels compute FP16 in float32, and it drops the roundings between two of them as superfluous. An
Unsqueeze and a Squeeze, which do run in FP16, stand between the casts and keep each rounding.

Not modelled: the DLA's internal formats between fused layers, and TensorRT's choice to run a layer on the GPU.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np

from dlaflow.graph.verify import replace_nodes
from dlaflow.quantize.fp16 import widened
from dlaflow.quantize.model import QDQ, add_constant, has_qdq, index, opset_of

if TYPE_CHECKING:
    import onnx

FP16_OPS = frozenset({"Sigmoid", "HardSigmoid", "Tanh", "LRN", "Softmax"})
_FLOAT, _FLOAT16 = 1, 10
_AXES = "dlaflow_fence_axes"
_AXES_INPUT_OPSET = 13
"""The first opset whose Squeeze takes its axes as an input."""


def as_on_dla(model: onnx.ModelProto) -> onnx.ModelProto:
    """Put the roundings into a Q/DQ or FP16 model; `model` itself is changed and returned."""
    if opset_of(model) < _AXES_INPUT_OPSET:
        return model
    if has_qdq(model):
        halves = _unpaired_halves(model)
        _round_around(widened(model) if is_half(model) else model, halves)
    elif is_rounded(model):
        _round_everything(model)
    return model


def is_rounded(model: onnx.ModelProto) -> bool:
    """Whether a model is quantised or in FP16; its weights need not be loaded."""
    return has_qdq(model) or is_half(model)


def is_half(model: onnx.ModelProto) -> bool:
    """Whether a model stores FP16 constants."""
    return any(tensor.data_type == _FLOAT16 for tensor in model.graph.initializer)


def _unpaired_halves(model: onnx.ModelProto) -> set[str]:
    """The FP16 tensors of a Q/DQ model that others than QuantizeLinear read, and that come out of no pair."""
    graph = index(model)
    halves = {name for name, kind in graph.types.items() if kind == _FLOAT16 and name in graph.producer}
    return {
        name
        for name in halves - graph.constants
        if graph.producer[name].op_type not in QDQ
        and any(node.op_type not in QDQ for node in graph.consumers.get(name, [graph.producer[name]]))
    }


def _round_around(model: onnx.ModelProto, halves: Collection[str]) -> None:
    """Round the inputs and outputs of the operators that the DLA runs in FP16, and what is FP16 in the file."""
    writer = _Rounding(model)
    for node in list(model.graph.node):
        if node.op_type not in FP16_OPS:
            targets = [name for name in node.output if name in halves]
            node.output[:] = [f"{name}_exact" if name in halves else name for name in node.output]
            writer.nodes.append(node)
            for name in targets:
                writer.rounded(f"{name}_exact", f"{name}_out", name)
            continue
        source, target = node.input[0], node.output[0]
        node.input[0] = writer.rounded(source, f"{target}_in")
        node.output[0] = f"{target}_exact"
        writer.nodes.append(node)
        writer.rounded(node.output[0], f"{target}_out", target)
    writer.finish()


def _round_everything(model: onnx.ModelProto) -> None:
    """Round what each operator of an FP16 model puts out."""
    halves = {name for name, kind in index(model).types.items() if kind == _FLOAT16}
    writer = _Rounding(model)
    for node in list(model.graph.node):
        targets = [name for name in node.output if name in halves]
        node.output[:] = [f"{name}_exact" if name in halves else name for name in node.output]
        writer.nodes.append(node)
        for name in targets:
            writer.fence(f"{name}_exact", name)
    writer.finish()


class _Rounding:
    """Rebuilds the list of nodes."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self.nodes: list[onnx.NodeProto] = []
        model.ir_version = max(model.ir_version, 4)  # before, every constant had to be an input too
        add_constant(model, _AXES, np.zeros(1, np.int64))

    def rounded(self, source: str, stem: str, target: str = "") -> str:
        """A float32 tensor rounded to FP16, still float32; its name."""
        self._add("Cast", [source], f"{stem}_fp16", to=_FLOAT16)
        self.fence(f"{stem}_fp16", f"{stem}_fenced")
        return self._add("Cast", [f"{stem}_fenced"], target or f"{stem}_rounded", to=_FLOAT)

    def fence(self, source: str, target: str) -> None:
        """The same float16 tensor behind operators that onnxruntime really runs in FP16."""
        self._add("Unsqueeze", [source, _AXES], f"{target}_unsqueezed")
        self._add("Squeeze", [f"{target}_unsqueezed", _AXES], target)

    def finish(self) -> None:
        """Put the nodes into the model."""
        replace_nodes(self._model.graph, self.nodes)

    def _add(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(op, inputs, [output], name=f"{output}/{op}", **attributes))
        return output
