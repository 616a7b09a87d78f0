"""ONNX Runtime's TensorRT provider: a program that opens a session of the model. It builds an engine of its own."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from dlaflow.deploy.plan import Deployment, Generated
from dlaflow.deploy.text import commented, python_text
from dlaflow.errors import InputError

_CORE_IGNORED = (
    "ONNX Runtime runs on DLA core 0 whatever trt_dla_core says, in every release up to 1.24.2 at least (microsoft/"
    "onnxruntime#26680); only a build that contains pull request #28364 sets the core{asked}. "
    "The way round: `--for python` or `--for cpp`, or Triton (`--for triton`)."
)
_TRAPS = (
    "The provider cannot load this engine: it builds its own of the ONNX model, always with GPU fallback, and keeps it "
    "in trt_engine_cache_path. The model, not the engine, must lie on the board.",
    "The DLA counts only with FP16 or INT8 on; without a DLA there is a warning and the GPU.",
    "Without libnvdla_compiler.so or TensorRT the provider does not load and everything runs on the CPU, silently: the "
    "program below ends instead.",
)
_PROGRAM = '''
import sys

import onnxruntime

MODEL = {model}
OPTIONS = {{
{options}
}}


def open_session():
    """The session; ends the program where TensorRT's provider is not used."""
    name = "TensorrtExecutionProvider"
    if name not in onnxruntime.get_available_providers():
        sys.exit("this onnxruntime has no TensorRT provider: " + ", ".join(onnxruntime.get_available_providers()))
    session = onnxruntime.InferenceSession(MODEL, providers=[(name, OPTIONS), "CPUExecutionProvider"])
    if session.get_providers()[0] != name:
        sys.exit("TensorRT's provider did not load, so the model would run on the CPU; its message above says why")
    return session


if __name__ == "__main__":
    session = open_session()
    for tensor in session.get_inputs():
        print(tensor.name, tensor.shape, tensor.type)
'''


def onnxruntime(deployment: Deployment) -> Generated:
    """`NAME_onnxruntime.py` with the provider's options.

    Raises InputError for a calibration cache whose names the provider cannot read.
    """
    core = deployment.only_core("onnxruntime")
    notes: tuple[str, ...] = ()
    if core is not None:
        notes = (_CORE_IGNORED.format(asked="" if core == 0 else f", so core {core} is not used"),)
    options = "\n".join(f"    {python_text(key)}: {python_text(value)}," for key, value in _options(deployment, core))
    model = deployment.beside(deployment.manifest.model.path)
    head = "\n".join(commented("#", [*notes, *deployment.facts(), *_TRAPS]))
    program = head + _PROGRAM.format(model=python_text(model), options=options)
    return Generated(((f"{deployment.name}_onnxruntime.py", program),), notes)


def _options(deployment: Deployment, core: int | None) -> Iterator[tuple[str, str]]:
    config = deployment.manifest.config
    if core is not None:
        yield "trt_dla_enable", "1"
        yield "trt_dla_core", str(core)
    if config.precision == "fp16" or config.fp16_too:
        yield "trt_fp16_enable", "1"
    if config.precision == "int8":
        yield "trt_int8_enable", "1"
        if config.scales in ("cache", "calibrator") and config.cache:
            _require_no_colon(deployment)
            # TensorRT's own cache, whose first line must name a release. An absolute name leaves the folder out.
            yield "trt_int8_use_native_calibration_table", "1"
            yield "trt_int8_calibration_table_name", deployment.beside(config.cache)
    yield "trt_engine_cache_enable", "1"
    yield "trt_engine_cache_path", posixpath.join(deployment.folder, "onnxruntime_cache")


def _require_no_colon(deployment: Deployment) -> None:
    """The provider splits a line of the cache at its first colon."""
    for tensor in deployment.tensors:
        if ":" in tensor.name:
            raise InputError(
                f"ONNX Runtime cannot read the calibration cache of tensor {tensor.name}",
                expected="names without a colon",
                then="Rename the tensor, or build from a Q/DQ model (`dlaflow calibrate --qdq`).",
            )
