"""The training loop itself, in torch. `dlaflow.zoo.training` is its entrance and explains it."""

from __future__ import annotations

import time
from dataclasses import asdict, fields
from functools import partial

import torch
from torch import nn

from dlaflow.errors import InputError, UsageError
from dlaflow.files import once_written, sha256_of, together, waiting
from dlaflow.progress import Progress, Task
from dlaflow.zoo.augment import DeviceImages
from dlaflow.zoo.checkpoint import Checkpoint, State, checkpoint_path, load_checkpoint, save_checkpoint
from dlaflow.zoo.dataset import Dataset, Split
from dlaflow.zoo.device import Arithmetic, pick_arithmetic, pick_device
from dlaflow.zoo.models import build_model
from dlaflow.zoo.plan import TrainConfig, TrainPlan, TrainResult, best_epoch, one_cycle
from dlaflow.zoo.step import TrainStep, make_learner, momentum
from dlaflow.zoo.weights import Epoch, Sidecar, read_sidecar, save_tensors, versions, write_sidecar

_EVALUATE_AT_ONCE = 500
_EVALUATE_AT_ONCE_ON_GPU = 2_500
_SHOW_EVERY = 0.3
_SAVE_EVERY = 5.0
"""Seconds. An epoch may take a twentieth of one, and writing its checkpoint as long."""


def run(config: TrainConfig, plan: TrainPlan, dataset: Dataset, progress: Progress) -> TrainResult:
    """Train, test the best weights once, and write them. See `dlaflow.zoo.training.train`."""
    device = pick_device(config.device)
    finished = _finished(config, plan)
    if finished is not None:
        return TrainResult(config.out, finished, resumed_from=plan.epochs, epochs_run=0)
    began = time.monotonic()
    checkpoint = load_checkpoint(config.out, plan) if config.resume else None
    training = _Training(config, plan, dataset, device, checkpoint)
    resumed_from = len(training.history)
    warm_up = time.monotonic() - began
    seconds = training.run(checkpoint.state.seconds if checkpoint else 0.0, progress)
    learner, history = training.learner, training.history
    learner.average.load_state_dict(training.best)
    test_top1 = accuracy(learner.average, DeviceImages(dataset.test, dataset, device), len(dataset.classes))
    with together():
        save_tensors(config.out, training.best)
        sidecar = Sidecar(
            **asdict(plan),
            sha256=sha256_of(waiting(config.out)),
            data=dataset.name,
            mean=dataset.mean,
            std=dataset.std,
            classes=dataset.classes,
            best_epoch=best_epoch(history),
            device=str(device),
            arithmetic=str(learner.arithmetic),
            val_top1=history[best_epoch(history) - 1].val_top1,
            test_top1=test_top1,
            seconds=round(seconds, 2),
            history=history,
            versions=versions(),
            step=training.step.way,
            warm_up_seconds=round(warm_up, 2),
        )
        write_sidecar(config.out, sidecar)
        once_written(partial(checkpoint_path(config.out).unlink, missing_ok=True))
    return TrainResult(config.out, sidecar, resumed_from, plan.epochs - resumed_from)


