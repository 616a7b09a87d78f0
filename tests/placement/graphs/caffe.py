"""Networks of the Caffe, Keras and darknet days, written by hand with the names that their logs print."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from graphs.writer import Writer

_INCEPTIONS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
"""Channels of 1x1, 3x3_reduce, 3x3, 5x5_reduce, 5x5 and pool_proj."""


def googlenet(path: Path) -> Path:
    """BVLC GoogLeNet with its LRN layers; the classifier is a 1x1 convolution, as Caffe's InnerProduct keeps four dims."""
    pen = Writer()

    def conv(name: str, x: str, channels: int, kernel: int, stride: int = 1) -> str:
        out = pen.conv(name, x, channels, kernel, stride=stride)
        folder, last = name.rsplit("/", 1)
        return pen.node("Relu", f"{folder}/relu_{last.removesuffix('_s2')}", [out])

    x = conv("conv1/7x7_s2", pen.input("data", [1, 3, 224, 224]), 64, 7, 2)
    x = pen.pool("MaxPool", "pool1/3x3_s2", x, 3, 2, ceil=True)
    x = pen.node("LRN", "pool1/norm1", [x], size=5, alpha=0.0001, beta=0.75)
    x = conv("conv2/3x3", conv("conv2/3x3_reduce", x, 64, 1), 192, 3)
    x = pen.node("LRN", "conv2/norm2", [x], size=5, alpha=0.0001, beta=0.75)
    x = pen.pool("MaxPool", "pool2/3x3_s2", x, 3, 2, ceil=True)
    for block, (c1, r3, c3, r5, c5, pp) in _INCEPTIONS.items():
        name = f"inception_{block}"
        parts = [
            conv(f"{name}/1x1", x, c1, 1),
            conv(f"{name}/3x3", conv(f"{name}/3x3_reduce", x, r3, 1), c3, 3),
            conv(f"{name}/5x5", conv(f"{name}/5x5_reduce", x, r5, 1), c5, 5),
            conv(f"{name}/pool_proj", pen.pool("MaxPool", f"{name}/pool", x, 3, 1, 1), pp, 1),
        ]
        x = pen.concat(f"{name}/output", parts)
        if block in {"3b", "4e"}:
            x = pen.pool("MaxPool", f"pool{int(block[0])}/3x3_s2", x, 3, 2, ceil=True)
    x = pen.pool("AveragePool", "pool5/7x7_s1", x, 7, 1)
    x = pen.conv("loss3/classifier", x, 1000, 1)
    return pen.save(path, [pen.node("Softmax", "prob", [x], axis=1)])


def keras_unet(path: Path) -> Path:
    """Keras' U-Net as the UFF importer made it: unpadded transposed convolutions, a slice that crops, the bias as a Scale.

    The kernel is not in the record: 2x2 is Keras' habit, and TensorRT 8.2 asked for a stride equal to the kernel.
    """
    pen = Writer()
    count = 0

    def pair(x: str, channels: int) -> str:
        nonlocal count
        for _ in range(2):
            count += 1
            x = pen.conv(f"conv2d_{count}/convolution", x, channels, 3)
            x = pen.node("Relu", f"conv2d_{count}/Relu", [x])
        return x

    x = pen.input("input_1", [1, 1, 512, 512])
    kept = []
    for level, channels in enumerate((32, 64, 128, 256, 512)):
        if level:
            x = pen.pool("MaxPool", f"max_pooling2d_{level}/MaxPool", x, 2, 2)
        x = pair(x, channels)
        kept.append(x)
    starts, axes = pen.constant("starts", [0, 0], "int64"), pen.constant("axes", [2, 3], "int64")
    for index, layer in enumerate((67, 95, 123, 151), start=1):
        channels, size = 512 >> index, 32 << index
        x = pen.deconv(f"(Unnamed Layer* {layer}) [Deconvolution]", x, channels, 2, 2)
        ends = pen.constant(f"ends_{index}", [size, size], "int64")
        x = pen.node("Slice", f"conv2d_transpose_{index}/conv2d_transpose", [x, starts, ends, axes])
        x = pen.norm(f"conv2d_transpose_{index}/BiasAdd", x)
        x = pair(pen.concat(f"concatenate_{index}/concat", [x, kept[4 - index]]), channels)
    x = pen.conv("conv2d_19/convolution", x, 1, 3)
    x = pen.node("Sigmoid", "conv2d_19/Sigmoid_HL_1804289383", [x])
    return pen.save(path, [pen.node("Transpose", "conv2d_19/Sigmoid", [x], perm=[0, 2, 3, 1])])


def super_resolution(path: Path) -> Path:
    """The sub-pixel network of PyTorch's examples: four convolutions, then the pixel shuffle; nodes carry no names."""
    pen = Writer()
    x = pen.input("input", [1, 1, 224, 224])
    for index, (channels, kernel) in enumerate(((64, 5), (64, 3), (32, 3), (9, 3))):
        x = pen.conv(str(9 + 2 * index), x, channels, kernel)
        if index < 3:
            x = pen.node("Relu", str(10 + 2 * index), [x])
    x = pen.node("Reshape", "17", [x, pen.constant("16", [-1, 1, 3, 3, 224, 224], "int64")])
    x = pen.node("Transpose", "18", [x], perm=[0, 1, 4, 2, 5, 3])
    x = pen.node("Reshape", "output_0", [x, pen.constant("19", [-1, 1, 672, 672], "int64")])
    return pen.save(path, [x], named=False)


