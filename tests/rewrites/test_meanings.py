"""What the maps of a detector hold is told by the decode part's operators, and left open where these do not tell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dlaflow.rewrites.cut import split
from dlaflow.rewrites.load import load_draft
from dlaflow.rewrites.meanings import meanings


def told(path: Path, *tensors: str) -> list[tuple[int, list[tuple[int, int, str, str]]]]:
    whole, _ = load_draft(path, 1)
    _, post = split(whole, tensors)
    found = meanings(whole, post, tensors)
    return [
        (each.repeats, [(run.first, run.last, run.meaning, run.through) for run in each.channels]) for each in found
    ]


def shape(*dims: int) -> np.ndarray:
    return np.array(dims, np.int64)


GRID = np.arange(64, dtype=np.float32)
MAPS = "m = Conv(x, w)\n"


def weight(channels: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((channels, 4, 1, 1)).astype(np.float32)


@pytest.mark.parametrize("opset", [11, 17])
def test_distributions_with_their_means_as_a_product(build: Callable[..., Path], opset: int) -> None:
    nodes = MAPS + "a = Reshape(m, r)\nb = Transpose<perm=[0,1,3,2]>(a)\ns = Softmax<axis=3>(b)\ny = MatMul(s, v)"
    weights = {"w": weight(32), "r": shape(1, 4, 8, 64), "v": np.arange(8, dtype=np.float32).reshape(8, 1)}
    assert told(build(nodes, (1, 4, 8, 8), weights, opset=opset), "m") == [(1, [(0, 31, "box sides", "softmax 8")])]


def test_points_of_a_pose_come_as_often_as_there_are_points(build: Callable[..., Path]) -> None:
    nodes = (
        MAPS
        + """a = Reshape(m, r)
        xy, v = Split<axis=2>(a, s)
        p = Add(xy, g)
        q = Sigmoid(v)
        y = Concat<axis=2>(p, q)"""
    )
    weights = {"w": weight(51), "r": shape(1, 17, 3, 64), "s": shape(2, 1), "g": GRID}
    found = told(build(nodes, (1, 4, 8, 8), weights), "m")
    assert found == [(17, [(0, 1, "coordinates", ""), (2, 2, "scores", "sigmoid")])]


def test_a_sigmoid_that_the_dla_computes_counts(build: Callable[..., Path]) -> None:
    nodes = (
        MAPS
        + """n = Conv(x, u)
        s = Sigmoid(n)
        c = Concat<axis=1>(m, s)
        a = Reshape(c, r)
        xy, wh, k = Split<axis=1>(a, t)
        p = Add(xy, g)
        e = Exp(wh)
        f = Mul(e, g)
        y = Concat<axis=1>(p, f, k)"""
    )
    weights = {"w": weight(4), "u": weight(6), "r": shape(1, 10, 64), "t": shape(2, 2, 6), "g": GRID}
    runs = [(0, 1, "box", ""), (2, 3, "box", "exp"), (4, 4, "objectness", "sigmoid"), (5, 9, "classes", "sigmoid")]
    assert told(build(nodes, (1, 4, 8, 8), weights), "c") == [(1, runs)]


def test_scores_of_other_cells_than_the_boxes_are_no_classes(build: Callable[..., Path]) -> None:
    nodes = """m = Conv(x, w)
        n = Conv(x, u)
        o = Conv<strides=[2,2]>(x, u)
        a = Reshape(m, r)
        b = Add(a, g)
        y = Sigmoid(n)
        z = Sigmoid(o)"""
    path = build(
        nodes, (1, 4, 8, 8), {"w": weight(4), "u": weight(6), "r": shape(1, 4, 64), "g": GRID}, outputs=("b", "y", "z")
    )
    scores = [(1, [(0, 5, meaning, "sigmoid")]) for meaning in ("classes", "scores")]
    assert told(path, "m", "n", "o") == [(1, [(0, 3, "box", "")]), *scores]


@pytest.mark.parametrize(
    "decode",
    [
        "y = Reshape(m, r)",
        "a = Reshape(m, r)\nb = ArgMax<axis=1>(a)\ny = Cast<to=1>(b)",
        "a = Reshape(m, r)\nb = Transpose<perm=[0,2,1]>(a)\ny = MatMul(a, b)",
    ],
)
def test_what_no_operator_tells_stays_open(build: Callable[..., Path], decode: str) -> None:
    path = build(MAPS + decode, (1, 4, 8, 8), {"w": weight(6), "r": shape(1, 6, 64)})
    assert told(path, "m") == [(1, [(0, 5, "unknown", "")])]


def test_a_softmax_that_the_dla_computes_gives_scores(build: Callable[..., Path]) -> None:
    path = build(
        MAPS + "s = Softmax<axis=1>(m)\ny = Reshape(s, r)", (1, 4, 8, 8), {"w": weight(6), "r": shape(1, 6, 64)}
    )
    assert told(path, "s") == [(1, [(0, 5, "scores", "softmax 6")])]
