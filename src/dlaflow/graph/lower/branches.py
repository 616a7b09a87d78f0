"""The layers at the borders of an If: what its branches take from around them, and what they hand back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dlaflow.graph.layer import Dims, Tensor
from dlaflow.graph.lower.context import Context, Draft, Operand


def connect(context: Context, *branches: Sequence[Draft]) -> None:
    """One CONDITIONAL_INPUT for each tensor that the branches take from around them, as far as the parser sees it.

    Up to 8.4 it finds none of them. 8.5 looks a layer up by a name that its own begins with; 8.6 to 10.7 look for
    a tensor whose name the layer's begins with, and so miss nearly all.
    """
    made: dict[str, Tensor] = {}
    for branch in branches:
        ports = _ports(context, branch)
        for draft in branch:
            if draft.kind != "CONDITIONAL_OUTPUT":
                _replace(context, draft, ports(draft), made)


def _ports(context: Context, branch: Sequence[Draft]) -> _Ports:
    own = {tensor.name for draft in branch for tensor in draft.outputs}
    outside = {
        id(draft): [number for number, tensor in enumerate(draft.inputs) if tensor.name not in own] for draft in branch
    }
    return _Ports(context.parser.version, branch, outside)


class _Ports:
    """Which inputs of a layer the parser takes for tensors from outside."""

    def __init__(self, version: tuple[int, ...], branch: Sequence[Draft], outside: dict[int, list[int]]) -> None:
        self._version = version
        self._outside = outside
        self._by_name: dict[str, set[int]] = {}
        for draft in branch:
            for number in outside[id(draft)]:
                key = draft.name if version < (8, 6) else draft.inputs[number].name
                self._by_name.setdefault(key, set()).add(number)

    def __call__(self, draft: Draft) -> list[int]:
        if self._version < (8, 5):
            return []
        if self._version >= (10, 8):
            return self._outside[id(draft)]
        found = self._by_name.get(draft.name)
        if found is None:
            keys = sorted(key for key in self._by_name if draft.name.startswith(key))
            found = self._by_name[keys[-1]] if keys else set()
        return [number for number in sorted(found) if number < len(draft.inputs)]


def _replace(context: Context, draft: Draft, numbers: Sequence[int], made: dict[str, Tensor]) -> None:
    for number in numbers:
        tensor = draft.inputs[number]
        if tensor.name not in made:
            label = f"{tensor.name}_InputLayer"
            context.emit("CONDITIONAL_INPUT", [tensor], tensor.shape, name=label)
            last = context.drafts[-1]
            last.outputs = [replace(last.outputs[0], name=context.names.tensor(f"{label}_output"))]
            made[tensor.name] = last.outputs[0]
        draft.inputs[number] = made[tensor.name]


def merged(context: Context, pair: tuple[Operand, ...], taken: int | None) -> Tensor:
    """CONDITIONAL_OUTPUT of both branches' results; `taken` is the branch that is known to be taken."""
    tensors = [context.as_tensor(operand) for operand in pair]
    shape = tensors[taken].shape if taken is not None else common_shape(tensors[0].shape, tensors[1].shape)
    return context.emit("CONDITIONAL_OUTPUT", tensors, shape, name=f"{context.node_name}_OutputLayer")


def common_shape(left: Dims | None, right: Dims | None) -> Dims | None:
    """What two shapes that a tensor may have agree on."""
    if left is None or right is None or len(left) != len(right):
        return None
    return tuple(one if one == other else None for one, other in zip(left, right, strict=True))
