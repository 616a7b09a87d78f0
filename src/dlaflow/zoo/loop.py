"""The training loop itself, in torch. `dlaflow.zoo.training` is its face and explains it."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import nn

from dlaflow.errors import InputError, UsageError
from dlaflow.files import sha256_of
from dlaflow.progress import Progress, Task, silent
from dlaflow.zoo.augment import DeviceImages, draw_epoch
from dlaflow.zoo.checkpoint import Checkpoint, State, checkpoint_path, load_checkpoint, save_checkpoint
from dlaflow.zoo.data import Dataset, Split
from dlaflow.zoo.device import Arithmetic, pick_arithmetic
from dlaflow.zoo.models import build_model
from dlaflow.zoo.several import World
from dlaflow.zoo.step import Network, Step, make_network, momentum
from dlaflow.zoo.training import Plan, TrainConfig, TrainResult, best_epoch, one_cycle
from dlaflow.zoo.weights import Epoch, Sidecar, read_sidecar, save_tensors, versions, write_sidecar

_EVALUATE_AT_ONCE = 500
_EVALUATE_AT_ONCE_ON_GPU = 2_500
_STEPS_WORTH_A_PROBE = 300
_SHOW_EVERY = 0.3
_SAVE_EVERY = 5.0
"""Seconds. An epoch may take a twentieth of one, and writing its checkpoint as long."""


@dataclass(slots=True)
class _Bench:
    """What the loop works with; `history` and `best` grow, `kept` is the last epoch's checkpoint, not yet written."""

    network: Network
    step: Step
    world: World
    images: DeviceImages
    validation: DeviceImages
    classes: int
    history: tuple[Epoch, ...]
    best: dict[str, torch.Tensor]
    kept: Checkpoint | None = None
    saved_at: float = float("-inf")


def run(
    config: TrainConfig, plan: Plan, dataset: Dataset, place: tuple[World, torch.device], progress: Progress
) -> TrainResult:
    """See `dlaflow.zoo.training.train`; `place` is from `dlaflow.zoo.several.joined`."""
    world = place[0]
    finished = _finished(config, plan)
    if finished is not None:
        return TrainResult(config.out, finished, resumed_from=plan.epochs, epochs_run=0)
    if plan.batch_size % world.size:
        raise UsageError(
            "a batch is shared by the devices", expected=f"a multiple of {world.size}", received=plan.batch_size
        )
    began = time.monotonic()
    checkpoint = load_checkpoint(config.out, plan) if config.resume else None
    bench = _set_up(config, plan, dataset, place, checkpoint)
    resumed_from = len(bench.history)
    warm_up = time.monotonic() - began
    seconds = _train(config, plan, bench, checkpoint.state.seconds if checkpoint else 0.0, progress)
    sidecar = world.same(_write(config, plan, dataset, bench, (seconds, warm_up)) if world.first else None)
    assert sidecar is not None
    return TrainResult(config.out, sidecar, resumed_from, plan.epochs - resumed_from)


def _train(config: TrainConfig, plan: Plan, bench: _Bench, spent: float, progress: Progress) -> float:
    """All epochs that are left; returns the seconds of training, those `spent` before an interruption included."""
    began = time.monotonic() - spent
    average = bench.network.average
    shown = progress if bench.world.first else silent
    try:
        with shown(f"Training {config.model}", plan.steps, "steps") as task:
            task.advance(len(bench.history) * plan.steps_an_epoch)
            for epoch in range(len(bench.history), plan.epochs):
                loss = _train_epoch(bench, plan, epoch, task)
                _copy_counters(bench.network)
                if not bench.world.first:
                    continue
                bench.history += (Epoch(loss, accuracy(average, bench.validation, bench.classes)),)
                top1 = bench.history[-1].val_top1
                task.describe(f"epoch {epoch + 1}/{plan.epochs}  loss {loss:.2f}  validation {top1:.1%}")
                if best_epoch(bench.history) == len(bench.history):
                    bench.best = _copy(average.state_dict())
                bench.kept = _checkpoint(bench, plan, time.monotonic() - began)
                if time.monotonic() - bench.saved_at > _SAVE_EVERY:
                    _save(config, bench)
    except BaseException:
        # Ctrl-C above all, and whatever else ends a run.
        _save(config, bench)
        raise
    return time.monotonic() - began


