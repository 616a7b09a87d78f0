"""Where to train, and in which arithmetic: bf16 and channels-last are used where a short probe shows that they pay.

Which of them pays depends on the processor (bf16 helps where it is in silicon), so it is measured rather than guessed.
Imported only once torch is known to be there.
"""

from __future__ import annotations

import contextlib
import copy
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import nn

from dlaflow.errors import EnvironmentLacksError, unknown_name

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "fp32", "bf16")
MARGIN = 1.3
"""Another arithmetic than the usual must be this much faster: near a tie a run should not hang on the clock."""
_PROBE_TURNS = 5
_STEPS_WORTH_A_PROBE = 300
_BF16_CAPABILITY = (8, 0)


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """How a network is run while training."""

    bf16: bool
    channels_last: bool

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:
        """The context for a forward pass."""
        return torch.autocast(device.type, torch.bfloat16) if self.bf16 else contextlib.nullcontext()

    def prepare(self, model: nn.Module, device: torch.device) -> nn.Module:
        """The model on the device, in the memory layout of this arithmetic."""
        model = model.to(device)
        for tensor in (*model.parameters(), *model.buffers()):
            if self.channels_last and tensor.dim() == 4:
                tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)
        return model

    def images(self, images: torch.Tensor) -> torch.Tensor:
        """The batch in the memory layout of this arithmetic."""
        return images if self.channels_last else images.contiguous()

    def __str__(self) -> str:
        return f"{'bf16' if self.bf16 else 'fp32'}, {'channels last' if self.channels_last else 'channels first'}"


def pick_device(name: str) -> torch.device:
    """The device `name`; `auto` takes CUDA, else Apple's MPS, else the CPU.

    Raises UsageError for an unknown name, EnvironmentLacksError when this machine has no such device.
    """
    if name not in DEVICES:
        raise unknown_name("device", name, DEVICES)
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(candidate for candidate, usable in present.items() if usable))
    if not present[name]:
        raise EnvironmentLacksError(
            f"this machine (or this build of torch) has no {name} device", then="Use --device auto."
        )
    return torch.device(name)


def pick_arithmetic(precision: str, model: nn.Module, images: torch.Tensor, steps: int) -> Arithmetic:
    """The fastest arithmetic for `steps` steps of `model` on batches like `images` [n, 3, h, w] on the device.

    A CUDA device that has bf16 in silicon uses it. Elsewhere `precision` auto measures for a run that is long enough to
    earn it back. Otherwise it is fp32, or bf16 where that is asked for, and channels last: the same on every run.
    Raises UsageError for an unknown precision.
    """
    if precision not in PRECISIONS:
        raise unknown_name("precision", precision, PRECISIONS)
    if precision == "auto" and images.device.type == "cuda":
        # Not measured: step by step the time goes into launches, and would say nothing of the CUDA graph's.
        return Arithmetic(torch.cuda.get_device_capability(images.device) >= _BF16_CAPABILITY, channels_last=True)
    usual = Arithmetic(bf16=precision == "bf16", channels_last=True)
    if precision != "auto" or steps < _STEPS_WORTH_A_PROBE:
        return usual
    candidates = [Arithmetic(bf16, last) for bf16 in (False, True) for last in (True, False)]
    seconds = _step_seconds(candidates, model, images)
    fastest = min(seconds, key=lambda each: seconds[each])
    return fastest if seconds[fastest] * MARGIN < seconds[usual] else usual


def _step_seconds(candidates: list[Arithmetic], model: nn.Module, images: torch.Tensor) -> dict[Arithmetic, float]:
    """The fastest of a few training steps in each arithmetic, on copies of the model.

    They take turns, so that a machine that is busy with something else slows all of them alike.
    """
    networks = {each: each.prepare(copy.deepcopy(model), images.device).train() for each in candidates}
    seconds = dict.fromkeys(candidates, float("inf"))
    for turn in range(1 + _PROBE_TURNS):
        for arithmetic, network in networks.items():
            begin = time.perf_counter()
            with arithmetic.autocast(images.device):
                loss = network(arithmetic.images(images)).float().square().mean()
            torch.autograd.backward(loss)
            if images.device.type != "cpu":
                torch.accelerator.synchronize(images.device)
            # The first turn prepares kernels and memory; it says nothing.
            if turn:
                seconds[arithmetic] = min(seconds[arithmetic], time.perf_counter() - begin)
    return seconds
