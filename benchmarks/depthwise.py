"""Two depthwise networks of 32x32 images, trained here in torch: what INT8 with one scale a tensor really hurts.

    python -P benchmarks/depthwise.py v1 --cifar ../shared/cifar10 --epochs 3 --out v1.onnx

`v1` is of MobileNetV1's kind (ReLU), `v2` of MobileNetV2's (ReLU6, inverted residuals), both small enough for a CPU.
-P: torch looks for Python's own `profile`, and there is one in this folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from dlaflow.quantize.images import Preparation
from dlaflow.zoo.data import load_dataset
from dlaflow.zoo.dataset import Dataset

WIDTHS = {
    "v1": ((32, 64, 2), (64, 128, 1), (128, 128, 2), (128, 256, 1)),
    "v2": ((24, 24, 1), (24, 48, 2), (48, 48, 1), (48, 96, 2)),
}
"""Channels before and behind each block, and its stride."""
_BATCH = 128
_EXPANSION = 4


def _unit(before: int, after: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(after),
    ]


class Inverted(nn.Module):
    """Expand, depthwise, project; added to its input where the sizes agree."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        inner = before * _EXPANSION
        self.body = nn.Sequential(
            *_unit(before, inner, 1),
            nn.ReLU6(),
            *_unit(inner, inner, 3, stride, inner),
            nn.ReLU6(),
            *_unit(inner, after, 1),
        )
        self.residual = stride == 1 and before == after

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """[n, before, h, w] to [n, after, h / stride, w / stride]."""
        out: torch.Tensor = self.body(images)
        return images + out if self.residual else out


def network(name: str) -> nn.Module:
    """Images float32 [n, 3, 32, 32], normalised → logits float32 [n, 10]."""
    first, last = WIDTHS[name][0][0], WIDTHS[name][-1][1]
    layers: list[nn.Module] = [*_unit(3, first, 3, 2), nn.ReLU() if name == "v1" else nn.ReLU6()]
    for before, after, stride in WIDTHS[name]:
        if name == "v2":
            layers.append(Inverted(before, after, stride))
        else:
            layers += [*_unit(before, before, 3, stride, before), nn.ReLU(), *_unit(before, after, 1), nn.ReLU()]
    if name == "v2":
        layers += [*_unit(last, 4 * last, 1), nn.ReLU6()]
        last *= 4
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(last, 10))


def train(name: str, data: Dataset, epochs: int, out: Path) -> None:
    """Train on all images of `data` and write the ONNX file, opset 17, with an open batch."""
    torch.manual_seed(0)
    prepared = Preparation(data.mean, data.std).normalised
    images = torch.from_numpy(np.asarray(prepared(data.train.images), np.float32))
    labels = torch.from_numpy(data.train.labels)
    model = network(name).train()
    steps = epochs * (len(labels) // _BATCH)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=0.2, total_steps=steps)
    for epoch in range(epochs):
        for which in torch.randperm(len(labels))[: len(labels) // _BATCH * _BATCH].split(_BATCH):
            batch = functional.pad(images[which], (4, 4, 4, 4), mode="reflect")
            top, left = torch.randint(0, 9, (2,)).tolist()
            batch = batch[:, :, top : top + 32, left : left + 32]
            batch = batch.flip(3) if torch.rand(()) < 0.5 else batch
            loss = functional.cross_entropy(model(batch), labels[which], label_smoothing=0.1)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        print(f"  {name}: epoch {epoch + 1} of {epochs}, loss {float(loss.detach()):.3f}", flush=True)
    names = {"input_names": ["input"], "output_names": ["output"], "dynamic_axes": {"input": {0: "batch"}}}
    torch.onnx.export(model.eval(), (images[:1],), str(out), opset_version=17, dynamo=False, **names)


def main() -> None:
    """Train one of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(WIDTHS))
    parser.add_argument("--cifar", type=Path, required=True, help="folder with CIFAR-10")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    train(options.name, load_dataset("cifar10", options.cifar), options.epochs, options.out)


if __name__ == "__main__":
    main()
