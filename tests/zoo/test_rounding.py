"""Rounding to INT8 that lets gradients through, and steps that suit every channel."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from dlaflow.zoo.rounding import MOST, Rounding, StepAdam, roundings, unrounded


def observed(values: torch.Tensor, axis: int | None = None) -> Rounding:
    rounding = Rounding(axis)
    rounding.mode = "observe"
    rounding(values)
    rounding.hold()
    return rounding


def test_scales_are_those_of_a_calibration() -> None:
    values = torch.rand(64, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert observed(values).scale.shape == ()  # NVIDIA's qdq-translator takes no list of one
    assert observed(values).scale.item() == pytest.approx(1 / MOST, rel=0.02)  # even magnitudes: entropy clips nothing
    each = observed(values * torch.tensor([1.0, 0.0, 50.0]).view(3, 1, 1), axis=1).scale
    torch.testing.assert_close(each, torch.tensor([1.0, 1.0, 50.0]) / MOST, rtol=0.01, atol=0)
    assert observed(torch.zeros(4, 3, 8, 8)).scale.item() == pytest.approx(1 / MOST)


def test_what_learns_rounds_as_what_is_exported() -> None:
    values = torch.randn(64, 4, 5, 5, generator=torch.Generator().manual_seed(1))
    for axis in (None, 1):
        rounding = observed(values, axis)
        rounded = rounding(3 * values)
        rounding.learn()
        torch.testing.assert_close(rounding(3 * values), rounded)


def test_gradients_pass_a_rounding_and_end_at_its_bounds() -> None:
    rounding = observed(torch.linspace(-1, 1, 1001))
    rounding.learn()
    values = torch.tensor([0.3 / MOST, 0.5, 2.0, -2.0], requires_grad=True)
    step = rounding.scale.item()
    rounding(values).sum().backward()
    assert values.grad.tolist() == [1, 1, 0, 0]
    # A clipped value moves with the scale by 127 or -128, another one by what its rounding did.
    half = 0.5 / step
    expected = step * ((0 - 0.3 / MOST / step) + (round(half) - half) + 127 - 128)
    factor = rounding.growth.grad.item() / expected
    rounding.growth.data.fill_(1.0)
    rounding.hold()
    assert rounding.scale.item() == pytest.approx(step * torch.tensor(factor).exp().item(), rel=1e-3)


def one_layer(factors: torch.Tensor) -> nn.Sequential:
    torch.manual_seed(3)
    network = nn.Sequential(nn.Conv2d(2, 3, 3))
    with torch.no_grad():
        network[0].weight *= factors.view(3, 1, 1, 1)
        network[0].bias *= factors
    parametrize.register_parametrization(network[0], "weight", Rounding(axis=0))
    for each in roundings(network):
        each.mode = "observe"
        network(torch.zeros(1, 2, 3, 3))
        each.hold()
    return network


def test_channels_far_apart_learn_alike() -> None:
    images = torch.randn(8, 2, 6, 6, generator=torch.Generator().manual_seed(2))
    found = []
    for factors in (torch.ones(3), torch.tensor([1.0, 1 / 1024, 4096.0])):
        network = one_layer(factors)
        before = network(images) / factors.view(3, 1, 1)
        adam = StepAdam(network, images)
        for _ in range(5):
            (network(images) / factors.view(3, 1, 1) - 1).square().mean().backward()
            adam.step(1.0)
        found.append(network(images) / factors.view(3, 1, 1))
        assert (found[-1] - 1).square().mean() < 0.95 * (before - 1).square().mean()
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-3)


def test_the_float_network_comes_back_for_a_while() -> None:
    network, images = one_layer(torch.ones(3)), torch.randn(2, 2, 6, 6)
    rounded = network(images)
    with unrounded(network):
        weight = network[0].parametrizations.weight.original
        torch.testing.assert_close(network(images), nn.functional.conv2d(images, weight, network[0].bias))
    assert torch.equal(network(images), rounded)
