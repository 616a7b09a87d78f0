"""Trained weights → one ONNX file that was checked and compared with the network in torch.

Input `input` float32 [batch, 3, 32, 32], output `output` float32 [batch, classes]. Nothing is written unless the ONNX
checker accepts the model and onnxruntime gives what torch gives.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dlaflow.errors import InputError, UsageError, require
from dlaflow.files import write_atomic
from dlaflow.fixed_shape import refuse_batch
from dlaflow.zoo.models import build_model
from dlaflow.zoo.weights import load_weights

if TYPE_CHECKING:
    import torch

DEFAULT_OPSET = 17
"""What TensorRT 8.5 to 11.4 all read, and the newest for 8.5. Source: onnx-tensorrt's operators.md of each release."""
OLDEST_OPSET, NEWEST_OPSET = 11, 20
TOLERANCE = 1e-4
INPUT, OUTPUT, BATCH_AXIS = "input", "output", "batch"
_PARITY_BATCHES = (1, 4)
_SEED = 0


@dataclass(frozen=True, slots=True)
class ExportConfig:
    """What to export and how.

    `opset` None takes 17, or `max_opset` (what the target release reads) where that is less. `batch` None leaves the
    batch dynamic. `input_shape` is channels, height, width. `simplify` folds shape arithmetic through onnxslim.
    """

    model: str
    weights: Path
    out: Path
    opset: int | None = None
    batch: int | None = None
    simplify: bool = False
    input_shape: tuple[int, int, int] = (3, 32, 32)
    max_opset: int | None = None


@dataclass(frozen=True, slots=True)
class ExportResult:
    """The file that was written.

    `max_difference` is the largest between torch's and onnxruntime's logits, `batch` None is dynamic, `nodes` counts
    ONNX nodes.
    """

    out: Path
    sha256: str
    opset: int
    batch: int | None
    input_shape: tuple[int, int, int]
    nodes: int
    max_difference: float
    simplified: bool


def export(config: ExportConfig) -> ExportResult:
    """Export as `config` says.

    Raises UsageError for options that contradict, InputError for weights that do not fit and for a model that torch
    cannot export or that differs from torch by more than 1e-4, EnvironmentLacksError without torch or onnxruntime.
    """
    opset = choose_opset(config.opset, config.max_opset)
    if config.batch is not None:
        refuse_batch(config.batch)
    if min(config.input_shape) < 1:
        raise UsageError("the input shape makes no sense", expected="such as 3x32x32", received=config.input_shape)
    require("torch", "safetensors", extra="train", what_for="export")
    require("onnxruntime", extra="run", what_for="comparing the exported model with torch")
    model = build_model(config.model)
    load_weights(model, config.weights)
    model.eval()
    shape = config.input_shape
    exported = onnx_of(model, config.model, opset=opset, batch=config.batch, input_shape=shape)
    exported, nodes = _checked(exported, config)
    difference = largest_difference(model, exported, shape, config.batch)
    if not difference <= TOLERANCE:
        raise InputError(
            "the exported model differs from torch, nothing was written",
            expected=f"logits within {TOLERANCE:g}",
            received=f"{difference:.3g}",
            then="Does the model draw random numbers, or depend on the batch?",
        )
    write_atomic(config.out, exported)
    sha256 = hashlib.sha256(exported).hexdigest()
    return ExportResult(config.out, sha256, opset, config.batch, shape, nodes, difference, config.simplify)


def choose_opset(wanted: int | None, release_reads: int | None = None) -> int:
    """The opset to export: `wanted`, else the newest that is safe everywhere and that the release reads.

    Raises UsageError when `wanted` is beyond the release or this exporter.
    """
    newest = min(NEWEST_OPSET, release_reads) if release_reads is not None else NEWEST_OPSET
    if wanted is None:
        return min(DEFAULT_OPSET, newest)
    if not OLDEST_OPSET <= wanted <= newest:
        reader = "the target's TensorRT reads" if newest != NEWEST_OPSET else "torch's exporter writes"
        raise UsageError(
            f"opset {wanted} cannot be used", expected=f"{OLDEST_OPSET} to {newest}, which {reader}", received=wanted
        )
    return wanted


