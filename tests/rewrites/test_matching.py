"""What findings say of rewrites is what rewrites do, and what an estimate says of a fix is what the fix makes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from dlaflow.api.gain import with_gain
from dlaflow.estimate.answer import Estimate
from dlaflow.estimate.latency import estimate
from dlaflow.graph.load import Model, load_model
from dlaflow.placement.check import check_network, network_of
from dlaflow.rewrites.base import Bounds
from dlaflow.rewrites.fix import fix, write
from dlaflow.rewrites.load import load_draft
from dlaflow.rewrites.matching import with_rewrites
from dlaflow.rewrites.registry import REWRITES
from dlaflow.rewrites.search import FixConfig
from dlaflow.targets.target import Target, resolve_target
from dlaflow.types import Device, PlacedLayer, Placement, Remedy, Verdict

Build = Callable[..., Path]
XAVIER = resolve_target("agx-xavier-32gb", "5.1.1")
ORIN = resolve_target("agx-orin-64gb", "5.1.1")


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


CONVS = {"w": random(8, 4, 3, 3), "v": random(8, 8, 3, 3), "s": random(8), "t": random(8)}
SOFTMAX = """
    a = Conv(x, w)
    s1 = Softmax<axis=1>(a)
    b = Conv(s1, v)
    y = GlobalMaxPool(b)
"""
INSTANCE_NORM = """
    a = Conv(x, w)
    n = InstanceNormalization(a, s, t)
    y = Conv(n, v)
"""
GROUP_NORM = """
    a = Conv(x, w)
    r = Reshape(a, down)
    n = InstanceNormalization(r, s2, t2)
    m = Reshape(n, up)
    y = Conv(m, v)
"""
UNKNOWN = """
    a = Conv(x, w)
    r = Reshape(a, half)
    b = Conv(r, w)
    y = GlobalMaxPool(b)
"""
PLAIN = """
    a = Conv(x, w)
    y = Conv(a, v)
