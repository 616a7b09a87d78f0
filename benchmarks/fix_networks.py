"""The architectures of benchmarks/fix.py in plain PyTorch, with random weights: structure and sizes as published."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Act = Callable[[], nn.Module]


def conv(a: int, b: int, k: int = 1, s: int = 1, g: int = 1, act: Act | None = nn.ReLU) -> nn.Sequential:
    """Convolution, BatchNorm, activation."""
    layers: list[nn.Module] = [nn.Conv2d(a, b, k, s, k // 2, groups=g, bias=False), nn.BatchNorm2d(b)]
    return nn.Sequential(*layers, *([act()] if act else []))


def head(channels: int, classes: int = 1000) -> nn.Sequential:
    """Global average, flatten, linear."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


class Residual(nn.Module):
    """A residual block of ResNet or RegNet (`groups`, squeeze-and-excite)."""

    def __init__(
        self, a: int, inner: int, b: int, s: int, *, groups: int = 1, basic: bool = False, se: int = 0
    ) -> None:
        super().__init__()
        if basic:
            self.body = nn.Sequential(conv(a, b, 3, s), conv(b, b, 3, act=None))
        else:
            gate = [SqueezeExcite(inner, se, nn.Sigmoid)] if se else []
            self.body = nn.Sequential(conv(a, inner), conv(inner, inner, 3, s, groups), *gate, conv(inner, b, act=None))
        self.short = conv(a, b, 1, s, act=None) if s != 1 or a != b else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.short(x))


class SqueezeExcite(nn.Module):
    """Channel gate from the mean of each channel."""

    def __init__(self, c: int, inner: int, gate: Act, act: Act = nn.ReLU) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(c, inner, 1), act(), nn.Conv2d(inner, c, 1), gate()
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.body(x)


def resnet(depths: tuple[int, ...], *, basic: bool) -> nn.Module:
    """ResNet-18 and ResNet-50."""
    layers: list[nn.Module] = [conv(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)]
    a = 64
    for stage, depth in enumerate(depths):
        width = 64 << stage
        b = width if basic else 4 * width
        for block in range(depth):
            layers.append(Residual(a, width, b, 2 if stage and not block else 1, basic=basic))
            a = b
    return nn.Sequential(*layers, head(a))


def regnet() -> nn.Module:
    """RegNetY-400MF: grouped bottlenecks with squeeze-and-excite."""
    layers: list[nn.Module] = [conv(3, 32, 3, 2)]
    a = 32
    for width, depth in ((48, 1), (104, 3), (208, 6), (440, 6)):
        for block in range(depth):
            layers.append(Residual(a, width, width, 1 if block else 2, groups=width // 8, se=a // 4))
            a = width
    return nn.Sequential(*layers, head(a))


class Inverted(nn.Module):
    """The inverted residual of MobileNetV2, V3 and EfficientNet."""

    def __init__(self, a: int, inner: int, b: int, k: int, s: int, act: Act, gate: nn.Module | None = None) -> None:
        super().__init__()
        enter = [conv(a, inner, act=act)] if inner != a else []
        gates = [gate] if gate else []
        self.body = nn.Sequential(*enter, conv(inner, inner, k, s, inner, act), *gates, conv(inner, b, act=None))
        self.add = s == 1 and a == b

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.add else self.body(x)


def mobilenet_v2() -> nn.Module:
    """MobileNetV2."""
    layers: list[nn.Module] = [conv(3, 32, 3, 2, act=nn.ReLU6)]
    a = 32
    plan = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for t, b, n, s in plan:
        for block in range(n):
            layers.append(Inverted(a, a * t, b, 3, 1 if block else s, nn.ReLU6))
            a = b
    return nn.Sequential(*layers, conv(a, 1280, act=nn.ReLU6), nn.Dropout(), head(1280))


class TensorFlowConv(nn.Module):
    """A convolution as tf2onnx writes it: between two transposes, with a Pad in front that is uneven at stride 2."""

    def __init__(self, a: int, b: int, k: int = 1, s: int = 1, g: int = 1) -> None:
        super().__init__()
        self.conv, self.bias = nn.Conv2d(a, b, k, s, groups=g, bias=False), nn.Parameter(torch.zeros(b))
        self.before, self.after = (k - s) // 2 if k > 1 else 0, (k - s + 1) // 2 if k > 1 else 0

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x.permute(0, 3, 1, 2), (self.before, self.after) * 2)
        return torch.clamp(self.conv(x).permute(0, 2, 3, 1) + self.bias, 0, 6)


class MobileNetOfTensorFlow(nn.Module):
    """MobileNetV1 on (N, H, W, C), with the scale of its pixels inside."""

    def __init__(self) -> None:
        super().__init__()
        plan = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))
        layers, a = [TensorFlowConv(3, 32, 3, 2)], 32
        for b, s in plan:
            layers += [TensorFlowConv(a, a, 3, s, a), TensorFlowConv(a, b)]
            a = b
        self.body, self.head = nn.Sequential(*layers), nn.Linear(a, 1000)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x.permute(0, 2, 3, 1) / 127.5 - 1).mean((1, 2)))


