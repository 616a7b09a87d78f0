"""GlobalAveragePool → AveragePool with the window of the (static) input.

TensorRT's parser makes a REDUCE layer of a GlobalAveragePool, which a DLA does not run, and a POOLING layer of an
AveragePool, which it does while the window is small enough (8x8). Over the whole input both are the same mean:

    mean over H, W  =  AveragePool(kernel = (H, W), stride = 1, no padding)

so the outputs are equal. It cannot be done where H or W is unknown before run time.
"""

from __future__ import annotations

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import checker, helper, shape_inference

from dlaflow.errors import InputError
from dlaflow.files import atomic_path

OLD, NEW = "GlobalAveragePool", "AveragePool"
ONNX_DOMAINS = {"", "ai.onnx"}


def replace_global_average_pool(source: Path, out: Path) -> int:
    """Write `source` to `out` with every GlobalAveragePool replaced; returns how many were.

    Tensor names stay; a node named after its op (`/pool/GlobalAveragePool`) is renamed with it. Weights that `source`
    keeps in other files come along into the one file that is written.
    Raises InputError for a file that is no ONNX model, and for a pool whose input height or width is not static.
    """
    model = _load(source)
    pools = [node for node in model.graph.node if node.op_type == OLD and node.domain in ONNX_DOMAINS]
    shapes = _shapes(model) if pools else {}
    for node in pools:
        window = _window(node, shapes.get(node.input[0]))
        node.op_type = NEW
        node.name = NEW.join(node.name.rsplit(OLD, 1))
        del node.attribute[:]
        node.attribute.append(helper.make_attribute("kernel_shape", window))
        node.attribute.append(helper.make_attribute("strides", [1] * len(window)))
    with atomic_path(out) as temporary:
        onnx.save_model(model, str(temporary))
    return len(pools)


def _load(source: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(str(source))
        checker.check_model(model)
    except (OSError, DecodeError, ValueError, checker.ValidationError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{source} is not a whole ONNX model: {reason}", then="Export it again.") from None
    return model


def _shapes(model: onnx.ModelProto) -> dict[str, list[int | None]]:
    """Tensor name → dimensions, None for an unknown one."""
    inferred = shape_inference.infer_shapes(model, data_prop=True).graph
    return {
        value.name: [
            each.dim_value if each.HasField("dim_value") else None for each in value.type.tensor_type.shape.dim
        ]
        for value in (*inferred.input, *inferred.value_info)
    }


def _window(node: onnx.NodeProto, shape: list[int | None] | None) -> list[int]:
    sides = shape[2:] if shape else []
    known = [side for side in sides if side]
    if not known or len(known) != len(sides):
        raise InputError(
            f"the {OLD} {node.name or node.output[0]!r} has no static window",
            expected="a known height and width of its input",
            received="x".join("?" if side is None else str(side) for side in sides) or "an unknown shape",
            then="Export the model with a fixed height and width.",
        )
    return known
