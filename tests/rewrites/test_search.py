"""The order of the search: what counts more, what is never taken, and how it goes on after a proof has failed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from dlaflow.placement.check import check, network_of
from dlaflow.rewrites.base import Bounds, Match, Rewrite
from dlaflow.rewrites.draft import Draft, Edit
from dlaflow.rewrites.fix import fix
from dlaflow.rewrites.load import load_draft
from dlaflow.rewrites.reductions import MeanPooling
from dlaflow.rewrites.search import FixConfig, Score, Search, score_of
from dlaflow.targets.target import resolve_target

TARGET = resolve_target("agx-orin-64gb", "6.2")
WEIGHTS = {"w": np.ones((4, 4, 1, 1), np.float32)}


class _Turned(Rewrite):
    """A rewrite that makes one operator another one: what it computes does not matter here."""

    id = "turned"
    answers = ("DLA270",)

    def __init__(self, old: str, new: str, **attributes: list[int] | int) -> None:
        self.operators = (old,)  # type: ignore[misc]
        self.new, self.attributes = new, attributes

    def match(self, draft: Draft, node: onnx.NodeProto, bounds: Bounds) -> Match:
        if self.attributes and any(each.name in self.attributes for each in node.attribute):
            return None
        edit = Edit(draft, [node])
        edit.add(self.new, node.input, draft.shape(node.output[0]) or (), output=node.output[0], **self.attributes)
        return edit


def _searched(path: Path, rewrite: Rewrite) -> list[str]:
    return [step.applied.rewrite for step in Search(TARGET, [rewrite], path).run(load_draft(path, None)[0]).steps]


def test_nothing_on_the_dla_is_no_success(build: Callable[..., Path]) -> None:
    """Without the one layer on the DLA there are no switches, but nothing is there either."""
    path = build("e = Exp(x)\nr = Relu(e)\ny = Exp(r)", (1, 4, 8, 8))
    assert score_of(check(path, TARGET)).loadables == 1
    assert not _searched(path, _Turned("Relu", "Erf"))
    # The other way it is only small work between two switches.
    assert not _searched(build("e = Exp(x)\nr = Erf(e)\ny = Exp(r)", (1, 4, 8, 8)), _Turned("Erf", "Relu"))


def test_work_is_not_given_up_for_fewer_switches(build: Callable[..., Path]) -> None:
    """A convolution that leaves the DLA takes its switches along."""
    path = build("c = Conv(x, w)\ne = Exp(c)\ny = Conv(e, w)", (1, 4, 8, 8), WEIGHTS)
    before = score_of(check(path, TARGET))
    assert (before.switches, before.gpu_share) == (2, 0)
    assert not _searched(path, _Turned("Conv", "Conv", dilations=[64, 64]))


@pytest.mark.parametrize("swapped", [False, True])
def test_of_two_that_leave_the_same_the_faster_is_taken(swapped: bool, build: Callable[..., Path]) -> None:
    """Whichever stands first: a Softmax over channels stays on the DLA as a Relu does, and takes longer."""
    slow = _Turned("Exp", "Softmax", axis=1)
    fast = _Turned("Exp", "Relu")
    slow.id, fast.id = "slow", "fast"  # type: ignore[misc]
    options = [fast, slow] if swapped else [slow, fast]
    path = build("c = Conv(x, w)\ne = Exp(c)\ny = Conv(e, w)", (1, 4, 64, 64), WEIGHTS)
    steps = Search(TARGET, options, path).run(load_draft(path, None)[0]).steps
    assert [step.applied.rewrite for step in steps] == ["fast"]


@pytest.mark.parametrize("worse", ["unread", "refused", "gpu_share", "beyond", "loadables", "switches", "gpu_macs"])
def test_what_counts_more_is_asked_first(worse: str) -> None:
    """Each outweighs all that stand behind it."""
    names = list(Score.__dataclass_fields__)
    behind = dict.fromkeys(names[names.index(worse) + 1 :], 50)
    small = Score(**{**dict.fromkeys(names, 1), **behind})
    large = Score(**{**dict.fromkeys(names, 1), worse: 2})
    assert small.beats(large)
    assert not large.beats(small)
    assert not small.beats(small)


MEANS = """
    a = Conv(x, w)
    m0 = GlobalAveragePool(a)
    b = Mul(a, m0)
    m1 = GlobalAveragePool(b)
    c = Mul(b, m1)
    m2 = GlobalAveragePool(c)
    d = Mul(c, m2)
    m3 = GlobalAveragePool(d)
    y = Mul(d, m3)
