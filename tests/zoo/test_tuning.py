"""A fine-tune gains where INT8 loses, and never ends below where it began."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dlaflow.progress import silent
from dlaflow.zoo.augment import DeviceImages
from dlaflow.zoo.dataset import Dataset, Split
from dlaflow.zoo.distillation import DistillationConfig
from dlaflow.zoo.export import example_images
from dlaflow.zoo.loop import accuracy
from dlaflow.zoo.qat import calibrate_quantisers, quantised
from dlaflow.zoo.tuning import Tuned, fine_tune

CLASSES = 4
SIDE = 8


def uneven() -> nn.Sequential:
    """Channels 1 to 300 apart that the next layer brings together again: what one scale a tensor cannot hold."""
    torch.manual_seed(0)
    network = nn.Sequential(
        *(nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 1), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, CLASSES)),
    )
    with torch.no_grad():
        spread = 300 ** torch.rand(16)
        network[0].weight *= spread.view(-1, 1, 1, 1)
        network[0].bias *= spread
        network[2].weight /= spread.view(1, -1, 1, 1)
    return network.eval()


@pytest.fixture
def tune() -> Callable[[float, int], tuple[Tuned, float, float]]:
    """Fine-tune the network at a rate: what came out, and the shares of images right before and after. The labels are
    what the float network says."""
    teacher = uneven()
    pixels = np.clip((example_images(640, (3, SIDE, SIDE)) + 2) * 64, 0, 255).astype(np.uint8)
    normalised = (torch.from_numpy(pixels).float() / 255 - 0.5) / 0.25
    with torch.no_grad():
        answers = teacher(normalised)
        teacher[-1].bias -= answers.mean(0)  # else one class is all there is
        labels = teacher(normalised).argmax(1).numpy()
    splits = [Split(pixels[part], labels[part]) for part in (slice(0, 320), slice(320, 480), slice(480, None))]
    data = Dataset("random", splits[0], splits[2], (0.5,) * 3, (0.25,) * 3, tuple("abcd"), mirrored=False)
    train, held_out, test = (DeviceImages(split, data, torch.device("cpu")) for split in splits)
    student = quantised(teacher, test.plain(slice(0, 2)))
    calibrate_quantisers(student, [train.plain(slice(0, 320))])

    def run(rate: float, epochs: int) -> tuple[Tuned, float, float]:
        config = DistillationConfig("random", Path(), epochs=epochs, batch_size=32, lr=rate)
        found = fine_tune(student, teacher, (train, held_out), CLASSES, config, silent)
        return found, accuracy(student, test, CLASSES), accuracy(found.network, test, CLASSES)

    return run


def test_it_gains_where_int8_loses(tune) -> None:
    found, before, after = tune(1.0, 25)
    assert before < 0.9
    assert after > before + 0.05
    assert found.epoch > 0
    assert found.rights[found.epoch] == max(found.rights) > found.rights[0]


def test_a_rate_that_destroys_is_ended_and_a_tenth_is_tried(tune) -> None:
    found, before, after = tune(1e6, 4)
    assert found.ended
    assert found.rate == 1e5
    assert len(found.rights) == 2  # the second training went wrong in its first epoch too
    assert found.epoch == 0
    assert after == before


def test_no_epochs_leave_it_as_it_was(tune) -> None:
    found, before, after = tune(1.0, 0)
    assert (found.epoch, found.ended, after) == (0, False, before)
