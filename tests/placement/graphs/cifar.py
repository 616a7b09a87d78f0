"""The walk-through's networks, as scoped exports of today and with the flat names of torch 1.12 and before."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import onnx
import torch
from graphs.exporting import rename_nodes

from dlaflow.rewrites.reductions import replace_global_average_pool
from dlaflow.targets.target import resolve_target
from dlaflow.zoo.models import build_model


def scoped(path: Path, name: str) -> Path:
    """`model_bn` or `model_gn` with an open batch: nodes like /cnn/cnn.0/Conv."""
    return _export(path, name, 17)


def flat(path: Path, name: str) -> Path:
    """The same with nodes like Conv_0 and Gemm_15, and the batch's shape arithmetic of opset 11."""
    _export(path, name, 11)
    model = onnx.load(path)
    count = 0

    def numbered(_: int, node: onnx.NodeProto) -> str:
        # torch up to 1.12 kept the -1 of a view as an attribute's constant, without a node of its own.
        nonlocal count
        spare = node.op_type == "Constant" and node.output[0] in spares
        count += not spare
        return f"{node.op_type}_{count - 1}" if not spare else f"spare_{node.output[0]}"

    spares = {value for node in model.graph.node if node.op_type == "Concat" for value in node.input}
    return rename_nodes(path, numbered)


def pooled(path: Path) -> Path:
    """`model_bn` with AveragePool in place of GlobalAveragePool, flat names."""
    flat(path, "model_bn")
    replace_global_average_pool(path, path, resolve_target("agx-orin-64gb", "5.1.1"))
    return rename_nodes(path, lambda _, node: re.sub(r"Global(AveragePool_\d+)/AveragePool", r"\1", node.name))


def _export(path: Path, name: str, opset: int) -> Path:
    torch.manual_seed(0)
    network = build_model(name).eval()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for values in network.parameters():
            values.uniform_(0.01, 0.1)
        torch.onnx.export(
            network, (torch.randn(2, 3, 32, 32),), str(path), dynamo=False, opset_version=opset, input_names=["input"],
            dynamic_axes={"input": {0: "batch"}},
        )  # fmt: skip
    return path
