"""Triton's TensorRT backend: a model of its repository. Fields: triton-inference-server/common, model_config.proto."""

from __future__ import annotations

from collections.abc import Iterator

from dlaflow.build.tensors import EngineTensor
from dlaflow.deploy.plan import Deployment, Generated, require_plain
from dlaflow.deploy.text import commented, octal_text
from dlaflow.errors import InputError

_TYPES = ("fp32", "fp16", "bf16", "int8", "uint8", "int32", "int64", "bool")
"""In capital letters behind TYPE_ they are Triton's."""
_TRAPS = (
    "max_batch_size 0: the DLA knows one shape, so a request carries the whole batch, none is put together.",
    "Everything is written out, as for what is missing Triton loads the engine once on no core to ask it.",
    "A group has at most one secondary device. Without it the engine runs on core 0.",
    "'unable to create TensorRT runtime with DLA Core ID' is a board or a container without that core.",
)


def triton(deployment: Deployment) -> Generated:
    """`NAME/config.pbtxt` with an instance group for each core.

    Raises InputError for types that Triton does not have, tensors whose rank is unknown and formats of the DLA.
    """
    require_plain(deployment, "Triton")
    name = deployment.name
    lines = [*commented("#", [*deployment.facts(), *_TRAPS]), "", f"name: {octal_text(name)}"]
    lines += ['platform: "tensorrt_plan"', "max_batch_size: 0"]
    for side, tensors in (("input", deployment.inputs), ("output", deployment.outputs)):
        for tensor in tensors:
            lines += [f"{side} {{", *(f"  {line}" for line in _tensor(tensor)), "}"]
    for core in deployment.cores or (None,):
        lines += ["instance_group {", "  count: 1", "  kind: KIND_GPU", "  gpus: 0"]
        if core is not None:
            lines.append(f"  secondary_devices {{ kind: KIND_NVDLA device_id: {core} }}")
        lines.append("}")
    note = f"Put the engine into the repository as {name}/1/model.plan."
    return Generated(((f"{name}/config.pbtxt", "\n".join(lines) + "\n"),), (note,))


def _tensor(tensor: EngineTensor) -> Iterator[str]:
    if tensor.type not in _TYPES or not tensor.shape:
        raise InputError(
            f"Triton cannot be told of tensor {tensor.name}",
            expected="a known type and at least one dimension",
            received=f"{tensor.type or 'type unknown'}, {'x'.join(map(str, tensor.shape)) or 'none'}",
            then="Name the model with --model, or give its shapes in the build (--shape).",
        )
    yield f"name: {octal_text(tensor.name)}"
    yield f"data_type: TYPE_{tensor.type.upper()}"
    yield from (f"dims: {size}" for size in tensor.shape)
