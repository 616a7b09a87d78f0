"""The loop as a whole: what helps is applied and proven, what does not is told with its reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from dlaflow.errors import InputError, UsageError
from dlaflow.fixed_shape import FixedShape
from dlaflow.placement.check import check
from dlaflow.rewrites import prove
from dlaflow.rewrites import search as search_module
from dlaflow.rewrites.base import Bounds, Safety
from dlaflow.rewrites.draft import Draft, Edit
from dlaflow.rewrites.fix import fix, write, write_cut
from dlaflow.rewrites.fully_connected import FullyConnected
from dlaflow.rewrites.prove import Samples
from dlaflow.rewrites.reductions import MeanPooling
from dlaflow.rewrites.search import FixConfig
from dlaflow.targets.target import resolve_target

TARGET = resolve_target("agx-orin-64gb", "6.2")
CLASSIFIER = """
    c = Conv<pads=[1,1,1,1]>(x, w, b)
    h = HardSwish(c)
    p = GlobalAveragePool(h)
    f = Flatten(p)
    y = Gemm<transB=1>(f, g, o)
"""


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


WEIGHTS = {"w": random(8, 4, 3, 3), "b": random(8), "g": random(5, 8), "o": random(5)}
WIDE = {"g": random(5, 32)}


def test_a_classifier_ends_as_one_loadable(build: Callable[..., Path], tmp_path: Path) -> None:
    path = build(CLASSIFIER, ("batch", 4, 16, 16), WEIGHTS)
    fixed = write(fix(path, TARGET, FixConfig(output_4d=True)), tmp_path / "fixed.onnx")
    report = fixed.report
    assert (report.after.switches, report.after.loadables) == (0, 1)
    assert report.before.switches > 2
    assert {each.rewrite for each in report.applied} == {"hard-activation", "mean-pooling", "fully-connected"}
    assert report.before.switches - report.after.switches == sum(each.gain.switches for each in report.applied)
    assert 0 < max(each.relative for each in report.proof) < 1e-5
    # The file itself, not only the draft: predicted alike, and it computes the same.
    assert check(tmp_path / "fixed.onnx", TARGET).summary == report.after
    x = random(1, 4, 16, 16)
    runs = [onnxruntime.InferenceSession(file).run(None, {"x": x})[0] for file in (path, tmp_path / "fixed.onnx")]
    assert runs[1].shape == (1, 5, 1, 1)
    np.testing.assert_allclose(runs[0], runs[1].reshape(1, 5), rtol=1e-4, atol=1e-5)


def test_releases_that_come_to_the_same_share_the_proof(
    build: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, known = build(CLASSIFIER, (1, 4, 16, 16), WEIGHTS), prove.Known()
    runs: list[object] = []
    whole = prove.compare
    monkeypatch.setattr(prove, "compare", lambda *given, **more: runs.append(given) or whole(*given, **more))
    first = fix(path, TARGET, FixConfig(), known=known).report
    second = fix(path, resolve_target("orin-nx-16gb", "5.1.3"), FixConfig(), known=known).report
    assert first.applied
    assert first.proof == second.proof == fix(path, TARGET, FixConfig()).report.proof
    assert len(runs) == 2, "one for both, one without memory"
    tolerant = fix(path, TARGET, FixConfig(allow=Safety.TOLERANCE), known=known).report
    assert tolerant.bound != first.bound
    assert len(runs) == 3, "another bound is another proof"
    four = fix(path, TARGET, FixConfig(output_4d=True), known=known).report
    assert four.applied != first.applied
    assert len(runs) == 4, "another result is another proof"


def test_the_file_tells_where_it_comes_from(build: Callable[..., Path], tmp_path: Path) -> None:
    path = build(CLASSIFIER, (1, 4, 16, 16), WEIGHTS)
    fixed = write(fix(path, TARGET, FixConfig()), tmp_path / "fixed.onnx")
    model = onnx.load(tmp_path / "fixed.onnx")
    notes = {entry.key: entry.value for entry in model.metadata_props}
    assert notes["dlaflow.source_sha256"] == fixed.report.sha256
    assert "mean-pooling x1" in notes["dlaflow.rewrites"]
    assert "Conv_0" in {node.name for node in model.graph.node}
    assert [value.name for value in model.graph.output] == ["y"]


def test_a_file_of_ir_3_becomes_one_that_its_readers_take(build: Callable[..., Path], tmp_path: Path) -> None:
    """There weights are inputs as well; a later version is needed where they are that no longer."""
    old = onnx.load(build(CLASSIFIER, (1, 4, 16, 16), WEIGHTS))
    old.ir_version = 3
    for tensor in old.graph.initializer:
        old.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    onnx.save(old, tmp_path / "old.onnx")
    write(fix(tmp_path / "old.onnx", TARGET, FixConfig()), tmp_path / "fixed.onnx")
    new = onnx.load(tmp_path / "fixed.onnx")
    onnx.checker.check_model(new, full_check=True)
    assert [value.name for value in new.graph.input] == ["x"]
    assert new.ir_version >= 4


def test_a_dry_run_tells_the_same_rewrites(build: Callable[..., Path]) -> None:
    path = build(CLASSIFIER, (1, 4, 16, 16), WEIGHTS)
    dry, real = (fix(path, TARGET, FixConfig(dry_run=dry)).report for dry in (True, False))
    assert dry.applied == real.applied
    assert not dry.proof


def test_what_brings_nothing_is_left_alone(build: Callable[..., Path]) -> None:
    # A square between two operators that stay on the GPU: legal to rewrite, and no gain.
    path = build("e = Exp(x)\nm = Mul(e, e)\nl = Log(m)\ny = Exp(l)", (1, 4, 8, 8))
    report = fix(path, TARGET, FixConfig()).report
    assert not report.applied
    assert [(each.rewrite, each.site) for each in report.refused] == [("arithmetic", "Mul_1")]
    assert {finding.rule for finding in report.remaining} >= {"DLA270"}


def test_a_wrong_rewrite_is_taken_back(build: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = build(CLASSIFIER, (1, 4, 16, 16), WEIGHTS)
    whole = MeanPooling.find

    def wrong(self: MeanPooling, draft: object, bounds: object) -> object:
        edits, refused = whole(self, draft, bounds)  # type: ignore[arg-type]
        for edit in edits:
            for node in edit.nodes:
                if node.op_type == "AveragePool":
                    node.op_type = "MaxPool"
        return edits, refused

    monkeypatch.setattr(MeanPooling, "find", wrong)
    report = fix(path, TARGET, FixConfig()).report
    assert "mean-pooling" not in {each.rewrite for each in report.applied}
    assert any(each.rewrite == "mean-pooling" and "taken back" in each.reason for each in report.refused)
    assert max(each.relative for each in report.proof) < 1e-5


@pytest.mark.parametrize(("allow", "bound"), [(Safety.EXACT, 1.5e-4), (Safety.TOLERANCE, 7.5e-2)])
@pytest.mark.parametrize("share", [0.98, 1.02])
def test_a_proof_holds_up_to_its_bound_and_no_further(
    share: float, allow: Safety, bound: float, build: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rewrite whose outputs are too large by a known share is kept just below the bound and taken back above it."""
    path = build("c = Conv(x, w, b)\nf = Flatten(c)\ny = Gemm<transB=1>(f, g, o)", (1, 4, 4, 4), {**WEIGHTS, **WIDE})
    right = FullyConnected.match

    def off(self: FullyConnected, draft: Draft, node: onnx.NodeProto, limits: Bounds) -> object:
        edit = right(self, draft, node, limits)
        for name, value in edit.weights.items() if isinstance(edit, Edit) else ():
            if value.dtype.kind == "f":
                edit.weights[name] = (value * (1 + share * bound)).astype(value.dtype)
        return edit

    monkeypatch.setattr(FullyConnected, "match", off)
    report = fix(path, TARGET, FixConfig(allow=allow)).report
    assert ("fully-connected" in {each.rewrite for each in report.applied}) == (share < 1)
    if share < 1:
        assert max(each.relative for each in report.proof) == pytest.approx(share * bound, rel=1e-2)
        assert max(each.used for each in report.proof) == pytest.approx(share, rel=1e-2)
    else:
        (reason,) = (each.reason for each in report.refused if each.rewrite == "fully-connected")
        assert reason.startswith("taken back: y differed by ")
        assert reason.endswith("1 times what is allowed")
        assert max(each.relative for each in report.proof) < 1e-5


