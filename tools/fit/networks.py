"""The architectures behind the public measurements, drawn from their papers and reference implementations.

Each function takes batch and input size and returns a Network; `NETWORKS` lists them by the names used in points.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from dlaflow.graph.layer import Network, Tensor
from tools.fit.draw import Drawing, Window, dims

Builder = Callable[[int, int, int], Network]


def _classifier(d: Drawing, x: Tensor, classes: int) -> Tensor:
    """A Gemm and the shuffle that TensorRT leaves on the GPU behind it."""
    return d.shuffle(d.linear(x, classes), dims(x)[0], classes)


def _basic_block(d: Drawing, x: Tensor, channels: int, stride: int) -> Tensor:
    shortcut = x
    if stride != 1 or dims(x)[1] != channels:
        shortcut = d.conv(x, channels, Window(1, stride), None)
    y = d.conv(x, channels, Window(3, stride))
    y = d.conv(y, channels, Window(3), None)
    return d.activation(d.elementwise(y, shortcut))


def _bottleneck(d: Drawing, x: Tensor, widths: tuple[int, int], stride: int, groups: int = 1) -> Tensor:
    """A block of torchvision; without `groups` (0) one of the first paper and of Caffe, which strides earlier."""
    inner, outer = widths
    shortcut = x
    if stride != 1 or dims(x)[1] != outer:
        shortcut = d.conv(x, outer, Window(1, stride), None)
    y = d.conv(x, inner, Window(1, 1 if groups else stride))
    y = d.conv(y, inner, Window(3, stride if groups else 1, groups=groups or 1))
    y = d.conv(y, outer, Window(1), None)
    return d.activation(d.elementwise(y, shortcut))


def _stem(d: Drawing, x: Tensor) -> Tensor:
    return d.pool(d.conv(x, 64, Window(7, 2)), Window(3, 2))


def _basic_trunk(
    d: Drawing, x: Tensor, depths: tuple[int, ...], strides: tuple[int, ...] = (1, 2, 2, 2)
) -> list[Tensor]:
    y, stages = _stem(d, x), []
    for depth, stride, channels in zip(depths, strides, (64, 128, 256, 512), strict=False):
        for block in range(depth):
            y = _basic_block(d, y, channels, stride if block == 0 else 1)
        stages.append(y)
    return stages


def _bottleneck_trunk(d: Drawing, x: Tensor, depths: tuple[int, ...], base: int, groups: int) -> list[Tensor]:
    y, stages = _stem(d, x), []
    for stage, depth in enumerate(depths):
        for block in range(depth):
            widths = (base << stage, 256 << stage)
            y = _bottleneck(d, y, widths, 2 if block == 0 and stage else 1, groups)
        stages.append(y)
    return stages


def resnet18(n: int, h: int, w: int) -> Network:
    """torchvision's ResNet-18."""
    d = Drawing()
    y = _basic_trunk(d, d.input(n, 3, h, w), (2, 2, 2, 2))[-1]
    return d.network(_classifier(d, d.mean(y), 1000))


def resnet34_backbone(n: int, h: int, w: int) -> Network:
    """ResNet-34 without pooling and classifier."""
    d = Drawing()
    return d.network(_basic_trunk(d, d.input(n, 3, h, w), (3, 4, 6, 3))[-1])


def resnet50(n: int, h: int, w: int) -> Network:
    """ResNet-50 with global pooling and a Gemm."""
    d = Drawing()
    y = _bottleneck_trunk(d, d.input(n, 3, h, w), (3, 4, 6, 3), 64, 1)[-1]
    return d.network(_classifier(d, d.mean(y), 1000))


def _deep_resnet(depths: tuple[int, ...]) -> Builder:
    """ResNet-101 or -152 of Caffe: the first convolution of a block strides, average pooling at the end."""

    def build(n: int, h: int, w: int) -> Network:
        d = Drawing()
        y = _bottleneck_trunk(d, d.input(n, 3, h, w), depths, 64, 0)[-1]
        y = d.pool(y, Window(dims(y)[2], 1, 0), "AVERAGE")
        return d.network(d.softmax(d.linear(y, 1000)))

    return build


def resnet50_prepared(n: int, h: int, w: int) -> Network:
    """ResNet-50 with AveragePool and a 1x1 convolution, as NVIDIA prepares it for the DLA."""
    d = Drawing()
    y = _bottleneck_trunk(d, d.input(n, 3, h, w), (3, 4, 6, 3), 64, 1)[-1]
    y = d.pool(y, Window(dims(y)[2], 1, 0), "AVERAGE")
    return d.network(d.conv(y, 1000, Window(1), None))


