"""Parts and families: SSD with MobileNet, the memory encoder of SAM 2, the heads of YOLOv5 and YOLO26."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
from graphs.exporting import export
from graphs.writer import Window, Writer
from torch import Tensor, nn
from torch.nn.functional import gelu


def ssd_mobilenet(path: Path) -> Path:
    """SSD-MobileNet-v1 at 2x3x300x300 as prepared for the DLA: norms folded, raw heads, TensorFlow's padding."""
    pen = Writer()

    def unit(name: str, x: str, channels: int, kernel: int, window: Window) -> str:
        return pen.node("Clip", f"{name}/Relu6", [pen.conv(name, x, channels, kernel, window), low, high])

    low, high = pen.constant("low", 0.0), pen.constant("high", 6.0)
    same, even = (1, 1, 1, 1), (0, 0, 1, 1)
    x = unit("Conv2d_0", pen.input("Preprocessor/sub:0", [2, 3, 300, 300]), 32, 3, Window(2, even))
    cin, size, maps = 32, 150, []
    plan = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
    for index, (channels, stride) in enumerate(plan, start=1):
        pads = same if stride == 1 or size % 2 else even
        x = unit(f"Conv2d_{index}_depthwise", x, cin, 3, Window(stride, pads, cin))
        x = unit(f"Conv2d_{index}_pointwise", x, channels, 1, Window())
        cin, size = channels, -(-size // stride)
        if index in (11, 13):
            maps.append(x)
    for index, (channels, pads) in enumerate(((512, even), (256, same), (256, same), (128, even)), start=2):
        x = unit(f"Conv2d_13_{index}_1x1", x, channels // 2, 1, Window())
        x = unit(f"Conv2d_13_{index}_3x3", x, channels, 3, Window(2, pads))
        maps.append(x)
    outputs = [
        pen.conv(f"BoxPredictor_{index}", each, (3 if index == 0 else 6) * 95, 1) for index, each in enumerate(maps)
    ]
    return pen.save(path, outputs)


class LayerNorm2d(nn.Module):
    """Layer norm over channels, in the parts that exports show: ReduceMean, Sub, Pow, Sqrt, Div."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        spread = (x - mean).pow(2).mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt(spread + 1e-6)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class Gelu(nn.Module):
    """GELU by the error function."""

    def forward(self, x: Tensor) -> Tensor:
        return gelu(x)


class MaskDownSampler(nn.Module):
    """Four strided convolutions, each with a norm and GELU, then a projection."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for cin, cout in ((1, 4), (4, 16), (16, 64), (64, 256)):
            layers += [nn.Conv2d(cin, cout, 3, 2, 1), LayerNorm2d(cout), Gelu()]
        self.encoder = nn.Sequential(*layers, nn.Conv2d(256, 256, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(x)


class CxBlock(nn.Module):
    """A ConvNeXt block with linear layers over channels."""

    def __init__(self) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(256, 256, 7, 1, 3, groups=256)
        self.norm = LayerNorm2d(256)
        self.pwconv1, self.act, self.pwconv2 = nn.Linear(256, 1024), Gelu(), nn.Linear(1024, 256)
        self.gamma = nn.Parameter(torch.ones(256))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.dwconv(x)).permute(0, 2, 3, 1)
        return x + (self.gamma * self.pwconv2(self.act(self.pwconv1(y)))).permute(0, 3, 1, 2)


class MemoryEncoder(nn.Module):
    """Mask and image features become memory; the position code is a constant here."""

    def __init__(self) -> None:
        super().__init__()
        self.mask_downsampler = MaskDownSampler()
        self.pix_feat_proj = nn.Conv2d(256, 256, 1)
        self.fuser = nn.Sequential(CxBlock(), CxBlock())
        self.out_proj = nn.Conv2d(256, 64, 1)

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        x = self.pix_feat_proj(features) + self.mask_downsampler(mask.sigmoid() * 20.0 - 10.0)
        return self.out_proj(self.fuser(x))


class Wrapped(nn.Module):
    """The encoder under the name that the log prints."""

    def __init__(self) -> None:
        super().__init__()
        self.e = MemoryEncoder()

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        return self.e(features, mask)


def memory_encoder(path: Path) -> Path:
    """SAM 2.1's memory encoder for a crop of 512."""
    return export(Wrapped(), path, (1, 256, 32, 32), (1, 1, 512, 512), names=("features", "mask"))


class AnchorHead(nn.Module):
    """YOLOv5's Detect: five-dimensional maps, boxes decoded with powers, all joined."""

    def __init__(self) -> None:
        super().__init__()
        self.m = nn.ModuleList(nn.Conv2d(channels, 3 * 6, 1) for channels in (128, 256, 512))

    def forward(self, maps: list[Tensor]) -> Tensor:
        out = []
        for conv, x, stride in zip(self.m, maps, (8.0, 16.0, 32.0), strict=True):
            x = conv(x)
            height, width = x.shape[2:]
            x = x.view(1, 3, 6, height, width).permute(0, 1, 3, 4, 2).contiguous()
            place, size, rest = x.sigmoid().split((2, 2, 2), 4)
            cells = (
                torch.stack(
                    torch.meshgrid(torch.arange(int(height)), torch.arange(int(width)), indexing="ij"), 2
                ).expand(1, 3, int(height), int(width), 2)
                - 0.5
            )
            place = (place * 2 + cells) * stride
            size = (size * 2) ** 2 * torch.tensor([10.0, 13.0])
            out.append(torch.cat((place, size, rest), 4).view(1, 3 * int(height) * int(width), 6))
        return torch.cat(out, 1)


class Yolov5Tail(nn.Module):
    """Three strided units and the head under its real number."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 32, 64, 128, 256, 512)
        units = [nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.SiLU()) for a, b in pairwise(widths)]
        self.model = nn.ModuleDict({str(index): unit for index, unit in enumerate(units)} | {"24": AnchorHead()})

    def forward(self, x: Tensor) -> Tensor:
        maps = []
        for index in range(5):
            x = self.model[str(index)](x)
            maps.append(x)
        return self.model["24"](maps[2:])


def yolov5_head(path: Path) -> Path:
    """The head of YOLOv5 v7 behind a short trunk."""
    return export(Yolov5Tail(), path, (1, 3, 640, 640), names=("images",))