def test_layers_in_a_row_that_need_several_rewrites(build: Callable[..., Path]) -> None:
    text = "c = Conv(x, w)\nn = Neg(c)\nh = HardSigmoid(n)\nd = Div(h, k)\ny = Conv(d, v)"
    weights = {"w": random(4, 4, 1, 1), "v": random(4, 4, 1, 1), "k": np.array(3, np.float32)}
    report = fix(build(text, (1, 4, 8, 8), weights), TARGET, FixConfig()).report
    assert (report.after.switches, report.after.loadables) == (0, 1)


def test_single_places_are_tried_where_all_would_not_help(build: Callable[..., Path]) -> None:
    # The negation joins two loadables; the squares would become islands among GPU layers.
    text = """
        a = Exp(x)
        b = Mul(a, a)
        f = Exp(b)
        g = Mul(f, f)
        c = Exp(g)
        d = Conv(c, w)
        e = Neg(d)
        y = Conv(e, w)
    """
    report = fix(build(text, (1, 4, 8, 8), {"w": random(4, 4, 1, 1)}), TARGET, FixConfig()).report
    assert [site for each in report.applied for site in each.sites] == ["Neg_6"]
    assert search_module.score_of(check(build(text, (1, 4, 8, 8), {"w": random(4, 4, 1, 1)}), TARGET)).switches > 1


