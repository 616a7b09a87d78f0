"""Segmentation networks: a depthwise encoder with an adding decoder, a U-Net with padded transposed convolutions."""

from __future__ import annotations

from pathlib import Path

from graphs.exporting import export
from torch import Tensor, cat, nn
from torch.nn.functional import interpolate


class Unit(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, cin: int, cout: int, kernel: int, stride: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(cout)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class Separable(nn.Module):
    """A depthwise 3x3 and a pointwise convolution that share one activation module."""

    def __init__(self, cin: int, cout: int, stride: int):
        super().__init__()
        self.depthwise = nn.Conv2d(cin, cin, 3, stride, 1, groups=cin, bias=False)
        self.bn1 = nn.BatchNorm2d(cin)
        self.pointwise = nn.Conv2d(cin, cout, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn2(self.pointwise(self.act(self.bn1(self.depthwise(x))))))


class PaceSeg(nn.Module):
    """Stem, three stages, and a decoder that enlarges and adds."""

    def __init__(self, widths: tuple[int, int, int, int], depth: int):
        super().__init__()
        stem, one, two, three = widths
        self.stem = Unit(3, stem, 3, 2)
        self.stage1 = _stage(stem, one, depth)
        self.stage2 = _stage(one, two, depth)
        self.stage3 = _stage(two, three, depth)
        self.reduce3, self.fuse2 = Unit(three, two, 1), Separable(two, two, 1)
        self.reduce2, self.fuse1 = Unit(two, one, 1), Separable(one, one, 1)
        self.reduce1, self.fuse0 = Unit(one, stem, 1), Separable(stem, stem, 1)
        self.classifier = nn.Conv2d(stem, 19, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.stem(x)]
        for stage in (self.stage1, self.stage2, self.stage3):
            x = maps[-1]
            for block in stage:
                x = block(x)
            maps.append(x)
        x = self.fuse2(_double(self.reduce3(maps[3])) + maps[2])
        x = self.fuse1(_double(self.reduce2(x)) + maps[1])
        x = self.fuse0(_double(self.reduce1(x)) + maps[0])
        return self.classifier(_double(x))


def _stage(cin: int, cout: int, depth: int) -> nn.ModuleList:
    return nn.ModuleList(Separable(cout if index else cin, cout, 1 if index else 2) for index in range(depth))


def _double(x: Tensor) -> Tensor:
    return interpolate(x, scale_factor=2.0, mode="bilinear")


class TfUnet(nn.Module):
    """A small U-Net whose transposed convolutions carry the padding of TensorFlow's `same`."""

    def __init__(self) -> None:
        super().__init__()
        self.enc = nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU())
        self.mid = nn.Sequential(nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU())
        self.dec_deconv_1 = nn.ConvTranspose2d(64, 32, 3, 2, 1, output_padding=1)
        self.dec_deconv_2 = nn.ConvTranspose2d(64, 32, 3, 2, 1, output_padding=1)
        self.out = nn.Conv2d(32, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.enc(x)
        x = cat((self.dec_deconv_1(self.mid(first)), first), 1)
        return self.out(self.dec_deconv_2(x))


_LEVELS = {
    "tiny": ((8, 16, 16, 24), 2, (192, 384)),
    "small": ((16, 24, 32, 48), 3, (256, 512)),
    "medium": ((24, 40, 48, 72), 4, (384, 768)),
    "large": ((32, 48, 64, 96), 6, (512, 1024)),
}
"""Widths, blocks a stage and input size; the parameter counts are those of the public report."""


def pace_seg(path: Path, level: str) -> Path:
    """The depthwise network of the public smoke test, untrained as it was there."""
    widths, depth, (height, width) = _LEVELS[level]
    return export(PaceSeg(widths, depth), path, (1, 3, height, width), names=("image",), trained=False)


def tf_unet(path: Path) -> Path:
    """The small U-Net at 32x3x128x128."""
    return export(TfUnet(), path, (32, 3, 128, 128), names=("input_0",))


def parameters(level: str) -> int:
    """How many parameters the depthwise network of a level has."""
    widths, depth, _ = _LEVELS[level]
    return sum(values.numel() for values in PaceSeg(widths, depth).parameters())
