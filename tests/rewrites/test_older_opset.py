"""Nodes of new opsets in older ones: the outputs stay, the checker takes them, or it says why not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlaflow.placement.check import check_model
from dlaflow.report.fix_text import fix_text
from dlaflow.rewrites.base import Safety
from dlaflow.rewrites.fix import fix
from dlaflow.rewrites.load import load_draft
from dlaflow.rewrites.older_opset import as_read_by, in_opset
from dlaflow.rewrites.prove import Executable, compare
from dlaflow.rewrites.search import FixConfig
from dlaflow.targets.target import resolve_target

BOUND = 1e-5
SHAPE = (2, 4, 6, 5)


def longs(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


WEIGHTS = {
    "hw": longs(2, 3), "w": longs(-1), "four": longs(1, 0, 2, 1), "parts": longs(1, 3), "two": longs(2),
    "scales": np.array([2, 3], np.float32), "sizes": longs(9, 10), "all": np.array([1, 1, 2, 2], np.float32),
    "whole": longs(2, 4, 12, 10), "none": np.zeros(0, np.int64), "value": np.array(0.5, np.float32),
    "rows": longs(2, 4, 30), "five": np.linspace(0.5, 2, 5, dtype=np.float32),
    "boxes": np.array([[0, 0, 4, 4]], np.float32), "images": longs(0),
    "plane": np.linspace(-1, 2, 30, dtype=np.float32).reshape(6, 5),
}  # fmt: skip
CASES = {
    "y = ReduceMean(x, hw)": 18,
    "y = ReduceMax<keepdims=0>(x, w)": 18,
    "y = ReduceMean(x)": 11,
    "r = ReduceMax<noop_with_empty_axes=1>(x)\ny = Relu(r)": 18,
    "y = ReduceSum(x, hw)": 13,
    "r = ReduceSum<noop_with_empty_axes=1>(x, none)\ny = Relu(r)": 13,
    "a, b, c = Split<axis=3, num_outputs=3>(x)\ny = Concat<axis=3>(c, a, b)": 18,
    "a, b = Split<axis=1, num_outputs=2>(x)\ny = Add(a, b)": 18,
    "a, b = Split<axis=1>(x, parts)\ny = Concat<axis=1>(b, a)": 13,
    "y = Pad(x, four, , hw)": 18,
    'y = Pad<mode="edge">(x, four, value, hw)': 18,
    "u = Unsqueeze(x, two)\ny = Squeeze(u, two)": 13,
    'y = Resize<mode="nearest", axes=[2,3]>(x, , scales)': 18,
    'y = Resize<mode="linear", axes=[2,3]>(x, , , sizes)': 18,
    'y = Resize<mode="linear", antialias=0, keep_aspect_ratio_policy="stretch">(x, , all)': 18,
    'y = Resize<mode="nearest">(x, , , whole)': 13,
    "y = Softmax(x)": 13,
    "y = HardSwish(x)": 14,
    "y = Mish(x)": 18,
    "y = Gelu(x)": 20,
    "y = LayerNormalization(x, five, five)": 17,
    "y = LayerNormalization<axis=2, epsilon=0.01>(x, plane)": 17,
    "y = AveragePool<kernel_shape=[2,2], dilations=[1,1]>(x)": 19,
    "r = Reshape<allowzero=0>(x, rows)\ny = Relu(r)": 14,
    'a = RoiAlign<coordinate_transformation_mode="output_half_pixel">(x, boxes, images)\ny = Relu(a)': 16,
    "c = Cast<to=10, saturate=1>(x)\ny = Cast<to=1>(c)": 19,
}
"""Nodes, with the opset that introduced their form."""


@given(
    lines=st.sampled_from(sorted(CASES)),
    newest=st.sampled_from([11, 12, 13, 16, 17, 18, 19]),
    opset=st.integers(18, 21),
)
@settings(deadline=None, max_examples=50)
def test_the_older_form_gives_the_same(build: Callable, lines: str, newest: int, opset: int) -> None:
    if opset < CASES[lines]:
        opset = CASES[lines]
    path = build(lines, SHAPE, WEIGHTS, opset=opset)
    draft, _ = load_draft(path, None)
    older = in_opset(draft, newest)
    assert not older.refused
    assert older.draft.opset == min(newest, opset)
    if newest < CASES[lines]:
        assert older.sites
    proto = older.draft.proto()
    assert proto.opset_import[0].version == min(newest, opset)
    onnx.checker.check_model(proto, full_check=True)
    evidence = compare(Executable(path), Executable(proto), {"x": SHAPE})
    assert max(each.relative for each in evidence) < BOUND


@pytest.mark.parametrize(
    ("lines", "newest", "reason"),
    [
        ("y = ReduceL2<noop_with_empty_axes=1>(x)", 17, "noop"),
        ("y = Softmax<axis=1>(x)", 11, "all axes from 1 on"),
        ('y = Resize<mode="linear", antialias=1, axes=[2,3]>(x, , scales)', 17, "antialias"),
        (
            'y = Resize<mode="linear", axes=[2,3], keep_aspect_ratio_policy="not_larger">(x, , , sizes)',
            17,
            "keep_aspect",
        ),
        ('y = Gelu<approximate="tanh">(x)', 17, "tanh"),
        ('y = Pad<mode="wrap">(x, four, , hw)', 17, "wrap"),
        ("r = Relu(x)\ny = GroupNormalization<num_groups=2>(r, fours, fours)", 17, "no form in opset 17"),
        ("y = AveragePool<kernel_shape=[2,2], dilations=[2,2]>(x)", 17, "dilated"),
        ("c = Cast<to=6>(x)\nr = Relu(c)\ny = Cast<to=1>(r)", 13, "Relu takes no int32 in opset 13"),
        ("y = RoiAlign(x, boxes, images)", 13, "half_pixel has no form before opset 16"),
        ("q = QuantizeLinear<axis=1>(x, fours)\ny = DequantizeLinear<axis=1>(q, fours)", 11, "scales of channels"),
        ("y, m = Dropout(x)\nf = Cast<to=1>(m)\nz = Mul(f, y)", 11, "its mask"),
        ("h = Cast<to=10>(x)\nc = CumSum(h, two)\ny = Cast<to=1>(c)", 13, "CumSum takes no float16 in opset 13"),
    ],
)
def test_what_has_no_older_form_is_told_and_nothing_changes(
    build: Callable, lines: str, newest: int, reason: str
) -> None:
    weights = (
        WEIGHTS
        | ({"two": np.array(2)} if "CumSum" in lines else {})
        | ({"fours": np.ones(2 if "Group" in lines else 4, np.float32)})
    )
    draft, _ = load_draft(
        build(lines, SHAPE, weights, opset=18 if "Group" in lines else 20, outputs=("z" if "z =" in lines else "y",)),
        None,
    )
    older = in_opset(draft, newest)
    assert older.draft is draft
    assert reason in older.refused[0][1]


def test_a_model_that_the_release_misreads_becomes_one_that_it_reads(build: Callable, tmp_path: Path) -> None:
    lines = "a, b = Split<axis=1, num_outputs=2>(x)\nm = ReduceMax(a, hw)\np = Pad(b, four, , hw)\ny = Mul(p, m)"
    path = build(lines, (1, 4, 6, 6), WEIGHTS, opset=18)
    target = resolve_target("agx-orin-64gb", tensorrt="8.5.2")
    fixed = fix(path, target, FixConfig(Safety.EXACT))
    rules = {finding.rule for finding in check_model(fixed.draft.model(path), target).findings}
    assert not rules & {"DLA020", "DLA022"}
    assert fixed.report.applied[0].rewrite == "opset"
    assert max(each.relative for each in fixed.report.proof) < BOUND


def test_the_report_tells_that_the_release_reads_it_now(build: Callable) -> None:
    """What a parser refuses has no layers of which more switches could be counted."""
    path = build(
        "c = Conv(x, k)\ny = LayerNormalization(c, five, five)",
        SHAPE,
        WEIGHTS | {"k": np.ones((4, 4, 1, 1), np.float32)},
    )
    target = resolve_target("agx-orin-64gb", tensorrt="8.5.2")
    report = fix(path, target, FixConfig(Safety.EXACT)).report
    assert report.improved
    assert "no ->    yes  read by the release's parser" in fix_text(report)
    assert "release's parser" not in fix_text(
        fix(path, resolve_target("agx-orin-64gb", tensorrt="10.3.0"), FixConfig()).report
    )


def test_operators_without_an_importer_are_written_out(build: Callable) -> None:
    path = build("y = LayerNormalization(x, five, five)", SHAPE, WEIGHTS, opset=17)
    draft, _ = load_draft(path, None)
    older = as_read_by(draft, resolve_target("agx-orin-64gb", tensorrt="8.5.2"))
    known = as_read_by(draft, resolve_target("agx-orin-64gb", tensorrt="10.3.0"))
    ops = {node.op_type for node in older.draft.nodes}
    assert ops == {"ReduceMean", "Sub", "Pow", "Add", "Sqrt", "Div", "Mul"}
    assert known.draft.nodes == draft.nodes
    evidence = compare(Executable(path), Executable(older.draft.proto()), {"x": SHAPE})
    assert max(each.relative for each in evidence) < BOUND


@pytest.mark.parametrize("opset", [8, 10, 11, 12])
@pytest.mark.parametrize(
    ("lines", "raised"),
    [
        ("y = Softmax<axis=3>(x)", True),
        ("y = Softmax(x)", False),
        ("c = {clip}\np = {pad}\ny = Softmax<axis=3>(p)", True),
        ("s = ReduceSum<axes=[2,3]>(x)\ny = Softmax(s)", True),
        ("a, b = Split<axis=1, split=[1,3]>(x)\ns = ReduceSum<axes=[2,3]>(b)\ny = LogSoftmax<axis=1>(s)", True),
        ("u = Unsqueeze<axes=[0]>(x)\ns = Squeeze<axes=[0]>(u)\ny = Softmax<axis=-1>(s)", True),
    ],
)
def test_an_old_softmax_over_one_row_gets_one_axis(build: Callable, lines: str, raised: bool, opset: int) -> None:
    old = opset < 11
    clip = "Clip<min=-0.5, max=0.75>(x)" if old else "Clip(x, value, )"
    pad = "Pad<pads=[0,0,1,0,0,0,2,1], value=0.5>(c)" if old else "Pad(c, eight, value)"
    weights = WEIGHTS | {"eight": longs(0, 0, 1, 0, 0, 0, 2, 1)}
    path = build(lines.format(clip=clip, pad=pad), SHAPE, weights, opset=opset)
    draft, _ = load_draft(path, None)
    newer = as_read_by(draft, resolve_target("agx-orin-64gb", tensorrt="8.5.2")).draft
    assert newer.opset == (13 if raised else opset)
    assert as_read_by(draft, resolve_target("agx-xavier-64gb", tensorrt="7.1.3")).draft.opset == min(opset, 11)
    onnx.checker.check_model(newer.proto(), full_check=True)
    evidence = compare(Executable(path), Executable(newer.proto()), {"x": SHAPE})
    assert max(each.relative for each in evidence) < BOUND
