"""One step of training, and two ways to spend less time on launching it.

A small network's step is a hundred kernels of a few microseconds, so launching them takes longer than running them. A
CUDA graph launches them all at once; a compiler in front of it fuses the small ones, which pays in long runs only.
Where either fails (a network that reads its own tensors back, no compiler) the next simpler way is taken.

With several processes each takes its share of a batch, and DistributedDataParallel averages their gradients.
"""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from dlaflow.zoo.augment import DeviceImages
from dlaflow.zoo.device import Arithmetic

MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4
LABEL_SMOOTHING = 0.1
_REHEARSALS = 3
_REHEARSALS_OF_SEVERAL = 11
"""What DistributedDataParallel asks for before a capture: it builds its buckets in the first ten."""
_TIMED_STEPS = 20
_WORTH_COMPILING = 60.0
"""Seconds that a run must take in a graph alone before compiling (10 to 20 s) is sure to pay."""


@dataclass(frozen=True, slots=True)
class Network:
    """What learns: the network, the running average of its weights that is tested and kept, and how it computes."""

    model: nn.Module
    average: nn.Module
    optimizer: torch.optim.SGD
    arithmetic: Arithmetic
    device: torch.device


def make_network(model: nn.Module, arithmetic: Arithmetic, device: torch.device) -> Network:
    """`model` on `device` with its average and its optimizer: SGD with Nesterov momentum, which starts at 0."""
    model = arithmetic.prepare(model, device).train()
    # Weight decay on matrices and kernels only: pulling biases and normalizations to 0 helps nothing.
    kernels = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    rest = [parameter for parameter in model.parameters() if parameter.dim() <= 1]
    optimizer = torch.optim.SGD(
        [{"params": kernels, "weight_decay": WEIGHT_DECAY}, {"params": rest, "weight_decay": 0.0}],
        # A tensor, which a CUDA graph reads anew at each step.
        lr=torch.zeros((), device=device),
        momentum=MOMENTUM,
        nesterov=True,
        fused=True,
    )
    for parameter in model.parameters():
        optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return Network(model, copy.deepcopy(model).eval(), optimizer, arithmetic, device)


