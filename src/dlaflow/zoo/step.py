"""One step of training, and two ways to spend less time on launching it.

A small network's step is a hundred kernels of a few microseconds, so launching them takes longer than running them. A
CUDA graph launches them all at once; a compiler in front of it fuses the small ones, which pays in long runs only.
Where either fails (a network that reads its own tensors back, no compiler) the next simpler way is taken.
"""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from dlaflow.zoo.augment import DeviceImages
from dlaflow.zoo.device import Arithmetic

MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4
LABEL_SMOOTHING = 0.1
_REHEARSALS = 3
_TIMED_STEPS = 20
_WORTH_COMPILING = 60.0
"""Seconds that a run must take in a graph alone before compiling (10 to 20 s) is sure to pay."""


@dataclass(frozen=True, slots=True)
class Learner:
    """What learns: the network, the running average of its weights that is tested and kept, and how it computes."""

    model: nn.Module
    average: nn.Module
    optimizer: torch.optim.SGD
    arithmetic: Arithmetic
    device: torch.device


def make_learner(model: nn.Module, arithmetic: Arithmetic, device: torch.device) -> Learner:
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
    return Learner(model, copy.deepcopy(model).eval(), optimizer, arithmetic, device)


class TrainStep:
    """Call it with the draws of a batch and a learning rate.

    `follow` (0..1) is how far the average moves towards the weights at each step. `way` is how a step runs, `loss` the
    sum of the losses since `take_loss`.
    """

    def __init__(self, learner: Learner, images: DeviceImages, follow: float) -> None:
        self.way = "plain"
        self.loss = torch.zeros((), device=learner.device)
        self._learner = learner
        self._images = images
        self._follow = follow
        self._forward: Callable[[torch.Tensor], torch.Tensor] = learner.model
        self._augment = images.augmented
        self._draws = torch.zeros((4, 0), dtype=torch.int64, device=learner.device)
        self._rate: torch.Tensor = learner.optimizer.param_groups[0]["lr"]
        for group in learner.optimizer.param_groups:
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

    def take_loss(self) -> float:
        """The sum of the losses since the last call."""
        total = float(self.loss)
        self.loss.zero_()
        return total

    def prepare(self, way: str, draws: torch.Tensor, steps: int) -> None:
        """Choose how to run `steps` steps: `way` is auto, plain, graph or compile. The weights stay as they are."""
        cuda = self._learner.device.type == "cuda"
        self._draws = draws.clone()
        if way == "auto" and cuda:
            long = self._try("CUDA graph") and self._seconds_a_step() * steps >= _WORTH_COMPILING
            way = "compile" if long else "auto"
        if way == "compile" and self._try("compiled, CUDA graph" if cuda else "compiled"):
            return
        if way in ("compile", "graph") and cuda:
            self._try("CUDA graph")

    def _compute(self) -> None:
        learner, arithmetic = self._learner, self._learner.arithmetic
        images = arithmetic.images(self._augment(self._draws))
        with arithmetic.autocast(learner.device):
            logits = self._forward(images)
        labels = self._images.labels[self._draws[0]]
        loss = nn.functional.cross_entropy(logits.float(), labels, label_smoothing=LABEL_SMOOTHING)
        learner.optimizer.zero_grad()
        torch.autograd.backward(loss)
        learner.optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(_floats(learner.average), _floats(learner.model), self._follow)
            self.loss += loss.detach()

    def _try(self, way: str) -> bool:
        """Prepare to run steps in this way; on failure they run plainly, as if nothing had been tried."""
        before = [tensor.detach().clone() for tensor in self._tensors()]
        try:
            if way.startswith("compiled"):
                # Shapes never change here; kernels for changing ones would be slower.
                self._augment = torch.compile(self._images.augmented, dynamic=False)
                self._forward = torch.compile(self._learner.model, dynamic=False)
            self._run = self._captured() if way.endswith("CUDA graph") else self._rehearsed()
            self.way = way
        except Exception:
            # Whatever the network, the compiler or the driver raise: the plain way reports the user's mistakes better.
            self._run, self.way = self._compute, "plain"
            self._augment, self._forward = self._images.augmented, self._learner.model
        self._learner.optimizer.zero_grad()
        self._restore(before)
        return self.way == way

    def _rehearsed(self) -> Callable[[], object]:
        for _ in range(_REHEARSALS):
            self._compute()
        return self._compute

    def _captured(self) -> Callable[[], object]:
        """A step as a CUDA graph, after a few plain ones on the stream that it is captured on."""
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream), torch.backends.cudnn.flags(enabled=True, benchmark=True):
            self._rehearsed()
            self._refuse_waiting()
            torch.cuda.synchronize()
            self._learner.optimizer.zero_grad()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=stream):
                self._compute()
        torch.cuda.current_stream().wait_stream(stream)
        return graph.replay

    def _refuse_waiting(self) -> None:
        """Raise when the network waits for the device. A capture would fail too, but leave its random state broken."""
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
        learner = self._learner
        modules = [*learner.model.state_dict().values(), *learner.average.state_dict().values()]
        return [*modules, *momentum(learner).values(), self.loss]

    def _restore(self, before: list[torch.Tensor]) -> None:
        with torch.no_grad():
            for tensor, value in zip(self._tensors(), before, strict=True):
                tensor.copy_(value)


def momentum(learner: Learner) -> dict[str, torch.Tensor]:
    """The momentum of each parameter by its name: the very tensors that the optimizer uses."""
    state = learner.optimizer.state
    return {name: state[parameter]["momentum_buffer"] for name, parameter in learner.model.named_parameters()}


def _floats(module: nn.Module) -> list[torch.Tensor]:
    """What can be averaged: parameters and statistics, but no counters."""
    return [tensor for tensor in (*module.parameters(), *module.buffers()) if tensor.is_floating_point()]
