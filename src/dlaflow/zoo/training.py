"""Train a network: one readable loop, in `dlaflow.zoo.loop`; this is its entrance, which needs no torch to import.

Images wait on the device as uint8 and are cropped and flipped there. SGD with Nesterov momentum follows a one-cycle
schedule under label smoothing; what is tested and kept is a running average of the weights. A tenth of the training
images is set aside to pick the checkpoint; the test images are looked at once, after the choice. All random numbers
depend on the seed and the epoch alone, so a run that was interrupted goes on as if it had not been.
"""

from __future__ import annotations

import os

from dlaflow.errors import UsageError, require
from dlaflow.files import is_stream
from dlaflow.progress import Progress, silent
from dlaflow.zoo.data import load_dataset
from dlaflow.zoo.dataset import Dataset
from dlaflow.zoo.models import check_name
from dlaflow.zoo.plan import TrainConfig, TrainResult, plan


def train(config: TrainConfig, progress: Progress = silent, dataset: Dataset | None = None) -> TrainResult:
    """Train as `config` says and write the weights with their sidecar; `dataset` saves loading it again.

    Raises UsageError and InputError for what cannot be trained, EnvironmentLacksError without torch or the device.
    KeyboardInterrupt passes through: the checkpoint of the last whole epoch is then beside `config.out`.
    """
    if config.out.suffix != ".safetensors":
        raise UsageError(
            "weights are written as safetensors", expected="a name ending in .safetensors", received=config.out
        )
    if is_stream(config.out):
        raise UsageError("weights are read again", expected="a file", received=config.out)
    if config.devices != 1:
        raise UsageError(
            "training uses one device",
            expected="--devices 1",
            received=config.devices,
            then="Two took twice as long: a step of these networks is shorter than the exchange of its gradients.",
        )
    if "RANK" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1":
        # Each of torchrun's processes would train the same and write the same file.
        raise UsageError(
            "training uses one process",
            expected="a start without torchrun",
            received=f"WORLD_SIZE={os.environ['WORLD_SIZE']}",
        )
    # Before the data, which may be a long download.
    check_name(config.model)
    require("torch", "safetensors", extra="train", what_for="training")
    from dlaflow.zoo.loop import run

    data = dataset or load_dataset(config.data, config.data_dir, progress)
    return run(config, plan(config, data), data, progress)