def test_open_shapes_must_be_named(build: Callable[..., Path]) -> None:
    path = build(CLASSIFIER, ("batch", 4, "h", "w"), WEIGHTS)
    with pytest.raises(InputError, match=r"--shape x:1x4x640x640"):
        fix(path, TARGET, FixConfig())
    report = fix(path, replace(TARGET, shapes=(FixedShape("x", (2, 4, 16, 16)),)), FixConfig(output_4d=True)).report
    assert report.target.batch == 2
    assert report.frozen_inputs == ["x"]
    assert report.after.switches == 0


def test_constants_and_copies_vanish(build: Callable[..., Path], tmp_path: Path) -> None:
    text = "k = Identity(w)\nt = Transpose<perm=[1,0,2,3]>(k)\nc = Conv(x, t)\ni = Identity(c)\nd = Dropout(i)\n"
    text += "y = Identity(d)"
    path = build(text, (1, 4, 8, 8), {"w": random(4, 3, 1, 1)})
    write(fix(path, TARGET, FixConfig()), tmp_path / "fixed.onnx")
    assert [node.op_type for node in onnx.load(tmp_path / "fixed.onnx").graph.node] == ["Conv"]


CONSTANTS = """
    c = Conv<pads=[1,1,1,1]>(x, w, b)
    d = Div(c, three)
    s = Sub(one, d)
    m = Mul(s, each)
    h = HardSwish(m)
    p = GlobalAveragePool(h)
    f = Flatten(p)
    y = Gemm<transB=1>(f, g, o)
"""


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("tensorrt", ["8.5.2", "10.3.0"])
def test_a_standalone_build_is_left_no_constants(build: Callable[..., Path], tensorrt: str, batch: int) -> None:
    """There a constant beside a layer ends the build: each becomes a scale."""
    weights = {**WEIGHTS, "three": np.float32(3), "one": np.ones(1, np.float32), "each": random(8, 1, 1)}
    path = build(CONSTANTS, (batch, 4, 16, 16), {name: np.asarray(value) for name, value in weights.items()})
    target = replace(resolve_target("agx-orin-64gb", tensorrt=tensorrt), mode="standalone")
    report = fix(path, target, FixConfig(output_4d=True)).report
    assert not report.before.standalone_ok
    assert report.after.standalone_ok, report.remaining
    assert not report.remaining


def test_what_stands_in_the_way_of_a_standalone_build_is_listed(build: Callable[..., Path]) -> None:
    path = build("c = Conv(x, w)\ny = Max(c, k)", (1, 4, 8, 8), {"w": random(4, 4, 1, 1), "k": random(1, 4, 1, 1)})
    report = fix(path, replace(TARGET, mode="standalone"), FixConfig()).report
    assert not report.after.standalone_ok
    assert [finding.rule for finding in report.remaining] == ["DLA011", "DLA284"]
    from dlaflow.report.fix_text import fix_text

    text = fix_text(report)
    assert "no ->     no  standalone build possible" in text
    assert "Still in the way of a standalone build:\n  DLA011: 1 layers" in text


DETECTOR = """
    c = Conv<pads=[1,1,1,1]>(x, w, b)
    s = Sigmoid(c)
    m = Mul(c, s)
    h = Conv(m, v)
    r = Reshape(h, n)
    t = Transpose<perm=[0,2,1]>(r)
    e = Exp(t)
    y = Mul(e, e)
"""
HEAD = {"w": random(8, 4, 3, 3), "b": random(8), "v": random(6, 8, 1, 1), "n": np.array([1, 6, 64], np.int64)}


