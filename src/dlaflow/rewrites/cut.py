"""Cut a model in two: a backbone for the DLA and the decode part behind it for the GPU or the CPU.

`auto` looks at the tail: the layers from which no convolution of weight is reached. What of the tail is on the GPU, and
what follows it, becomes `post`; the tensors that enter it are the cut. Named tensors cut there and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import onnx

from dlaflow.errors import InputError, unknown_name
from dlaflow.rewrites.draft import Draft
from dlaflow.types import Device, Placement

_LIGHT = 0.002
"""A layer with a smaller share of the multiply-accumulates may stand in the decode part (DFL's 16 → 1 convolution)."""


def cut_automatically(draft: Draft, placement: Placement) -> list[str]:
    """The tensors to cut at; empty when nothing at the end runs on the GPU.

    Raises InputError when the whole model would go to the decode part.
    """
    total = sum(layer.macs for layer in placement.layers) or 1
    macs: dict[str, int] = {}
    on_gpu: set[str] = set()
    for layer in placement.layers:
        for name in layer.onnx_nodes:
            macs[name] = macs.get(name, 0) + layer.macs
            if layer.device is Device.GPU:
                on_gpu.add(name)
    heavy: set[int] = set()
    for node in reversed(draft.nodes):
        behind = any(id(reader) in heavy for name in node.output for reader in draft.consumers.get(name, ()))
        if behind or macs.get(node.name, 0) > _LIGHT * total:
            heavy.add(id(node))
    post: set[int] = set()
    for node in draft.nodes:
        after = any(id(draft.producers[name]) in post for name in node.input if name in draft.producers)
        if id(node) not in heavy and (after or node.name in on_gpu or _reshapes_output(draft, node)):
            post.add(id(node))
    entering: list[str] = []
    for node in draft.nodes:
        if id(node) in post:
            entering += [
                name
                for name in node.input
                if name and name not in draft.weights and id(draft.producers.get(name)) not in post
            ]
    tensors = list(dict.fromkeys(entering))
    if post and set(tensors) <= set(draft.inputs):
        raise InputError("there is no backbone to cut off", then="Name the tensors: --cut NAME,NAME.")
    return [name for name in tensors if name not in draft.inputs]


def _reshapes_output(draft: Draft, node: onnx.NodeProto) -> bool:
    """A reshape that makes an output of fewer than four dimensions: the builder's helper shuffle stands for it."""
    return node.op_type in {"Reshape", "Flatten", "Squeeze"} and any(name in draft.outputs for name in node.output)


def split(draft: Draft, tensors: Iterable[str]) -> tuple[Draft, Draft]:
    """The part before and the part behind `tensors`. Outputs that the backbone makes itself stay with it.

    Raises UsageError for a tensor that the model does not have.
    """
    cuts = list(tensors)
    require_tensors(draft, cuts)
    post = _between(draft, cuts)
    back = [node for node in draft.nodes if id(node) not in post]
    made = {name for node in back for name in node.output}
    entering = {name for node in draft.nodes if id(node) in post for name in node.input if name in made}
    leaving = [*cuts, *sorted(entering - set(cuts))]
    outputs = [value.name for value in draft.base.graph.output]
    first = draft.part(back, list(draft.inputs), [*leaving, *(name for name in outputs if name in made)])
    later = [node for node in draft.nodes if id(node) in post]
    fed = [name for name in draft.inputs if any(name in node.input for node in later)]
    second = draft.part(later, [*leaving, *fed], [name for name in outputs if name not in made])
    return first, second


def require_tensors(draft: Draft, tensors: Iterable[str]) -> None:
    """Raise UsageError for a tensor to cut at that no node of the model makes."""
    for name in tensors:
        if name not in draft.producers:
            raise unknown_name("tensor to cut at", name, list(draft.producers))


def _between(draft: Draft, cuts: list[str]) -> set[int]:
    """The nodes behind the cuts that outputs are computed with: what follows a cut and no later cut stands behind."""
    behind: set[int] = set()
    for node in draft.nodes:
        if any(name in cuts or id(draft.producers.get(name)) in behind for name in node.input):
            behind.add(id(node))
    needed = set(draft.outputs) - set(cuts)
    post: set[int] = set()
    for node in reversed(draft.nodes):
        if id(node) in behind and any(name in needed for name in node.output):
            post.add(id(node))
            needed.update(name for name in node.input if name not in cuts)
    return post


def post_path(out: Path) -> Path:
    """The file of the decode part beside the backbone's: `backbone.onnx` → `post.onnx`, `m.onnx` → `m.post.onnx`."""
    return out.with_name("post.onnx" if out.stem == "backbone" else f"{out.stem}.post.onnx")
