"""Group, instance and layer normalization with statistics frozen from calibration images: one Scale per channel.

    y = gamma (x - mu) / sigma + beta     with mu, sigma of each image (and group)
      ~ a x + b                           a = gamma E[1 / sigma],  b = beta - gamma E[mu / sigma]

E is the average over the images. The layers are frozen one after the other, each from what the layers frozen before it
now produce. What that costs is measured, not bounded: an image unlike the average loses its own normalization.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import onnx
from numpy.typing import NDArray

from dlaflow.graph.lower.naming import node_name
from dlaflow.rewrites.building_blocks import Floats, affine
from dlaflow.rewrites.draft import Draft, Edit, integer, ints, number
from dlaflow.rewrites.group_normalization import grouped
from dlaflow.rewrites.prove import Executable, Samples

ID, TITLE = "frozen-statistics", "Normalization gets frozen statistics, which make it a scale"


@dataclass(frozen=True, eq=False)
class Block:
    """A normalization of `x` (N, C, H, W) written as `nodes`, ending in `y`.

    `groups` is 0 for layer normalization over the channels of each pixel. `scale` and `bias` are per channel.
    """

    nodes: tuple[onnx.NodeProto, ...]
    x: str
    y: str
    groups: int
    epsilon: float
    scale: Floats
    bias: Floats

    @property
    def site(self) -> str:
        """The name of the normalization in reports."""
        return node_name(next(node for node in self.nodes if "Normalization" in node.op_type))


_Span = tuple[tuple[onnx.NodeProto, ...], int]
"""The nodes of a normalization, and its groups: 0 for the channels of each pixel."""


def find_blocks(draft: Draft) -> list[Block]:
    """All normalizations that can be frozen, in network order."""
    found = [_block(draft, node) for node in draft.nodes if node.op_type in _FINDERS]
    return [block for block in found if block is not None]


def _block(draft: Draft, node: onnx.NodeProto) -> Block | None:
    found, scale, bias = _FINDERS[node.op_type](draft, node), draft.value(node, 1), draft.value(node, 2)
    if found is None or scale is None or scale.ndim != 1:
        return None
    nodes, groups = found
    image = draft.image(nodes[0].input[0])
    if image is None or (groups and bias is None):
        return None
    values = _f(scale), np.zeros(image[1]) if bias is None else _f(bias)
    wide = [np.repeat(value, image[1] // max(1, len(value))) for value in values]
    epsilon = number(node, "epsilon", 1e-5)
    block = Block(nodes, nodes[0].input[0], nodes[-1].output[0], groups, epsilon, wide[0], wide[1])
    return _affine(draft, block) if groups else block


def _instance(draft: Draft, node: onnx.NodeProto) -> _Span | None:
    image, scale = draft.image(node.input[0]), draft.value(node, 1)
    if image is not None:
        return (node,), image[1]
    found = grouped(draft, node)
    if found is None or scale is None or scale.shape != (found[3],):
        return None
    return (found[0], node, found[1]), found[3]


def _group(draft: Draft, node: onnx.NodeProto) -> _Span | None:
    groups = integer(node, "num_groups", 0)
    return ((node,), groups) if groups else None


def _layer(draft: Draft, node: onnx.NodeProto) -> _Span | None:
    """Over the channels of each pixel, between the two transposes that PyTorch users write."""
    before, after = draft.producers.get(node.input[0]), draft.only_reader(node.output[0])
    if before is None or after is None or before.op_type != "Transpose" or after.op_type != "Transpose":
        return None
    perms = ints(before, "perm", ()), ints(after, "perm", ())
    return ((before, node, after), 0) if perms == ((0, 2, 3, 1), (0, 3, 1, 2)) else None


_FINDERS: dict[str, Callable[[Draft, onnx.NodeProto], _Span | None]] = {
    "InstanceNormalization": _instance,
    "GroupNormalization": _group,
    "LayerNormalization": _layer,
}


def _f(value: NDArray[np.generic]) -> Floats:
    return np.asarray(value, np.float64)


def _affine(draft: Draft, block: Block) -> Block:
    """Take in a Mul and an Add per channel that follow, as exporters write the weights of a GroupNorm."""
    for op in ("Mul", "Add"):
        reader = draft.only_reader(block.y)
        if reader is None or reader.op_type != op or len(reader.input) != 2:
            continue
        constants = [draft.weights[name] for name in reader.input if name in draft.weights]
        channels = len(block.scale)
        if len(constants) != 1 or constants[0].size != channels or constants[0].shape[-3:] != (channels, 1, 1):
            continue
        value = _f(constants[0]).reshape(-1)
        scale, bias = (block.scale * value, block.bias * value) if op == "Mul" else (block.scale, block.bias + value)
        block = replace(block, nodes=(*block.nodes, reader), y=reader.output[0], scale=scale, bias=bias)
    return block


def freeze(draft: Draft, block: Block, samples: Samples) -> Draft:
    """The draft with one normalization replaced by a BatchNormalization of constant statistics."""
    inverse, shifted = _statistics(draft, block, samples)
    factor = block.scale * inverse
    offset = block.bias - block.scale * shifted
    edit = Edit(draft, list(block.nodes))
    affine(edit, block.x, factor, offset, output=block.y)
    return draft.apply([edit])


def _statistics(draft: Draft, block: Block, samples: Samples) -> tuple[Floats, Floats]:
    """E[1 / sigma] and E[mu / sigma] for each channel."""
    inverse, shifted, count = np.zeros(len(block.scale)), np.zeros(len(block.scale)), 0
    for x in activations(draft, block.x, samples):
        n, c, _, _ = x.shape
        if block.groups:
            grouped = x.reshape(n, block.groups, -1)
            spread = 1 / np.sqrt(grouped.var(2) + block.epsilon)
            each = np.repeat(spread, c // block.groups, 1), np.repeat(grouped.mean(2) * spread, c // block.groups, 1)
        else:
            pixel = 1 / np.sqrt(x.var(1) + block.epsilon)
            means = pixel.mean((1, 2)), (x.mean(1) * pixel).mean((1, 2))
            each = np.repeat(means[0][:, None], c, 1), np.repeat(means[1][:, None], c, 1)
        inverse += each[0].sum(0)
        shifted += each[1].sum(0)
        count += n
    return inverse / count, shifted / count


def activations(draft: Draft, name: str, samples: Samples) -> Iterator[Floats]:
    """The tensor `name` for each batch of images."""
    network = Executable(draft.part(draft.nodes, draft.inputs, [name]).proto())
    for batch in samples.batches:
        yield np.asarray(network.run({draft.inputs[0]: batch.astype(np.float32)})[name], np.float64)


def freeze_all(
    draft: Draft, samples: Samples, accepts: Callable[[Draft], str]
) -> tuple[Draft, list[Block], dict[str, str]]:
    """Freeze layer by layer; `accepts` names the reason to take a layer back, or is empty.

    Returns the draft, the frozen blocks, and the refused sites with their reasons.
    """
    frozen: list[Block] = []
    refused: dict[str, str] = {}
    while True:
        block = next((each for each in find_blocks(draft) if each.site not in refused), None)
        if block is None:
            return draft, frozen, refused
        trial = freeze(draft, block, samples)
        reason = accepts(trial)
        if reason:
            refused[block.site] = reason
        else:
            draft = trial
            frozen.append(block)