"""
GROUPS = CONVS | {
    "down": np.array([1, 2, -1]), "up": np.array([1, 8, 14, 14]), "half": np.array([1, 4, 28, 14]),
    "s2": random(2), "t2": random(2),
}  # fmt: skip


def placed(path: Path, target: Target) -> Placement:
    model = load_model(path)
    return with_rewrites(check_network(model, network_of(model, target), target), model, target)


def gained(path: Path, target: Target) -> Estimate:
    model, placement = load_model(path), placed(path, target)
    return with_gain(estimate(network_of(model, target), placement, target), placement, model, target)


def of_kind(placement: Placement, kind: str) -> PlacedLayer:
    (found,) = [layer for layer in placement.layers if layer.kind == kind]
    return found


def test_a_layer_with_an_exact_rewrite_is_conditional(build: Build) -> None:
    placement = placed(build(SOFTMAX, (1, 4, 16, 16), CONVS), XAVIER)
    pool, softmax = of_kind(placement, "REDUCE"), of_kind(placement, "SOFTMAX")
    assert (pool.device, pool.verdict) == (Device.GPU, Verdict.CONDITIONAL)
    assert [(each.verdict, each.remedy, each.rewrites) for each in pool.findings] == [
        (Verdict.CONDITIONAL, Remedy.EXACT, ["max-pooling"])
    ]
    assert softmax.verdict is Verdict.FALLBACK
    assert [(each.remedy, each.rewrites) for each in softmax.findings] == [(Remedy.NONE, [])]


def test_nodes_without_names_are_matched_too(build: Build) -> None:
    """Their layers bear the names that the parser makes up."""
    path = build(SOFTMAX, (1, 4, 16, 16), CONVS)
    model = onnx.load(path)
    for node in model.graph.node:
        node.name = ""
    onnx.save(model, path)
    pool = of_kind(placed(path, XAVIER), "REDUCE")
    assert (pool.verdict, pool.findings[0].rewrites) == (Verdict.CONDITIONAL, ["max-pooling"])


def test_softmax_on_orin_waits_for_another_release(build: Build) -> None:
    early = resolve_target("agx-orin-64gb", tensorrt="8.3.0")
    softmax = of_kind(placed(build(SOFTMAX, (1, 4, 16, 16), CONVS), early), "SOFTMAX")
    assert softmax.findings[0].remedy is Remedy.ELSEWHERE


def test_a_normalization_is_not_conditional(build: Build) -> None:
    norm = of_kind(placed(build(INSTANCE_NORM, (1, 4, 16, 16), CONVS), ORIN), "PLUGIN_V2")
    assert norm.verdict is Verdict.FALLBACK
    assert (norm.findings[0].remedy, norm.findings[0].rewrites) == (
        Remedy.DATA, ["normalization-arithmetic", "frozen-statistics"],
    )  # fmt: skip


def test_a_rewrite_that_leaves_the_layer_on_the_gpu_is_named_but_makes_nothing_conditional(build: Build) -> None:
    placement = placed(build(GROUP_NORM, (1, 4, 16, 16), GROUPS), ORIN)
    named = [each for layer in placement.layers for each in layer.findings if "group-normalization" in each.rewrites]
    assert {each.rule for each in named} == {"DLA241"}
    assert Verdict.CONDITIONAL not in {layer.verdict for layer in placement.layers}


def test_unknown_stays_unknown(build: Build) -> None:
    placement = placed(build(UNKNOWN, (1, 4, 16, 16), GROUPS), ORIN)
    assert Verdict.UNKNOWN in {layer.verdict for layer in placement.layers if layer.kind == "SHUFFLE"}


def test_without_a_dla_nothing_is_conditional(build: Build) -> None:
    placement = placed(build(SOFTMAX, (1, 4, 16, 16), CONVS), resolve_target("orin-nano", tensorrt="8.5.2"))
    assert not any(finding.rewrites for layer in placement.layers for finding in layer.findings)


@pytest.mark.parametrize("nodes", [SOFTMAX, UNKNOWN, GROUP_NORM], ids=["softmax", "unknown", "group-norm"])
def test_the_gain_is_that_of_the_file_that_fix_writes(build: Build, tmp_path: Path, nodes: str) -> None:
    """Nothing but what a rewrite changed moves to the DLA: neither what is unknown nor what has no remedy."""
    path, target = build(nodes, (1, 4, 16, 16), GROUPS), XAVIER if nodes == SOFTMAX else ORIN
    found = gained(path, target)
    fixed = write(fix(path, target, FixConfig()), tmp_path / "fixed.onnx")
    model = load_model(tmp_path / "fixed.onnx")
    network = network_of(model, target)
    real = estimate(network, check_network(model, network, target), target)
    assert real.latency is not None
    assert found.after_fix is not None
    assert found.after_fix.value == pytest.approx(real.latency.value)
    assert found.fixes == tuple(each.rewrite for each in fixed.report.applied)


@pytest.mark.parametrize("nodes", [INSTANCE_NORM, PLAIN], ids=["instance-norm", "plain"])
def test_what_fix_does_not_change_has_no_gain(build: Build, nodes: str) -> None:
    path = build(nodes, (1, 4, 16, 16), CONVS)
    assert fix(path, ORIN, FixConfig(dry_run=True)).report.applied == []
    found = gained(path, ORIN)
    assert (found.after_fix, found.fixes) == (None, ())
    assert found.latency is not None


@pytest.mark.parametrize(
    ("nodes", "weights"),
    [
        ("y = GlobalAveragePool(x)", {}),
        ("y = HardSwish(x)", {}),
        ("y = Div(x, d)", {"d": np.array([2.0], np.float32)}),
        ("y = Clip(x, l, h)", {"l": np.float32(-1.0).reshape(()), "h": np.float32(200.0).reshape(())}),
        ("y = MaxPool<kernel_shape=[13,13], pads=[6,6,6,6]>(x)", {}),
        ("y = DepthToSpace<blocksize=2>(x)", {}),
        ("f = Flatten(x)\ny = Gemm<transB=1>(f, g)", {"g": random(5, 4 * 16 * 16)}),
    ],
    ids=["mean", "hard-swish", "div", "clip", "max", "pixels", "gemm"],
)
def test_conditional_means_native_after_the_rewrite(build: Build, nodes: str, weights: dict[str, np.ndarray]) -> None:
    """The rewrite applied to the whole model with its real weights leaves nothing of the layer on the GPU."""
    path = build(nodes, (1, 4, 16, 16), weights)
    before = placed(path, ORIN)
    conditional = [layer for layer in before.layers if layer.verdict is Verdict.CONDITIONAL]
    assert conditional
    (name,) = {name for layer in conditional for each in layer.findings for name in each.rewrites}
    (rewrite,) = [each() for each in REWRITES if each.id == name]
    draft = load_draft(path, None)[0]
    after = draft.apply(rewrite.find(draft, Bounds(ORIN))[0])
    old = {node for layer in before.layers for node in layer.onnx_nodes}
    made = after.model(path)
    placement = check_network(made, network_of(made, ORIN), ORIN)
    new = [layer for layer in placement.layers if layer.onnx_nodes and not set(layer.onnx_nodes) <= old]
    working = [layer for layer in new if layer.kind != "SHUFFLE"]
    assert working
    assert {layer.device for layer in working} <= {Device.DLA, Device.FOLDED}


def test_matching_reads_no_large_weights(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    path = build("f = Flatten(x)\ny = Gemm<transB=1>(f, g)", (1, 64, 16, 16), {"g": random(5, 64 * 256)})
    model = load_model(path)
    placement = check_network(model, network_of(model, ORIN), ORIN)
    read, initializer = set(), Model.initializer
    monkeypatch.setattr(Model, "initializer", lambda self, name: (read.add(name), initializer(self, name))[1])
    assert any(each.rewrites for layer in with_rewrites(placement, model, ORIN).layers for each in layer.findings)
    assert read
    assert "g" not in read
