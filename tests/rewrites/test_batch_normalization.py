"""BatchNormalization into the product or convolution beside it: the outputs stay, or it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dlaflow.rewrites.batch_normalization import BatchNormFolding
from dlaflow.rewrites.data_movement import DataMovement
from dlaflow.rewrites.fix import fix
from dlaflow.rewrites.search import FixConfig
from dlaflow.targets.target import resolve_target

BOUND = 2e-5
few = settings(deadline=None, max_examples=12)


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def statistics(channels: int) -> dict[str, np.ndarray]:
    spread = np.random.default_rng(channels).uniform(0.5, 2, channels).astype(np.float32)
    return {"s": random(channels) + 1, "b": random(channels, 1)[:, 0], "m": random(channels), "v": spread}


@given(
    op=st.sampled_from(["Conv", "ConvTranspose"]), c=st.integers(1, 4), k=st.integers(1, 4), out=st.integers(1, 5),
    bias=st.booleans(), epsilon=st.sampled_from([1e-5, 1e-2]), groups=st.integers(1, 3),
)  # fmt: skip
@few
def test_behind_a_convolution(
    rewritten: Callable, op: str, c: int, k: int, out: int, bias: bool, epsilon: float, groups: int
) -> None:
    kernel = random(out * groups, c, k, k) if op == "Conv" else random(c * groups, out, k, k)
    weights = {"w": kernel, "o": random(out * groups), **statistics(out * groups)}
    text = f"c = {op}<group={groups}>(x, w{', o' if bias else ''})\n"
    text += f"y = BatchNormalization<epsilon={epsilon}>(c, s, b, m, v)"
    outcome = rewritten(BatchNormFolding(), text, (2, c * groups, 6, 5), weights)
    assert outcome.ops == [op]
    assert outcome.error < BOUND


@given(features=st.integers(1, 6), out=st.integers(1, 6), front=st.booleans(), flip=st.booleans())
@few
def test_beside_a_product(rewritten: Callable, features: int, out: int, front: bool, flip: bool) -> None:
    weights = {"w": random(out, features) if flip else random(features, out), "o": random(out)}
    gemm = f"Gemm<alpha=0.5, transB={int(flip)}>"
    if front:
        text = f"z = BatchNormalization(x, s, b, m, v)\ny = {gemm}(z, w, o)"
    else:
        text = f"z = {gemm}(x, w, o)\ny = BatchNormalization(z, s, b, m, v)"
    outcome = rewritten(BatchNormFolding(), text, (3, features), weights | statistics(features if front else out))
    assert outcome.ops == ["Gemm"]
    assert outcome.error < BOUND


def test_what_another_node_reads_is_not_folded(rewritten: Callable) -> None:
    text = "c = Conv(x, w)\nz = BatchNormalization(c, s, b, m, v)\ny = Add(c, z)"
    outcome = rewritten(BatchNormFolding(), text, (1, 3, 4, 4), {"w": random(3, 3, 1, 1), **statistics(3)})
    assert not outcome.changed


def test_rows_without_a_product_are_refused(rewritten: Callable) -> None:
    text = "z = BatchNormalization(x, s, b, m, v)\ny = Exp(z)"
    outcome = rewritten(BatchNormFolding(), text, (2, 3), statistics(3))
    assert not outcome.changed
    assert "beside it" in next(iter(outcome.refused.values()))


def test_a_split_takes_the_normalization_along(rewritten: Callable) -> None:
    text = """
        c = Conv(x, w)
        z = BatchNormalization(c, s, b, m, v)
        r = Relu(z)
        p, q = Split<axis=1>(r, n)
        y = Concat<axis=1>(q, p, q)
    """
    weights = {"w": random(6, 4, 1, 1), "n": np.array([2, 4], np.int64), **statistics(6)}
    outcome = rewritten(DataMovement(), text, (1, 4, 5, 5), weights)
    assert outcome.error < BOUND
    assert "Split" not in outcome.ops


def test_the_head_of_a_face_recognizer_ends_as_one_loadable(build: Callable[..., Path]) -> None:
    text = """
        c = Conv<pads=[1,1,1,1]>(x, w)
        f = Flatten(c)
        g = Gemm(f, l, o)
        n = BatchNormalization(g, s, b, m, v)
        r = Relu(n)
        y = Gemm(r, k)
    """
    weights = {
        "w": random(8, 4, 3, 3), "l": random(8 * 36, 16), "o": random(16), "k": random(16, 5), **statistics(16),
    }  # fmt: skip
    target = resolve_target("agx-orin-64gb", "6.2")
    report = fix(build(text, (1, 4, 6, 6), weights), target, FixConfig(output_4d=True)).report
    assert (report.after.switches, report.after.loadables) == (0, 1)
    assert {"batch-normalization", "fully-connected"} >= {each.rewrite for each in report.applied}
