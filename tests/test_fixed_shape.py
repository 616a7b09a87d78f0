"""A shape as somebody types it, and the words about an open input."""

from __future__ import annotations

import pytest

from dlaflow.errors import UsageError
from dlaflow.fixed_shape import FixedShape, fixed_shapes, left_open, parse_shape, suggested


@pytest.mark.parametrize(
    ("text", "name", "dims"),
    [
        ("images:1x3x640x640", "images", (1, 3, 640, 640)),
        ("1x3x640x640", "", (1, 3, 640, 640)),
        ("input_1:0:1X8x8", "input_1:0", (1, 8, 8)),
        ("x2x:4x4", "x2x", (4, 4)),
        ("length:7", "length", (7,)),
    ],
)
def test_a_shape_is_read_and_written_the_same(text: str, name: str, dims: tuple[int, ...]) -> None:
    shape = parse_shape(text)
    assert shape == FixedShape(name, dims)
    assert parse_shape(str(shape)) == shape


@pytest.mark.parametrize(
    "text", ["", ":1x3", "images", "images:", "images:1x0", "images:1x-1", "a=1x3", "1x3x", "1x3.5", f"1x{2**31}"]
)
def test_what_is_no_shape_is_told_in_one_line(text: str) -> None:
    with pytest.raises(UsageError, match=r"NAME:1x3x640x640, each size 1 or more, received") as error:
        parse_shape(text)
    assert "\n" not in str(error.value)
    assert repr(text) in str(error.value)


def test_every_spelling_means_the_same() -> None:
    wanted = (FixedShape("images", (1, 3, 8, 8)),)
    assert fixed_shapes("images:1x3x8x8") == wanted
    assert fixed_shapes(["images:1x3x8x8"]) == fixed_shapes({"images": (1, 3, 8, 8)}) == wanted
    assert fixed_shapes(()) == ()


@pytest.mark.parametrize("given", [["a:1x2", "a:1x3"], ["1x2", "1x2"]])
def test_an_input_has_one_shape(given: list[str]) -> None:
    with pytest.raises(UsageError, match="two shapes"):
        fixed_shapes(given)


def test_a_suggestion_keeps_what_is_known() -> None:
    assert suggested("x", (None, 1, 32, None)).dims == (1, 1, 32, 640)
    assert suggested("x", (None, 3, None, None), 8).dims == (8, 3, 640, 640)
    assert suggested("ids", (2, None)).dims == (2, 128)
    assert suggested("x", (4, 3, None, 96)).dims == (4, 3, 640, 96)


def test_the_open_dimensions_are_named() -> None:
    assert left_open("x", (1, 3, None, None)) == "x leaves dimensions 2 and 3 (height, width) open: 1x3x?x?"
    assert left_open("x", (1, None)) == "x leaves dimension 1 open: 1x?"
    assert left_open("x", (1, None, None, None)).startswith("x leaves dimensions 1, 2 and 3 (channels, height, width)")
