"""Weights on disk: safetensors and a JSON sidecar that records where they come from.

Only safetensors are read. A pickle (.pt, .pth) can run any code when it is loaded, so it is refused.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from dlaflow.errors import InputError, require
from dlaflow.files import record_json, sha256_of, write_atomic
from dlaflow.reading import WEIGHT_BYTES, open_regular, read_bytes

if TYPE_CHECKING:
    import torch

SCHEMA = "dlaflow.weights/1"
_PICKLE_SUFFIXES = {".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt"}
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Epoch:
    """One pass over the training images: `loss` is its mean, `val_top1` (0..1) is of the validation images after it."""

    loss: float
    val_top1: float


@dataclass(frozen=True, slots=True)
class Sidecar:
    """The record `WEIGHTS.json` beside the weights. `val_top1` and `test_top1` lie in 0..1; `sha256` is of the weights.

    Epochs count from 1. `data_fingerprint` is `Dataset.fingerprint`, `images` the count trained on (validation
    included), `mean` and `std` how inputs were normalised. `seconds` are of the training alone, `warm_up_seconds` of
    what came before it (images to the device, compiling, capturing), `step` is how a step ran. `devices` is always 1.
    """

    model: str
    sha256: str
    data: str
    data_fingerprint: str
    images: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    classes: tuple[str, ...]
    seed: int
    epochs: int
    best_epoch: int
    batch_size: int
    lr: float
    device: str
    precision: str
    arithmetic: str
    val_top1: float
    test_top1: float
    seconds: float
    history: tuple[Epoch, ...]
    versions: dict[str, str]
    step: str = "plain"
    devices: int = 1
    warm_up_seconds: float = 0.0


def sidecar_path(weights: Path) -> Path:
    """`w.safetensors` → `w.safetensors.json`."""
    return weights.with_name(weights.name + ".json")


def write_sidecar(weights: Path, sidecar: Sidecar) -> Path:
    """Write the sidecar of `weights` and return its path. Raises InputError when the folder cannot be written."""
    path = sidecar_path(weights)
    write_atomic(path, record_json(SCHEMA, sidecar))
    return path


def read_sidecar(weights: Path) -> Sidecar | None:
    """The sidecar of `weights`; None when there is none, or when it is of other weights.

    Raises InputError when it is there but is no sidecar.
    """
    path = sidecar_path(weights)
    if not path.is_file():
        return None
    try:
        sidecar = msgspec.json.decode(read_bytes(path), type=Sidecar)
    except (ValueError, RecursionError) as error:  # of msgspec, of UTF-8
        raise InputError(f"{path} is not a sidecar of weights ({error})", then="Train again, or remove it.") from None
    return sidecar if sidecar.sha256 == sha256_of(weights) else None


def versions() -> dict[str, str]:
    """The versions that a trained network depends on."""
    import numpy
    import torch

    return {"python": platform.python_version(), "torch": str(torch.__version__), "numpy": numpy.__version__}


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write one safetensors file, whole or not at all. Raises InputError when the folder cannot be written."""
    import torch
    from safetensors.torch import save

    # Each on the CPU, in plain layout and with its own memory, which is what the format can hold.
    plain = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }
    write_atomic(path, save(plain, metadata=dict(metadata) if metadata else None))


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file, on the CPU.

    Raises InputError for a pickle, a truncated file or anything else that is not safetensors.
    """
    require("torch", "safetensors", extra="train", what_for="reading weights")
    from safetensors import SafetensorError, safe_open

    _refuse_pickle(path)
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path} is truncated or not a safetensors file ({error})", then="Give weights of `dlaflow train`."
        ) from None


def load_weights(model: torch.nn.Module, path: Path) -> None:
    """Put the weights of `path` into `model`.

    Raises InputError in one line when names are missing or unknown, or a shape differs; the model is then untouched.
    """
    tensors, _ = read_tensors(path)
    wanted = model.state_dict()
    # The counter of batches plays no part in inference, and older files lack it.
    missing = [name for name in wanted if name not in tensors and not name.endswith("num_batches_tracked")]
    unknown = [name for name in tensors if name not in wanted]
    if missing or unknown:
        parts = [f"{what} {_some(names)}" for what, names in (("missing", missing), ("unknown", unknown)) if names]
        raise InputError(
            f"{path} does not fit the model ({'; '.join(parts)})",
            then="Name the model that these weights were trained for.",
        )
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape:
            raise InputError(
                f"{path} does not fit the model at {name}",
                expected=f"shape {list(wanted[name].shape)}",
                received=list(tensor.shape),
                then="Name the model that these weights were trained for.",
            )
    model.load_state_dict(tensors, strict=False)


def _refuse_pickle(path: Path) -> None:
    if not path.exists():
        raise InputError(f"there are no weights at {path}", then="Train them first: dlaflow train MODEL --out FILE.")
    with open_regular(path, WEIGHT_BYTES) as file:
        start = file.read(2)
    # Torch writes pickles in a zip archive ("PK"), older versions bare (protocol byte 0x80).
    if start == b"PK" or (start[:1] == b"\x80" and path.suffix != ".safetensors") or path.suffix in _PICKLE_SUFFIXES:
        raise InputError(
            f"{path} is a pickle, which can run any code when it is loaded; dlaflow reads safetensors only",
            then="Convert it: safetensors.torch.save_file(torch.load(FILE, weights_only=True), OUT).",
        )


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
