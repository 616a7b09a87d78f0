"""The last checkpoint of a training run: all that going on needs, as one safetensors file (no pickle).

It lies beside the weights as NAME.last.safetensors while the run is not finished, and goes away with it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from dlaflow.errors import InputError, UsageError
from dlaflow.files import at_once
from dlaflow.version import __version__
from dlaflow.zoo.plan import TrainPlan
from dlaflow.zoo.weights import Epoch, read_tensors, save_tensors

if TYPE_CHECKING:
    import torch

SCHEMA = "dlaflow.checkpoint/2"
_STATE_KEY = "state"
_GROUPS = ("weights", "momentum", "average", "best")


@dataclass(frozen=True, slots=True)
class State:
    """The part of a checkpoint that is no tensor. `seconds` is the time spent so far."""

    plan: TrainPlan
    bf16: bool
    channels_last: bool
    history: tuple[Epoch, ...]
    seconds: float
    schema: str = SCHEMA
    dlaflow: str = __version__


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """`weights`, `momentum` and the running `average` of weights after the last epoch, and the average after the `best`
    one, all by the model's names."""

    state: State
    weights: dict[str, torch.Tensor]
    momentum: dict[str, torch.Tensor]
    average: dict[str, torch.Tensor]
    best: dict[str, torch.Tensor]


def checkpoint_path(out: Path) -> Path:
    """`w.safetensors` → `w.last.safetensors`."""
    return out.with_name(f"{out.stem}.last{out.suffix}")


def save_checkpoint(out: Path, checkpoint: Checkpoint) -> None:
    """Write the checkpoint of the run that will write `out`. Raises InputError when the folder cannot be written."""
    tensors = {f"{group}/{name}": each for group in _GROUPS for name, each in getattr(checkpoint, group).items()}
    with at_once():
        save_tensors(checkpoint_path(out), tensors, {_STATE_KEY: msgspec.json.encode(checkpoint.state).decode()})


def load_checkpoint(out: Path, plan: TrainPlan) -> Checkpoint | None:
    """The checkpoint beside `out`; None when there is none.

    Raises InputError when it is damaged, UsageError when it belongs to a run with another plan.
    """
    path = checkpoint_path(out)
    if not path.is_file():
        return None
    tensors, metadata = read_tensors(path)
    try:
        state = msgspec.json.decode(metadata.get(_STATE_KEY, ""), type=State)
    except msgspec.MsgspecError as error:
        raise InputError(f"{path} is not a checkpoint of dlaflow ({error})", then="Remove it to start anew.") from None
    for field in fields(TrainPlan):
        before, now = getattr(state.plan, field.name), getattr(plan, field.name)
        if before != now:
            raise UsageError(
                f"{path} belongs to another run: its {field.name.replace('_', ' ')} differs",
                expected=before,
                received=now,
                then="Give the same options, or train without --resume to start anew.",
            )
    groups: dict[str, dict[str, torch.Tensor]] = {group: {} for group in _GROUPS}
    for key, tensor in tensors.items():
        group, _, name = key.partition("/")
        groups[group][name] = tensor
    return Checkpoint(state, **groups)