def _fpn_heads(d: Drawing, stages: list[Tensor], class_outputs: int) -> list[Tensor]:
    """The RetinaNet part: feature pyramid P3 to P7, two towers of four convolutions on each level."""
    lateral = [d.conv(stage, 256, Window(1), None) for stage in stages[1:]]
    levels = [lateral[-1]]
    for side in reversed(lateral[:-1]):
        above = d.upsample(levels[0], *dims(side)[2:])
        levels.insert(0, d.elementwise(side, above))
    levels = [d.conv(level, 256, Window(3), None) for level in levels]
    levels.append(d.conv(levels[-1], 256, Window(3, 2), "RELU"))
    levels.append(d.conv(levels[-1], 256, Window(3, 2), None))
    outputs = []
    for level in levels:
        for channels in (class_outputs, 36):
            y = level
            for _ in range(4):
                y = d.conv(y, 256, Window(3))
            outputs.append(d.conv(y, channels, Window(3), None))
    return outputs


def retinanet_resnet34(n: int, h: int, w: int) -> Network:
    """RetinaNet over ResNet-34, 80 classes, 9 anchors."""
    d = Drawing()
    return d.network(*_fpn_heads(d, _basic_trunk(d, d.input(n, 3, h, w), (3, 4, 6, 3)), 720))


def retinanet_resnext50(n: int, h: int, w: int) -> Network:
    """MLPerf's RetinaNet over ResNeXt-50 32x4d, 264 classes, 9 anchors."""
    d = Drawing()
    stages = _bottleneck_trunk(d, d.input(n, 3, h, w), (3, 4, 6, 3), 128, 32)
    return d.network(*_fpn_heads(d, stages, 2376))


def _pyramid(planes: tuple[int, ...], depths: tuple[int, ...], strides: tuple[int, ...], inputs: int) -> Builder:
    """The trunk of HEAL's PyramidFusion: ResNeXt blocks of 32 groups that do not widen, every stage an output."""

    def build(n: int, h: int, w: int) -> Network:
        d = Drawing()
        y, stages = d.input(n, inputs, h, w), []
        for outer, depth, stride in zip(planes, depths, strides, strict=True):
            inner = outer // 16 * 32
            for block in range(depth):
                y = _bottleneck(d, y, (inner, outer), stride if block == 0 else 1, 32)
            stages.append(y)
        return d.network(*stages)

    return build


def ssd_resnet34(n: int, h: int, w: int) -> Network:
    """MLPerf's SSD over ResNet-34: third stage at stride 1, five extra stages, heads at stride 3, 81 classes."""
    d = Drawing()
    y = _basic_trunk(d, d.input(n, 3, h, w), (3, 4, 6), (1, 2, 1))[-1]
    features = [y]
    for inner, outer, stride in ((256, 512, 2), (256, 512, 2), (128, 256, 2), (128, 256, 2), (128, 256, 1)):
        y = d.conv(y, inner, Window(1))
        y = d.conv(y, outer, Window(3, stride, 1 if stride == 2 else 0))
        features.append(y)
    outputs = []
    for feature, anchors in zip(features, (4, 6, 6, 6, 4, 4), strict=True):
        outputs += [d.conv(feature, anchors * size, Window(3, 3, 1), None) for size in (4, 81)]
    return d.network(*outputs)


_MOBILENET_V1 = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *(((512, 1),) * 5), (1024, 2), (1024, 1))


def _mobilenet_v1_trunk(d: Drawing, x: Tensor) -> list[Tensor]:
    y = d.conv(x, 32, Window(3, 2), "CLIP")
    outputs = []
    for channels, stride in _MOBILENET_V1:
        y = d.conv(y, dims(y)[1], Window(3, stride, groups=dims(y)[1]), "CLIP")
        y = d.conv(y, channels, Window(1), "CLIP")
        outputs.append(y)
    return outputs


def mobilenet_v1(n: int, h: int, w: int) -> Network:
    """MobileNet 1.0."""
    d = Drawing()
    y = _mobilenet_v1_trunk(d, d.input(n, 3, h, w))[-1]
    return d.network(_classifier(d, d.mean(y), 1001))


def ssd_mobilenet_v1(n: int, h: int, w: int) -> Network:
    """MLPerf's SSD over MobileNet 1.0 with 1x1 heads, 91 classes."""
    d = Drawing()
    trunk = _mobilenet_v1_trunk(d, d.input(n, 3, h, w))
    features = [trunk[10], trunk[12]]
    y = trunk[12]
    for inner, outer in ((256, 512), (128, 256), (128, 256), (64, 128)):
        y = d.conv(d.conv(y, inner, Window(1), "CLIP"), outer, Window(3, 2), "CLIP")
        features.append(y)
    outputs = []
    for feature, anchors in zip(features, (3, 6, 6, 6, 6, 6), strict=True):
        outputs += [d.conv(feature, anchors * size, Window(1), None) for size in (4, 91)]
    return d.network(*outputs)


