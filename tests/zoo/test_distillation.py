"""Distillation: what is swapped, that statistics come from data, and that a short fine-tune follows the original."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from dlaflow.errors import UsageError
from dlaflow.zoo.distillation import DistillationConfig, _InnerDistance, distill, export_distilled, swap_layers
from dlaflow.zoo.plan import TrainConfig
from dlaflow.zoo.training import train


class LayerNorm2d(nn.LayerNorm):
    pass


def test_what_is_swapped_and_what_stays() -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 1), nn.GroupNorm(4, 8), nn.SiLU(), nn.Sequential(nn.GELU(), LayerNorm2d(8)))
    module.add_module("tail", nn.Sequential(nn.BatchNorm2d(8), nn.LayerNorm(8), nn.Hardswish()))
    with torch.no_grad():
        module[1].weight.copy_(torch.arange(8.0))
        module[1].bias.fill_(0.25)
    found = swap_layers(module)
    assert found == (
        "1: GroupNorm -> BatchNorm2d",
        "2: SiLU -> ReLU",
        "3.0: GELU -> ReLU",
        "3.1: LayerNorm2d -> BatchNorm2d",
        "tail.2: Hardswish -> ReLU",
    )
    assert torch.equal(module[1].weight, torch.arange(8.0))
    assert torch.equal(module[1].bias, torch.full((8,), 0.25))
    assert type(module.tail[1]) is nn.LayerNorm


def test_distillation_learns_from_the_original(tmp_path: Path) -> None:
    weights = tmp_path / "gn.safetensors"
    train(TrainConfig("model_gn", weights, data="digits", epochs=1, limit=400))
    config = DistillationConfig("model_gn", weights, data="digits", epochs=2, batch_size=64, limit=400, lr=0.02)
    distilled = distill(config)
    assert len(distilled.swapped) == 4
    assert distilled.before > 0.2
    assert distilled.after > distilled.after_swap
    norms = [layer for layer in distilled.module.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert not any(torch.equal(layer.running_mean, torch.zeros_like(layer.running_mean)) for layer in norms)
    assert not any(layer._forward_hooks for layer in distilled.module.modules())
    assert export_distilled(distilled, tmp_path / "distilled.onnx") < 1e-3


def test_the_distance_inside_is_that_of_the_swapped_normalizations() -> None:
    teacher = nn.Sequential(nn.Conv2d(3, 8, 1), nn.GroupNorm(4, 8), nn.ReLU(), nn.Conv2d(8, 8, 1)).eval()
    student = copy.deepcopy(teacher)
    swap_layers(student)
    inner = _InnerDistance(teacher, student)
    images = torch.randn(4, 3, 6, 6)
    with torch.no_grad():
        wanted = teacher[1](teacher[0](images)).relu()
        found = student[1](student[0](images)).relu()
        teacher(images)
        student(images)
    expected = (found - wanted).square().mean() / wanted.var()
    assert float(inner.distance()) == pytest.approx(float(expected))
    inner.close()
    assert not any(layer._forward_hooks for net in (teacher, student) for layer in net.modules())


def test_nothing_to_swap(tmp_path: Path) -> None:
    weights = tmp_path / "bn.safetensors"
    train(TrainConfig("model_bn", weights, data="digits", epochs=1, limit=100))
    with pytest.raises(UsageError, match="nothing to swap"):
        distill(DistillationConfig("model_bn", weights, data="digits"))