def test_a_detector_is_cut_before_its_decode_part(build: Callable[..., Path], tmp_path: Path) -> None:
    path = build(DETECTOR, (1, 4, 8, 8), HEAD)
    report = write_cut(fix(path, TARGET, FixConfig()), tmp_path / "backbone.onnx", [], TARGET).report
    assert report.cut is not None
    assert report.cut.tensors == ["h"]
    assert (report.cut.summary.switches, report.cut.summary.loadables) == (0, 1)
    assert check(report.cut.backbone, TARGET).summary == report.cut.summary
    x = random(1, 4, 8, 8)
    middle = onnxruntime.InferenceSession(tmp_path / "backbone.onnx").run(None, {"x": x})[0]
    chained = onnxruntime.InferenceSession(tmp_path / "post.onnx").run(None, {"h": middle})[0]
    np.testing.assert_allclose(chained, onnxruntime.InferenceSession(path).run(None, {"x": x})[0], rtol=1e-4)


def test_a_cut_at_named_tensors(build: Callable[..., Path], tmp_path: Path) -> None:
    fixed = fix(build(DETECTOR, (1, 4, 8, 8), HEAD), TARGET, FixConfig())
    report = write_cut(fixed, tmp_path / "m.onnx", ["m"], TARGET).report
    assert report.cut is not None
    assert report.cut.tensors == ["m"]
    assert (tmp_path / "m.post.onnx").is_file()
    with pytest.raises(UsageError, match="nowhere"):
        write_cut(fixed, tmp_path / "n.onnx", ["nowhere"], TARGET)


NORMALIZED = """
    c = Conv<pads=[1,1,1,1]>(x, w, b)
    r = Reshape(c, g)
    i = InstanceNormalization(r, one, zero)
    s = Reshape(i, full)
    m = Mul(s, gamma)
    a = Add(m, beta)
    u = Relu(a)
    y = Conv(u, v)
"""
NORM_WEIGHTS = {
    "w": random(8, 4, 3, 3), "b": random(8), "v": random(6, 8, 1, 1), "g": np.array([2, 4, -1], np.int64),
    "one": np.ones(4, np.float32), "zero": np.zeros(4, np.float32), "full": np.array([2, 8, 8, 8], np.int64),
    "gamma": random(8, 1, 1), "beta": random(8, 1, 1),
}  # fmt: skip


def _samples(count: int = 6) -> Samples:
    generator = np.random.default_rng(1)
    return Samples([generator.uniform(-1, 1, (2, 4, 8, 8)).astype(np.float32) for _ in range(count)])


def test_group_norm_by_arithmetic_keeps_the_outputs(build: Callable[..., Path], tmp_path: Path) -> None:
    path = build(NORMALIZED, (2, 4, 8, 8), NORM_WEIGHTS)
    fixed = write(fix(path, TARGET, FixConfig(Safety.TOLERANCE, samples=_samples())), tmp_path / "fixed.onnx")
    assert (fixed.report.after.switches, fixed.report.after.loadables) == (0, 1)
    assert [each.rewrite for each in fixed.report.applied] == ["normalization-arithmetic"]
    assert max(each.relative for each in fixed.report.proof) < 5e-3
    fresh = np.random.default_rng(2).uniform(-1, 1, (2, 4, 8, 8)).astype(np.float32)
    old, new = (
        onnxruntime.InferenceSession(file).run(None, {"x": fresh})[0] for file in (path, tmp_path / "fixed.onnx")
    )
    assert np.abs(old - new).max() < 0.01 * np.abs(old).max()
    # Far outside of what it was made for it stays finite.
    assert np.isfinite(onnxruntime.InferenceSession(tmp_path / "fixed.onnx").run(None, {"x": fresh * 50})[0]).all()


def test_normalizations_need_leave_and_images(build: Callable[..., Path]) -> None:
    path = build(NORMALIZED, (2, 4, 8, 8), NORM_WEIGHTS)
    strict = fix(path, TARGET, FixConfig()).report
    assert any("--allow tolerance" in each.reason for each in strict.refused)
    blind = fix(path, TARGET, FixConfig(Safety.TOLERANCE)).report
    assert any("--data" in each.reason for each in blind.refused)


@pytest.mark.parametrize(("fall", "kept"), [(0.5, True), (3.0, False)])
def test_frozen_statistics_stop_at_max_drop(build: Callable[..., Path], fall: float, kept: bool) -> None:
    def accuracy(model: onnx.ModelProto) -> float:
        return 90.0 if any(node.op_type == "InstanceNormalization" for node in model.graph.node) else 90.0 - fall

    path = build(NORMALIZED, (2, 4, 8, 8), NORM_WEIGHTS)
    config = FixConfig(Safety.DATA, samples=_samples(), accuracy=accuracy, tested=100, max_drop=1.0)
    report = fix(path, TARGET, config).report
    assert ("frozen-statistics" in {each.rewrite for each in report.applied}) == kept
    assert any("--max-drop 1" in each.reason for each in report.refused) != kept
    assert report.after.switches == 0
    measured = {number.subject: number.value for number in report.measurements if number.quantity == "top1"}
    assert measured["before"] == 90.0
    # Here even what is not frozen goes, by arithmetic, and the stand-in for a data set notices.
    assert measured["after all rewrites"] == 90.0 - fall


