"""Normalizations on random shapes: exact in four dimensions, by arithmetic within its bound, frozen on the average."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dlaflow.rewrites.base import Bounds
from dlaflow.rewrites.fix import fix
from dlaflow.rewrites.frozen_statistics import find_blocks, freeze
from dlaflow.rewrites.group_normalization import GroupNormalizationShape
from dlaflow.rewrites.load import load_draft
from dlaflow.rewrites.normalization_arithmetic import by_arithmetic
from dlaflow.rewrites.prove import Executable, Samples
from dlaflow.rewrites.search import FixConfig
from dlaflow.targets.target import resolve_target

BOUND = 2e-5
few = settings(deadline=None, max_examples=8)
GROUP_NORM = """
    r = Reshape(x, grouped)
    i = InstanceNormalization(r, one, zero)
    f = Reshape(i, full)
    m = Mul(f, gamma)
    y = Add(m, beta)
"""
LAYER_NORM = """
    t = Transpose<perm=[0,2,3,1]>(x)
    l = LayerNormalization<axis=-1>(t, gamma, beta)
    y = Transpose<perm=[0,3,1,2]>(l)
"""


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def group_weights(n: int, groups: int, each: int, h: int, w: int) -> dict[str, np.ndarray]:
    return {
        "grouped": np.array([0, groups, -1], np.int64), "full": np.array([n, groups * each, h, w], np.int64),
        "one": np.ones(groups, np.float32), "zero": np.zeros(groups, np.float32),
        "gamma": random(groups * each, 1, 1), "beta": random(groups * each, 1, 1),
    }  # fmt: skip


@given(
    n=st.integers(1, 2), groups=st.integers(1, 4), each=st.integers(1, 3), h=st.integers(1, 9), w=st.integers(2, 9),
    scaled=st.booleans(),
)  # fmt: skip
@few
def test_group_normalization_in_four_dimensions(
    rewritten: Callable, n: int, groups: int, each: int, h: int, w: int, scaled: bool
) -> None:
    weights = group_weights(n, groups, each, h, w)
    if scaled:
        weights |= {"one": random(groups), "zero": random(groups + 1)[1:]}
    outcome = rewritten(GroupNormalizationShape(), GROUP_NORM, (n, groups * each, h, w), weights)
    assert outcome.changed
    assert outcome.error < 2e-4  # single numbers may be normalized to almost nothing
    for node in outcome.draft.nodes:
        assert all(len(outcome.draft.shape(name) or ()) == 4 for name in node.output)


def test_only_the_statistics_leave_the_dla(build: Callable[..., Path]) -> None:
    text = "c = Conv(x, w)\n" + GROUP_NORM.strip().replace("Reshape(x", "Reshape(c")
    weights = group_weights(1, 2, 4, 8, 8) | {"w": random(8, 4, 1, 1)}
    path = build(text, (1, 4, 8, 8), weights)
    report = fix(path, resolve_target("agx-orin-64gb", tensorrt="10.3.0"), FixConfig()).report
    assert [each.rewrite for each in report.applied] == ["group-normalization"]
    assert (report.before.gpu_layers, report.after.gpu_layers) == (3, 1)
    assert report.after.switches == report.before.switches


@given(groups=st.sampled_from([1, 2, 4]), each=st.integers(2, 4), side=st.integers(4, 12), spread=st.floats(0.1, 5))
@few
def test_arithmetic_on_its_own_images(
    build: Callable[..., Path], groups: int, each: int, side: int, spread: float
) -> None:
    path = build(GROUP_NORM, (2, groups * each, side, side), group_weights(2, groups, each, side, side))
    _by_arithmetic(path, (2, groups * each, side, side), spread)


@given(channels=st.integers(4, 12), side=st.integers(2, 8), spread=st.floats(0.1, 5))
@few
def test_layer_normalization_by_arithmetic(build: Callable[..., Path], channels: int, side: int, spread: float) -> None:
    weights = {"gamma": random(channels), "beta": random(channels + 1)[1:]}
    _by_arithmetic(build(LAYER_NORM, (2, channels, side, side), weights), (2, channels, side, side), spread)


def _by_arithmetic(path: Path, shape: tuple[int, ...], spread: float) -> None:
    generator = np.random.default_rng(sum(shape))
    samples = Samples([(generator.standard_normal(shape) * spread + 0.5).astype(np.float32) for _ in range(3)])
    draft = load_draft(path, None)[0]
    (block,) = find_blocks(draft)
    made = by_arithmetic(draft, block, samples, Bounds(resolve_target("agx-orin-64gb")))
    if isinstance(made, str):
        assert "Newton steps" in made or "windows" in made
        return
    assert not {"InstanceNormalization", "LayerNormalization"} & {node.op_type for node in made.nodes}
    for batch in samples.batches:
        old, new = (Executable(each.proto()).run({"x": batch})["y"] for each in (draft, made))
        assert np.abs(old - new).max() < 5e-3 * np.abs(old).max()


@given(groups=st.sampled_from([1, 2, 3]), each=st.integers(1, 4), side=st.integers(3, 8), shift=st.floats(-2, 2))
@few
def test_frozen_on_one_image(build: Callable[..., Path], groups: int, each: int, side: int, shift: float) -> None:
    shape = (1, groups * each, side, side)
    draft = load_draft(build(GROUP_NORM, shape, group_weights(1, groups, each, side, side)), None)[0]
    image = random(*shape) + np.float32(shift)
    (block,) = find_blocks(draft)
    frozen = freeze(draft, block, Samples([image]))
    assert [node.op_type for node in frozen.nodes] == ["BatchNormalization"]
    old, new = (Executable(each.proto()).run({"x": image})["y"] for each in (draft, frozen))
    np.testing.assert_allclose(old, new, rtol=1e-3, atol=1e-3)
