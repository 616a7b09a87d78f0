"""A model in onnxruntime, on the CPU: what calibration computes with, and what `dlaflow.runtime.ort` builds on."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dlaflow.errors import InputError, require
from dlaflow.graph.bounds import check_growth, largest_made
from dlaflow.graph.fold import fold
from dlaflow.graph.load import Model, load_model
from dlaflow.graph.wire import KEEP_BYTES
from dlaflow.quantize.feed import Batch, NetworkInput, by_name
from dlaflow.reading import RUN_BYTES

if TYPE_CHECKING:
    import onnx
    import onnxruntime

_NUMBERS = frozenset({"float16", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool"})
_OTHERWISE = {"float": "float32", "double": "float64"}
_BYTES_A_VALUE = 40
"""What inference takes for a value of a list that it keeps."""
_PROTOBUF_LIMIT = 2**31 - 1


@dataclass(frozen=True)
class SessionOptions:
    """How to run. `threads`: cores for one run (None: all).

    `spin`: wait busily between runs, faster alone and slower beside other work.
    `integer`: let onnxruntime fuse Q/DQ into integer kernels. Faster, but not what a board computes: onnxruntime then
    also quantises weights that were left in float on purpose, and on processors without VNNI its sums saturate. Without
    it, values are rounded exactly where the file says so and sums are exact to float32.
    """

    threads: int | None = None
    spin: bool = True
    integer: bool = False


class Session:
    """One model, ready to run.

    `inputs` are the network's, `batch` their fixed batch (None: any); `input_name` and `shape` are those of the first
    input, without the batch (None for dimensions that are open).

    Raises InputError when the model cannot be read or an input is no tensor of numbers, EnvironmentLacksError without
    onnxruntime.
    """

    def __init__(self, model: str | Path | Model | onnx.ModelProto, options: SessionOptions | None = None) -> None:
        session = open_session(model, options or SessionOptions())
        given = session.get_inputs()
        if not given or any(dtype_of(value.type) is None for value in given):
            raise InputError(
                "the model's inputs cannot be fed with images",
                expected="inputs of numbers",
                received=", ".join(f"{value.name} {value.type}" for value in given) or "no input",
                then="Export the part of the model that takes the image.",
            )
        self._session = session
        self.inputs: tuple[NetworkInput, ...] = tuple(map(_network_input, given))
        self.input_name: str = self.inputs[0].name
        self.output_names: list[str] = list(dict.fromkeys(value.name for value in session.get_outputs()))
        self.batch: int | None = next((each.batch for each in self.inputs if each.batch), None)
        self.shape: tuple[int | None, ...] = self.inputs[0].shape

    def run(self, batch: Batch) -> NDArray[np.float32]:
        """The first output for a batch of any length; a fixed batch is cut and filled up as needed."""
        step = self.batch or len(batch)
        pieces = [
            self._run(batch[start : start + step], self.output_names[:1])[0] for start in range(0, len(batch), step)
        ]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def run_all(self, batch: Batch) -> list[NDArray[np.float32]]:
        """All outputs for at most one fixed batch of images, in the order of `output_names`."""
        return self._run(batch, self.output_names)

    def run_into(self, batch: Batch, outputs: Sequence[NDArray[np.float32]]) -> None:
        """Like `run_all`, written into `outputs`: contiguous arrays of exactly the outputs' shapes."""
        binding = self._session.io_binding()
        fed = {name: np.ascontiguousarray(array) for name, array in self._fed(batch).items()}
        for name, array in fed.items():
            binding.bind_cpu_input(name, array)
        for name, output in zip(self.output_names, outputs, strict=True):
            binding.bind_output(name, "cpu", 0, np.float32, output.shape, output.ctypes.data)
        try:
            self._session.run_with_iobinding(binding)
        except Exception as error:
            raise self._refused(batch, error) from None

    def _fed(self, batch: Batch) -> dict[str, NDArray[np.generic]]:
        """The arrays by their inputs, in the types that those take."""
        return {each.name: _cast(array, each) for each, array in zip(self.inputs, self._arrays(batch), strict=True)}

    def _arrays(self, batch: Batch) -> list[NDArray[np.generic]]:
        return list(by_name(batch, self.inputs).values())

    def _run(self, batch: Batch, names: Sequence[str]) -> list[NDArray[np.float32]]:
        count, fed = len(batch), self._fed(batch)
        if self.batch and count < self.batch:
            check_room(
                self.batch * sum(array[:1].nbytes for array in fed.values()),
                f"the model's fixed batch of {self.batch:,} images",
            )
            missing = self.batch - count
            fed = {name: np.concatenate([each, np.repeat(each[-1:], missing, axis=0)]) for name, each in fed.items()}
        try:
            values = self._session.run(list(names), fed)
        except Exception as error:
            raise self._refused(batch, error) from None
        if self.batch and count < self.batch:
            values = [value[:count] if value.shape[:1] == (self.batch,) else value for value in values]
        return [np.asarray(value, np.float32) for value in values]

    def _refused(self, batch: Batch, error: Exception) -> InputError:
        if (memory := too_large(error)) is not None:
            return memory
        return InputError(
            "the model refused the images",
            expected=" and ".join(
                f"{each.name} [{each.batch or 'batch'}, {', '.join(str(dim or '?') for dim in each.shape)}]"
                for each in self.inputs
            ),
            received=f"{' and '.join(str(list(array.shape)) for array in self._arrays(batch))}: {reason_of(error)}",
            then="Compare the images' size and layout with the model's input.",
        )


