"""Residual networks with the names that torchvision's exports have, and what public builds put on top of them."""

from __future__ import annotations

from pathlib import Path

import torch
from graphs.exporting import export, resize_input
from torch import Tensor, nn

_DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}


class BasicBlock(nn.Module):
    """Two 3x3 convolutions."""

    growth = 1

    def __init__(self, cin: int, width: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(cin, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1; the stride is in the middle, as in torchvision."""

    growth = 4

    def __init__(self, cin: int, width: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU()
        self.downsample = _shortcut(cin, 4 * width, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))


def _shortcut(cin: int, cout: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and cin == cout:
        return None
    return nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))


class Trunk(nn.Module):
    """Everything before the pooling; gives the maps of the last three stages."""

    def __init__(self, depth: int):
        super().__init__()
        block = Bottleneck if depth == 50 else BasicBlock
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = 64
        for stage, count in enumerate(_DEPTHS[depth]):
            width = 64 << stage
            blocks = []
            for index in range(count):
                blocks.append(block(channels, width, 2 if stage and not index else 1))
                channels = width * block.growth
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.channels = channels

    def maps(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        second = self.layer2(self.layer1(x))
        third = self.layer3(second)
        return second, third, self.layer4(third)

    def forward(self, x: Tensor) -> Tensor:
        return self.maps(x)[2]


class Classifier(Trunk):
    """With a head: `gap` as torchvision has it, `conv` with a pooling window and a 1x1 convolution."""

    def __init__(self, depth: int, head: str):
        super().__init__(depth)
        self.conv_head = head == "conv"
        self.avgpool = nn.AvgPool2d(7) if self.conv_head else nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Conv2d(self.channels, 1000, 1) if self.conv_head else nn.Linear(self.channels, 1000)

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.avgpool(super().forward(x))
        return self.fc(pooled if self.conv_head else torch.flatten(pooled, 1))


class Clipped(Classifier):
    """ResNet-34 with ReLU6 everywhere, for the DLA: no Linear, no Flatten, its two heads as one convolution."""

    def __init__(self) -> None:
        super().__init__(34, "conv")
        for module in self.modules():
            if hasattr(module, "relu"):
                module.relu = nn.ReLU6()
        self.fc = nn.Conv2d(self.channels, 2, 1)


class Retina(Trunk):
    """RetinaNet on ResNet-34: a pyramid of five maps, and four convolutions before each output."""

    def __init__(self) -> None:
        super().__init__(34)
        self.lateral = nn.ModuleList(nn.Conv2d(c, 256, 1) for c in (128, 256, 512))
        self.smooth = nn.ModuleList(nn.Conv2d(256, 256, 3, 1, 1) for _ in range(3))
        self.pyramid6 = nn.Conv2d(512, 256, 3, 2, 1)
        self.pyramid7 = nn.Conv2d(256, 256, 3, 2, 1)
        self.up = nn.Upsample(scale_factor=2.0, mode="nearest")
        self.cls_head = _head(9 * 80)
        self.box_head = _head(9 * 4)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        found = self.maps(x)
        maps = [lateral(each) for lateral, each in zip(self.lateral, found, strict=True)]
        maps[1] = maps[1] + self.up(maps[2])
        maps[0] = maps[0] + self.up(maps[1])
        maps = [smooth(each) for smooth, each in zip(self.smooth, maps, strict=True)]
        sixth = self.pyramid6(found[2])
        maps += [sixth, self.pyramid7(torch.relu(sixth))]
        return (*(self.cls_head(each) for each in maps), *(self.box_head(each) for each in maps))


def _head(outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(4):
        layers += [nn.Conv2d(256, 256, 3, 1, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(256, outputs, 3, 1, 1))


class Enlarger(Trunk):
    """ResNet-18 with transposed convolutions on top."""

    def __init__(self) -> None:
        super().__init__(18)
        self.up = nn.Sequential(nn.ConvTranspose2d(512, 64, 2, 2), nn.ReLU(), nn.ConvTranspose2d(64, 16, 2, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.up(super().forward(x))


def resnet50(path: Path) -> Path:
    """torchvision's ResNet-50 at 1x3x224x224."""
    return export(Classifier(50, "gap"), path, (1, 3, 224, 224))


def resnet50_prepared(path: Path) -> Path:
    """ResNet-50 as NVIDIA prepares it for the DLA: a pooling window and a 1x1 convolution, batch 2."""
    return export(Classifier(50, "conv"), path, (2, 3, 224, 224))


def resnet34_trunk(path: Path) -> Path:
    """The backbone of the Jetson reference benchmarks at 1280x768."""
    return resize_input(export(Trunk(34), path, (1, 3, 96, 160)), (1, 3, 768, 1280))


def resnet34_heads(path: Path) -> Path:
    """ResNet-34 with ReLU6 and two 1x1 heads at 16x3x224x224."""
    return export(Clipped(), path, (16, 3, 224, 224))


def retinanet(path: Path) -> Path:
    """The detector of the Jetson reference benchmarks at 1280x768."""
    return resize_input(export(Retina(), path, (1, 3, 128, 128)), (1, 3, 768, 1280))


def resnet18_deconv(path: Path) -> Path:
    """ResNet-18 with a head of transposed convolutions at 1x3x224x224."""
    return export(Enlarger(), path, (1, 3, 224, 224))