def _write(config: TrainConfig, plan: Plan, dataset: Dataset, bench: _Bench, timed: tuple[float, float]) -> Sidecar:
    """Test the best weights, once, and write them with their sidecar. `timed`: seconds of training and before it."""
    network, history = bench.network, bench.history
    network.average.load_state_dict(bench.best)
    test = accuracy(network.average, DeviceImages(dataset.test, dataset, network.device), bench.classes)
    save_tensors(config.out, bench.best)
    sidecar = Sidecar(
        model=config.model,
        sha256=sha256_of(config.out),
        data=dataset.name,
        data_fingerprint=plan.data_fingerprint,
        images=plan.images,
        mean=dataset.mean,
        std=dataset.std,
        classes=dataset.classes,
        seed=plan.seed,
        epochs=plan.epochs,
        best_epoch=best_epoch(history),
        batch_size=plan.batch_size,
        lr=plan.lr,
        device=str(network.device),
        precision=plan.precision,
        arithmetic=str(network.arithmetic),
        val_top1=history[best_epoch(history) - 1].val_top1,
        test_top1=test,
        seconds=round(timed[0], 2),
        history=history,
        versions=versions(),
        step=bench.step.way,
        devices=bench.world.size,
        warm_up_seconds=round(timed[1], 2),
    )
    write_sidecar(config.out, sidecar)
    checkpoint_path(config.out).unlink(missing_ok=True)
    return sidecar


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


def _finished(config: TrainConfig, plan: Plan) -> Sidecar | None:
    """The sidecar of a run with this very plan that `--resume` finds complete."""
    if not config.resume or checkpoint_path(config.out).is_file() or not config.out.is_file():
        return None
    sidecar = read_sidecar(config.out)
    if sidecar is None:
        return None
    names = ("model", "data_fingerprint", "images", "seed", "epochs", "batch_size", "lr", "precision")
    same = all(getattr(sidecar, name) == getattr(plan, name) for name in names)
    return sidecar if same else None


def _set_up(
    config: TrainConfig,
    plan: Plan,
    dataset: Dataset,
    place: tuple[World, torch.device],
    checkpoint: Checkpoint | None,
) -> _Bench:
    world, device = place
    torch.manual_seed(plan.seed)
    model = build_model(config.model).to(device)
    images, validation = (DeviceImages(split, dataset, device) for split in _split(dataset.train, plan))
    classes = len(dataset.classes)
    _try_out(model, images, classes)
    if checkpoint:
        arithmetic = Arithmetic(checkpoint.state.bf16, checkpoint.state.channels_last)
    else:
        probe = images.plain(slice(0, plan.batch_size))
        worth = plan.steps >= _STEPS_WORTH_A_PROBE
        arithmetic = world.same(pick_arithmetic(config.precision, model, probe, probe=worth))
    network = make_network(model, arithmetic, device)
    if checkpoint:
        _load(network, checkpoint)
    step = Step(network, images, plan.follow, several=world.size > 1)
    history = checkpoint.state.history if checkpoint else ()
    step.prepare(config.step, _share(images, plan, world, 0)[0], (plan.epochs - len(history)) * plan.steps_an_epoch)
    return _Bench(network, step, world, images, validation, classes, history, checkpoint.best if checkpoint else {})


def _try_out(model: nn.Module, images: DeviceImages, classes: int) -> None:
    """Two images through the model, so that one that does not fit is told before the work begins."""
    two = images.plain(slice(0, 2))
    try:
        with torch.inference_mode():
            logits = model.eval()(two)
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"the model fails on images of shape {list(two.shape)}: {reason}") from error
    _checked(logits, 2, classes)


