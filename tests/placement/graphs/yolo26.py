"""YOLO26: the whole nano with a decoding head, and the parts that a report names of the small one with its own head."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from graphs.exporting import export, simplify
from graphs.yolo import Attention, AttentionBlock, C2psa, C3k2, ConvBlock, Detect, Residual, Sppf, Yolo11n
from torch import Tensor, nn


class AttentionC3k2(nn.Module):
    """A split in two, of which one half runs through a residual block and attention."""

    def __init__(self, channels: int, cin: int | None = None):
        super().__init__()
        self.half = channels // 2
        self.cv1 = ConvBlock(cin or channels, channels)
        self.cv2 = ConvBlock(channels + self.half, channels)
        self.m = nn.ModuleList([nn.Sequential(Residual(self.half, 0.5), AttentionBlock(self.half))])

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.cv1(x).split((self.half, self.half), 1))
        parts += [block(parts[-1]) for block in self.m]
        return self.cv2(torch.cat(parts, 1))


class BestBoxes(nn.Module):
    """Boxes and classes of three maps, decoded, of which the best 300 are gathered."""

    def __init__(self, channels: tuple[int, ...], classes: int = 80):
        super().__init__()
        self.classes = classes
        self.cv2 = nn.ModuleList(nn.Conv2d(c, 4, 1) for c in channels)
        self.cv3 = nn.ModuleList(nn.Conv2d(c, classes, 1) for c in channels)

    def forward(self, maps: list[Tensor]) -> Tensor:
        boxes = torch.cat([conv(x).view(1, 4, -1) for conv, x in zip(self.cv2, maps, strict=True)], -1)
        scores = torch.cat([conv(x).view(1, self.classes, -1) for conv, x in zip(self.cv3, maps, strict=True)], -1)
        count = sum(x.shape[2] * x.shape[3] for x in maps)
        anchors = torch.from_numpy(np.arange(2 * count, dtype=np.float32).reshape(1, 2, count))
        low, high = anchors - boxes[:, :2], anchors + boxes[:, 2:]
        found = torch.cat((torch.cat((low, high), 1) * 8.0, scores.sigmoid()), 1).permute(0, 2, 1)
        boxes, scores = found.split((4, self.classes), -1)
        best = scores.amax(-1).topk(300)[1].unsqueeze(-1)
        boxes = boxes.gather(1, best.repeat(1, 1, 4))
        scores = scores.gather(1, best.repeat(1, 1, self.classes))
        values, index = scores.flatten(1).topk(300)
        row = (index // self.classes).unsqueeze(-1)
        chosen = boxes.gather(1, row.expand(1, 300, 4))
        return torch.cat((chosen, values.unsqueeze(-1), (index % self.classes).unsqueeze(-1).float()), -1)


class Yolo26Parts(nn.Module):
    """A short trunk, the attention of layers 10 and 22, and the head as layer 23."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 32, 64, 128, 256)
        trunk = {str(i): ConvBlock(widths[i], widths[i + 1], 3, 2) for i in range(4)}
        more = {"9": ConvBlock(256, 256, 3, 2), "10": C2psa(256, gate=False), "22": AttentionC3k2(256)}
        self.model = nn.ModuleDict(trunk | more | {"23": BestBoxes((128, 256, 256))})

    def forward(self, x: Tensor) -> Tensor:
        maps = []
        for index in range(4):
            x = self.model[str(index)](x)
            maps.append(x)
        last = self.model["22"](self.model["10"](self.model["9"](x)))
        return self.model["23"]([maps[2], maps[3], last])


class Yolo26n(Yolo11n):
    """The nano with one class and the head of YOLO11, which decodes boxes of one bin a side."""

    def __init__(self) -> None:
        super().__init__(1)
        self.model[9] = Sppf(256, shortcut=True)
        for index, (cin, cout) in {13: (384, 128), 16: (256, 64), 19: (192, 128)}.items():
            self.model[index] = C3k2(cin, cout, deep=True)
        self.model[22] = AttentionC3k2(256, 384)
        self.model[23] = Detect(1, (64, 128, 256), raw=False, bins=1)
        for module in self.modules():
            if isinstance(module, Attention):
                module.early = True


def yolo26n(path: Path) -> Path:
    """The whole nano at 1x3x640x640."""
    return simplify(export(Yolo26n(), path, (1, 3, 640, 640), names=("images",)))


def yolo26(path: Path) -> Path:
    """The parts at 1x3x480x640."""
    return export(Yolo26Parts(), path, (1, 3, 480, 640), names=("images",))
