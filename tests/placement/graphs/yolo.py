"""YOLO11n and its kin, written from the published structure: C3k2, SPPF, C2PSA, Detect with DFL and decoding.

Node names follow from the attribute names (`/model.10/m/m.0/attn/Split`), which are those of real exports.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from graphs.exporting import export, simplify
from torch import Tensor, nn

_BINS = 16
"""Bins of the box distribution on each side."""


class ConvBlock(nn.Module):
    """Convolution, batch norm and SiLU (or none)."""

    def __init__(self, cin: int, cout: int, kernel: int = 1, stride: int = 1, groups: int = 1, *, act: bool = True):
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(cout)
        self.act = nn.SiLU() if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class Residual(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    def __init__(self, channels: int, squeeze: float):
        super().__init__()
        inner = int(channels * squeeze)
        self.cv1 = ConvBlock(channels, inner, 3)
        self.cv2 = ConvBlock(inner, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.cv2(self.cv1(x))


class Csp3(nn.Module):
    """C3k: two residual blocks beside a 1x1 convolution."""

    def __init__(self, channels: int):
        super().__init__()
        inner = channels // 2
        self.cv1 = ConvBlock(channels, inner)
        self.cv2 = ConvBlock(channels, inner)
        self.cv3 = ConvBlock(2 * inner, channels)
        self.m = nn.Sequential(Residual(inner, 1.0), Residual(inner, 1.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))


class C3k2(nn.Module):
    """A split in two, of which one half runs through a block; all parts are concatenated."""

    def __init__(self, cin: int, cout: int, *, deep: bool, width: float = 0.5):
        super().__init__()
        self.inner = inner = int(cout * width)
        self.cv1 = ConvBlock(cin, 2 * inner)
        self.cv2 = ConvBlock(3 * inner, cout)
        self.m = nn.ModuleList([Csp3(inner) if deep else Residual(inner, 0.5)])

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.cv1(x).split((self.inner, self.inner), 1))
        parts += [block(parts[-1]) for block in self.m]
        return self.cv2(torch.cat(parts, 1))


class Sppf(nn.Module):
    """Three chained 5x5 poolings; `shortcut` adds the input and leaves the first activation out (YOLO26)."""

    def __init__(self, channels: int, *, shortcut: bool = False):
        super().__init__()
        self.shortcut = shortcut
        self.cv1 = ConvBlock(channels, channels // 2, act=not shortcut)
        self.cv2 = ConvBlock(channels * 2, channels)
        self.m = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        first = self.cv1(x)
        second = self.m(first)
        third = self.m(second)
        out = self.cv2(torch.cat((first, second, third, self.m(third)), 1))
        return out + x if self.shortcut else out


class Attention(nn.Module):
    """Self-attention over the pixels, with a depthwise convolution of the values as position code.

    Newer exports scale the queries before their product with the keys (`early`).
    """

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads, self.width, self.early = heads, channels // heads, False
        self.keys = self.width // 2
        self.qkv = ConvBlock(channels, channels + 2 * self.keys * heads, act=False)
        self.proj = ConvBlock(channels, channels, act=False)
        self.pe = ConvBlock(channels, channels, 3, groups=channels, act=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        flat = self.qkv(x).view(batch, self.heads, 2 * self.keys + self.width, height * width)
        queries, keys, values = flat.split([self.keys, self.keys, self.width], dim=2)
        scale = self.keys**-0.5
        products = (
            (queries * scale).transpose(-2, -1) @ keys if self.early else queries.transpose(-2, -1) @ keys * scale
        )
        weights = products.softmax(dim=-1)
        mixed = (values @ weights.transpose(-2, -1)).view(batch, channels, height, width)
        return self.proj(mixed + self.pe(values.reshape(batch, channels, height, width)))


class AttentionBlock(nn.Module):
    """Attention and a small feed-forward part, each with a shortcut."""

    def __init__(self, channels: int):
        super().__init__()
        self.attn = Attention(channels, channels // 64)
        self.ffn = nn.Sequential(ConvBlock(channels, 2 * channels), ConvBlock(2 * channels, channels, act=False))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(x)
        return x + self.ffn(x)


class ChannelGate(nn.Module):
    """What stands in for attention in a network for the DLA: convolutions and a softmax over channels."""

    def __init__(self, channels: int):
        super().__init__()
        self.qkv = ConvBlock(channels, channels, act=False)
        self.key = ConvBlock(channels, channels, act=False)
        self.pe = ConvBlock(channels, channels, 3, groups=channels, act=False)
        self.mix = ConvBlock(channels, channels, act=False)
        self.proj = ConvBlock(channels, channels, act=False)

    def forward(self, x: Tensor) -> Tensor:
        values = self.qkv(x)
        return self.proj(self.mix(self.key(values).softmax(dim=1)) + self.pe(values))


class GateBlock(AttentionBlock):
    """The same block with the gate in place of the attention."""

    def __init__(self, channels: int):
        super().__init__(channels)
        self.attn = ChannelGate(channels)  # type: ignore[assignment]
        self.ffn[0] = ConvBlock(channels, 2 * channels, act=False)


class C2psa(nn.Module):
    """A split in two, of which one half runs through attention."""

    def __init__(self, channels: int, *, gate: bool):
        super().__init__()
        self.half = channels // 2
        self.cv1 = ConvBlock(channels, channels)
        self.cv2 = ConvBlock(channels, channels)
        self.m = nn.Sequential(GateBlock(self.half) if gate else AttentionBlock(self.half))

    def forward(self, x: Tensor) -> Tensor:
        kept, mixed = self.cv1(x).split((self.half, self.half), dim=1)
        return self.cv2(torch.cat((kept, self.m(mixed)), 1))


class Dfl(nn.Module):
    """The mean of each side's distribution, as a fixed 1x1 convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(_BINS, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, anchors = x.shape
        return self.conv(x.view(batch, 4, _BINS, anchors).transpose(2, 1).softmax(1)).view(batch, 4, anchors)