def shape_of(text: str) -> tuple[int, int, int]:
    """Channels, height, width as `3x32x32`. Raises UsageError."""
    sides = text.lower().split("x")
    if len(sides) != 3 or not all(side.isdecimal() for side in sides):
        raise UsageError("--input-shape makes no sense", expected="such as 3x32x32", received=repr(text))
    channels, height, width = map(int, sides)
    if not channels * height * width:
        raise UsageError("--input-shape makes no sense", expected="sides of 1 or more", received=repr(text))
    return channels, height, width


def example_images(count: int, shape: tuple[int, int, int]) -> npt.NDArray[np.float32]:
    """Random inputs float32 [count, *shape] with the statistics of normalised photographs: smooth, about -2 to 2.

    White noise would hide differences, since a convolution averages it away.
    """
    random = np.random.default_rng(_SEED)
    channels, height, width = shape
    coarse = random.standard_normal((count, channels, -(-height // 4), -(-width // 4)))
    smooth = np.kron(coarse, np.ones((1, 1, 4, 4)))[:, :, :height, :width]
    noisy = smooth + 0.25 * random.standard_normal(smooth.shape)
    return np.clip(noisy, -2.0, 2.0).astype(np.float32)


def onnx_of(
    model: torch.nn.Module,
    name: str,
    *,
    opset: int,
    batch: int | None,
    input_shape: tuple[int, int, int],
    several: bool = False,
) -> bytes:
    """`model` as an ONNX file; `name` is what an error calls it. With `several` it may give a tuple of tensors.

    Raises InputError where torch cannot export it.
    """
    import torch

    # Two images where the batch is dynamic: an exporter may take a 1 for a constant.
    images = torch.from_numpy(example_images(batch or 2, input_shape))
    exported = io.BytesIO()
    dynamic = {} if batch else {INPUT: {0: BATCH_AXIS}, OUTPUT: {0: BATCH_AXIS}}
    try:
        with torch.inference_mode(), _silence():
            logits = model(images)
            names = [f"{OUTPUT}{index}" for index in range(len(logits))] if several and type(logits) is tuple else []
            if names or isinstance(logits, torch.Tensor):
                torch.onnx.export(
                    model,
                    (images,),
                    exported,  # type: ignore[arg-type]  # the exporter of dynamo=False takes a stream too
                    input_names=[INPUT],
                    output_names=names or [OUTPUT],
                    dynamic_axes=dynamic,
                    opset_version=opset,
                    dynamo=False,
                )
    except Exception as error:  # torch raises many kinds
        reason = " ".join(str(error).split())[:300]
        shape = "x".join(map(str, input_shape))
        raise InputError(
            f"torch cannot export {name} for an input of {shape} at opset {opset}: {reason}",
            then="Check --input-shape, or try another --opset.",
        ) from error
    if not (names or isinstance(logits, torch.Tensor)):
        raise InputError(
            "the model cannot be exported", expected="one tensor as its output", received=type(logits).__name__
        )
    return exported.getvalue()


def _checked(exported: bytes, config: ExportConfig) -> tuple[bytes, int]:
    """The file, simplified if asked and accepted by ONNX's checker, and its count of nodes."""
    import onnx

    proto = onnx.load_from_string(exported)
    if config.simplify:
        from dlaflow.rewrites.simplify import slimmed

        with slimmed(proto, config.out) as path:
            exported = path.read_bytes()
        proto = onnx.load_from_string(exported)
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"the exported model is not valid ONNX, nothing was written: {reason}") from None
    return exported, len(proto.graph.node)


def largest_difference(
    model: torch.nn.Module, exported: bytes, input_shape: tuple[int, int, int], batch: int | None
) -> float:
    """The largest difference between the logits of torch and of onnxruntime; infinite when their shapes differ.

    Over a few batches, of more than one size where `batch` is None (dynamic).
    """
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(exported, options, providers=["CPUExecutionProvider"])
    largest = 0.0
    for count in (batch,) if batch else _PARITY_BATCHES:
        images = example_images(count, input_shape)
        (ours,) = session.run([OUTPUT], {INPUT: images})
        with torch.inference_mode():
            reference = model(torch.from_numpy(images)).numpy()
        if ours.shape != reference.shape:
            return float("inf")
        largest = max(largest, float(np.abs(ours - reference).max()))
    return largest


@contextmanager
def _silence() -> Iterator[None]:
    """Keep the exporters' own chatter (deprecations, tracer warnings, progress) off the terminal."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