def mobilenet_v3() -> nn.Module:
    """MobileNetV3-Large."""
    re, hs = nn.ReLU, nn.Hardswish
    layers: list[nn.Module] = [conv(3, 16, 3, 2, act=hs)]
    a = 16
    plan: tuple[tuple[int, int, int, bool, Act, int], ...] = (
        (3, 16, 16, False, re, 1), (3, 64, 24, False, re, 2), (3, 72, 24, False, re, 1), (5, 72, 40, True, re, 2),
        (5, 120, 40, True, re, 1), (5, 120, 40, True, re, 1), (3, 240, 80, False, hs, 2), (3, 200, 80, False, hs, 1),
        (3, 184, 80, False, hs, 1), (3, 184, 80, False, hs, 1), (3, 480, 112, True, hs, 1), (3, 672, 112, True, hs, 1),
        (5, 672, 160, True, hs, 2), (5, 960, 160, True, hs, 1), (5, 960, 160, True, hs, 1),
    )  # fmt: skip
    for k, inner, b, se, act, s in plan:
        gate = SqueezeExcite(inner, inner // 4, nn.Hardsigmoid) if se else None
        layers.append(Inverted(a, inner, b, k, s, act, gate))
        a = b
    tail = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(960, 1280), hs(), nn.Dropout(), nn.Linear(1280, 1000)]
    return nn.Sequential(*layers, conv(a, 960, act=hs), *tail)


