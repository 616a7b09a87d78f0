"""DeepStream's nvinfer: one key file a core. Keys: nvinfer's reference of DeepStream 6.4 to 9.2."""

from __future__ import annotations

from collections.abc import Iterator

from dlaflow.deploy.plan import Deployment, Generated, require_plain, require_sizes
from dlaflow.deploy.text import commented, key_file_text
from dlaflow.errors import InputError

_MODES = {"fp32": 0, "int8": 1, "fp16": 2, "model": 3}
"""network-mode."""
_IMAGE_RANK = 4
_TRAPS = (
    "There is no onnx-file on purpose: were it here, nvinfer would build another engine, silently and always with GPU "
    "fallback, whenever it cannot read this one. INT8 without int8-calib-file would become FP16 with a mere warning.",
    "network-type=100 hands the raw outputs on as tensor meta data; put in your parser and its network-type.",
    "net-scale-factor and offsets are yours: 1 and none hand on pixels as 0..255.",
    "The DLA always runs the whole batch: batch-size is that of the engine.",
    "Environment: CUDA_DEVICE_MAX_CONNECTIONS=1 where this pipeline is a process of its own, 32 where one process "
    "drives GPU and both DLA cores.",
    "DeepStream 8.0 and 9.0 on Jetson are for Thor, which has no DLA.",
)


def deepstream(deployment: Deployment) -> Generated:
    """`NAME_dla0.txt` for each core, or `NAME_gpu.txt`.

    Raises InputError for an engine that nvinfer cannot feed: several inputs, none of images, formats of the DLA.
    """
    require_plain(deployment, "nvinfer")
    require_sizes(deployment, "nvinfer")
    inputs = deployment.inputs
    if len(inputs) != 1 or len(inputs[0].shape) != _IMAGE_RANK:
        raise InputError(
            "nvinfer feeds one input with images",
            expected="one input, NxCxHxW",
            received=", ".join(f"{one.name} {'x'.join(map(str, one.shape))}" for one in inputs) or "none",
            then="Use --for triton, python or cpp.",
        )
    files = tuple(
        (f"{deployment.name}_{'gpu' if core is None else f'dla{core}'}.txt", _text(deployment, core))
        for core in (deployment.cores or (None,))
    )
    return Generated(files)


def _text(deployment: Deployment, core: int | None) -> str:
    lines = [*commented("#", [*deployment.facts(), *_TRAPS]), "", "[property]"]
    return "\n".join([*lines, *(f"{key}={value}" for key, value in _keys(deployment, core))]) + "\n"


def _keys(deployment: Deployment, core: int | None) -> Iterator[tuple[str, object]]:
    batch, *image = deployment.inputs[0].shape
    config = deployment.manifest.config
    yield "gpu-id", 0
    yield "gie-unique-id", 1
    yield "model-engine-file", key_file_text(deployment.path)
    yield "batch-size", batch
    yield "infer-dims", ";".join(map(str, image))
    yield "network-input-order", 0
    yield "network-mode", _MODES[config.precision]
    yield "enable-dla", 0 if core is None else 1
    if core is not None:
        yield "use-dla-core", core
    if config.cache and config.precision == "int8":
        yield "int8-calib-file", key_file_text(deployment.beside(config.cache))
    yield "network-type", 100
    yield "output-tensor-meta", 1
    yield "net-scale-factor", 1
    yield "model-color-format", 0
