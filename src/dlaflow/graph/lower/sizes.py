"""Dimensions that the parser does not know while parsing, although they follow from the target's batch.

TensorRT parses a model with an open batch dimension once, with -1 in its place; the layers that compute with it stand
in the network. The prediction wants both: the number, and the fact that the parser did not have it.
"""

from __future__ import annotations

from collections.abc import Iterable

from dlaflow.graph.layer import Dims


class OpenSize(int):
    """A dimension whose number is known here but was -1 to the parser."""

    __slots__ = ()


def parser_knows(size: int | None) -> bool:
    """Whether the parser had this number."""
    return size is not None and not isinstance(size, OpenSize)


def combined(sizes: Iterable[int | None], result: int) -> int:
    """`result`, open when any of the sizes that it was computed from is."""
    return result if all(parser_knows(size) for size in sizes) else OpenSize(result)


def marked(shape: Dims | None, parsed: Dims | None) -> Dims | None:
    """`shape` with the dimensions open that `parsed`, the shape under an open batch, does not know."""
    if shape is None:
        return None
    if parsed is None or len(parsed) != len(shape):
        return tuple(None if size is None else OpenSize(size) for size in shape)
    pairs = zip(shape, parsed, strict=True)
    return tuple(size if size is None or known is not None else OpenSize(size) for size, known in pairs)


def all_known(shape: Dims | None) -> tuple[int, ...] | None:
    """The shape as ordinary integers, None when a size is not known."""
    known = [int(size) for size in shape or () if size is not None]
    return tuple(known) if shape is not None and len(known) == len(shape) else None


def plain(shape: Dims | None) -> Dims | None:
    """The shape with ordinary integers."""
    return None if shape is None else tuple(None if size is None else int(size) for size in shape)