def _network_input(value: onnxruntime.NodeArg) -> NetworkInput:
    dims = [dim if isinstance(dim, int) and dim > 0 else None for dim in value.shape]
    return NetworkInput(value.name, tuple(dims[1:]), str(dtype_of(value.type)), dims[0] if dims else None)


def _cast(array: NDArray[np.generic], wanted: NetworkInput) -> NDArray[np.generic]:
    """The array in the type that an input takes. Raises InputError where whole numbers are wanted and others given."""
    cast = array.astype(wanted.dtype, copy=False)
    if cast.dtype.kind in "iub" and array.dtype.kind != cast.dtype.kind and not np.array_equal(cast, array):
        raise InputError(
            f"input {wanted.name} takes {wanted.dtype}",
            expected="whole numbers in its range",
            received=array.dtype,
            then="Give it uint8 pixels or whole numbers, without --mean and --std.",
        )
    return cast


def dtype_of(kind: str) -> np.dtype[np.generic] | None:
    """numpy's type for onnxruntime's `tensor(...)`; None for what is no tensor of numbers."""
    name = kind.removeprefix("tensor(").removesuffix(")")
    return np.dtype(_OTHERWISE.get(name, name)) if name in _NUMBERS or name in _OTHERWISE else None


def open_session(model: str | Path | Model | onnx.ModelProto, options: SessionOptions) -> onnxruntime.InferenceSession:
    """onnxruntime's own session on the CPU.

    Raises InputError for a model that it cannot run, EnvironmentLacksError when onnxruntime is not installed.
    """
    require("onnxruntime", extra="run", what_for="running a model")
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    settings.intra_op_num_threads = options.threads or available_cores()
    settings.add_session_config_entry("session.intra_op.allow_spinning", "1" if options.spin else "0")
    if _bounded_arena():
        settings.add_session_config_entry("session.use_env_allocators", "1")
    if not options.integer:
        settings.add_session_config_entry("session.disable_quant_qdq", "1")
    source: str | bytes
    if isinstance(model, (str, Path)):
        source, title = str(model), str(model)
        _check_room(load_model(model, digest=False).proto, title)
    else:
        title = str(model.path) if isinstance(model, Model) else "the model"
        _check_room(model.proto if isinstance(model, Model) else model, title)
        source = _serialized(model)
    try:
        # onnxruntime 1.31 folds the zeros of a Pad into a MaxPool that pads with minus infinity, and makes one pair
        # of two Q/DQ pairs with different scales: other numbers. Slices it makes a Split by shapes that ONNX infers:
        # of a pool that rounds up they may be larger than what its kernel computes.
        wrong = ["Pad_Fusion", "DoubleQDQPairsRemover", "GatherSliceToSplitFusion"]
        return onnxruntime.InferenceSession(
            source, settings, providers=["CPUExecutionProvider"], disabled_optimizers=wrong
        )
    except Exception as error:
        if options.integer:  # its integer kernels refuse a scale that is a list of one number, its float ones take it
            return open_session(model, replace(options, integer=False))
        raise too_large(error) or InputError(
            f"onnxruntime cannot run {title}",
            expected="a valid ONNX model",
            received=reason_of(error),
            then="Check it with `dlaflow check`, or export it again.",
        ) from None


