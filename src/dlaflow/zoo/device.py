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
MARGIN = 1.15
"""Another arithmetic than the usual must be this much faster: near a tie a run should not hang on the clock."""
_PROBE_STEPS = 3


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
        return torch.device(next(candidate for candidate, there in present.items() if there))
    if not present[name]:
        raise EnvironmentLacksError(
            f"this machine (or this build of torch) has no {name} device", then="Use --device auto."
        )
    return torch.device(name)


def pick_arithmetic(precision: str, model: nn.Module, images: torch.Tensor, *, probe: bool) -> Arithmetic:
    """The fastest arithmetic for `model` on `images` [n, 3, h, w], which lie on the device.

    `precision` fp32 or bf16 fixes that half of the answer. The usual arithmetic is fp32 (unless bf16 is asked for) and
    channels last; without `probe` (a run too short to earn it back) that is the answer.
    Raises UsageError for an unknown precision.
    """
    if precision not in PRECISIONS:
        raise unknown_name("precision", precision, PRECISIONS)
    usual = Arithmetic(bf16=precision == "bf16", channels_last=True)
    if not probe:
        return usual
    candidates = [Arithmetic(bf16, last) for bf16 in {usual.bf16, precision != "fp32"} for last in (True, False)]
    others = [candidate for candidate in candidates if candidate != usual]
    seconds = {other: _step_seconds(other, model, images) for other in others}
    fastest = min(others, key=lambda other: seconds[other])
    return fastest if seconds[fastest] * MARGIN < _step_seconds(usual, model, images) else usual


def _step_seconds(arithmetic: Arithmetic, model: nn.Module, images: torch.Tensor) -> float:
    """The fastest of a few training steps on a copy of the model."""
    network = arithmetic.prepare(copy.deepcopy(model), images.device).train()
    batch = arithmetic.images(images)
    fastest = float("inf")
    for step in range(1 + _PROBE_STEPS):
        begin = time.perf_counter()
        with arithmetic.autocast(images.device):
            loss = network(batch).float().square().mean()
        torch.autograd.backward(loss)
        if images.device.type != "cpu":
            torch.accelerator.synchronize(images.device)
        # The first step prepares kernels and memory; it says nothing.
        if step:
            fastest = min(fastest, time.perf_counter() - begin)
    return fastest
