"""What a training run is asked for, what that comes to, and what it returns. None of it needs torch.

The recipe was tuned on the validation images of CIFAR-10: small batches where a run is short (they learn more from an
epoch), large ones where it is long (they fill a GPU), half the rate for GroupNorm, and an average over the last
twenty-fifth of the run. Cutout, more weight decay and Muon (for the same seconds) were worse.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from dlaflow.errors import UsageError, unknown_name
from dlaflow.zoo.dataset import Dataset
from dlaflow.zoo.models import base_name
from dlaflow.zoo.weights import Epoch, Sidecar

STEPS = ("auto", "plain", "graph", "compile")
SMALL_DATASET = 10_000
_LONG = 20
_BATCH, _LONG_BATCH, _SMALL_BATCH = 128, 512, 32
_LR_PER_IMAGE = 0.1 / 128
_LR_SHARES = {"model_gn": 0.5}
VALIDATION_SHARE = 0.1
_AVERAGED_SHARE = 0.04
_WARM_UP = 0.25


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """How to train. None stands for a default that fits the data set."""

    data: str = "cifar10"
    """cifar10 or digits (built in, needs no download)."""
    data_dir: Path | None = None
    """Where CIFAR-10 is, or is downloaded to: its archive or folder. Default: $DLAFLOW_DATA, else data/cifar10."""
    epochs: int = 10
    """Passes over the training images."""
    seed: int = 0
    """The same seed gives the same run on the same machine (with --precision fp32: to the bit)."""
    batch_size: int | None = None
    """Images a step. Default: 128, 512 from 20 epochs on, or 32 for a small data set."""
    lr: float | None = None
    """Peak of the one-cycle schedule. Default: 0.1 for a batch of 128, in proportion for others; half for model_gn."""
    limit: int | None = None
    """Use only so many training images, for a quick run."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    precision: str = "auto"
    """auto (bf16 on a GPU that has it; elsewhere measures whether it and another memory layout pay), fp32 or bf16."""
    step: str = "auto"
    """plain, graph (CUDA) or compile (with a graph on CUDA). auto: a graph on CUDA, compiled too in a long run; plain
    elsewhere."""
    devices: int = 1
    """Can only be 1: for networks this small, exchanging gradients takes longer than a second GPU saves."""
    resume: bool = False
    """Go on from the last checkpoint beside OUT, if there is one."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig(TrainOptions):
    """What to train and how: `model` is a name as `dlaflow.zoo.models` knows it, `out` the weights to write."""

    model: str = field(kw_only=False)
    out: Path = field(kw_only=False)


@dataclass(frozen=True, slots=True)
class TrainPlan:
    """A config with every default filled in: what must be equal for a checkpoint to be gone on from."""

    model: str
    data_fingerprint: str
    images: int
    seed: int
    epochs: int
    batch_size: int
    lr: float
    precision: str

    @property
    def validation_images(self) -> int:
        """How many of `images` pick the checkpoint."""
        return max(1, round(self.images * VALIDATION_SHARE))

    @property
    def steps_an_epoch(self) -> int:
        """Whole batches only: a rest of one image would leave a BatchNorm without statistics."""
        return max(1, (self.images - self.validation_images) // self.batch_size)

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.epochs * self.steps_an_epoch

    @property
    def follow(self) -> float:
        """How far (0..1) the average moves towards the weights at each step."""
        return 1 / max(1.0, _AVERAGED_SHARE * self.steps)

    def epoch_seed(self, epoch: int) -> int:
        """The seed of one epoch (from 0): a resumed run draws in it what an uninterrupted one would have drawn."""
        return self.seed * 100_003 + epoch


@dataclass(frozen=True, slots=True)
class TrainResult:
    """The weights' file and its sidecar.

    `resumed_from` is the count of epochs that an earlier run had done (0: none); `epochs_run` is of this one.
    """

    weights: Path
    sidecar: Sidecar
    resumed_from: int
    epochs_run: int


def plan(config: TrainConfig, dataset: Dataset) -> TrainPlan:
    """Fill in the defaults of `config` for `dataset`. Raises UsageError for values that make no sense."""
    images = min(config.limit if config.limit is not None else len(dataset.train), len(dataset.train))
    small = len(dataset.train) < SMALL_DATASET
    usual = _SMALL_BATCH if small else _LONG_BATCH if config.epochs >= _LONG else _BATCH
    batch_size = config.batch_size if config.batch_size is not None else usual
    lr = config.lr if config.lr is not None else _LR_PER_IMAGE * batch_size * _LR_SHARES.get(base_name(config.model), 1)
    for option, value, least in (("epochs", config.epochs, 1), ("limit", images, 20), ("batch size", batch_size, 2)):
        if value < least:
            raise UsageError(f"the {option} is too small", expected=f"at least {least}", received=value)
    if config.step not in STEPS:
        raise unknown_name("way to run a step", config.step, STEPS)
    if not (math.isfinite(lr) and lr > 0):
        raise UsageError("the learning rate makes no sense", expected="a number above 0", received=lr)
    if not 0 <= config.seed < 2**32:
        raise UsageError("the seed makes no sense", expected="0 to 4294967295", received=config.seed)
    return TrainPlan(
        model=config.model,
        data_fingerprint=dataset.fingerprint,
        images=images,
        seed=config.seed,
        epochs=config.epochs,
        batch_size=min(batch_size, images - max(1, round(images * VALIDATION_SHARE))),
        lr=lr,
        precision=config.precision,
    )


def one_cycle(step: int, steps: int, peak: float) -> float:
    """The learning rate at `step` of `steps`: a line up from near 0 to `peak`, then a cosine down to near 0."""
    done = (step + 0.5) / steps
    if done < _WARM_UP:
        return peak * done / _WARM_UP
    return peak * (1 + math.cos(math.pi * (done - _WARM_UP) / (1 - _WARM_UP))) / 2


def best_epoch(history: tuple[Epoch, ...]) -> int:
    """The epoch (from 1) with the best validation accuracy; of equals the latest, which has seen more."""
    return max(range(len(history)), key=lambda index: (history[index].val_top1, index)) + 1
