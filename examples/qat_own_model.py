"""Quantisation-aware training of your own network in your own training loop, for the DLA. Copy this and change it.

    python examples/qat_own_model.py int8.onnx
    dlaflow cache from-qdq int8.onnx --cache calib.cache --plain plain.onnx --guess

Yours are `network`, `batches` and the loss; the lines marked with a number are what dlaflow adds. The network takes
one tensor of images and gives one of numbers, and torch.fx must be able to trace it. Leave it in evaluation mode.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from dlaflow.zoo.qat import calibrate_quantisers, export_quantised, quantised
from dlaflow.zoo.rounding import StepAdam

SHAPE = (3, 32, 32)
STEPS, RATE = 40, 0.1
"""The rate is in steps of INT8, what a weight moves by at most in one update: 1 where INT8 loses much."""


def network() -> nn.Module:
    """Your trained float network. This one is small, and knows nothing yet."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU6(),
        nn.Conv2d(16, 16, 3, padding=1, groups=16),
        nn.BatchNorm2d(16),
        nn.ReLU6(),
        nn.Conv2d(16, 32, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 10),
    )


def batches(count: int) -> Iterator[torch.Tensor]:
    """Your training images as the network takes them, [n, 3, 32, 32]; random ones here."""
    for _ in range(count):
        yield torch.randn(32, *SHAPE)


def main(out: Path) -> tuple[float, float]:
    """Train and write `out`; returns the mean square error to the float network before and after."""
    teacher = network().eval()
    student = quantised(copy.deepcopy(teacher), next(batches(1)))  # 1: fake quantisers where the DLA quantises
    calibrate_quantisers(student, batches(8))  # 2: their scales, from a few batches of training images

    test = next(batches(1))
    with torch.no_grad():
        before = nn.functional.mse_loss(student(test), teacher(test)).item()
    optimizer = StepAdam(student, next(batches(1)))  # 3: channels far apart learn alike, and the scales learn too
    for step, images in enumerate(batches(STEPS)):  # your loop; here the float network teaches, labels may join
        with torch.no_grad():
            wanted = teacher(images)
        loss = nn.functional.mse_loss(student(images), wanted)
        torch.autograd.backward(loss)
        optimizer.step(RATE * (1 - step / STEPS))
    with torch.no_grad():
        after = nn.functional.mse_loss(student(test), teacher(test)).item()

    # 4: on the CPU: ONNX with Q/DQ, compared with torch
    out.write_bytes(export_quantised(student.cpu(), "my network", 1, SHAPE))
    return before, after


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: qat_own_model.py OUT.onnx")
    print(
        "mean square error to the float network: {:.2e} before the training, {:.2e} after".format(
            *main(Path(sys.argv[1]))
        )
    )
