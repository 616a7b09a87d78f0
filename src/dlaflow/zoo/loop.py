"""The training loop itself, in torch. `dlaflow.zoo.training` is its face and explains it."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import nn

from dlaflow.errors import InputError, UsageError
from dlaflow.files import sha256_of
from dlaflow.progress import Progress, Task
from dlaflow.zoo.augment import DeviceImages
from dlaflow.zoo.checkpoint import Checkpoint, State, checkpoint_path, load_checkpoint, save_checkpoint
from dlaflow.zoo.data import Dataset, Split
from dlaflow.zoo.device import Arithmetic, pick_arithmetic, pick_device
from dlaflow.zoo.models import build_model
from dlaflow.zoo.training import Plan, TrainConfig, TrainResult, best_epoch, one_cycle
from dlaflow.zoo.weights import Epoch, Sidecar, read_sidecar, save_tensors, versions, write_sidecar

MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4
LABEL_SMOOTHING = 0.1
_EVALUATE_AT_ONCE = 500
_STEPS_WORTH_A_PROBE = 300
_LOSS_EVERY = 10


@dataclass(frozen=True, slots=True)
class _Bench:
    """What the loop works with: the network and its optimizer, and the images on the device."""

    model: nn.Module
    optimizer: torch.optim.SGD
    arithmetic: Arithmetic
    device: torch.device
    train: DeviceImages
    validation: DeviceImages


def run(config: TrainConfig, plan: Plan, dataset: Dataset, progress: Progress) -> TrainResult:
    """See `dlaflow.zoo.training.train`."""
    finished = _finished(config, plan)
    if finished is not None:
        return TrainResult(config.out, finished, resumed_from=plan.epochs, epochs_run=0)
    checkpoint = load_checkpoint(config.out, plan) if config.resume else None
    bench = _set_up(config, plan, dataset, checkpoint)
    history = checkpoint.state.history if checkpoint else ()
    best = checkpoint.best if checkpoint else {}
    resumed_from = len(history)
    spent = checkpoint.state.seconds if checkpoint else 0.0
    began = time.monotonic()
    with progress(f"Training {config.model} on {dataset.name}", plan.steps, "steps") as task:
        task.advance(resumed_from * plan.steps_an_epoch)
        for epoch in range(resumed_from, plan.epochs):
            loss = _train_epoch(bench, plan, epoch, task)
            history += (Epoch(loss, accuracy(bench.model, bench.validation, len(dataset.classes))),)
            task.describe(f"epoch {epoch + 1}/{plan.epochs}  loss {loss:.2f}  validation {history[-1].val_top1:.1%}")
            if best_epoch(history) == len(history):
                best = _copy(bench.model.state_dict())
            state = State(
                plan, bench.arithmetic.bf16, bench.arithmetic.channels_last, history, spent + time.monotonic() - began
            )
            save_checkpoint(config.out, Checkpoint(state, bench.model.state_dict(), _momentum(bench), best))
    bench.model.load_state_dict(best)
    test = accuracy(bench.model, DeviceImages(dataset.test, dataset, bench.device), len(dataset.classes))
    save_tensors(config.out, best)
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
        device=str(bench.device),
        precision=plan.precision,
        arithmetic=str(bench.arithmetic),
        val_top1=history[best_epoch(history) - 1].val_top1,
        test_top1=test,
        seconds=round(spent + time.monotonic() - began, 1),
        history=history,
        versions=versions(),
    )
    write_sidecar(config.out, sidecar)
    checkpoint_path(config.out).unlink(missing_ok=True)
    return TrainResult(config.out, sidecar, resumed_from, plan.epochs - resumed_from)


@torch.inference_mode()
def accuracy(model: nn.Module, images: DeviceImages, classes: int) -> float:
    """The share (0..1) of images whose class the model names, computed in fp32.

    Raises UsageError when the model's output is not [n, at least `classes`].
    """
    model.eval()
    correct = torch.zeros((), dtype=torch.int64, device=images.labels.device)
    for begin in range(0, len(images), _EVALUATE_AT_ONCE):
        part = slice(begin, begin + _EVALUATE_AT_ONCE)
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


def _set_up(config: TrainConfig, plan: Plan, dataset: Dataset, checkpoint: Checkpoint | None) -> _Bench:
    device = pick_device(config.device)
    torch.manual_seed(plan.seed)
    model = build_model(config.model).to(device)
    train, validation = (DeviceImages(split, dataset, device) for split in _split(dataset.train, plan))
    _try_out(model, train, len(dataset.classes))
    if checkpoint:
        arithmetic = Arithmetic(checkpoint.state.bf16, checkpoint.state.channels_last)
        model.load_state_dict(checkpoint.weights)
    else:
        images = train.plain(slice(0, plan.batch_size))
        arithmetic = pick_arithmetic(config.precision, model, images, probe=plan.steps >= _STEPS_WORTH_A_PROBE)
    model = arithmetic.prepare(model, device)
    bench = _Bench(model, _optimizer(model), arithmetic, device, train, validation)
    if checkpoint:
        for name, parameter in model.named_parameters():
            if name in checkpoint.momentum:
                bench.optimizer.state[parameter]["momentum_buffer"] = checkpoint.momentum[name].to(device)
    return bench


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


def _optimizer(model: nn.Module) -> torch.optim.SGD:
    """Weight decay on matrices and kernels only: pulling biases and normalizations to 0 helps nothing."""
    kernels = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    rest = [parameter for parameter in model.parameters() if parameter.dim() <= 1]
    groups = [{"params": kernels, "weight_decay": WEIGHT_DECAY}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=0.0, momentum=MOMENTUM, nesterov=True)


def _train_epoch(bench: _Bench, plan: Plan, epoch: int, task: Task) -> float:
    """One pass over the training images; returns the mean loss."""
    # Seeded anew each epoch, so that a resumed run draws what the uninterrupted one would have drawn.
    epoch_seed = plan.seed * 100_003 + epoch
    torch.manual_seed(epoch_seed)
    generator = torch.Generator().manual_seed(epoch_seed)
    order = torch.randperm(len(bench.train), generator=generator).to(bench.device)
    bench.model.train()
    total = torch.zeros((), device=bench.device)
    for step in range(plan.steps_an_epoch):
        for group in bench.optimizer.param_groups:
            group["lr"] = one_cycle(epoch * plan.steps_an_epoch + step, plan.steps, plan.lr)
        chosen = order[step * plan.batch_size : (step + 1) * plan.batch_size]
        images = bench.arithmetic.images(bench.train.augmented(chosen, generator))
        with bench.arithmetic.autocast(bench.device):
            logits = bench.model(images)
        loss = nn.functional.cross_entropy(logits.float(), bench.train.labels[chosen], label_smoothing=LABEL_SMOOTHING)
        bench.optimizer.zero_grad()
        torch.autograd.backward(loss)
        bench.optimizer.step()
        total += loss.detach()
        task.advance()
        if step % _LOSS_EVERY == 0:
            task.describe(f"epoch {epoch + 1}/{plan.epochs}  loss {loss.item():.2f}")
    mean = float(total) / plan.steps_an_epoch
    if mean != mean or mean == float("inf"):
        raise InputError(f"training diverged in epoch {epoch + 1} (the loss is {mean})", then="Give a smaller --lr.")
    return mean


def _checked(logits: object, images: int, classes: int) -> torch.Tensor:
    shape = list(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    if not isinstance(logits, torch.Tensor) or logits.dim() != 2 or len(logits) != images or logits.shape[1] < classes:
        raise UsageError(
            "the model's output does not fit the data set", expected=f"logits [{images}, {classes}]", received=shape
        )
    return logits


def _copy(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def _momentum(bench: _Bench) -> dict[str, torch.Tensor]:
    buffers = {
        name: bench.optimizer.state[each].get("momentum_buffer") for name, each in bench.model.named_parameters()
    }
    return {name: buffer for name, buffer in buffers.items() if isinstance(buffer, torch.Tensor)}