def _serialized(model: Model | onnx.ModelProto) -> bytes:
    """The model's bytes. Raises InputError for more than 2 GiB."""
    too_many = InputError("the model is too large to be run from memory", expected="under 2 GiB of weights")
    try:
        source = model.serialized() if isinstance(model, Model) else model.SerializeToString()
    except Exception as error:  # google.protobuf.message.EncodeError, whose module depends on the backend
        if type(error).__name__ != "EncodeError":
            raise
        raise too_many from None
    if len(source) > _PROTOBUF_LIMIT:
        raise too_many
    return source


@cache
def _bounded_arena() -> bool:
    """Let all sessions take their memory from one arena that holds at most RUN_BYTES; whether that is possible.

    Beyond it onnxruntime answers with an error. Where the system itself refused memory, it would end the process.
    """
    import onnxruntime

    most = _room()
    info = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    try:
        # Grow by what is asked for: by powers of two half of the limit would be out of reach.
        onnxruntime.create_and_register_allocator(
            info, onnxruntime.OrtArenaCfg({"max_mem": most, "arena_extend_strategy": 1})
        )
    except Exception:  # another user of onnxruntime in this process has registered one
        return False
    return True


def _room() -> int:
    """The bytes that models may take: RUN_BYTES, or half of what a limit on the address space (`ulimit -v`) leaves."""
    try:
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except (ImportError, OSError):
        return RUN_BYTES.most
    left = max(0, soft - pages * resource.getpagesize()) // 2
    return RUN_BYTES.most if soft == resource.RLIM_INFINITY else min(RUN_BYTES.most, left)


def check_room(needed: int, subject: str) -> None:
    """Raise InputError when an input of so many bytes would leave no room to compute with it."""
    if needed > _room():
        raise InputError(
            f"{subject} needs too much memory to run here",
            expected=f"at most {_room():,} bytes",
            received=f"{needed:,}",
            then=f"Take a smaller batch or shape, or raise {RUN_BYTES.variable}.",
        )


def _check_room(model: onnx.ModelProto, title: str) -> None:
    """Raise InputError for a model whose constants alone ask for more than there is: it is not even loaded then.

    While it loads a model, onnxruntime computes shapes as onnx does, value by value and without a limit.
    """
    from onnx import numpy_helper

    check_growth(model.graph, Path(title))
    small = [each for each in model.graph.initializer if each.ByteSize() < KEEP_BYTES and not each.external_data]
    with suppress(ValueError, TypeError, KeyError):  # what cannot be read is onnxruntime's to refuse
        known = {each.name: numpy_helper.to_array(each) for each in small}
        opset = max((entry.version for entry in model.opset_import if not entry.domain), default=1)
        elements, node = largest_made(model.graph, {**known, **fold(model.graph.node, {}, known, opset)})
        if elements * _BYTES_A_VALUE > _room():
            raise InputError(
                f"{title} needs too much memory to run here",
                expected=f"at most {_room() // _BYTES_A_VALUE:,} elements",
                received=f"{elements:,.0f}, which node {node} makes",
                then=f"Take a smaller shape, or raise {RUN_BYTES.variable}.",
            )


def too_large(error: Exception) -> InputError | None:
    """What to say when onnxruntime was refused memory; None for any other error."""
    if not any(sign in str(error) for sign in ("Available memory of", "bad_alloc", "allocate memory")):
        return None
    return InputError(
        "the model needs too much memory to run here",
        expected=f"at most {RUN_BYTES.most:,} bytes at once, or what `ulimit -v` leaves",
        received=reason_of(error),
        then=f"Take a smaller batch or shape, or raise {RUN_BYTES.variable}.",
    )


def available_cores() -> int:
    """Cores that this process may use. OMP_NUM_THREADS bounds them: Ray sets it to the cores that a task asked for."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    told = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return max(1, min(allowed, int(told))) if told.isdecimal() else allowed


def reason_of(error: Exception) -> str:
    """onnxruntime's message without its prefix, source positions and signatures, on one line."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", " ".join(str(error).split()))
    return re.sub(r"/onnxruntime_src/\S+:\d+ .*?\)(?: const)? (?=[A-Z\[])", "", text)[:300]