class Step:
    """Call it with the draws of a batch and a learning rate; `way` tells how it runs, `loss` is the sum since `reset`.

    `follow` (0..1) is how far the average moves towards the weights at each step.
    """

    def __init__(self, network: Network, images: DeviceImages, follow: float, *, several: bool) -> None:
        self.way = "plain"
        self.loss = torch.zeros((), device=network.device)
        self._network = network
        self._images = images
        self._follow = follow
        self._several = several
        self._forward = self._shared(network.model)
        self._augment = images.augmented
        self._draws = torch.zeros((4, 0), dtype=torch.int64, device=network.device)
        self._rate: torch.Tensor = network.optimizer.param_groups[0]["lr"]
        for group in network.optimizer.param_groups:
            group["lr"] = self._rate
        self._run: Callable[[], object] = self._compute

    def __call__(self, draws: torch.Tensor, rate: float) -> None:
        """Learn from one batch. `draws` (int64 [4, n], on the device) has the n of the others."""
        self._rate.fill_(rate)
        if self._draws.shape == draws.shape:
            self._draws.copy_(draws)
        else:
            self._draws = draws.clone()
        self._run()

    def take_loss(self) -> torch.Tensor:
        """The sum of the losses since the last call."""
        total = self.loss.clone()
        self.loss.zero_()
        return total

    def prepare(self, way: str, draws: torch.Tensor, steps: int) -> None:
        """Choose how to run `steps` steps: `way` is auto, plain, graph or compile. The weights stay as they are."""
        cuda = self._network.device.type == "cuda"
        self._draws = draws.clone()
        if way == "auto" and cuda:
            self._try("CUDA graph", compiled=False, captured=True)
            graph_alone = self.way != "CUDA graph" or self._several or self._seconds_a_step() * steps < _WORTH_COMPILING
            way = "as it is" if graph_alone else "compile"
        if way == "compile" and self._try("compiled, CUDA graph" if cuda else "compiled", compiled=True, captured=cuda):
            return
        if way in ("compile", "graph") and cuda:
            self._try("CUDA graph", compiled=False, captured=True)

    def _compute(self) -> None:
        network, arithmetic = self._network, self._network.arithmetic
        images = arithmetic.images(self._augment(self._draws))
        with arithmetic.autocast(network.device):
            logits = self._forward(images)
        labels = self._images.labels[self._draws[0]]
        loss = nn.functional.cross_entropy(logits.float(), labels, label_smoothing=LABEL_SMOOTHING)
        network.optimizer.zero_grad()
        torch.autograd.backward(loss)
        network.optimizer.step()
        with torch.no_grad():
            average, weights = _floats(network.average), _floats(network.model)
            torch._foreach_lerp_(average, weights, self._follow)
            self.loss += loss.detach()

    def _shared(self, model: nn.Module) -> nn.Module:
        """`model`, averaging gradients with its likes in the other processes when there are any."""
        if not self._several:
            return model
        device = self._network.device
        if device.type != "cuda":
            return DistributedDataParallel(model)
        with torch.cuda.stream(_stream()):
            return DistributedDataParallel(model, device_ids=[device.index])

    def _try(self, name: str, *, compiled: bool, captured: bool) -> bool:
        """Prepare one way; on failure the step runs plainly, as if nothing had been tried."""
        before = [tensor.detach().clone() for tensor in self._tensors()]
        try:
            if compiled:
                # Shapes never change here; kernels for changing ones would be slower.
                self._augment = torch.compile(self._images.augmented, dynamic=False)
                self._forward = self._shared(cast(nn.Module, torch.compile(self._network.model, dynamic=False)))
            self._run = self._captured() if captured else self._rehearsed()
            self.way = name
        except Exception:
            # Whatever the network, the compiler or the driver raise: the plain way tells the user's mistakes better.
            self._run, self.way = self._compute, "plain"
            self._augment, self._forward = self._images.augmented, self._shared(self._network.model)
        self._network.optimizer.zero_grad()
        self._restore(before)
        return self.way == name

    def _rehearsed(self) -> Callable[[], object]:
        for _ in range(_REHEARSALS):
            self._compute()
        return self._compute

    def _captured(self) -> Callable[[], object]:
        stream = _stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream), torch.backends.cudnn.flags(enabled=True, benchmark=True):
            for _ in range(_REHEARSALS_OF_SEVERAL if self._several else _REHEARSALS):
                self._compute()
            self._refuse_waiting()
            torch.cuda.synchronize()
            self._network.optimizer.zero_grad()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=stream):
                self._compute()
        torch.cuda.current_stream().wait_stream(stream)
        return graph.replay

    def _refuse_waiting(self) -> None:
        """Raise when the network waits for the device. A capture would fail too, but leave its random state broken."""
        if self._several:
            return
        before = torch.cuda.get_sync_debug_mode()
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Synchronization debug mode is a prototype")
                torch.cuda.set_sync_debug_mode("error")
            self._compute()
        finally:
            torch.cuda.set_sync_debug_mode(before)

    def _seconds_a_step(self) -> float:
        before = [tensor.detach().clone() for tensor in self._tensors()]
        torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(_TIMED_STEPS):
            self._run()
        torch.cuda.synchronize()
        seconds = (time.perf_counter() - began) / _TIMED_STEPS
        self._restore(before)
        return seconds

    def _tensors(self) -> list[torch.Tensor]:
        """All that a step changes."""
        network = self._network
        modules = [*network.model.state_dict().values(), *network.average.state_dict().values()]
        return [*modules, *momentum(network).values(), self.loss]

    def _restore(self, before: list[torch.Tensor]) -> None:
        with torch.no_grad():
            for tensor, value in zip(self._tensors(), before, strict=True):
                tensor.copy_(value)


def momentum(network: Network) -> dict[str, torch.Tensor]:
    """The momentum of each parameter by its name: the very tensors that the optimizer uses."""
    state = network.optimizer.state
    return {name: state[parameter]["momentum_buffer"] for name, parameter in network.model.named_parameters()}


def _stream() -> torch.cuda.Stream:
    stream: torch.cuda.Stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    return stream


def _floats(module: nn.Module) -> list[torch.Tensor]:
    """What can be averaged: parameters and statistics, but no counters."""
    return [tensor for tensor in (*module.parameters(), *module.buffers()) if tensor.is_floating_point()]
