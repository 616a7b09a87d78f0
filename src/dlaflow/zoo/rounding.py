"""INT8 in torch: a module that rounds a tensor as the DLA stores it, and an optimiser that moves in its steps.

Symmetric, without zero points: one scale for a tensor, or one for each channel. Scales begin as `calibrate` has them
(entropy of the magnitudes; a channel's largest weight is 127) and learn with the weights: a rounding passes gradients
on, and a scale gets what rounding and clipping do to the loss.

Source: S. Esser et al., "Learned Step Size Quantization" (ICLR 2020), with Adam in place of a scaled gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import nn
from torch.nn.utils import parametrize

from dlaflow.quantize.histogram import Histogram
from dlaflow.quantize.methods import entropy

LEAST, MOST = -128, 127
_DECAYS = (0.9, 0.99)
"""Of Adam's averages: the second is shorter than usual, as these trainings are."""
_SCALES_FIRST = 16.0
"""How much faster scales learn than weights: by so many of their own 127ths where a weight moves by a step."""


class Rounding(nn.Module):
    """Rounds float32 tensors to INT8 with one scale, or with one for each channel of `axis`.

    `mode` says what becomes of a tensor: `pass` it on, `observe` it, `round` it, or `learn` (rounded, and the scale
    gets a gradient).
    """

    scale: torch.Tensor
    zero_point: torch.Tensor

    def __init__(self, axis: int | None = None) -> None:
        super().__init__()
        self.axis = axis
        self.mode: Literal["pass", "observe", "round", "learn"] = "pass"
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("zero_point", torch.zeros((), dtype=torch.int32))
        self.growth = torch.zeros(())
        self._magnitudes = Histogram("of an activation")
        self._largest = torch.ones(())

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        if self.mode == "learn":
            scale = self._grown().view(self._wide(values))
            steps = values / scale
            return (steps + (steps.round() - steps).detach()).clamp(LEAST, MOST) * scale
        if self.mode == "round" and self.axis is None:
            return torch.fake_quantize_per_tensor_affine(values, self.scale, self.zero_point, LEAST, MOST)
        if self.mode == "round" and self.axis is not None:
            return torch.fake_quantize_per_channel_affine(values, self.scale, self.zero_point, self.axis, LEAST, MOST)
        if self.mode == "observe" and self.axis is None:
            self._magnitudes.add(values.detach().float().cpu().numpy())
        elif self.mode == "observe":
            self._largest = values.detach().abs().amax([dim for dim in range(values.dim()) if dim != self.axis])
        return values

    def learn(self) -> None:
        """Let the scale learn from here on, through `growth`: a factor, since no step may bring a scale to zero."""
        self.growth, self.mode = torch.zeros_like(self.scale, requires_grad=True), "learn"

    def hold(self) -> None:
        """Take the scale that was learned, or that of what was observed; from here on it rounds."""
        if self.mode == "learn":
            self.scale = self._grown().detach()
        else:
            largest = self._largest if self.axis is not None else torch.tensor(entropy(self._magnitudes))
            # What is zero everywhere has the scale 1/127, as in `quantize.qdq`.
            self.scale = (torch.where(largest > 0, largest, 1.0) / MOST).to(self.scale)
        self.zero_point = torch.zeros_like(self.scale, dtype=torch.int32)
        self._magnitudes, self.mode = Histogram(self._magnitudes.name), "round"

    def _grown(self) -> torch.Tensor:
        return self.scale * torch.exp(self.growth * _SCALES_FIRST / MOST)

    def step_beside(self, values: torch.Tensor) -> torch.Tensor:
        """The size of a step of INT8, in a shape that multiplies `values`."""
        return self.scale.detach().view(self._wide(values)).clone()

    def _wide(self, values: torch.Tensor) -> list[int]:
        return [-1 if dim == self.axis else 1 for dim in range(values.dim())]


def roundings(network: nn.Module) -> list[Rounding]:
    """All roundings of a network, each once."""
    return [module for module in network.modules() if isinstance(module, Rounding)]


@contextmanager
def unrounded(network: nn.Module) -> Iterator[None]:
    """The network in float for a while."""
    before = {each: each.mode for each in roundings(network)}
    for each in before:
        each.mode = "pass"
    try:
        yield
    finally:
        for each, mode in before.items():
            each.mode = mode


class StepAdam:
    """Adam for a network with held `Rounding`s; a rate of 1 moves a weight by at most about one step of INT8.

    A step is the scale of the weight's own channel, so that channels a thousand times apart learn alike, which one rate
    for all does not give: it destroys the small ones or leaves the large ones. Biases move by a 127th of their
    channel's spread on `images` [n, c, h, w], other parameters of their mean magnitude. The scales learn too, until
    `Rounding.hold`.
    """

    def __init__(self, network: nn.Module, images: torch.Tensor) -> None:
        spreads = _spreads(network, images)
        units: dict[torch.Tensor, torch.Tensor] = {
            parameter: parameter.detach().abs().mean().clamp_min(1e-8) / MOST for parameter in network.parameters()
        }
        for module in network.modules():
            if parametrize.is_parametrized(module, "weight"):
                weight = module.parametrizations.weight.original  # type: ignore[union-attr]
                units[weight] = module.parametrizations.weight[0].step_beside(weight)  # type: ignore[union-attr,index]
                if isinstance(module.bias, nn.Parameter) and module in spreads:
                    units[module.bias] = spreads[module] / MOST
        for each in roundings(network):
            each.learn()
            units[each.growth] = torch.ones_like(each.growth)
        self._units = units
        self._began = {parameter: parameter.detach().clone() for parameter in units}
        self._moves = {parameter: torch.zeros_like(parameter) for parameter in units}
        self._adam = torch.optim.Adam(self._moves.values(), betas=_DECAYS, eps=1e-12)

    def step(self, rate: float) -> None:
        """Move everything by its gradient, which is then forgotten; `rate` is in steps of INT8."""
        for parameter, move in self._moves.items():
            move.grad = None if parameter.grad is None else parameter.grad * self._units[parameter]
            parameter.grad = None
        for group in self._adam.param_groups:
            group["lr"] = rate
        self._adam.step()
        with torch.no_grad():
            for parameter, move in self._moves.items():
                parameter.copy_(self._began[parameter] + move * self._units[parameter])


@torch.no_grad()
def _spreads(network: nn.Module, images: torch.Tensor) -> dict[nn.Module, torch.Tensor]:
    """The standard deviation of each output channel of the layers with rounded weights."""
    found: dict[nn.Module, torch.Tensor] = {}

    def keep(module: nn.Module, inputs: object, output: torch.Tensor) -> None:
        others = [dim for dim in range(output.dim()) if dim != (1 if output.dim() > 2 else output.dim() - 1)]
        found[module] = output.std(others, correction=0).clamp_min(1e-8)

    layers = [module for module in network.modules() if parametrize.is_parametrized(module, "weight")]
    handles = [layer.register_forward_hook(keep) for layer in layers]
    network(images)
    for handle in handles:
        handle.remove()
    return found
