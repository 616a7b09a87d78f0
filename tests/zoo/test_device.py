"""Choosing a device and an arithmetic."""

from __future__ import annotations

import time

import pytest
import torch
from torch import nn

from dlaflow.errors import EnvironmentLacksError, UsageError
from dlaflow.zoo.device import Arithmetic, pick_arithmetic, pick_device

IMAGES = torch.zeros(4, 3, 16, 16).contiguous(memory_format=torch.channels_last)


class Sluggish(nn.Module):
    """A network that takes its time in every arithmetic but one."""

    def __init__(self, bf16: bool, channels_last: bool) -> None:
        super().__init__()
        self.fast_in = (bf16, channels_last)
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        bf16 = torch.is_autocast_enabled("cpu")
        channels_last = images.is_contiguous(memory_format=torch.channels_last)
        if (bf16, channels_last) != self.fast_in:
            time.sleep(0.1)
        return self.conv(images)


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("channels_last", [False, True])
def test_the_probe_finds_the_fast_arithmetic(bf16: bool, channels_last: bool) -> None:
    model = Sluggish(bf16, channels_last)
    before = model.conv.weight.clone()
    assert pick_arithmetic("auto", model, IMAGES, 300) == Arithmetic(bf16, channels_last)
    assert torch.equal(model.conv.weight, before)
    assert model.conv.weight.grad is None


def test_a_fixed_precision_stays_and_a_short_run_is_not_probed() -> None:
    assert pick_arithmetic("fp32", Sluggish(True, False), IMAGES, 300) == Arithmetic(False, True)
    assert pick_arithmetic("bf16", Sluggish(False, False), IMAGES, 300) == Arithmetic(True, True)
    assert pick_arithmetic("auto", Sluggish(True, False), IMAGES, 299) == Arithmetic(False, True)
    with pytest.raises(UsageError, match="unknown precision"):
        pick_arithmetic("fp8", Sluggish(True, True), IMAGES, 299)


def test_bf16_computes_in_bf16() -> None:
    arithmetic = Arithmetic(bf16=True, channels_last=True)
    model = arithmetic.prepare(nn.Conv2d(3, 4, 3), torch.device("cpu"))
    assert model.weight.is_contiguous(memory_format=torch.channels_last)
    with arithmetic.autocast(torch.device("cpu")):
        assert model(IMAGES).dtype == torch.bfloat16


def test_devices() -> None:
    assert pick_device("cpu").type == "cpu"
    assert pick_device("auto").type in {"cpu", "cuda", "mps"}
    with pytest.raises(UsageError, match="unknown device"):
        pick_device("gpu0")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_an_absent_device_is_named() -> None:
    with pytest.raises(EnvironmentLacksError, match="no cuda device"):
        pick_device("cuda")