_MOBILENET_V2 = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def mobilenet_v2(n: int, h: int, w: int) -> Network:
    """torchvision's MobileNetV2."""
    d = Drawing()
    y = d.conv(d.input(n, 3, h, w), 32, Window(3, 2), "CLIP")
    for expansion, channels, repeats, first in _MOBILENET_V2:
        for repeat in range(repeats):
            x, hidden = y, dims(y)[1] * expansion
            if expansion != 1:
                y = d.conv(y, hidden, Window(1), "CLIP")
            stride = first if repeat == 0 else 1
            y = d.conv(y, hidden, Window(3, stride, groups=hidden), "CLIP")
            y = d.conv(y, channels, Window(1), None)
            if stride == 1 and dims(x)[1] == channels:
                y = d.elementwise(y, x)
    y = d.conv(y, 1280, Window(1), "CLIP")
    return d.network(_classifier(d, d.mean(y), 1000))


_INCEPTION = (
    (64, 96, 128, 16, 32, 32),
    (128, 128, 192, 32, 96, 64),
    (192, 96, 208, 16, 48, 64),
    (160, 112, 224, 24, 64, 64),
    (128, 128, 256, 24, 64, 64),
    (112, 144, 288, 32, 64, 64),
    (256, 160, 320, 32, 128, 128),
    (256, 160, 320, 32, 128, 128),
    (384, 192, 384, 48, 128, 128),
)


def googlenet(n: int, h: int, w: int) -> Network:
    """Caffe's GoogLeNet without the auxiliary classifiers."""
    d = Drawing()
    y = d.conv(d.input(n, 3, h, w), 64, Window(7, 2))
    y = d.lrn(d.pool(y, Window(3, 2, 0), ceil=True))
    y = d.conv(d.conv(y, 64, Window(1)), 192, Window(3))
    y = d.pool(d.lrn(y), Window(3, 2, 0), ceil=True)
    for index, (a, b0, b1, c0, c1, e) in enumerate(_INCEPTION):
        if index in (2, 7):
            y = d.pool(y, Window(3, 2, 0), ceil=True)
        branches = [
            d.conv(y, a, Window(1)),
            d.conv(d.conv(y, b0, Window(1)), b1, Window(3)),
            d.conv(d.conv(y, c0, Window(1)), c1, Window(5)),
            d.conv(d.pool(y, Window(3)), e, Window(1)),
        ]
        y = d.concat(branches)
    y = d.pool(y, Window(7, 1, 0), "AVERAGE")
    return d.network(d.softmax(d.linear(y, 1000)))


def alexnet(n: int, h: int, w: int) -> Network:
    """Caffe's AlexNet."""
    d = Drawing()
    y = d.pool(d.lrn(d.conv(d.input(n, 3, h, w), 96, Window(11, 4, 0))), Window(3, 2, 0))
    y = d.pool(d.lrn(d.conv(y, 256, Window(5, groups=2))), Window(3, 2, 0))
    y = d.conv(y, 384, Window(3))
    y = d.conv(d.conv(y, 384, Window(3, groups=2)), 256, Window(3, groups=2))
    y = d.pool(y, Window(3, 2, 0))
    for features in (4096, 4096):
        y = d.activation(d.linear(y, features))
    return d.network(d.softmax(d.linear(y, 1000)))


