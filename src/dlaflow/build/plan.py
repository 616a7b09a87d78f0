"""What a build through the Python API takes beside the configuration, and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import ModuleType

from dlaflow.build.api import Messages
from dlaflow.build.calibrator import Allocator, Batches
from dlaflow.build.refusals import LayerAnswer, RefusedNode
from dlaflow.build.surface import Serialized
from dlaflow.errors import EnvironmentLacksError, InputError
from dlaflow.progress import Progress, silent


@dataclass(frozen=True, slots=True)
class Session:
    """The bindings in use, their messages and logger, and how to show progress."""

    trt: ModuleType
    messages: Messages
    logger: object
    progress: Progress = silent


@dataclass(frozen=True, slots=True)
class CalibrationImages:
    """Images for TensorRT's calibrator: batches of `batch_size`, and where device memory for them comes from."""

    batches: Batches
    batch_size: int
    memory: Allocator


@dataclass(frozen=True, slots=True)
class Plan:
    """A serialised engine. `answers` is TensorRT's word on each layer (empty without a DLA), `refused_nodes` the ONNX
    nodes that its parser refused for the DLA (None: this release cannot tell), `phases` what it worked through.
    """

    content: bytes
    seconds: float
    layers: int
    answers: tuple[LayerAnswer, ...] = ()
    refused_nodes: tuple[RefusedNode, ...] | None = None
    phases: tuple[str, ...] = ()
    messages: tuple[str, ...] = field(default=(), repr=False)


def finished(serialized: Serialized | None, messages: Messages) -> bytes:
    """The engine's bytes.

    Raises the error that the messages explain when TensorRT returned nothing.
    """
    if serialized is None:
        raise messages.failure()
    content = bytes(memoryview(serialized))
    if not content:
        raise InputError("TensorRT returned an empty engine", then="Look at its messages with --verbose.")
    return content


def require_core(cores: int, wanted: int | None, tensorrt: str) -> None:
    """Raises EnvironmentLacksError unless DLA core `wanted` exists (None: no DLA asked for)."""
    if wanted is not None and not 0 <= wanted < cores:
        raise EnvironmentLacksError(
            f"this machine has no DLA core {wanted}",
            expected=f"a core below {cores}" if cores else "a DLA",
            received=f"{cores} DLA cores, says TensorRT {tensorrt}",
            then="Build on a board with a DLA (`dlaflow boards`), or for the GPU with --gpu-only.",
        )