"""


@pytest.mark.parametrize("wrong", [("GlobalAveragePool_5",), ("GlobalAveragePool_1", "GlobalAveragePool_7")])
def test_a_wrong_place_alone_is_taken_back(
    wrong: tuple[str, ...], build: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rewrite is kept at its other places."""
    right = MeanPooling.match

    def off(self: MeanPooling, draft: Draft, node: onnx.NodeProto, bounds: Bounds) -> Match:
        edit = right(self, draft, node, bounds)
        if isinstance(edit, Edit) and node.name in wrong:
            for made in edit.nodes:
                made.op_type = "MaxPool" if made.op_type == "AveragePool" else made.op_type
        return edit

    monkeypatch.setattr(MeanPooling, "match", off)
    weights = {"w": np.random.default_rng(0).standard_normal((4, 4, 1, 1)).astype(np.float32)}
    report = fix(build(MEANS, (1, 4, 8, 8), weights), TARGET, FixConfig()).report
    kept = {site for each in report.applied for site in each.sites}
    back = {each.site for each in report.refused if each.reason.startswith("taken back")}
    assert back == set(wrong)
    assert kept == {f"GlobalAveragePool_{index}" for index in (1, 3, 5, 7)} - set(wrong)
    assert all(each.used <= 1 for each in report.proof)


def test_a_rewrite_that_is_always_wrong_ends(build: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is barred as a whole after a few places."""
    right = MeanPooling.match
    tried: list[str] = []

    def off(self: MeanPooling, draft: Draft, node: onnx.NodeProto, bounds: Bounds) -> Match:
        edit = right(self, draft, node, bounds)
        if isinstance(edit, Edit):
            tried.append(node.name)
            for made in edit.nodes:
                made.op_type = "MaxPool" if made.op_type == "AveragePool" else made.op_type
        return edit

    monkeypatch.setattr(MeanPooling, "match", off)
    text = MEANS.replace("y = Mul(d, m3)", "e = Mul(d, m3)\n    h = HardSwish(e)\n    y = Conv(h, w)")
    weights = {"w": np.random.default_rng(0).standard_normal((4, 4, 1, 1)).astype(np.float32)}
    report = fix(build(text, (1, 4, 8, 8), weights), TARGET, FixConfig()).report
    assert len(tried) < 200
    assert [each.rewrite for each in report.applied] == ["hard-activation"]
    assert all(each.used <= 1 for each in report.proof)


def test_the_same_reason_counts_each_time() -> None:
    """A proof that fails alike whatever place is barred must end as one that fails in ever other words."""
    search = Search(TARGET, (MeanPooling(), _Turned("Exp", "Neg")), Path("x.onnx"))
    for turn in range(3):
        assert "mean-pooling" in {each.id for each in search.rewrites}
        search = search.without("mean-pooling", [f"p{turn}"], "taken back: y differed by 4.1e-01")
    assert [each.id for each in search.rewrites] == ["turned"]


def test_what_the_checker_refuses_is_taken_back(build: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    right = MeanPooling.match

    def off(self: MeanPooling, draft: Draft, node: onnx.NodeProto, bounds: Bounds) -> Match:
        edit = right(self, draft, node, bounds)
        if isinstance(edit, Edit):
            edit.nodes[0].attribute.append(onnx.helper.make_attribute("no_such_attribute", 1))
        return edit

    monkeypatch.setattr(MeanPooling, "match", off)
    report = fix(build("c = Conv(x, w)\ny = GlobalAveragePool(c)", (1, 4, 8, 8), WEIGHTS), TARGET, FixConfig()).report
    (refused,) = (each for each in report.refused if each.rewrite == "mean-pooling")
    assert refused.reason.startswith("taken back: ONNX's checker refuses the result: ")
    assert not report.applied


def test_prefer_speed_ends_at_the_fastest_step(build: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = build("c = Conv(x, w)\nh = HardSwish(c)\ny = GlobalAveragePool(h)", (1, 4, 8, 8), WEIGHTS)
    whole = fix(path, TARGET, FixConfig()).report
    assert len(whole.applied) == 2
    for times, kept in (((3.0, 1.0, 2.0), 1), ((1.0, 2.0, 3.0), 0), ((3.0, 2.0, 1.0), 2)):
        left = iter(times)
        monkeypatch.setattr(Search, "estimated", lambda search, draft, left=left: next(left))
        report = fix(path, TARGET, FixConfig(prefer_speed=True)).report
        assert [each.rewrite for each in report.applied] == [each.rewrite for each in whole.applied[:kept]]


def test_a_draft_is_predicted_once_while_it_lives(build: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path, predicted = build("y = Conv(x, w)", (1, 4, 8, 8), WEIGHTS), list[object]()
    whole = network_of
    monkeypatch.setattr("dlaflow.rewrites.search.network_of", lambda *given: predicted.append(given) or whole(*given))
    draft, _ = load_draft(path, None)
    search = Search(TARGET, [], path)
    assert score_of(search.place(draft)) == search.score(draft)
    assert 0 < search.estimated(draft) < 100
    assert len(predicted) == 1
    search.without("none", [], "").place(draft)
    assert len(predicted) == 1, "a search that begins again knows it"
    del draft
    other, _ = load_draft(path, None)
    search.place(other)
    assert len(predicted) == 2
    assert len(search._predicted) == 1
