"""Fine-tune a network with `Rounding`s in it after the float network that it was: short, and never to its harm.

Some training images are held out. Each epoch is measured on them, the best network is kept, the one at the beginning
among them; a training that goes the wrong way is ended and tried once more at a tenth of the rate. The rate is in steps
of INT8, so it needs to know nothing of how the float network was trained. Dropout is off, and BatchNorm that could not
be folded keeps its statistics.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace

import torch
from torch import nn

from dlaflow.progress import Progress, Task
from dlaflow.quantize.accuracy import wilson
from dlaflow.zoo.augment import DeviceImages
from dlaflow.zoo.distillation import DistillationConfig, batches_of, distillation_loss
from dlaflow.zoo.loop import accuracy
from dlaflow.zoo.plan import one_cycle
from dlaflow.zoo.rounding import StepAdam, roundings

_SLOWER = 0.1


@dataclass(frozen=True, eq=False)
class Tuned:
    """`network` is the best by the held-out images: behind `epoch` (0: as it was) at the `rate`.

    `rights` says how many of them it had right before, and behind each epoch; `ended` whether a training went wrong.
    """

    network: nn.Module
    epoch: int
    rate: float
    rights: tuple[int, ...]
    ended: bool = False


def fine_tune(
    student: nn.Module,
    teacher: nn.Module,
    images: tuple[DeviceImages, DeviceImages],
    classes: int,
    config: DistillationConfig,
    progress: Progress,
) -> Tuned:
    """Train copies of `student`, whose scales are held, on the first of `images`; the second are held out."""
    steps = config.epochs * len(batches_of(images[0], config, 0))
    with progress(f"Fine-tuning {config.model}", steps, "steps") as task:
        first = _Tuning(teacher, images, classes, config, task).run(student)
        if not first.ended:
            return first
        second = _Tuning(teacher, images, classes, replace(config, lr=_SLOWER * config.lr), task).run(student)
        return replace(max(second, first, key=lambda each: each.rights[each.epoch]), ended=True)


class _Tuning:
    """One training at one rate."""

    def __init__(
        self,
        teacher: nn.Module,
        images: tuple[DeviceImages, DeviceImages],
        classes: int,
        config: DistillationConfig,
        task: Task,
    ) -> None:
        self._teacher, self._config, self._task, self._classes = teacher, config, task, classes
        self._train, self._held_out = images

    def run(self, student: nn.Module) -> Tuned:
        """The best of the beginning and of all epochs."""
        found = Tuned(student, 0, self._config.lr, (self._right(student),))
        least = wilson(found.rights[0], len(self._held_out))[0] * len(self._held_out)
        network = copy.deepcopy(student)
        adam = StepAdam(network, self._train.plain(slice(0, self._config.batch_size)))
        for epoch in range(self._config.epochs):
            fine = self._epoch(network, adam, epoch)
            right = self._right(network) if fine else 0
            best = right > found.rights[0] and right >= max(found.rights)  # of equals the latest, which has seen more
            found = replace(found, rights=(*found.rights, right), ended=right < least)
            if best:
                found = replace(found, network=_held(network), epoch=epoch + 1)
            if found.ended:
                break
        return found

    def _epoch(self, network: nn.Module, adam: StepAdam, epoch: int) -> bool:
        """Whether the loss stayed finite."""
        batches = batches_of(self._train, self._config, epoch)
        steps, loss = self._config.epochs * len(batches), torch.zeros(())
        for index, draws in enumerate(batches):
            pixels = self._train.augmented(draws)
            with torch.no_grad():
                wanted = self._teacher(pixels)
            loss = distillation_loss(network(pixels), wanted, self._train.labels[draws[0]])
            torch.autograd.backward(loss)
            adam.step(one_cycle(epoch * len(batches) + index, steps, self._config.lr))
            self._task.advance()
        self._task.describe(f"epoch {epoch + 1}/{self._config.epochs}  loss {float(loss.detach()):.2f}")
        return math.isfinite(float(loss.detach()))

    def _right(self, network: nn.Module) -> int:
        return round(accuracy(network, self._held_out, self._classes) * len(self._held_out))


def _held(network: nn.Module) -> nn.Module:
    kept = copy.deepcopy(network)
    for each in roundings(kept):
        each.hold()
    return kept