class Detect(nn.Module):
    """The head: boxes and classes of three maps, raw or decoded; one bin a side needs no distribution."""

    def __init__(self, classes: int, channels: tuple[int, ...], *, raw: bool, bins: int = _BINS):
        super().__init__()
        self.raw, self.classes, self.bins = raw, classes, bins
        boxes = max(16, channels[0] // 4, 4 * bins)
        inner = max(channels[0], min(classes, 100))
        self.cv2 = nn.ModuleList(
            nn.Sequential(ConvBlock(c, boxes, 3), ConvBlock(boxes, boxes, 3), nn.Conv2d(boxes, 4 * bins, 1))
            for c in channels
        )
        self.cv3 = nn.ModuleList(
            nn.Sequential(
                nn.Sequential(ConvBlock(c, c, 3, groups=c), ConvBlock(c, inner)),
                nn.Sequential(ConvBlock(inner, inner, 3, groups=inner), ConvBlock(inner, inner)),
                nn.Conv2d(inner, classes, 1),
            )
            for c in channels
        )
        self.dfl = nn.Identity() if raw or bins == 1 else Dfl()

    def forward(self, maps: list[Tensor]) -> Tensor | tuple[Tensor, ...]:
        out = [torch.cat((self.cv2[i](x), self.cv3[i](x)), 1) for i, x in enumerate(maps)]
        if self.raw:
            return tuple(out)
        count = sum(x.shape[2] * x.shape[3] for x in out)
        anchors = torch.from_numpy(np.arange(2 * count, dtype=np.float32).reshape(1, 2, count))
        strides = torch.from_numpy(np.arange(count, dtype=np.float32).reshape(1, count))
        joined = torch.cat([x.view(1, 4 * self.bins + self.classes, -1) for x in out], 2)
        boxes, scores = joined.split((4 * self.bins, self.classes), 1)
        left, right = self.dfl(boxes).chunk(2, 1)
        low, high = anchors - left, anchors + right
        decoded = torch.cat(((low + high) / 2, high - low), 1) * strides
        return torch.cat((decoded, scores.sigmoid()), 1)


class Yolo11n(nn.Module):
    """The whole detector. `gate` replaces the attention, `raw` leaves the decoding out."""

    def __init__(self, classes: int = 80, *, gate: bool = False, raw: bool = False):
        super().__init__()
        up = nn.Upsample(scale_factor=2.0, mode="nearest")
        self.model = nn.Sequential(
            ConvBlock(3, 16, 3, 2),
            ConvBlock(16, 32, 3, 2),
            C3k2(32, 64, deep=False, width=0.25),
            ConvBlock(64, 64, 3, 2),
            C3k2(64, 128, deep=False, width=0.25),
            ConvBlock(128, 128, 3, 2),
            C3k2(128, 128, deep=True),
            ConvBlock(128, 256, 3, 2),
            C3k2(256, 256, deep=True),
            Sppf(256),
            C2psa(256, gate=gate),
            up,
            Join(),
            C3k2(384, 128, deep=False),
            nn.Upsample(scale_factor=2.0, mode="nearest"),
            Join(),
            C3k2(256, 64, deep=False),
            ConvBlock(64, 64, 3, 2),
            Join(),
            C3k2(192, 128, deep=False),
            ConvBlock(128, 128, 3, 2),
            Join(),
            C3k2(384, 256, deep=True),
            Detect(classes, (64, 128, 256), raw=raw),
        )

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        joins = {12: 6, 15: 4, 18: 13, 21: 10}
        kept: list[Tensor] = []
        for index, block in enumerate(self.model):
            if index in joins:
                x = block([x, kept[joins[index]]])
            elif index == 23:
                return block([kept[16], kept[19], kept[22]])
            else:
                x = block(x)
            kept.append(x)
        raise AssertionError("the head returns")


class Join(nn.Module):
    """Concatenation along channels, as a module so that it has a name."""

    def forward(self, maps: list[Tensor]) -> Tensor:
        return torch.cat(maps, 1)


def yolo11n(path: Path, *, classes: int = 80, slim: bool = True) -> Path:
    """YOLO11n at 640x640 with its decoding head."""
    export(Yolo11n(classes), path, (1, 3, 640, 640), names=("images",))
    return simplify(path) if slim else path


def yolo11n_dynamic(path: Path) -> Path:
    """YOLO11n whose batch, height and width are open, as an export for INT8 leaves them; three raw maps."""
    axes = {0: "batch", 2: "height", 3: "width"}
    return export(Yolo11n(raw=True), path, (1, 3, 640, 640), names=("images",), dynamic=axes)


def yolo11n_dla(path: Path) -> Path:
    """YOLO11n made for the DLA: channel softmax in place of attention, three raw maps."""
    return export(Yolo11n(gate=True, raw=True), path, (1, 3, 640, 640), names=("images",))
