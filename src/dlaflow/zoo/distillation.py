"""Swap the layers that no DLA runs for ones that it does, and let the network learn again from the one it was.

GroupNorm, InstanceNorm and LayerNorm2d become BatchNorm with the same scale and bias and statistics estimated from
training images; Hardswish, SiLU and GELU become ReLU. Then a short fine-tune under one cycle follows the original
network (distillation): its answers at temperature 2, a tenth of the labels, and what it passes on behind each swapped
normalization, relative to its variance. The last leads at first and fades out; of 2 x 7,680 images model_gn learned
1 point more with it than without.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dlaflow.errors import InputError, UsageError, require
from dlaflow.progress import Progress, silent
from dlaflow.zoo.data import load_dataset
from dlaflow.zoo.dataset import Dataset
from dlaflow.zoo.models import build_model, check_name
from dlaflow.zoo.plan import one_cycle
from dlaflow.zoo.weights import load_weights

if TYPE_CHECKING:
    import torch
    from torch import nn

    from dlaflow.zoo.augment import DeviceImages

_TEMPERATURE = 2.0
_LABELS = 0.1
_MOMENTUM, _WEIGHT_DECAY = 0.9, 5e-4
_STATISTICS_BATCHES = 60


@dataclass(frozen=True, slots=True)
class DistillationConfig:
    """What and how. `limit` is how many training images to use (None: all), `lr` the peak of the schedule."""

    model: str
    weights: Path
    data: str = "cifar10"
    data_dir: Path | None = None
    epochs: int = 5
    seed: int = 0
    batch_size: int = 128
    lr: float = 0.02
    limit: int | None = None


@dataclass(frozen=True, eq=False)
class Distilled:
    """The distilled network in evaluation mode, and the test accuracies (0..1): original, swapped, distilled.

    `swapped` names each changed layer with what it became, `tested` is the number of test images.
    """

    module: nn.Module
    swapped: tuple[str, ...]
    before: float
    after_swap: float
    after: float
    tested: int
    seconds: float


def distill(config: DistillationConfig, progress: Progress = silent, dataset: Dataset | None = None) -> Distilled:
    """Swap, estimate, fine-tune, and measure on the test images before, between and after.

    Raises UsageError for a network without anything to swap, InputError for weights that do not fit and for a training
    that diverges, EnvironmentLacksError without torch.
    """
    check_config(config)
    require("torch", "safetensors", extra="train", what_for="retraining")
    import torch

    from dlaflow.zoo.augment import DeviceImages
    from dlaflow.zoo.loop import accuracy, try_out

    began = time.monotonic()
    data = dataset or load_dataset(config.data, config.data_dir, progress)
    teacher = build_model(config.model)
    load_weights(teacher, config.weights)
    teacher.eval()
    torch.manual_seed(config.seed)
    student = copy.deepcopy(teacher)
    swapped = swap_layers(student)
    if not swapped:
        raise UsageError(f"{config.model} has nothing to swap", expected="GroupNorm, LayerNorm2d, SiLU, GELU, ...")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train, test = (DeviceImages(split, data, device) for split in (data.train, data.test))
    teacher.to(device)
    student.to(device)
    classes = len(data.classes)
    try_out(teacher, test, classes)
    before = accuracy(teacher, test, classes)
    _estimate(student, train, config)
    after_swap = accuracy(student, test, classes)
    _learn(student, teacher, train, config, progress)
    after = accuracy(student, test, classes)
    module = student.eval().cpu()
    return Distilled(module, swapped, before, after_swap, after, len(test), round(time.monotonic() - began, 1))


def check_config(config: DistillationConfig) -> None:
    """Raise UsageError for what makes no sense, before any work."""
    check_name(config.model)
    limit = config.batch_size if config.limit is None else config.limit
    for option, value, least in (
        ("epochs", config.epochs, 0),
        ("batch size", config.batch_size, 2),
        ("limit", limit, config.batch_size),
    ):
        if value < least:
            raise UsageError(f"the {option} is too small", expected=f"at least {least}", received=value)
    if not (math.isfinite(config.lr) and config.lr > 0):
        raise UsageError("the learning rate makes no sense", expected="a number above 0", received=config.lr)
    if not 0 <= config.seed < 2**32:
        raise UsageError("the seed makes no sense", expected="0 to 4294967295", received=config.seed)


def swap_layers(module: nn.Module) -> tuple[str, ...]:
    """Swap in place what the DLA does not run; returns `name: Old -> New` for each layer.

    Weights and biases of normalizations are taken over; their statistics are those of a fresh BatchNorm.
    """
    from torch import nn

    found: list[str] = []
    for path, parent in list(module.named_modules()):
        for name, child in list(parent.named_children()):
            new = _replacement(child)
            if new is not None:
                if isinstance(parent, (nn.Sequential, nn.ModuleList)):
                    parent[int(name)] = new
                else:
                    setattr(parent, name, new)
                full = f"{path}.{name}" if path else name
                found.append(f"{full}: {type(child).__name__} -> {type(new).__name__}")
    return tuple(found)


def _replacement(child: nn.Module) -> nn.Module | None:
    import torch
    from torch import nn

    if isinstance(child, (nn.Hardswish, nn.SiLU, nn.GELU)):
        return nn.ReLU()
    if isinstance(child, nn.GroupNorm):
        channels, epsilon = child.num_channels, child.eps
    elif isinstance(child, nn.InstanceNorm2d):
        channels, epsilon = child.num_features, child.eps
    elif isinstance(child, nn.LayerNorm) and type(child).__name__ == "LayerNorm2d":
        channels, epsilon = child.normalized_shape[0], child.eps
    else:
        return None
    new = nn.BatchNorm2d(channels, eps=epsilon)
    with torch.no_grad():
        for name in ("weight", "bias"):
            value = getattr(child, name, None)
            if value is not None:
                getattr(new, name).copy_(value)
    return new


def _estimate(student: nn.Module, images: DeviceImages, config: DistillationConfig) -> None:
    """Give the BatchNorms statistics: the plain average over some batches of training images."""
    from torch.optim.swa_utils import update_bn

    batches = batches_of(images, config, 0)[:_STATISTICS_BATCHES]
    update_bn((images.augmented(draws) for draws in batches), student.train())


def batches_of(images: DeviceImages, config: DistillationConfig, epoch: int) -> tuple[torch.Tensor, ...]:
    """The draws of an epoch (int64 [4, n]), whole batches only."""
    count = min(config.limit or len(images), len(images)) // config.batch_size
    if not count:
        raise UsageError("there are too few images", expected=f"{config.batch_size} or more", received=len(images))
    return images.batches(config.seed * 100_003 + epoch, count, config.batch_size)


def _learn(
    student: nn.Module,
    teacher: nn.Module,
    images: DeviceImages,
    config: DistillationConfig,
    progress: Progress,
) -> None:
    """Fine-tune the student for all epochs under one cycle.

    Raises InputError for a training that diverges.
    """
    import torch

    from dlaflow.zoo.device import pick_arithmetic

    steps = config.epochs * len(batches_of(images, config, 0))
    shown = images.plain(slice(0, config.batch_size))
    arithmetic = pick_arithmetic("auto", student, shown, steps)
    arithmetic.prepare(student, shown.device)
    arithmetic.prepare(teacher, shown.device)
    optimizer = torch.optim.SGD(
        student.parameters(), lr=config.lr, momentum=_MOMENTUM, weight_decay=_WEIGHT_DECAY, nesterov=True
    )
    student.train()
    inner = _InnerDistance(teacher, student)
    with progress(f"Fine-tuning {config.model}", steps, "steps") as task:
        for epoch in range(config.epochs):
            for index, draws in enumerate(batches := batches_of(images, config, epoch)):
                done = epoch * len(batches) + index
                for group in optimizer.param_groups:
                    group["lr"] = one_cycle(done, steps, config.lr)
                pixels = arithmetic.images(images.augmented(draws))
                with arithmetic.autocast(pixels.device):
                    with torch.no_grad():
                        wanted = teacher(pixels)
                    answers = student(pixels)
                loss = distillation_loss(answers.float(), wanted.float(), images.labels[draws[0]])
                loss = loss + (1 - done / steps) * inner.distance()
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss)
                optimizer.step()
                task.advance()
            task.describe(f"epoch {epoch + 1}/{config.epochs}  loss {float(loss.detach()):.2f}")
            if not torch.isfinite(loss):
                raise InputError(f"distillation diverged in epoch {epoch + 1}", then="Give a smaller learning rate.")
    inner.close()


def distillation_loss(logits: torch.Tensor, wanted: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """A tenth of the labels, and the rest of the teacher's logits (`wanted`) at the temperature."""
    from torch.nn import functional as F

    soft = F.kl_div(F.log_softmax(logits / _TEMPERATURE, 1), F.softmax(wanted / _TEMPERATURE, 1), reduction="batchmean")
    return _LABELS * F.cross_entropy(logits, labels) + (1 - _LABELS) * _TEMPERATURE**2 * soft


