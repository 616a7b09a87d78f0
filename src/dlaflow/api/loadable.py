"""loadable: a DLA loadable through cuDLA → its tensors, outputs, times, accuracy."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dlaflow.api.images import ImageOptions, select
from dlaflow.api.keywords import File
from dlaflow.errors import InputError, UsageError
from dlaflow.progress import Progress, silent
from dlaflow.quantize.accuracy import Accuracy
from dlaflow.quantize.accuracy import evaluate as run_evaluation
from dlaflow.quantize.cache import read_cache
from dlaflow.quantize.feed import Feed
from dlaflow.reading import ARRAY_BYTES, LOADABLE_BYTES, open_regular, read_bytes
from dlaflow.runtime.cudla import CudlaError, Session
from dlaflow.runtime.layouts import Rounding
from dlaflow.runtime.loadable import LoadableRunner, Quantising, explained, plain, scales_of
from dlaflow.types import Measurement

if TYPE_CHECKING:
    from dlaflow.remote.board import RemoteBoard
    from dlaflow.remote.jobs import JobControl
    from dlaflow.remote.loadable import BoardDevice


@dataclass(frozen=True, kw_only=True)
class LoadableOptions:
    """Where a loadable runs, and how floats become its INT8."""

    core: int = 0
    """The DLA core; a loadable runs on any, whichever it was built for."""
    cache: Path | None = None
    """The calibration cache that it was built with: the scales of its INT8 inputs and outputs."""
    scale: Sequence[str] = ()
    """The scale of one tensor, NAME=NUMBER, before that of the cache."""
    rounding: Rounding = "half-away"
    """How x / scale is rounded: half-away from zero (the DLA's own), half-even (ONNX, TensorRT), truncate (NVIDIA's
    cuDLA samples)."""


@contextmanager
def opened(
    loadable: Path, how: LoadableOptions, board: RemoteBoard | None = None, control: JobControl | None = None
) -> Iterator[tuple[Session | BoardDevice, LoadableRunner]]:
    """A loadable on a core of this machine or of `board`, and what feeds it.

    Raises InputError for a file that cuDLA refuses or describes impossibly, EnvironmentLacksError without a DLA.
    """
    content = read_bytes(loadable, LOADABLE_BYTES)
    if not content:
        raise InputError(f"{loadable} is empty", then="Build it again.")
    with ExitStack() as stack:
        try:
            device: Session | BoardDevice
            if board is None:
                device = stack.enter_context(Session(content, how.core))
            else:
                from dlaflow.remote.loadable import BoardDevice

                device = BoardDevice(board, loadable, how.core, control)
        except CudlaError as error:
            raise explained(error) from None
        names = [plain(each.name) for each in (*device.inputs, *device.outputs)]
        scales = read_cache(how.cache).scales if how.cache else {}
        own = {name: scales[name] for name in names if name in scales} | scales_of(how.scale, names)
        yield device, LoadableRunner(device, Quantising(own, how.rounding))


def read_inputs(given: Sequence[str], runner: LoadableRunner) -> Feed:
    """The arrays of `FILE.npy` or `NAME=FILE.npy`, by input. Raises UsageError and InputError."""
    names = [each.name for each in runner.inputs]
    found: dict[str, NDArray[np.generic]] = {}
    for text in given:
        head, sign, tail = text.rpartition("=")
        name, path = (head, tail) if sign and head in names else ("", text)
        if not name and len(names) > 1:
            raise UsageError("several inputs", expected=f"NAME=FILE.npy for {', '.join(names)}", received=text)
        found[name or names[0]] = _array(Path(path))
    if {*found} != {*names}:
        raise UsageError("inputs are missing", expected=", ".join(names), received=", ".join(found) or "none")
    if len({len(each) for each in found.values()}) > 1:
        raise InputError("the inputs have different numbers of images", received=[len(each) for each in found.values()])
    return Feed(found)


def _array(path: Path) -> NDArray[np.generic]:
    try:
        with open_regular(path, ARRAY_BYTES) as file:
            values = np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise InputError(f"{path} is no array", expected="a .npy file", received=str(error)[:120]) from None
    if values.ndim == 0 or not values.size:
        raise InputError(f"{path} holds no images", expected="[n, c, h, w]", received=values.shape)
    return values


def bench_loadable(
    loadable: Path, how: LoadableOptions, runs: int, warm_up: int, megahertz: int | None
) -> tuple[list[Measurement], list[str]]:
    """Latency of tasks by CUDA events over zeros, without the copies; with the DLA's clock, each layer's times as CSV.

    Raises UsageError for numbers that make no sense, and as `opened` does.
    """
    if runs < 2 or warm_up < 0 or (megahertz is not None and not 0 < megahertz < 1 << 32):
        raise UsageError("these runs make no sense", expected="2 or more", received=f"{runs} runs, {warm_up} warm-up")
    with opened(loadable, how) as (session, runner):
        zeros = Feed({name: np.zeros(each.tensor.dims, each.dtype) for name, each in runner.input_layouts.items()})
        times = runner.time(zeros, runs=runs, warm_up=warm_up)
        texts = runner.statistics(zeros, megahertz) if megahertz else []
        detail = f"cuDLA {session.version}, core {how.core}, batch {runner.batch}, zeros, without copies"
    spread = 1.96 * statistics.stdev(times) / len(times) ** 0.5
    rows = [Measurement("latency", loadable.stem, statistics.mean(times), "ms", len(times), spread, detail=detail)]
    ordered = sorted(times)
    for percent in (50, 99):
        value = ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]
        rows.append(Measurement(f"latency p{percent}", loadable.stem, value, "ms", len(times), detail=detail))
    return rows, texts


def evaluate_loadable(
    loadable: Path,
    data: File | Sequence[File],
    reading: ImageOptions,
    how: LoadableOptions,
    progress: Progress = silent,
) -> tuple[Accuracy, str]:
    """Top-1 of a loadable on test images with labels, and the images in words. Raises as `opened` and `select` do."""
    with opened(loadable, how) as (_, runner):
        chosen = select(data, reading, runner.inputs, train=False, progress=progress)
        labels = chosen.known_labels
        return run_evaluation(runner, chosen.images, labels, max(reading.batch, 1), progress), chosen.description