class _Training:
    """A run between its epochs: the learner, the `history` so far, and the `best` average by validation accuracy."""

    def __init__(
        self,
        config: TrainConfig,
        plan: TrainPlan,
        dataset: Dataset,
        device: torch.device,
        checkpoint: Checkpoint | None,
    ) -> None:
        self._config, self._plan, self._classes = config, plan, len(dataset.classes)
        self.history: tuple[Epoch, ...] = checkpoint.state.history if checkpoint else ()
        self.best = checkpoint.best if checkpoint else {}
        self._unsaved: Checkpoint | None = None
        self._saved_at = float("-inf")
        torch.manual_seed(plan.seed)
        model = build_model(config.model).to(device)
        self._images, self._validation = (DeviceImages(part, dataset, device) for part in _split(dataset.train, plan))
        try_out(model, self._images, self._classes)
        if checkpoint:
            arithmetic = Arithmetic(checkpoint.state.bf16, checkpoint.state.channels_last)
        else:
            batch = self._images.plain(slice(0, plan.batch_size))
            arithmetic = pick_arithmetic(config.precision, model, batch, plan.steps)
        self.learner = make_learner(model, arithmetic, device)
        if checkpoint:
            model.load_state_dict(checkpoint.weights)
            self.learner.average.load_state_dict(checkpoint.average)
            for name, tensor in momentum(self.learner).items():
                tensor.copy_(checkpoint.momentum[name])
        self.step = TrainStep(self.learner, self._images, plan.follow)
        self.step.prepare(config.step, self._batches(0)[0], (plan.epochs - len(self.history)) * plan.steps_an_epoch)

    def run(self, spent: float, progress: Progress) -> float:
        """All epochs that are left; returns the seconds of training, those `spent` before an interruption included."""
        plan, average = self._plan, self.learner.average
        began = time.monotonic() - spent
        try:
            with progress(f"Training {plan.model}", plan.steps, "steps") as task:
                task.advance(len(self.history) * plan.steps_an_epoch)
                for epoch in range(len(self.history), plan.epochs):
                    loss = self._train_epoch(epoch, task)
                    top1 = accuracy(average, self._validation, self._classes)
                    self.history += (Epoch(loss, top1),)
                    task.describe(f"epoch {epoch + 1}/{plan.epochs}  loss {loss:.2f}  validation {top1:.1%}")
                    if best_epoch(self.history) == len(self.history):
                        self.best = _copy(average.state_dict())
                    self._unsaved = self._checkpoint(time.monotonic() - began)
                    if time.monotonic() - self._saved_at > _SAVE_EVERY:
                        self._save()
        except BaseException:
            # Ctrl-C above all, and whatever else ends a run.
            self._save()
            raise
        return time.monotonic() - began

    def _train_epoch(self, epoch: int, task: Task) -> float:
        """One pass over the training images; returns the mean loss."""
        plan, step = self._plan, self.step
        torch.manual_seed(plan.epoch_seed(epoch))
        shown = time.monotonic()
        for index, draws in enumerate(self._batches(epoch)):
            step(draws, one_cycle(epoch * plan.steps_an_epoch + index, plan.steps, plan.lr))
            task.advance()
            if time.monotonic() - shown > _SHOW_EVERY:
                # Reading the loss waits for the device, so not at each step.
                task.describe(f"epoch {epoch + 1}/{plan.epochs}  loss {float(step.loss) / (index + 1):.2f}")
                shown = time.monotonic()
        loss = step.take_loss() / plan.steps_an_epoch
        if loss != loss or loss == float("inf"):
            raise InputError(
                f"training diverged in epoch {epoch + 1} (the loss is {loss})", then="Give a smaller --lr."
            )
        for averaged, newest in zip(self.learner.average.buffers(), self.learner.model.buffers(), strict=True):
            if not newest.is_floating_point():
                # A counter, which no average can be taken of.
                averaged.copy_(newest)
        return loss

    def _batches(self, epoch: int) -> tuple[torch.Tensor, ...]:
        plan = self._plan
        return self._images.batches(plan.epoch_seed(epoch), plan.steps_an_epoch, plan.batch_size)

    def _checkpoint(self, seconds: float) -> Checkpoint:
        learner, arithmetic = self.learner, self.learner.arithmetic
        state = State(self._plan, arithmetic.bf16, arithmetic.channels_last, self.history, seconds)
        weights, average = _copy(learner.model.state_dict()), _copy(learner.average.state_dict())
        return Checkpoint(state, weights, _copy(momentum(learner)), average, self.best)

    def _save(self) -> None:
        """Write the checkpoint of the last epoch, unless it is written."""
        if self._unsaved is not None:
            save_checkpoint(self._config.out, self._unsaved)
            self._unsaved, self._saved_at = None, time.monotonic()


@torch.inference_mode()
def accuracy(model: nn.Module, images: DeviceImages, classes: int) -> float:
    """The share (0..1) of images whose class the model names, computed in fp32.

    Raises UsageError when the model's output is not [n, at least `classes`].
    """
    model.eval()
    correct = torch.zeros((), dtype=torch.int64, device=images.labels.device)
    at_once = _EVALUATE_AT_ONCE_ON_GPU if correct.is_cuda else _EVALUATE_AT_ONCE
    for begin in range(0, len(images), at_once):
        part = slice(begin, begin + at_once)
        labels = images.labels[part]
        logits = _checked(model(images.plain(part)), len(labels), classes)
        correct += (logits.argmax(1) == labels).sum()
    return int(correct) / len(images)


def _finished(config: TrainConfig, plan: TrainPlan) -> Sidecar | None:
    """The sidecar of a run with this very plan that `--resume` finds complete."""
    if not config.resume or checkpoint_path(config.out).is_file() or not config.out.is_file():
        return None
    sidecar = read_sidecar(config.out)
    same = sidecar is not None and all(getattr(sidecar, each.name) == getattr(plan, each.name) for each in fields(plan))
    return sidecar if same else None


def try_out(model: nn.Module, images: DeviceImages, classes: int) -> None:
    """Two images through the model, so that one that does not fit is refused before the work begins."""
    two = images.plain(slice(0, 2))
    try:
        with torch.inference_mode():
            logits = model.eval()(two)
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"the model fails on images of shape {list(two.shape)}: {reason}") from error
    _checked(logits, 2, classes)


def _split(split: Split, plan: TrainPlan) -> tuple[Split, Split]:
    """Training and validation images: `plan.images` of the split in an order that depends on the seed alone."""
    generator = torch.Generator().manual_seed(plan.seed)
    order = torch.randperm(len(split), generator=generator)[: plan.images].numpy()
    validation, train = order[: plan.validation_images], order[plan.validation_images :]
    return Split(split.images[train], split.labels[train]), Split(split.images[validation], split.labels[validation])


def _checked(logits: object, images: int, classes: int) -> torch.Tensor:
    shape = list(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    if not isinstance(logits, torch.Tensor) or logits.dim() != 2 or len(logits) != images or logits.shape[1] < classes:
        raise UsageError(
            "the model's output does not fit the data set", expected=f"logits [{images}, {classes}]", received=shape
        )
    return logits


def _copy(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}
