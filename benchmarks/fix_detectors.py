"""The detectors and the transformers of benchmarks/fix.py: YOLOv5-, YOLOv8- and YOLO11-style, ConvNeXt-T, ViT-S."""

from __future__ import annotations

import torch
from fix_networks import conv
from torch import Tensor, nn
from torch.nn import functional as F


def cbs(a: int, b: int, k: int = 1, s: int = 1, g: int = 1) -> nn.Sequential:
    """Convolution, BatchNorm, SiLU."""
    return conv(a, b, k, s, g, nn.SiLU)


class Bottleneck(nn.Module):
    def __init__(self, c: int, k: tuple[int, int] = (1, 3), *, add: bool = True) -> None:
        super().__init__()
        self.body, self.add = nn.Sequential(cbs(c, c, k[0]), cbs(c, c, k[1])), add

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.add else self.body(x)


class C3(nn.Module):
    """Two paths, one with bottlenecks, joined."""

    def __init__(self, a: int, b: int, n: int = 1, k: tuple[int, int] = (1, 3), *, add: bool = True) -> None:
        super().__init__()
        self.one, self.two, self.three = cbs(a, b // 2), cbs(a, b // 2), cbs(b, b)
        self.blocks = nn.Sequential(*(Bottleneck(b // 2, k, add=add) for _ in range(n)))

    def forward(self, x: Tensor) -> Tensor:
        return self.three(torch.cat([self.blocks(self.one(x)), self.two(x)], 1))


class C2f(nn.Module):
    """Split in two; every block's output is kept. `deep` makes each block a C3 (YOLO11)."""

    def __init__(self, a: int, b: int, n: int = 1, *, add: bool = True, deep: bool = False) -> None:
        super().__init__()
        c = b // 2
        self.enter, self.leave = cbs(a, b), cbs((2 + n) * c, b)
        make = (lambda: C3(c, c, 2, (3, 3))) if deep else (lambda: Bottleneck(c, (3, 3), add=add))
        self.blocks = nn.ModuleList(make() for _ in range(n))

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.enter(x).chunk(2, 1))
        for block in self.blocks:
            parts.append(block(parts[-1]))
        return self.leave(torch.cat(parts, 1))


class Spp(nn.Module):
    """Pools of 5, 9 and 13 side by side, or three of 5 in a row (SPPF)."""

    def __init__(self, a: int, b: int, *, chained: bool) -> None:
        super().__init__()
        self.enter, self.leave, self.chained = cbs(a, a // 2), cbs(a * 2, b), chained
        self.pools = nn.ModuleList(nn.MaxPool2d(5 if chained else k, 1, 2 if chained else k // 2) for k in (5, 9, 13))

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.enter(x)]
        for pool in self.pools:
            parts.append(pool(parts[-1] if self.chained else parts[0]))
        return self.leave(torch.cat(parts, 1))


class Focus(nn.Module):
    def __init__(self, a: int, b: int) -> None:
        super().__init__()
        self.conv = cbs(4 * a, b, 3)

    def forward(self, x: Tensor) -> Tensor:
        parts = [x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]]
        return self.conv(torch.cat(parts, 1))


class Attention(nn.Module):
    """The position-aware attention of YOLO11's C2PSA."""

    def __init__(self, c: int, heads: int) -> None:
        super().__init__()
        self.heads, self.key = heads, c // heads // 2
        self.qkv, self.proj = conv(c, 2 * c, act=None), conv(c, c, act=None)
        self.place = conv(c, c, 3, g=c, act=None)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        q, k, v = self.qkv(x).view(n, self.heads, 4 * self.key, h * w).split([self.key, self.key, 2 * self.key], 2)
        weights = (q.transpose(-2, -1) @ k * self.key**-0.5).softmax(-1)
        mixed = (v @ weights.transpose(-2, -1)).view(n, c, h, w) + self.place(v.reshape(n, c, h, w))
        return self.proj(mixed)


class C2psa(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.enter, self.leave, self.attend = cbs(c, c), cbs(c, c), Attention(c // 2, max(1, c // 128))
        self.feed = nn.Sequential(cbs(c // 2, c), conv(c, c // 2, act=None))

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.enter(x).chunk(2, 1)
        b = b + self.attend(b)
        return self.leave(torch.cat([a, b + self.feed(b)], 1))


class AnchorHead(nn.Module):
    """YOLOv5's head: reshape, sigmoid, grids, anchors."""

    def __init__(self, channels: tuple[int, ...], classes: int = 80) -> None:
        super().__init__()
        self.no = classes + 5
        self.maps = nn.ModuleList(nn.Conv2d(c, 3 * self.no, 1) for c in channels)

    def forward(self, maps: list[Tensor]) -> Tensor:
        found = []
        for index, (m, layer) in enumerate(zip(maps, self.maps, strict=True)):
            y = layer(m)
            n, _, h, w = y.shape
            y = y.view(n, 3, self.no, h, w).permute(0, 1, 3, 4, 2).contiguous().sigmoid()
            rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
            grid = torch.stack((columns, rows), 2).view(1, 1, h, w, 2).float()
            place, size, rest = y.split((2, 2, self.no - 4), 4)
            place, size = (place * 2 + grid - 0.5) * 8.0 * 2**index, (size * 2) ** 2 * 16.0
            found.append(torch.cat((place, size, rest), 4).view(n, -1, self.no))
        return torch.cat(found, 1)


class DflHead(nn.Module):
    """YOLOv8's and YOLO11's head: distributions over 16 bins, decoded into boxes."""

    def __init__(self, channels: tuple[int, ...], classes: int = 80) -> None:
        super().__init__()
        self.classes = classes
        c2, c3 = max(16, channels[0] // 4, 64), max(channels[0], min(classes, 100))
        self.box = nn.ModuleList(nn.Sequential(cbs(c, c2, 3), cbs(c2, c2, 3), nn.Conv2d(c2, 64, 1)) for c in channels)
        self.label = nn.ModuleList(
            nn.Sequential(cbs(c, c3, 3), cbs(c3, c3, 3), nn.Conv2d(c3, classes, 1)) for c in channels
        )
        self.project = nn.Conv2d(16, 1, 1, bias=False)

    def forward(self, maps: list[Tensor]) -> Tensor:
        raw = [torch.cat([b(m), c(m)], 1).flatten(2) for m, b, c in zip(maps, self.box, self.label, strict=True)]
        box, score = torch.cat(raw, 2).split((64, self.classes), 1)
        n, _, anchors = box.shape
        box = self.project(box.view(n, 4, 16, anchors).transpose(2, 1).softmax(1)).view(n, 4, anchors)
        low, high = box.chunk(2, 1)
        grid = torch.arange(anchors, dtype=torch.float32).view(1, 1, -1)
        first, second = grid - low, grid + high
        return torch.cat([(first + second) / 2, second - first, score.sigmoid()], 1)


class Yolo(nn.Module):
    """Backbone, path aggregation and head in the style of YOLOv5 (n), YOLOv8 (n) or YOLO11 (n)."""

    def __init__(self, style: int) -> None:
        super().__init__()
        w = (16, 32, 64, 128, 256)

        def block(a: int, b: int, n: int = 1, *, add: bool = True, deep: bool = False) -> nn.Module:
            return C3(a, b, n, add=add) if style == 5 else C2f(a, b, n, add=add, deep=deep and style == 11)

        stem = Focus(3, w[0]) if style == 5 else cbs(3, w[0], 3, 2)
        self.p3 = nn.Sequential(
            stem, cbs(w[0], w[1], 3, 2), block(w[1], w[1]), cbs(w[1], w[2], 3, 2), block(w[2], w[2], 2)
        )
        self.p4 = nn.Sequential(cbs(w[2], w[3], 3, 2), block(w[3], w[3], 2, deep=True))
        attend = [C2psa(w[4])] if style == 11 else []
        self.p5 = nn.Sequential(
            cbs(w[3], w[4], 3, 2), block(w[4], w[4], deep=True), Spp(w[4], w[4], chained=style != 5), *attend
        )
        self.n4, self.n3 = block(w[4] + w[3], w[3], add=False), block(w[3] + w[2], w[2], add=False)
        self.d3, self.d4 = cbs(w[2], w[2], 3, 2), cbs(w[3], w[3], 3, 2)
        self.m4, self.m5 = block(w[2] + w[3], w[3], add=False), block(w[3] + w[4], w[4], add=False, deep=True)
        self.head = AnchorHead(w[2:]) if style == 5 else DflHead(w[2:])

    def forward(self, x: Tensor) -> Tensor:
        p3 = self.p3(x)
        p4 = self.p4(p3)
        p5 = self.p5(p4)
        n4 = self.n4(torch.cat([F.interpolate(p5, size=p4.shape[2:]), p4], 1))
        n3 = self.n3(torch.cat([F.interpolate(n4, size=p3.shape[2:]), p3], 1))
        m4 = self.m4(torch.cat([self.d3(n3), n4], 1))
        return self.head([n3, m4, self.m5(torch.cat([self.d4(m4), p5], 1))])


class ConvNextBlock(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.deep, self.norm = nn.Conv2d(c, c, 7, padding=3, groups=c), nn.LayerNorm(c)
        self.one, self.two, self.scale = nn.Linear(c, 4 * c), nn.Linear(4 * c, c), nn.Parameter(torch.rand(c))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.deep(x).permute(0, 2, 3, 1))
        return x + (self.scale * self.two(F.gelu(self.one(y)))).permute(0, 3, 1, 2)


class ChannelNorm(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def convnext_t() -> nn.Module:
    """ConvNeXt-T."""
    layers: list[nn.Module] = [nn.Conv2d(3, 96, 4, 4), ChannelNorm(96)]
    a = 96
    for stage, depth in enumerate((3, 3, 9, 3)):
        if stage:
            layers += [ChannelNorm(a), nn.Conv2d(a, 2 * a, 2, 2)]
            a *= 2
        layers += [ConvNextBlock(a) for _ in range(depth)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(a), nn.Linear(a, 1000))


class VitBlock(nn.Module):
    def __init__(self, c: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.n1, self.n2, self.mix, self.out = nn.LayerNorm(c), nn.LayerNorm(c), nn.Linear(c, 3 * c), nn.Linear(c, c)
        self.feed = nn.Sequential(nn.Linear(c, 4 * c), nn.GELU(), nn.Linear(4 * c, c))

    def forward(self, x: Tensor) -> Tensor:
        n, length, c = x.shape
        q, k, v = self.mix(self.n1(x)).reshape(n, length, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        y = (
            ((q @ k.transpose(-2, -1) * (c // self.heads) ** -0.5).softmax(-1) @ v)
            .transpose(1, 2)
            .reshape(n, length, c)
        )
        x = x + self.out(y)
        return x + self.feed(self.n2(x))


class VitS(nn.Module):
    """ViT-S/16."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.place = nn.Conv2d(3, 384, 16, 16), nn.Parameter(torch.rand(1, 196, 384))
        self.blocks = nn.Sequential(*(VitBlock(384, 6) for _ in range(12)))
        self.norm, self.head = nn.LayerNorm(384), nn.Linear(384, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2) + self.place
        return self.head(self.norm(self.blocks(x)).mean(1))
