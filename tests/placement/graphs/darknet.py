"""YOLOv4 and YOLOv4-tiny after their darknet configurations, with the layer names of three exporters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from graphs.writer import Window, Writer


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
        x = pen.norm(f"{name}_bn", pen.conv(name, x, channels, kernel, Window(stride=stride, bias=False)))
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
        x = pen.conv(named("Conv"), x, channels, kernel, Window(stride=stride, bias=False))
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


def yolov4_tiny(path: Path) -> Path:
    """YOLOv4-tiny at 416 as DeepStream-Yolo builds it: conv_N, batch_norm_N, leaky_N, route_N, counted from 1."""
    pen = Writer()
    out: list[str] = [pen.input("data", [1, 3, 416, 416])]

    def conv(channels: int, kernel: int = 1, stride: int = 1, *, last: bool = False) -> None:
        number = len(out)
        x = pen.conv(f"conv_{number}", out[-1], channels, kernel, Window(stride=stride, bias=last))
        if not last:
            x = pen.node("LeakyRelu", f"leaky_{number}", [pen.norm(f"batch_norm_{number}", x)], alpha=0.1)
        out.append(x)

    def route(*numbers: int) -> None:
        parts = [out[number] for number in numbers]
        out.append(parts[0] if len(parts) == 1 else pen.concat(f"route_{len(out)}", parts))

    def half(channels: int) -> None:
        """The second half of the channels: a slice, and the concatenation of one tensor that the builder makes."""
        values = [
            pen.constant(f"{name}_{len(out)}", [value], "int64")
            for name, value in (("from", channels // 2), ("to", channels))
        ]
        x = pen.node(
            "Slice",
            f"slice_{len(out)}",
            [out[-1], *values, pen.constant(f"axis_{len(out)}", [1], "int64")],
            channels=channels // 2,
        )
        out.append(pen.concat(f"route_{len(out)}", [x]))

    conv(32, 3, 2)
    conv(64, 3, 2)
    for channels in (64, 128, 256):
        conv(channels, 3)
        start = len(out) - 1
        half(channels)
        conv(channels // 2, 3)
        conv(channels // 2, 3)
        route(len(out) - 1, len(out) - 2)
        conv(channels)
        route(start, len(out) - 1)
        out.append(pen.pool("MaxPool", f"maxpool_{len(out)}", out[-1], 2, 2))
    conv(512, 3)
    conv(256)
    middle = len(out) - 1
    conv(512, 3)
    conv(255, last=True)
    head = out[-1]
    out.append(head)
    route(middle)
    conv(128)
    scales = pen.constant("scales", [1, 1, 2, 2])
    out.append(pen.node("Resize", f"upsample_{len(out)}", [out[-1], "", scales], mode="nearest"))
    route(len(out) - 1, 24)
    conv(256, 3)
    conv(255, last=True)
    return pen.save(path, [head, out[-1]])
