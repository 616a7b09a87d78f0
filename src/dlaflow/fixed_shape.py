"""One fixed shape for an input whose dimensions the model leaves open: what `--shape` gives, wherever a model is read.

TensorRT then builds with minimum = optimum = maximum, the only way in which its DLA takes an open dimension.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from dlaflow.errors import UsageError

EXAMPLE = "NAME:1x3x640x640"
_LARGEST = 2**31 - 1
"""TensorRT holds a dimension in 32 bits."""
_AXES_OF_IMAGES = ("batch", "channels", "height", "width")
_PLAUSIBLE_IMAGE = (1, 3, 640, 640)
_PLAUSIBLE_LENGTH = 128

OpenDims: TypeAlias = tuple[int | None, ...]
"""Dimensions of an input, None for an open one."""

ShapesGiven: TypeAlias = Mapping[str, Sequence[int]] | Sequence[str] | str
"""Shapes as a recipe or the Python API names them: {"images": (1, 3, 640, 640)} or "images:1x3x640x640"."""


def refuse_batch(batch: int) -> None:
    """Raise UsageError for a batch that no dimension can hold."""
    if not 1 <= batch <= _LARGEST:
        what = "the batch must be positive" if batch < 1 else "the batch is too large"
        raise UsageError(what, expected=f"1 to {_LARGEST}", received=batch)


@dataclass(frozen=True, slots=True)
class FixedShape:
    """The shape of one input, batch included. `name` is empty for the only input of a model."""

    name: str
    dims: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name}:{as_text(self.dims)}" if self.name else as_text(self.dims)


def parse_shape(text: str) -> FixedShape:
    """Read `images:1x3x640x640`, or `1x3x640x640` for a model with one input.

    Raises UsageError for anything else, also for sizes below 1.
    """
    # The last colon: names of TensorFlow tensors hold colons themselves.
    name, colon, sizes = text.rpartition(":")
    parts = sizes.strip().lower().split("x")
    if (colon and not name) or not all(part.isdecimal() and 0 < int(part) <= _LARGEST for part in parts):
        raise UsageError(
            "cannot read a shape",
            expected=f"{EXAMPLE}, each size 1 or more",
            received=repr(text),
            then="The name may be left out where the model has one input.",
        )
    return FixedShape(name, tuple(map(int, parts)))


def fixed_shapes(given: ShapesGiven) -> tuple[FixedShape, ...]:
    """The shapes that somebody named, in order.

    Raises UsageError for what is no shape, and for an input that is named twice.
    """
    found = tuple(parse_shape(text) for text in _texts(given))
    names = [shape.name for shape in found]
    for shape in found:
        if names.count(shape.name) > 1:
            both = " and ".join(str(other) for other in found if other.name == shape.name)
            raise UsageError(
                f"{shape.name or 'the input'} has two shapes", expected="one --shape an input", received=both
            )
    return found


def _texts(given: ShapesGiven) -> Iterable[str]:
    if isinstance(given, str):
        return (given,)
    if not isinstance(given, Mapping):
        return given
    return [f"{name}:{dims if isinstance(dims, str) else 'x'.join(map(str, dims))}" for name, dims in given.items()]


def suggested(name: str, dims: OpenDims, batch: int | None = None) -> FixedShape:
    """A shape that somebody could mean: what the model fixes stays, an image is 3x640x640, a sequence 128 long."""
    usual = _PLAUSIBLE_IMAGE if len(dims) == len(_PLAUSIBLE_IMAGE) else (1, *[_PLAUSIBLE_LENGTH] * (len(dims) - 1))
    usual = (batch or 1, *usual[1:])
    return FixedShape(name, tuple(size or plausible for size, plausible in zip(dims, usual, strict=True)))


def left_open(name: str, dims: OpenDims) -> str:
    """`images leaves dimensions 2 and 3 (height, width) open: 1x3x?x?`."""
    places = [place for place, size in enumerate(dims) if size is None]
    numbers = " and ".join(filter(None, (", ".join(map(str, places[:-1])), str(places[-1]))))
    axes = [_AXES_OF_IMAGES[place] for place in places] if len(dims) == len(_AXES_OF_IMAGES) else []
    named = f" ({', '.join(axes)})" if axes else ""
    return f"{name} leaves dimension{'s' * (len(places) > 1)} {numbers}{named} open: {as_text(dims)}"


def as_text(dims: OpenDims) -> str:
    """`1x3x?x?`: sizes as `--shape` spells them, `?` for an open one."""
    return "x".join("?" if size is None else str(size) for size in dims) or "scalar"
