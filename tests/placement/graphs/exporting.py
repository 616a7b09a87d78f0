"""From torch modules to the ONNX files that exporters of their day wrote: random weights, real names."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn


def export(
    module: nn.Module,
    path: Path,
    *shapes: tuple[int, ...],
    names: tuple[str, ...] = ("input",),
    trained: bool = True,
    dynamic: Mapping[int, str] | None = None,
) -> Path:
    """Write `module` with TorchScript's exporter (opset 17) and return the path.

    Shapes are static but for the axes of the first input that `dynamic` names. Weights are random. Untrained networks
    keep torch's initial ones: equal biases are then stored once and shared through Identity nodes, which TensorRT sees.
    """
    torch.manual_seed(0)
    with torch.no_grad():
        for values in (*module.parameters(), *module.buffers()) if trained else ():
            if values.is_floating_point():
                values.uniform_(0.01, 0.1)
    inputs: tuple[Tensor, ...] = tuple(torch.randn(shape) for shape in shapes)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            inputs,
            str(path),
            dynamo=False,
            opset_version=17,
            input_names=list(names),
            dynamic_axes={names[0]: dict(dynamic)} if dynamic else None,
        )
    return path


def resize_input(path: Path, shape: tuple[int, ...]) -> Path:
    """Give the first input of a file another shape: for networks without baked sizes, drawn small to be quick."""
    proto = onnx.load(path)
    for dim, size in zip(proto.graph.input[0].type.tensor_type.shape.dim, shape, strict=True):
        dim.dim_value = size
    del proto.graph.value_info[:]
    for output in proto.graph.output:
        output.type.tensor_type.ClearField("shape")
    onnx.save(proto, path)
    return path


def rename_nodes(path: Path, name: Callable[[int, onnx.NodeProto], str]) -> Path:
    """Rename the nodes of a file in place: `name` gets the index and the node."""
    proto = onnx.load(path)
    for index, node in enumerate(proto.graph.node):
        node.name = name(index, node)
    onnx.save(proto, path)
    return path


def flat_names(path: Path) -> Path:
    """Name the nodes `Conv_0`, `Relu_1`, ... as torch up to 1.12 did."""
    return rename_nodes(path, lambda index, node: f"{node.op_type}_{index}")


def simplify(path: Path) -> Path:
    """Run onnxslim over a file in place, as ultralytics' export does by default."""
    import onnxslim

    onnx.save(onnxslim.slim(str(path)), path)
    return path