def _split(split: Split, plan: Plan) -> tuple[Split, Split]:
    """Train and validation images: `plan.images` of the split in an order that hangs on the seed alone."""
    generator = torch.Generator().manual_seed(plan.seed)
    order = torch.randperm(len(split), generator=generator)[: plan.images].numpy()
    validation, train = order[: plan.validation_images], order[plan.validation_images :]
    return Split(split.images[train], split.labels[train]), Split(split.images[validation], split.labels[validation])


def _share(images: DeviceImages, plan: Plan, world: World, epoch: int) -> tuple[torch.Tensor, ...]:
    """The draws of each step of an epoch (int64 [4, n]), on the device: this process's share of each batch."""
    draws = draw_epoch(len(images), _epoch_seed(plan, epoch))[:, : plan.steps_an_epoch * plan.batch_size]
    steps = draws.view(4, plan.steps_an_epoch, plan.batch_size)[:, :, world.rank :: world.size]
    return steps.transpose(0, 1).contiguous().to(images.labels.device).unbind()


def _train_epoch(bench: _Bench, plan: Plan, epoch: int, task: Task) -> float:
    """One pass over the training images; returns the mean loss."""
    # Seeded anew each epoch, so that a resumed run draws what the uninterrupted one would have drawn.
    torch.manual_seed(_epoch_seed(plan, epoch) + bench.world.rank)
    shown = time.monotonic()
    for index, draws in enumerate(_share(bench.images, plan, bench.world, epoch)):
        bench.step(draws, one_cycle(epoch * plan.steps_an_epoch + index, plan.steps, plan.lr))
        task.advance()
        if time.monotonic() - shown > _SHOW_EVERY:
            # Reading the loss waits for the device, so not at each step.
            task.describe(f"epoch {epoch + 1}/{plan.epochs}  loss {float(bench.step.loss) / (index + 1):.2f}")
            shown = time.monotonic()
    mean = bench.world.mean(bench.step.take_loss()) / plan.steps_an_epoch
    if mean != mean or mean == float("inf"):
        raise InputError(f"training diverged in epoch {epoch + 1} (the loss is {mean})", then="Give a smaller --lr.")
    return mean


def _epoch_seed(plan: Plan, epoch: int) -> int:
    return plan.seed * 100_003 + epoch


def _copy_counters(network: Network) -> None:
    """What no average can be taken of."""
    for average, newest in zip(network.average.buffers(), network.model.buffers(), strict=True):
        if not newest.is_floating_point():
            average.copy_(newest)


def _checkpoint(bench: _Bench, plan: Plan, seconds: float) -> Checkpoint:
    network = bench.network
    state = State(plan, network.arithmetic.bf16, network.arithmetic.channels_last, bench.history, seconds)
    weights, average = _copy(network.model.state_dict()), _copy(network.average.state_dict())
    return Checkpoint(state, weights, _copy(momentum(network)), average, bench.best)


def _save(config: TrainConfig, bench: _Bench) -> None:
    """Write the checkpoint that is kept, unless it is written."""
    if bench.kept is not None:
        save_checkpoint(config.out, bench.kept)
        bench.kept, bench.saved_at = None, time.monotonic()


def _load(network: Network, checkpoint: Checkpoint) -> None:
    network.model.load_state_dict(checkpoint.weights)
    network.average.load_state_dict(checkpoint.average)
    for name, tensor in momentum(network).items():
        tensor.copy_(checkpoint.momentum[name])


def _checked(logits: object, images: int, classes: int) -> torch.Tensor:
    shape = list(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    if not isinstance(logits, torch.Tensor) or logits.dim() != 2 or len(logits) != images or logits.shape[1] < classes:
        raise UsageError(
            "the model's output does not fit the data set", expected=f"logits [{images}, {classes}]", received=shape
        )
    return logits


def _copy(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}
