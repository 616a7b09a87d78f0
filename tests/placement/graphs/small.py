"""Small graphs: single operators, and the parts of a network that a report names."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx.parser
import torch
from graphs.exporting import export, rename_nodes
from graphs.writer import Window, Writer
from torch import Tensor, nn


def ceil(path: Path) -> Path:
    """One Ceil, without a name: TensorRT calls it node_of_Y."""
    return _text(path, "(float[1, 4, 8, 8] X) => (float[1, 4, 8, 8] Y) { Y = Ceil (X) }")


def add(path: Path) -> Path:
    """The sum of two inputs; TensorRT's sample builds it without a name."""
    text = "(float[1, 32, 32, 32] a, float[1, 32, 32, 32] b) => (float[1, 32, 32, 32] c) { c = Add (a, b) }"
    return rename_nodes(_text(path, text), lambda _, node: "(Unnamed Layer* 0) [ElementWise]")


def gates(path: Path) -> Path:
    """What a rewrite for the DLA had to replace: HardSigmoid, Gemm on rank 2, the same tensor twice."""
    pen = Writer()
    x = pen.conv("stem", pen.input("rgb", [1, 3, 384, 512]), 16, 3, Window(stride=2))
    gate = pen.node("HardSigmoid", "FeatureModulation.spatial_gate Hardsigmoid", [pen.conv("gate", x, 16, 1)])
    x = pen.node("Mul", "modulate", [x, gate])
    return pen.save(path, [pen.node("Mul", "f*f", [x, x])])


def sam_operators(path: Path) -> Path:
    """One layer of each operator that a report on SAM 2.1 counts among those refused; comparisons pick by Where."""
    pen = Writer()
    x = pen.conv("stem", pen.input("image", [1, 3, 64, 64]), 16, 3, Window(stride=2))
    other = pen.conv("other", x, 16, 3)
    for op in ("Floor", "Sqrt", "Erf", "Sin", "Cos"):
        x = pen.node(op, op.lower(), [x])
    x = pen.node("Div", "div", [x, other])
    x = pen.node("Pow", "pow", [x, pen.constant("three", [3.0])])
    for op in ("Less", "Greater"):
        x = pen.node("Where", f"pick_{op}", [pen.node(op, op.lower(), [x, other]), x, other])
    return pen.save(path, [pen.node("ReduceMean", "mean", [x], axes=[2, 3], keepdims=1)])


def pyramid_stage(path: Path, *, width: int) -> Path:
    """The first block of a ResNeXt's second stage on a bird's-eye view of 128x256: 32 groups, stride 2."""
    pen = Writer()
    x = pen.conv("stem", pen.input("bev", [2, 64, 128, 256]), width, 1)
    x = pen.node("Relu", "stage1/relu1", [pen.conv("stage1/conv1", x, width, 1)])
    x = pen.conv("stage1/conv2", x, width, 3, Window(stride=2, groups=32))
    return pen.save(path, [pen.conv("stage1/conv3", pen.node("Relu", "stage1/relu2", [x]), width, 1)])


class ChunkBlock(nn.Module):
    """YOLOv8's C2f with `chunk`: the exporter turns it into shape arithmetic and Slices."""

    def __init__(self) -> None:
        super().__init__()
        self.cv1, self.cv2 = nn.Conv2d(32, 32, 1), nn.Conv2d(48, 32, 1)
        self.m = nn.ModuleList([nn.Conv2d(16, 16, 3, 1, 1)])

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.cv1(x).chunk(2, 1))
        parts += [block(parts[-1]) for block in self.m]
        return self.cv2(torch.cat(parts, 1))


class ChunkNet(nn.Module):
    """Two convolutions and the block, at the place that it has in YOLOv8."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(16, 32, 3, 2, 1), ChunkBlock())

    def forward(self, x: Tensor) -> Tensor:
        for block in self.model:
            x = block(x)
        return x


def chunk(path: Path) -> Path:
    """The head of YOLOv8 with chunk as exported: Shape, Gather, ..., Slice."""
    return export(ChunkNet(), path, (1, 3, 640, 640), names=("images",))


def chunk_simplified(path: Path) -> Path:
    """The same with the arithmetic folded: Slices whose parameters are Constant nodes."""
    pen = Writer()
    x = pen.conv("/model.2/cv1/Conv", pen.input("images", [1, 32, 160, 160]), 32, 1)
    values = [
        pen.node(
            "Constant", f"/model.2/Constant{suffix}", [], outputs=[f"/model.2/Constant{suffix}_output_0"], value=value
        )
        for suffix, value in (("", _int(0)), ("_1", _int(1)), ("_2", _int(16)), ("_3", _int(32)))
    ]
    zero, one, half, whole = values
    first = pen.node("Slice", "/model.2/Slice", [x, zero, half, one], channels=16)
    second = pen.node("Slice", "/model.2/Slice_1", [x, half, whole, one], channels=16)
    x = pen.concat("/model.2/Concat", [first, second, pen.conv("/model.2/m.0/Conv", second, 16, 3)])
    return pen.save(path, [pen.conv("/model.2/cv2/Conv", x, 32, 1)])


def _int(value: int) -> onnx.TensorProto:
    return onnx.helper.make_tensor("value", onnx.TensorProto.INT64, [1], [value])


def open_shapes(path: Path) -> Path:
    """A unit of ShuffleNet by tf2onnx, with no dimension fixed but the channels."""
    unit = "shuffle_netv2/shufflenet_stage_2/shufflenet_unit1_11"
    pen = Writer()
    x = pen.input("image", ["batch", 32, "height", "width"])
    conv = f"{unit}/conv2d_bn__re_lu_32/conv2d_32/Conv2D"
    y = pen.node("Relu", f"{unit}/conv2d_bn__re_lu_32/activation_32/Relu", [pen.conv(conv, x, 32, 1)])
    y = pen.concat("shuffle_netv2/shufflenet_stage/shufflenet_unit1/concat", [x, y])
    return pen.save(path, [pen.node("Transpose", "Transpose__560", [y], perm=[0, 2, 3, 1])])


def _text(path: Path, body: str) -> Path:
    onnx.save(onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> graph {body}'), path)
    return path
