"""The two networks of the walk-through, in torch. Imported only once torch is known to be there.

Four times [3x3 convolution of stride 2, normalization, ReLU] with 3 → 64 → 128 → 256 → 512 channels, an average over
the 2x2 that is left of 32x32, and one linear layer. Only the normalization differs: GroupNorm has no place on a DLA,
while BatchNorm folds into the convolution. The attribute names are part of the interface: they name weights and ONNX
nodes.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import nn

CHANNELS = (3, 64, 128, 256, 512)
CLASSES = 10
GROUPS = 8

Normalization = Callable[[int], nn.Module]


class SmallClassifier(nn.Module):
    """Images float32 [n, 3, 32, 32], normalised → logits float32 [n, 10].

    `width` times the channels of each layer, in whole groups.
    """

    def __init__(self, normalization: Normalization, width: float = 1.0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = [CHANNELS[0], *(max(GROUPS, round(count * width / GROUPS) * GROUPS) for count in CHANNELS[1:])]
        for before, after in pairwise(channels):
            layers += [nn.Conv2d(before, after, kernel_size=3, stride=2, padding=1), normalization(after), nn.ReLU()]
        self.cnn = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(channels[-1], CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The logits of a batch of images."""
        pooled = self.pool(self.cnn(images))
        # `view` rather than `flatten`, as in the walk-through: its export is the shape arithmetic that TensorRT folds.
        logits: torch.Tensor = self.linear(pooled.view(pooled.shape[0], -1))
        return logits


def model_gn(width: float = 1.0) -> nn.Module:
    """The network that crawls on a DLA: each of its four GroupNorms goes to the GPU and back."""
    return SmallClassifier(lambda channels: nn.GroupNorm(GROUPS, channels), width)


def model_bn(width: float = 1.0) -> nn.Module:
    """The network that stays on the DLA: BatchNorm folds into the convolution before it."""
    return SmallClassifier(nn.BatchNorm2d, width)
