"""loadable: a DLA loadable through cuDLA → its tensors, outputs, times, accuracy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dlaflow.api.images import ImageOptions, named_path, select
from dlaflow.api.keywords import File
from dlaflow.errors import InputError, UsageError
from dlaflow.profile.spread import spread_of
from dlaflow.progress import Progress, silent
from dlaflow.quantize.accuracy import Accuracy
from dlaflow.quantize.accuracy import evaluate as run_evaluation
from dlaflow.quantize.cache import read_cache
from dlaflow.quantize.feed import Feed
from dlaflow.reading import ARRAY_BYTES, LOADABLE_BYTES, check_regular, read_bytes
from dlaflow.runtime.cudla import CudlaError, Session
from dlaflow.runtime.layouts import Rounding
from dlaflow.runtime.loadable import LoadableRunner, Quantising, device_memory, explained, plain, scales_of
from dlaflow.types import Measurement

if TYPE_CHECKING:
    from dlaflow.remote.board import RemoteBoard
    from dlaflow.remote.jobs import JobControl
    from dlaflow.remote.loadable import BoardDevice

_MOST_RUNS = 1_000_000
_MOST_MEGAHERTZ = 100_000
_BOARD_IMAGES, _JOB_BYTES = 512, 64 << 20
"""Images that a board is sent unless the user says how many, and bytes of inputs of one job."""


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


@dataclass(frozen=True, kw_only=True)
class LoadableTiming:
    """How tasks are timed."""

    runs: int = 100
    """How many tasks are timed, each waited for."""
    warm_up: int = 10
    """How many go before."""
    dla_mhz: int | None = None
    """The DLA's clock, by which cuDLA turns the ticks of --statistics into times."""


@dataclass(frozen=True, slots=True)
class There:
    """A board that runs the loadable in place of this machine."""

    board: RemoteBoard
    control: JobControl | None = None


@contextmanager
def opened(
    loadable: Path, how: LoadableOptions, there: There | None = None
) -> Iterator[tuple[Session | BoardDevice, LoadableRunner]]:
    """A loadable on a core of this machine or of a board, and what feeds it.

    Raises InputError for a file that cuDLA refuses or describes impossibly, EnvironmentLacksError without a DLA.
    """
    content = read_bytes(loadable, LOADABLE_BYTES)
    if not content:
        raise InputError(f"{loadable} is empty", then="Build it again.")
    with ExitStack() as stack:
        try:
            device: Session | BoardDevice
            if there is None:
                device = stack.enter_context(Session(content, how.core, memory=device_memory))
            else:
                from dlaflow.remote.loadable import BoardDevice

                device = BoardDevice(there.board, loadable, how.core, there.control)
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
        name, path = named_path(text, names)
        if not name and len(names) > 1:
            raise UsageError("several inputs", expected=f"NAME=FILE.npy for {', '.join(names)}", received=text)
        found[name or names[0]] = _array(path)
    if {*found} != {*names}:
        raise UsageError("inputs are missing", expected=", ".join(names), received=", ".join(found) or "none")
    if len({len(each) for each in found.values()}) > 1:
        raise InputError("the inputs have different numbers of images", received=[len(each) for each in found.values()])
    return Feed(found)


def run_inputs(given: Sequence[str], runner: LoadableRunner) -> dict[str, NDArray[np.float32]]:
    """The outputs by name for `read_inputs`, float32 [n, c, h, w]. Raises as that and the runner do."""
    return dict(zip(runner.output_names, runner.run_all(read_inputs(given, runner)), strict=True))


def _array(path: Path) -> NDArray[np.generic]:
    ARRAY_BYTES.check(check_regular(path), path)
    try:
        # Mapped, so that a header that claims more than the file holds takes no memory.
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # what numpy raises for damaged files shares no base
        received = " ".join(str(error).split())[:120]
        raise InputError(f"{path} is no array", expected="a .npy file", received=received) from None
    if not isinstance(values, np.ndarray):
        raise InputError(f"{path} holds several arrays", expected="a .npy file, one for each input", received=".npz")
    if values.ndim == 0 or not values.size:
        raise InputError(f"{path} holds no images", expected="[n, c, h, w]", received=values.shape)
    return values


def bench_loadable(
    loadable: Path, how: LoadableOptions, timing: LoadableTiming, there: There | None = None
) -> tuple[list[Measurement], list[str]]:
    """Latency of tasks by CUDA events over zeros, without the copies; with the DLA's clock, each layer's times as CSV.

    Raises UsageError for numbers that make no sense, and as `opened` does.
    """
    runs, megahertz = timing.runs, timing.dla_mhz
    if not 2 <= runs <= _MOST_RUNS or not 0 <= timing.warm_up <= _MOST_RUNS:
        received = f"{runs} runs, {timing.warm_up} warm-up"
        raise UsageError("these runs make no sense", expected=f"2 to {_MOST_RUNS:,}", received=received)
    if megahertz is not None and not 0 < megahertz < _MOST_MEGAHERTZ:
        raise UsageError("no clock of a DLA", expected=f"MHz, below {_MOST_MEGAHERTZ:,}", received=megahertz)
    with opened(loadable, how, there) as (device, runner):
        zeros = Feed({name: np.zeros(each.tensor.dims, each.dtype) for name, each in runner.input_layouts.items()})
        times = sorted(runner.time(zeros, runs=runs, warm_up=timing.warm_up))
        texts = runner.statistics(zeros, megahertz) if megahertz else []
        detail = f"cuDLA {device.version} ({device.through}), core {how.core}, batch {runner.batch}, zeros, no copies"
    spread = spread_of(times)
    assert spread is not None
    rows = [Measurement("latency", loadable.stem, spread.mean, "ms", runs, spread.interval, detail=detail)]
    for percent in (50, 99):
        value = times[runs * percent // 100]
        rows.append(Measurement(f"latency p{percent}", loadable.stem, value, "ms", runs, detail=detail))
    return rows, texts


def evaluate_loadable(
    loadable: Path,
    data: File | Sequence[File],
    reading: ImageOptions,
    how: LoadableOptions,
    progress: Progress = silent,
    there: There | None = None,
) -> tuple[Accuracy, str]:
    """Top-1 of a loadable on test images with labels, and the images in words. Raises as `opened` and `select` do.

    A board gets as many images at once as make a job worth its while, 512 in all unless `samples` says more.
    """
    with opened(loadable, how, there) as (device, runner):
        default, step = (None, reading.batch) if there is None else (_BOARD_IMAGES, _job_images(device, runner))
        chosen = select(data, reading, runner.inputs, train=False, default=default, progress=progress)
        labels = chosen.known_labels
        return run_evaluation(runner, chosen.images, labels, max(reading.batch, step), progress), chosen.description


def _job_images(device: Session | BoardDevice, runner: LoadableRunner) -> int:
    return runner.batch * max(1, _JOB_BYTES // sum(each.size for each in device.inputs))