def inception_v4(n: int, h: int, w: int) -> Network:
    """Inception-v4 of Caffe."""
    d = Drawing()
    one, three, short, tall = Window(1), Window(3), Window(1, across=7), Window(7, across=1)
    last, half = Window(3, 1, 0), Window(3, 2, 0)

    def chain(y: Tensor, *parts: tuple[int, Window]) -> Tensor:
        for channels, window in parts:
            y = d.conv(y, channels, window)
        return y

    def pooled(y: Tensor, channels: int) -> Tensor:
        return d.conv(d.pool(y, Window(3), "AVERAGE"), channels, one)

    y = chain(d.input(n, 3, h, w), (32, half), (32, last), (64, three))
    y = d.concat([d.pool(y, half), d.conv(y, 96, half)])
    left = chain(y, (64, one), (96, last))
    y = d.concat([left, chain(y, (64, one), (64, short), (64, tall), (96, last))])
    y = d.concat([d.conv(y, 192, half), d.pool(y, half)])
    for _ in range(4):
        y = d.concat(
            [
                d.conv(y, 96, one),
                chain(y, (64, one), (96, three)),
                chain(y, (64, one), (96, three), (96, three)),
                pooled(y, 96),
            ]
        )
    y = d.concat([d.conv(y, 384, half), chain(y, (192, one), (224, three), (256, half)), d.pool(y, half)])
    for _ in range(7):
        y = d.concat(
            [
                d.conv(y, 384, one),
                chain(y, (192, one), (224, short), (256, tall)),
                chain(y, (192, one), (192, tall), (224, short), (224, tall), (256, short)),
                pooled(y, 128),
            ]
        )
    first = chain(y, (192, one), (192, half))
    y = d.concat([first, chain(y, (256, one), (256, short), (320, tall), (320, half)), d.pool(y, half)])
    wide, high = Window(1, across=3), Window(3, across=1)
    for _ in range(3):
        parts = [d.conv(y, 256, one)]
        for trunk in (((384, one),), ((384, one), (448, high), (512, wide))):
            fork = chain(y, *trunk)
            parts += [d.conv(fork, 256, wide), d.conv(fork, 256, high)]
        y = d.concat([*parts, pooled(y, 256)])
    y = d.pool(y, Window(dims(y)[2], 1, 0), "AVERAGE")
    return d.network(d.softmax(d.linear(y, 1000)))


def vgg19(n: int, h: int, w: int) -> Network:
    """VGG-19."""
    d = Drawing()
    y = d.input(n, 3, h, w)
    for channels, repeats in ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4)):
        for _ in range(repeats):
            y = d.conv(y, channels, Window(3))
        y = d.pool(y, Window(2, 2, 0))
    for features in (4096, 4096):
        y = d.activation(d.linear(y, features))
    return d.network(d.softmax(d.linear(y, 1000)))


def _cifar(n: int, h: int, w: int, *, group_norm: bool, average_pool: bool) -> Network:
    """The walk-through's network in three variants: four strided, normalised convolutions, then pooling and a Gemm."""
    d = Drawing()
    y = d.input(n, 3, h, w)
    for channels in (64, 128, 256, 512):
        y = d.conv(y, channels, Window(3, 2), None)
        if group_norm:
            size = dims(y)
            y = d.normalization(d.shuffle(y, n, 8, channels // 8 * size[2], size[3]))
            y = d.scale(d.scale(d.shuffle(y, *size)))
        else:
            y = d.scale(y)
        y = d.activation(y)
    y = d.pool(y, Window(2, 2, 0), "AVERAGE") if average_pool else d.mean(y)
    return d.network(_classifier(d, y, 10))


def single_conv(n: int, channels: tuple[int, int], size: int, window: Window) -> Network:
    """One convolution with batch normalisation and ReLU."""
    d = Drawing()
    return d.network(d.conv(d.input(n, channels[0], size, size), channels[1], window))


def single_linear(n: int, inner: int, features: int) -> Network:
    """One Gemm on a rank-2 tensor with ReLU, between the helper shuffles that TensorRT adds."""
    d = Drawing()
    y = d.activation(d.linear(d.shuffle(d.input(n, inner), n, inner, 1, 1), features))
    return d.network(d.shuffle(y, n, features))


NETWORKS: dict[str, Builder] = {
    "resnet18": resnet18,
    "resnet34_backbone": resnet34_backbone,
    "resnet50": resnet50,
    "resnet50_prepared": resnet50_prepared,
    "retinanet_resnet34": retinanet_resnet34,
    "retinanet_resnext50": retinanet_resnext50,
    "ssd_resnet34": ssd_resnet34,
    "mobilenet_v1": mobilenet_v1,
    "ssd_mobilenet_v1": ssd_mobilenet_v1,
    "mobilenet_v2": mobilenet_v2,
    "googlenet": googlenet,
    "pyramid_fusion": _pyramid((16, 32, 64), (3, 5, 8), (1, 2, 2), 64),
    "pyramid_fusion_wide": _pyramid((64, 128, 256), (3, 5, 8), (1, 2, 2), 64),
    "pyramid_front": _pyramid((16, 32), (3, 5), (1, 2), 64),
    "pyramid_back": _pyramid((64,), (8,), (2,), 32),
    "vgg19": vgg19,
    "alexnet": alexnet,
    "inception_v4": inception_v4,
    "resnet101": _deep_resnet((3, 4, 23, 3)),
    "resnet152": _deep_resnet((3, 8, 36, 3)),
    "cifar_groupnorm": partial(_cifar, group_norm=True, average_pool=False),
    "cifar_batchnorm": partial(_cifar, group_norm=False, average_pool=False),
    "cifar_averagepool": partial(_cifar, group_norm=False, average_pool=True),
}
"""Builders of (batch, height, width), by the names that points use."""
