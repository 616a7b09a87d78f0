"""GRU, LSTM and RNN with the batch first (layout 1) → the same with the steps first: onnxruntime runs no others."""

from __future__ import annotations

from pathlib import Path

import onnx

from dlaflow.graph.load import load_model

_SWAPPED_INPUTS = (0, 5, 6)
_OUTPUT_PERM = (2, 0, 1, 3)
"""(T, D, N, H) to (N, T, D, H)."""


def time_major(model: Path | onnx.ModelProto) -> Path | onnx.ModelProto:
    """`model` with transposes around the recurrences that have the batch first; itself where there are none."""
    held = None if isinstance(model, onnx.ModelProto) else load_model(model, digest=False)
    given = held.proto if held is not None else model
    if not isinstance(given, onnx.ModelProto) or not any(_layout(node) for node in given.graph.node):
        return model
    changed = onnx.ModelProto()
    changed.CopyFrom(given if held is None else held.whole())
    nodes: list[onnx.NodeProto] = []
    for node in changed.graph.node:
        nodes += _with_transposes(node)
    del changed.graph.node[:]
    changed.graph.node.extend(nodes)
    return changed


def _layout(node: onnx.NodeProto) -> onnx.AttributeProto | None:
    if node.op_type not in {"GRU", "LSTM", "RNN"} or node.domain not in ("", "ai.onnx"):
        return None
    return next((each for each in node.attribute if each.name == "layout" and each.i == 1), None)


def _with_transposes(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    layout = _layout(node)
    if layout is None:
        return [node]
    turned, before, after = onnx.NodeProto(), [], []
    stem = next(name for name in node.output if name)
    turned.CopyFrom(node)
    turned.attribute.remove(layout)
    for index in _SWAPPED_INPUTS:
        if index < len(node.input) and node.input[index]:
            turned.input[index] = f"{stem}/time major {index}"
            perm = [1, 0, 2]
            before.append(onnx.helper.make_node("Transpose", [node.input[index]], [turned.input[index]], perm=perm))
    for index, name in enumerate(node.output):
        if name:
            turned.output[index] = f"{name}/time major"
            perm = list(_OUTPUT_PERM) if index == 0 else [1, 0, 2]
            after.append(onnx.helper.make_node("Transpose", [turned.output[index]], [name], perm=perm))
    return [*before, turned, *after]