class _InnerDistance:
    """How far the student's swapped normalizations are from the teacher's in the last forward pass of both."""

    def __init__(self, teacher: nn.Module, student: nn.Module) -> None:
        from torch import nn

        self._outputs: dict[tuple[str, str], torch.Tensor] = {}
        self._names = [
            name for name, layer in teacher.named_modules() if isinstance(_replacement(layer), nn.BatchNorm2d)
        ]
        self._handles = [
            network.get_submodule(name).register_forward_hook(self._keep(whose, name))
            for name in self._names
            for whose, network in (("teacher", teacher), ("student", student))
        ]

    def distance(self) -> torch.Tensor | float:
        """The sum over the layers of the mean square of the difference behind a ReLU, over the teacher's variance."""
        total: torch.Tensor | float = 0.0
        for name in self._names:
            wanted, found = (self._outputs.pop((whose, name)).float().relu() for whose in ("teacher", "student"))
            total = total + (found - wanted).square().mean() / wanted.var().clamp_min(1e-6)
        return total

    def close(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()

    def _keep(self, whose: str, name: str) -> Callable[[nn.Module, object, torch.Tensor], None]:
        def hook(module: nn.Module, inputs: object, output: torch.Tensor) -> None:
            self._outputs[whose, name] = output

        return hook


def export_distilled(distilled: Distilled, out: Path, input_shape: tuple[int, int, int] = (3, 32, 32)) -> float:
    """Write the network as ONNX (opset 17, open batch); returns the largest difference of the logits to torch's.

    Raises InputError when torch cannot export it, EnvironmentLacksError without onnxruntime.
    """
    from dlaflow.zoo.export import DEFAULT_OPSET, largest_difference, onnx_of

    require("onnxruntime", extra="run", what_for="comparing the exported network with torch")
    name = "the distilled network"
    exported = onnx_of(distilled.module, name, opset=DEFAULT_OPSET, batch=None, input_shape=input_shape)
    out.write_bytes(exported)
    return largest_difference(distilled.module, exported, input_shape, None)