def efficientnet_b0() -> nn.Module:
    """EfficientNet-B0."""
    layers: list[nn.Module] = [conv(3, 32, 3, 2, act=nn.SiLU)]
    a = 32
    plan = ((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5))
    for t, b, n, s, k in (*plan, (6, 192, 4, 2, 5), (6, 320, 1, 1, 3)):
        for block in range(n):
            gate = SqueezeExcite(a * t, max(1, a // 4), nn.Sigmoid, nn.SiLU)
            layers.append(Inverted(a, a * t, b, k, 1 if block else s, nn.SiLU, gate))
            a = b
    return nn.Sequential(*layers, conv(a, 1280, act=nn.SiLU), head(1280))


class Parallel(nn.Module):
    """Branches side by side, joined along the channels."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


def squeezenet() -> nn.Module:
    """SqueezeNet 1.1."""

    def fire(a: int, s: int, e: int) -> nn.Module:
        wide = Parallel(
            nn.Sequential(nn.Conv2d(s, e, 1), nn.ReLU()), nn.Sequential(nn.Conv2d(s, e, 3, padding=1), nn.ReLU())
        )
        return nn.Sequential(nn.Conv2d(a, s, 1), nn.ReLU(), wide)

    pool = nn.MaxPool2d(3, 2, ceil_mode=True)
    body = (
        nn.Conv2d(3, 64, 3, 2), nn.ReLU(), pool, fire(64, 16, 64), fire(128, 16, 64), pool, fire(128, 32, 128),
        fire(256, 32, 128), pool, fire(256, 48, 192), fire(384, 48, 192), fire(384, 64, 256), fire(512, 64, 256),
    )  # fmt: skip
    tail = (nn.Dropout(), nn.Conv2d(512, 1000, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(*body, *tail)


class Dense(nn.Module):
    """A dense layer: its own input and 32 more channels."""

    def __init__(self, a: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(a), nn.ReLU(), nn.Conv2d(a, 128, 1, bias=False), nn.BatchNorm2d(128), nn.ReLU(),
            nn.Conv2d(128, 32, 3, padding=1, bias=False),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.body(x)], 1)


def densenet() -> nn.Module:
    """DenseNet-121."""
    layers: list[nn.Module] = [conv(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)]
    a = 64
    for stage, depth in enumerate((6, 12, 24, 16)):
        for _ in range(depth):
            layers.append(Dense(a))
            a += 32
        if stage < 3:
            layers += [nn.BatchNorm2d(a), nn.ReLU(), nn.Conv2d(a, a // 2, 1, bias=False), nn.AvgPool2d(2)]
            a //= 2
    return nn.Sequential(*layers, nn.BatchNorm2d(a), nn.ReLU(), head(a))


def googlenet() -> nn.Module:
    """GoogLeNet with BatchNorm."""

    def block(a: int, p: int, q: int, r: int, s: int, t: int, u: int) -> nn.Module:
        pooled = nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(a, u))
        return Parallel(
            conv(a, p), nn.Sequential(conv(a, q), conv(q, r, 3)), nn.Sequential(conv(a, s), conv(s, t, 3)), pooled
        )

    pool = nn.MaxPool2d(3, 2, ceil_mode=True)
    return nn.Sequential(
        conv(3, 64, 7, 2), pool, conv(64, 64), conv(64, 192, 3), pool, block(192, 64, 96, 128, 16, 32, 32),
        block(256, 128, 128, 192, 32, 96, 64), pool, block(480, 192, 96, 208, 16, 48, 64),
        block(512, 160, 112, 224, 24, 64, 64), block(512, 128, 128, 256, 24, 64, 64),
        block(512, 112, 144, 288, 32, 64, 64), block(528, 256, 160, 320, 32, 128, 128), pool,
        block(832, 256, 160, 320, 32, 128, 128), block(832, 384, 192, 384, 48, 128, 128), nn.Dropout(), head(1024),
    )  # fmt: skip


class ShuffleUnit(nn.Module):
    """A unit of ShuffleNetV2."""

    def __init__(self, a: int, b: int, s: int) -> None:
        super().__init__()
        half = b // 2
        self.s = s
        self.left = nn.Sequential(conv(a, a, 3, 2, a, None), conv(a, half)) if s == 2 else nn.Identity()
        self.right = nn.Sequential(
            conv(a if s == 2 else half, half), conv(half, half, 3, s, half, None), conv(half, half)
        )

    def forward(self, x: Tensor) -> Tensor:
        left, right = (x, x) if self.s == 2 else x.chunk(2, 1)
        x = torch.cat([self.left(left), self.right(right)], 1)
        n, c, h, w = x.shape
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


class Mean(nn.Module):
    """The mean over H and W, as ShuffleNetV2 writes it."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean([2, 3])


def shufflenet_v2() -> nn.Module:
    """ShuffleNetV2 x1.0."""
    layers: list[nn.Module] = [conv(3, 24, 3, 2), nn.MaxPool2d(3, 2, 1)]
    a = 24
    for b, n in ((116, 4), (232, 8), (464, 4)):
        for block in range(n):
            layers.append(ShuffleUnit(a, b, 1 if block else 2))
            a = b
    return nn.Sequential(*layers, conv(a, 1024), Mean(), nn.Linear(1024, 1000))


class UNet(nn.Module):
    """U-Net with transposed convolutions of kernel 3, stride 2, padding 1, output padding 1."""

    def __init__(self, widths: tuple[int, ...] = (32, 64, 128, 256)) -> None:
        super().__init__()
        ends = (3, *widths)
        self.down = nn.ModuleList(nn.Sequential(conv(a, b, 3), conv(b, b, 3)) for a, b in pairwise(ends))
        pairs = list(pairwise(reversed(widths)))
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 3, 2, 1, 1) for a, b in pairs)
        self.fuse = nn.ModuleList(nn.Sequential(conv(2 * b, b, 3), conv(b, b, 3)) for _, b in pairs)
        self.head = nn.Conv2d(widths[0], 21, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept: list[Tensor] = []
        for index, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if index else x)
            kept.append(x)
        for up, fuse, skip in zip(self.up, self.fuse, reversed(kept[:-1]), strict=True):
            x = fuse(torch.cat([up(x), skip], 1))
        return self.head(x)


class Fcn(nn.Module):
    """FCN-8s: a VGG-like body, transposed convolutions by 2, 2 and 8 with padding."""

    def __init__(self, classes: int = 21) -> None:
        super().__init__()
        widths = (3, 32, 64, 128, 256, 256)
        self.body = nn.ModuleList(nn.Sequential(conv(a, b, 3), nn.MaxPool2d(2)) for a, b in pairwise(widths))
        self.score = nn.ModuleList(nn.Conv2d(c, classes, 1) for c in (256, 256, 128))
        self.up = nn.ModuleList(nn.ConvTranspose2d(classes, classes, 2 * s, s, s // 2, bias=False) for s in (2, 2, 8))

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for block in self.body:
            x = block(x)
            kept.append(x)
        x = self.up[0](self.score[0](kept[4])) + self.score[1](kept[3])
        return self.up[2](self.up[1](x) + self.score[2](kept[2]))
