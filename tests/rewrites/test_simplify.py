"""onnxslim as a step: what it folds is told and proven, names stay, and a hostile model ends it within bounds."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from dlaflow.cli import main
from dlaflow.errors import InputError
from dlaflow.fixed_shape import FixedShape
from dlaflow.rewrites import simplify as module
from dlaflow.rewrites.base import Safety
from dlaflow.rewrites.fix import fix, write, write_cut
from dlaflow.rewrites.search import FixConfig
from dlaflow.rewrites.simplify import slimmed
from dlaflow.targets.target import resolve_target

pytest.importorskip("onnxslim", reason="--simplify needs the extra simplify")

TARGET = resolve_target("agx-orin-64gb", "6.2")
ALONE = FixConfig(allow=Safety.NOTHING, simplify=True)
SHAPES = """
    c = Conv<pads=[1,1,1,1]>(x, w)
    s = Shape(c)
    n = Gather<axis=0>(s, zero)
    u = Unsqueeze(n, first)
    t = Concat<axis=0>(u, rest)
    k = Identity(c)
    r = Reshape(k, t)
    y = Relu(r)
"""
WEIGHTS = {
    "w": np.random.default_rng(0).standard_normal((8, 4, 3, 3)).astype(np.float32),
    "zero": np.array(0),
    "first": np.array([0]),
    "rest": np.array([2, 4, 8, 8]),
}


def names(proto: onnx.ModelProto) -> list[str]:
    return [node.name for node in proto.graph.node]


def test_shape_arithmetic_goes_and_all_else_keeps_its_name(build: Callable[..., Path], tmp_path: Path) -> None:
    path, out = build(SHAPES, (3, 4, 8, 8), WEIGHTS), tmp_path / "slim.onnx"
    report = write(fix(path, TARGET, ALONE), out).report
    before, after = onnx.load(path), onnx.load(out)
    assert names(after) == [name for name in names(before) if name.split("_")[0] in ("Conv", "Reshape", "Relu")]
    assert [each.rewrite for each in report.applied] == ["simplify"]
    assert set(report.applied[0].sites) == set(names(before)) - set(names(after))
    assert {node.output[0] for node in after.graph.node} <= {node.output[0] for node in before.graph.node}
    x = np.random.default_rng(1).standard_normal((3, 4, 8, 8)).astype(np.float32)
    runs = [onnxruntime.InferenceSession(file).run(None, {"x": x})[0] for file in (path, out)]
    np.testing.assert_allclose(runs[0], runs[1], rtol=1e-5, atol=1e-6)
    onnx.checker.check_model(out, full_check=True)


def test_an_open_batch_stays_open(build: Callable[..., Path], tmp_path: Path) -> None:
    path, out = build(SHAPES, ("batch", 4, 8, 8), WEIGHTS), tmp_path / "slim.onnx"
    report = write(fix(path, TARGET, ALONE), out).report
    assert report.frozen_inputs == []
    assert onnx.load(out).graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    for batch in (1, 5):
        x = np.random.default_rng(1).standard_normal((batch, 4, 8, 8)).astype(np.float32)
        runs = [onnxruntime.InferenceSession(file).run(None, {"x": x})[0] for file in (path, out)]
        np.testing.assert_allclose(runs[0], runs[1], rtol=1e-5, atol=1e-6)


def test_sizes_that_are_named_are_put_in(build: Callable[..., Path], tmp_path: Path) -> None:
    path, out = build(SHAPES, ("batch", 4, 8, "width"), WEIGHTS), tmp_path / "slim.onnx"
    named = replace(TARGET, shapes=(FixedShape("x", (2, 4, 8, 8)),))
    report = write(fix(path, named, ALONE), out).report
    assert report.frozen_inputs == ["x"]
    assert names(onnx.load(out)) == ["Conv_0", "Reshape_6", "Relu_7"]
    assert [dim.dim_value for dim in onnx.load(out).graph.input[0].type.tensor_type.shape.dim] == [2, 4, 8, 8]


def test_it_is_the_first_step_of_a_fix_and_of_a_cut(build: Callable[..., Path], tmp_path: Path) -> None:
    nodes = "c = Conv(x, w)\nb = Add(c, o)\np = GlobalAveragePool(b)\ny = Exp(p)"
    weights = {"w": WEIGHTS["w"], "o": np.full((1, 8, 1, 1), 0.5, np.float32)}
    path = build(nodes, (1, 4, 8, 8), weights)
    report = fix(path, TARGET, FixConfig(simplify=True)).report
    assert [each.rewrite for each in report.applied] == ["simplify", "mean-pooling"]
    cut = write_cut(fix(path, TARGET, ALONE), tmp_path / "backbone.onnx", ["p"], TARGET).report.cut
    assert cut is not None
    assert names(onnx.load(cut.backbone)) == ["Conv_0", "GlobalAveragePool_2"]


def test_what_computes_something_else_is_refused(build: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = "import onnx\nm = onnx.load('model.onnx')\nm.graph.node[0].op_type = 'Tanh'\nonnx.save(m, 'slim.onnx')"
    monkeypatch.setattr(module, "_CHILD", wrong)
    path = build("a = Sigmoid(x)\ny = Relu(a)")
    report = fix(path, TARGET, FixConfig(simplify=True)).report
    assert report.applied == []
    assert [each.rewrite for each in report.refused] == ["simplify"]
    assert "outputs that differ by" in report.refused[0].reason
    with pytest.raises(InputError, match="outputs that differ by"):
        fix(path, TARGET, ALONE)


def test_other_inputs_are_refused(build: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = "import onnx\nm = onnx.load('model.onnx')\nm.graph.output[0].name = 'a'\nonnx.save(m, 'slim.onnx')"
    monkeypatch.setattr(module, "_CHILD", wrong)
    path = build("a = Sigmoid(x)\ny = Relu(a)")
    with pytest.raises(InputError, match="differ"), slimmed(onnx.load(path), path):
        pass


def hostile(size: int) -> onnx.ModelProto:
    """A constant of `size` floats that a few bytes stand for, folded by whoever folds without a limit."""
    nodes = [
        parser.parse_node(line)
        for line in ("k = ConstantOfShape(n)", "e = Exp(k)", "m = ReduceMax(e)", "y = Add(x, m)")
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array([size], np.int64), "n")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_model_that_takes_all_memory_ends_within_bounds() -> None:
    with suppress(InputError), slimmed(hostile(1 << 33), Path("hostile.onnx")) as path:
        assert path.stat().st_size < 1 << 20  # the constant was left alone


def test_time_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHILD", module._CHILD.replace("import onnx, onnxslim", "while True: pass"))
    monkeypatch.setenv("DLAFLOW_MAX_SIMPLIFY_SECONDS", "1")
    with pytest.raises(InputError, match="DLAFLOW_MAX_SIMPLIFY_SECONDS"), slimmed(hostile(4), Path("slow.onnx")):
        pass


def test_the_command(build: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = build(SHAPES, ("batch", 4, 8, 8), WEIGHTS), tmp_path / "slim.onnx"
    assert main(["fix", str(path), "--out", str(out), "--simplify", "--allow", "nothing"]) == 0
    assert "simplify x5 (exact)" in capsys.readouterr().out
    assert "Identity" not in {node.op_type for node in onnx.load(out).graph.node}
    assert main(["fix", str(path), "--out", str(out), "--allow", "nothing"]) == 2
    assert "nothing is left to do" in capsys.readouterr().err