class _Darknet:
    """Layers in the order of a darknet configuration; `make` builds one convolution with its norm and activation."""

    def __init__(self, pen: Writer, x: str, make: Callable[[int, str, int, int, int, bool], str]):
        self.pen, self.make = pen, make
        self.out: list[str] = [x]

    def conv(self, channels: int, kernel: int = 1, stride: int = 1, *, mish: bool = True, of: int | None = None) -> int:
        x = self.out[-1] if of is None else self.out[of]
        self.out.append(self.make(len(self.out), x, channels, kernel, stride, mish))
        return len(self.out) - 1

    def add(self, other: int) -> int:
        index = len(self.out)
        self.out.append(self.pen.node("Add", f"{index:03d}_shortcut", [self.out[-1], self.out[other]]))
        return index

    def route(self, *others: int) -> int:
        """One layer is named again; more are concatenated."""
        index = len(self.out)
        parts = [self.out[other] for other in others]
        self.out.append(parts[0] if len(parts) == 1 else self.pen.concat(f"{index:03d}_route", parts))
        return index


def _backbone(net: _Darknet) -> None:
    net.conv(32, 3)
    for stage, (channels, count) in enumerate(((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4))):
        half = channels if stage == 0 else channels // 2
        down = net.conv(channels, 3, 2)
        side = net.conv(half)
        net.route(down)
        net.conv(half)
        for _ in range(count):
            before = len(net.out) - 1
            net.conv(half // 2 if stage == 0 else half)
            net.conv(half, 3)
            net.add(before)
        last = net.conv(half)
        net.route(last, side)
        net.conv(channels)


def _neck(net: _Darknet) -> None:
    """Pooling pyramid, the way up, and the first detection convolutions; activations are leaky from here on."""
    for channels, kernel in ((512, 1), (1024, 3), (512, 1)):
        base = net.conv(channels, kernel, mish=False)
    pools = []
    for window in (5, 9, 13):
        index = len(net.out)
        net.out.append(net.pen.pool("MaxPool", f"{index:03d}_maxpool", net.out[base], window, 1, window // 2))
        pools.append(index)
        if window != 13:
            net.route(base)
    net.route(*reversed(pools), base)
    for channels, kernel in ((512, 1), (1024, 3), (512, 1)):
        net.conv(channels, kernel, mish=False)
    for channels, skip in ((256, 85), (128, 54)):
        lateral = net.conv(channels, mish=False)
        index = len(net.out)
        scales = net.pen.constant(f"{index:03d}_scales", [1, 1, 2, 2])
        net.out.append(net.pen.node("Resize", f"{index:03d}_upsample", [net.out[lateral], "", scales], mode="nearest"))
        net.route(skip + 1)
        side = net.conv(channels, mish=False)
        net.route(side, index)
        for width, kernel in ((channels, 1), (2 * channels, 3), (channels, 1), (2 * channels, 3), (channels, 1)):
            net.conv(width, kernel, mish=False)


def yolov4(path: Path) -> Path:
    """YOLOv4 at 608 as yolo_to_onnx writes it: Mish as Softplus, Tanh, Mul, each norm a node."""
    pen = Writer()

    def make(index: int, x: str, channels: int, kernel: int, stride: int, mish: bool) -> str:
        name = f"{index:03d}_convolutional"
        x = pen.norm(f"{name}_bn", pen.conv(name, x, channels, kernel, stride=stride, bias=False))
        if not mish:
            return pen.node("LeakyRelu", f"{name}_lrelu", [x], alpha=0.1)
        soft = pen.node("Tanh", f"{name}_tanh", [pen.node("Softplus", f"{name}_softplus", [x])])
        return pen.node("Mul", f"{name}_mish", [x, soft])

    net = _Darknet(pen, pen.input("000_net", [1, 3, 608, 608]), make)
    _backbone(net)
    _neck(net)
    return pen.save(path, [net.out[-1]])


def yolov4_torch(path: Path) -> Path:
    """The same network with the running numbers of a PyTorch export: Conv_0, BatchNormalization_1, Softplus_2, ..."""
    pen = Writer()
    count = 0

    def named(op: str) -> str:
        nonlocal count
        count += 1
        return f"{op}_{count - 1}"

    def make(index: int, x: str, channels: int, kernel: int, stride: int, mish: bool) -> str:
        x = pen.conv(named("Conv"), x, channels, kernel, stride=stride, bias=False)
        x = pen.norm(named("BatchNormalization"), x)
        if not mish:
            return pen.node("LeakyRelu", named("LeakyRelu"), [x], alpha=0.1)
        soft = pen.node("Softplus", named("Softplus"), [x])
        soft = pen.node("Tanh", named("Tanh"), [soft])
        return pen.node("Mul", named("Mul"), [x, soft])

    class Numbered(_Darknet):
        def add(self, other: int) -> int:
            self.out.append(self.pen.node("Add", named("Add"), [self.out[-1], self.out[other]]))
            return len(self.out) - 1

        def route(self, *others: int) -> int:
            parts = [self.out[other] for other in others]
            self.out.append(parts[0] if len(parts) == 1 else self.pen.concat(named("Concat"), parts))
            return len(self.out) - 1

    net = Numbered(pen, pen.input("input", [1, 3, 416, 416]), make)
    _backbone(net)
    _neck(net)
    return pen.save(path, [net.out[-1]])