def test_frozen_statistics_are_the_average_ones(build: Callable[..., Path]) -> None:
    """On an image whose statistics are the average ones, frozen and true normalization agree."""
    from dlaflow.rewrites.frozen_statistics import find_blocks, freeze
    from dlaflow.rewrites.load import load_draft
    from dlaflow.rewrites.prove import Executable

    draft = load_draft(build(NORMALIZED, (2, 4, 8, 8), NORM_WEIGHTS), None)[0]
    one = _samples(1).batches[0][:1].repeat(2, 0)
    (block,) = find_blocks(draft)
    frozen = freeze(draft, block, Samples([one]))
    old, new = (Executable(each.proto()).run({"x": one})["y"] for each in (draft, frozen))
    np.testing.assert_allclose(old, new, rtol=1e-3, atol=1e-4)


def test_weights_inside_branches_are_kept(tmp_path: Path) -> None:
    """Both branches call their large weight `w`; it is read from the file only where somebody needs its values."""
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[1,100] x, bool c) => (float[1,100] y) {
        h = HardSwish(x)
        y = If(c) <then_branch = t () => (float[1,100] a) { a = MatMul(h, w) },
                   else_branch = e () => (float[1,100] b) { b = MatMul(h, w) }>
    }
    """
    model = onnx.parser.parse_model(text)
    branches = [attribute.g for attribute in model.graph.node[1].attribute]
    for branch, factor in zip(branches, (1, 2), strict=True):
        branch.initializer.append(onnx.numpy_helper.from_array(factor * random(100, 100), "w"))
    onnx.save(model, tmp_path / "m.onnx")
    fixed = write(fix(tmp_path / "m.onnx", TARGET, FixConfig()), tmp_path / "fixed.onnx")
    assert all(each.relative < 1e-5 for each in fixed.report.proof)
    feeds = {"x": random(1, 100)}
    for name in ("m.onnx", "fixed.onnx"):
        session = onnxruntime.InferenceSession(str(tmp_path / name), providers=["CPUExecutionProvider"])
        once, twice = (session.run(None, {**feeds, "c": np.array(which)})[0] for which in (True, False))
        np.testing.assert_allclose(2 * once, twice, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("nodes", "told"),
    [
        ("y = Conv<group=0>(x, w)", "contradicts itself"),
        ("f = Flatten(x) \n y = Gemm(f, g)", "cannot be multiplied"),
        ("c = Conv(x, w, b) \n y = BatchNormalization(c, o, o, o, o)", "5 scales for 8 channels"),
        ("y = GroupNormalization()", "incomplete"),
    ],
)
def test_a_model_that_computes_nothing_is_not_rewritten(build: Callable[..., Path], nodes: str, told: str) -> None:
    path = build(nodes, (1, 4, 16, 16), WEIGHTS)
    with pytest.raises(InputError, match=told):
        fix(path, TARGET, FixConfig(dry_run=True))


@pytest.mark.parametrize("mode", ["hybrid", "standalone"])
@pytest.mark.parametrize("nodes", [CLASSIFIER, CONSTANTS, DETECTOR], ids=["classifier", "constants", "detector"])
def test_nvidias_parser_opens_what_is_written(
    build: Callable[..., Path], tmp_path: Path, nodes: str, mode: str
) -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="needs TensorRT-RTX's ONNX parser")
    weights = {**WEIGHTS, **HEAD, "three": np.array(3, np.float32), "one": np.ones(1, np.float32)}
    path = build(nodes, (1, 4, 8, 8), {**weights, "each": random(8, 1, 1)})
    out = tmp_path / "fixed.onnx"
    target = replace(TARGET, mode=mode)
    fixed = write(fix(path, target, FixConfig()), out)
    logger = trt.Logger(trt.Logger.INTERNAL_ERROR)
    network = trt.Builder(logger).create_network(0)
    parser = trt.OnnxParser(network, logger)
    assert parser.parse_from_file(str(out)), parser.get_error(0)
    assert network.num_outputs == 1
    # What was predicted of the draft holds of the file, in the mode that was asked for.
    assert check(out, target).summary == fixed.report.after
