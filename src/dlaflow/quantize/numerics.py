"""Make onnxruntime compute a Q/DQ model as the DLA does, as closely as it can.

- INT8 layers: values are rounded where the file has Q/DQ; products of INT8 values and their sums are computed in
  float32, which is exact up to 2^24 steps and beyond that off by less than a rounding of the result. The DLA sums in
  INT32. onnxruntime's own integer kernels are not used: see `dlaflow.run.ort.OrtOptions`.
- Sigmoid, Tanh, LRN and Softmax run in FP16 on the DLA whatever the precision of the engine: a Cast on each side rounds
  what goes in and what comes out.

Not modelled: the DLA's internal formats between fused layers, and TensorRT's choice to run a layer on the GPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

FP16_OPS = frozenset({"Sigmoid", "HardSigmoid", "Tanh", "LRN", "Softmax"})
_FLOAT, _FLOAT16 = 1, 10


def has_qdq(model: onnx.ModelProto) -> bool:
    """Whether a model is quantised."""
    return any(node.op_type in {"QuantizeLinear", "DequantizeLinear"} for node in model.graph.node)


def dla_numerics(model: onnx.ModelProto) -> onnx.ModelProto:
    """Put the FP16 roundings into a Q/DQ model; `model` itself is changed and returned."""
    from onnx import helper

    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.op_type not in FP16_OPS:
            nodes.append(node)
            continue
        source, target = node.input[0], node.output[0]
        node.input[0], node.output[0] = f"{target}_in_fp16", f"{target}_out_fp16"
        nodes.append(helper.make_node("Cast", [source], [node.input[0]], name=f"{node.input[0]}/Cast", to=_FLOAT16))
        nodes.append(node)
        nodes.append(helper.make_node("Cast", [node.output[0]], [target], name=f"{node.output[0]}/Cast", to=_FLOAT))
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)
    return model
