"""Small detectors with the heads of YOLOv5, v8, 11 and 26, written from their published structure: random weights.

The networks before the heads are a few convolutions, since a decode sees nothing but what the heads' convolutions make.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

CLASSES = 7
BINS = 16
STRIDES = (8, 16, 32)
SIDES = (96, 64)
"""Height and width of the image: no square, so that a decode that mistakes them is seen."""
ANCHORS = (((10, 13), (16, 30), (33, 23)), ((30, 61), (62, 45), (59, 119)), ((116, 90), (156, 198), (373, 326)))
_WIDTHS = (24, 32, 40)


def block(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, BatchNorm and SiLU."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.SiLU())


class Backbone(nn.Module):
    """Three maps at strides 8, 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        self.p3 = nn.Sequential(block(3, 16, 3, 2), block(16, 24, 3, 2), block(24, _WIDTHS[0], 3, 2))
        self.p4, self.p5 = block(_WIDTHS[0], _WIDTHS[1], 3, 2), block(_WIDTHS[1], _WIDTHS[2], 3, 2)

    def forward(self, x: Tensor) -> list[Tensor]:
        p3 = self.p3(x)
        p4 = self.p4(p3)
        return [p3, p4, self.p5(p4)]


class Anchored(nn.Module):
    """YOLOv5: three anchors a cell, each with x, y, w, h, objectness and classes, all through a sigmoid."""

    def __init__(self) -> None:
        super().__init__()
        self.m = nn.ModuleList(nn.Conv2d(width, 3 * (5 + CLASSES), 1) for width in _WIDTHS)

    def forward(self, maps: list[Tensor]) -> Tensor:
        found = []
        for x, layer, stride, anchors in zip(maps, self.m, STRIDES, ANCHORS, strict=True):
            x = layer(x)
            batch, _, rows, columns = x.shape
            x = x.view(batch, 3, 5 + CLASSES, rows, columns).permute(0, 1, 3, 4, 2).contiguous()
            y, z = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
            grid = torch.stack((z, y), 2).expand(1, 3, rows, columns, 2).float() - 0.5
            sizes = torch.tensor(anchors).view(1, 3, 1, 1, 2).expand(1, 3, rows, columns, 2).float()
            xy, wh, scores = x.sigmoid().split((2, 2, CLASSES + 1), 4)
            boxes = torch.cat(((xy * 2 + grid) * stride, (wh * 2) ** 2 * sizes, scores), 4)
            found.append(boxes.view(batch, 3 * rows * columns, 5 + CLASSES))
        return torch.cat(found, 1)


class Dfl(nn.Module):
    """The mean of each side's distribution, as a fixed 1x1 convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(BINS, 1, 1, bias=False).requires_grad_(False)
        self.conv.weight.copy_(torch.arange(BINS, dtype=torch.float).view(1, BINS, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        batch, _, cells = x.shape
        return self.conv(x.view(batch, 4, BINS, cells).transpose(2, 1).softmax(1)).view(batch, 4, cells)


class AnchorFree(nn.Module):
    """YOLOv8 and 11 (`bins` 16), 26 (`bins` 1, `end2end`): distances to the sides of a box, and classes.

    Until 2025 the two were `joined` along the channels before they were laid flat.
    """

    def __init__(self, *, depthwise: bool, bins: int = BINS, joined: bool = False, end2end: bool = False) -> None:
        super().__init__()
        self.bins, self.joined, self.end2end = bins, joined, end2end
        boxes = max(16, _WIDTHS[0] // 4, 4 * bins)
        self.cv2 = nn.ModuleList(
            nn.Sequential(block(w, boxes), block(boxes, boxes), nn.Conv2d(boxes, 4 * bins, 1)) for w in _WIDTHS
        )
        self.cv3 = nn.ModuleList(
            nn.Sequential(
                *((block(w, w, groups=w), block(w, 24, 1)) if depthwise else (block(w, 24),)),
                *((block(24, 24, groups=24), block(24, 24, 1)) if depthwise else (block(24, 24),)),
                nn.Conv2d(24, CLASSES, 1),
            )
            for w in _WIDTHS
        )
        self.dfl = Dfl() if bins > 1 else nn.Identity()

    def forward(self, maps: list[Tensor]) -> Tensor:
        batch = maps[0].shape[0]
        if not self.joined:
            boxes = torch.cat(
                [layer(x).view(batch, 4 * self.bins, -1) for layer, x in zip(self.cv2, maps, strict=True)], -1
            )
            scores = torch.cat([layer(x).view(batch, CLASSES, -1) for layer, x in zip(self.cv3, maps, strict=True)], -1)
        else:
            joined = [torch.cat((one(x), two(x)), 1) for one, two, x in zip(self.cv2, self.cv3, maps, strict=True)]
            flat = torch.cat([x.view(batch, 4 * self.bins + CLASSES, -1) for x in joined], 2)
            boxes, scores = flat.split((4 * self.bins, CLASSES), 1)
        anchors, strides = self.grid(maps)
        low, high = self.dfl(boxes).chunk(2, 1)
        first, last = anchors - low, anchors + high
        if not self.end2end:
            decoded = torch.cat(((first + last) / 2, last - first), 1) * strides
            return torch.cat((decoded, scores.sigmoid()), 1)
        found = torch.cat((torch.cat((first, last), 1) * strides, scores.sigmoid()), 1)
        return self.best(found.permute(0, 2, 1))

    @staticmethod
    def grid(maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Centres of the cells, (1, 2, cells) as x and y, and the stride of each, (1, cells)."""
        points, strides = [], []
        for x, stride in zip(maps, STRIDES, strict=True):
            rows, columns = x.shape[2:]
            y, z = torch.meshgrid(torch.arange(rows) + 0.5, torch.arange(columns) + 0.5, indexing="ij")
            points.append(torch.stack((z, y), -1).view(-1, 2))
            strides.append(torch.full((rows * columns, 1), float(stride)))
        return torch.cat(points).transpose(0, 1).unsqueeze(0), torch.cat(strides).transpose(0, 1)

    @staticmethod
    def best(found: Tensor, most: int = 300) -> Tensor:
        """The best boxes, chosen by two topk: (batch, boxes, x1 y1 x2 y2 score class)."""
        boxes, scores = found.split((4, CLASSES), -1)
        count = min(most, boxes.shape[1])
        index = scores.amax(-1).topk(count)[1].unsqueeze(-1)
        boxes = boxes.gather(1, index.repeat(1, 1, 4))
        scores = scores.gather(1, index.repeat(1, 1, CLASSES))
        values, place = scores.flatten(1).topk(count)
        rows = torch.arange(boxes.shape[0])[..., None]
        return torch.cat((boxes[rows, place // CLASSES], values[..., None], (place % CLASSES)[..., None].float()), -1)


HEADS = {
    "v5": Anchored,
    "v8": lambda: AnchorFree(depthwise=False, joined=True),
    "11": lambda: AnchorFree(depthwise=True),
    "26": lambda: AnchorFree(depthwise=True, bins=1, end2end=True),
}


def detector(version: str, path: Path, batch: int = 1) -> Path:
    """A small detector with the head of `version` as torch exports it: input `images`, output `output0`."""
    torch.manual_seed(0)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        network = nn.Sequential(Backbone(), HEADS[version]()).eval()
        for name, values in network.named_parameters():
            if "dfl" not in name and values.dim() > 1:
                nn.init.kaiming_normal_(values)  # as deep as it is, the maps keep their variance
            elif "dfl" not in name:
                values.normal_(0.5, 0.3)
        torch.onnx.export(
            network,
            (torch.randn(batch, 3, *SIDES),),
            str(path),
            dynamo=False,
            opset_version=17,
            input_names=["images"],
            output_names=["output0"],
        )
    return path
