"""Schedules: how engines slow each other, which assignment wins and why, what is said where nobody knows."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, product

import pytest

from dlaflow.errors import InputError
from dlaflow.estimate import schedule as search_module
from dlaflow.estimate.schedule import Demand, Hardware, Job, judge, search
from dlaflow.estimate.schedule_flow import GPU, Stream, flows, gpu_load, power_of, shipped_sharing
from dlaflow.estimate.schedule_measured import adjusted, bench_of, learned_sharing
from dlaflow.estimate.schedule_pieces import Option, Piece, cut_at, hand_over_ms, options_of
from dlaflow.estimate.schedule_timeline import Chain, simulate, timeline
from dlaflow.estimate.setting import setting_of
from dlaflow.placement.place import place
from dlaflow.targets.target import resolve_target
from dlaflow.types import Measurement, ModelInfo
from tools.fit.networks import NETWORKS
from tools.fit.together import read_runs

SHARING = shipped_sharing()
ON_GPU = Stream(GPU, 1.02, 1.02, 1.02)
HYBRID = Stream("DLA 0", 1.28, 1.34, 0.19, visits=4, inner=1, meeting=0.146)
"""ResNet-50 INT8 on an AGX Orin, as measured alone."""
PURE = replace(HYBRID, gpu_ms=0.0, visits=0, inner=0)
TWO_RELEASES = (("agx-xavier-32gb", "4.5"), ("agx-xavier-32gb", "5.1.1"))
BOARD = Hardware(2, SHARING, power_of("agx-orin-64gb", "MAXN"), 4.5)


def option(*streams: Stream, cut: tuple[str, ...] = ()) -> Option:
    return Option(
        tuple(Piece(stream, 0.1, 0.0 if stream.core == GPU else stream.alone_ms - stream.gpu_ms) for stream in streams),
        cut,
    )


WAYS = (option(ON_GPU), option(HYBRID))


def job(name: str, rate: float | None = None, budget: float | None = None, ways: tuple[Option, ...] = WAYS) -> Job:
    return Job(Demand(name, rate, budget), 1, ways)


def rates(*streams: Stream) -> list[float]:
    return [flow.rate for flow in flows(streams, SHARING)]


def test_there_are_two_regimes() -> None:
    """Beside a busy GPU an engine with visits is 3.7 to 3.9 times slower, one without 4 to 30%."""
    hybrid, pure = (rates(ON_GPU, each)[1] / rates(each)[0] for each in (HYBRID, PURE))
    assert 1 / 4.5 < hybrid < 1 / 3
    assert 0.7 < pure < 0.97


def test_two_cores_beat_all_three_engines() -> None:
    """1,351 against 1,197 images/s, where a sum of rates promises 2,534."""
    second = replace(HYBRID, core="DLA 1")
    two, three = rates(HYBRID, second), rates(ON_GPU, HYBRID, second)
    assert sum(two) > sum(three)
    assert sum(two) == pytest.approx(1351, rel=0.1)
    assert sum(three) == pytest.approx(1197, rel=0.1)
    assert three[0] == pytest.approx(801, rel=0.1)


def test_a_visit_never_waits_longer_than_the_rivals_inference() -> None:
    short = replace(ON_GPU, alone_ms=0.1, crowded_ms=0.1, gpu_ms=0.1)
    beside = flows([short, HYBRID], SHARING)[1].service_ms
    assert beside < HYBRID.crowded_ms + HYBRID.visits * 0.1 + 1e-6


def test_processes_on_the_gpu_cost_each_other_their_turns() -> None:
    """Two engines on a GPU reach less than one; who waits for a DLA held turns under TensorRT 7 and not since."""
    one, (first, second) = rates(ON_GPU)[0], rates(ON_GPU, ON_GPU)
    assert first + second == pytest.approx(one / (1 + SHARING.switching), rel=0.01)
    free, rated = flows([ON_GPU, replace(ON_GPU, wanted=20.0)], SHARING)
    assert free.service_ms == pytest.approx(ON_GPU.alone_ms, rel=0.01)  # hardly ever two at once
    assert rated.service_ms == pytest.approx(ON_GPU.alone_ms * (1 + SHARING.switching), rel=0.01)
    old, new = (shipped_sharing(resolve_target(board, release).version) for board, release in TWO_RELEASES)
    assert new == SHARING
    gpu = flows([ON_GPU, PURE], old)[0].service_ms / ON_GPU.alone_ms
    assert gpu == pytest.approx(1.69, rel=0.05)  # GoogLeNet beside its copy on a Xavier's DLA
    assert flows([ON_GPU, PURE], new)[0].service_ms / ON_GPU.alone_ms < 1.05


def test_a_rival_that_rests_is_no_rival() -> None:
    idle = flows([replace(ON_GPU, wanted=1.0), HYBRID], SHARING)[1]
    assert idle.service_ms == pytest.approx(HYBRID.alone_ms, rel=0.02)


def test_engines_on_one_core_take_turns() -> None:
    first, second = rates(PURE, PURE)
    assert first == pytest.approx(second)
    assert first == pytest.approx(1e3 / PURE.alone_ms / 2)


def test_rates_that_do_not_fit_are_scaled_alike() -> None:
    found = flows([replace(PURE, wanted=600.0), replace(PURE, wanted=300.0)], SHARING)
    kept = [flow.rate / wanted for flow, wanted in zip(found, (600.0, 300.0), strict=True)]
    assert kept == pytest.approx([1e3 / PURE.alone_ms / 900] * 2, rel=1e-3)


@pytest.mark.parametrize("wanted", list(product((None, 20.0, 900.0), repeat=3)))
def test_no_core_works_more_than_all_the_time(wanted: tuple[float | None, ...]) -> None:
    cores = (ON_GPU, HYBRID, replace(HYBRID, core="DLA 1"))
    streams = [replace(stream, wanted=rate) for stream, rate in zip(cores, wanted, strict=True)]
    found = flows(streams, SHARING)
    assert gpu_load(streams, found, SHARING) <= 1.0
    for flow, stream in zip(found, streams, strict=True):
        assert flow.rate * flow.service_ms <= 1e3 * (1 + 1e-6)
        assert flow.service_ms >= stream.alone_ms * (1 - 1e-9)
        assert stream.wanted is None or flow.rate <= stream.wanted * (1 + 1e-9)


def test_the_points_are_those_of_the_fit() -> None:
    """Each public point within a factor of 1.35 of the shipped constants."""
    from pathlib import Path

    for run in read_runs(Path(__file__).parents[2] / "docs" / "schedule_points.csv"):
        for flow, measured in zip(flows(run.streams, SHARING), run.together, strict=True):
            if measured is not None:
                assert 1 / 1.36 < 1e3 / flow.rate / measured < 1.36, run.scenario


def test_the_best_of_two_is_both_cores_and_the_next_best_says_why() -> None:
    found = search([job("a"), job("b")], BOARD)
    assert found is not None
    assert found.complete
    assert {core for each in found.best.networks for core in each.cores} == {"DLA 0", "DLA 1"}
    assert found.idle == (GPU,)
    assert found.next_best is not None
    assert "images/s" in found.why


def test_equal_assignments_are_judged_once() -> None:
    found = search([job("a"), job("b")], BOARD)
    assert found is not None
    # both on the GPU, one there and one on a core, both on one core, on two
    assert found.assignments == 4


def test_the_dla_may_stay_idle() -> None:
    slow = replace(HYBRID, alone_ms=400.0, crowded_ms=400.0, gpu_ms=200.0)
    found = search([job("a", ways=(option(ON_GPU), option(slow)))], BOARD)
    assert found is not None
    assert found.idle == ("DLA 0", "DLA 1")


def test_what_is_asked_comes_first() -> None:
    met = search([job("a", rate=300.0), job("b", rate=300.0)], BOARD)
    assert met is not None
    assert [each.met for each in met.best.networks] == ["yes", "yes"]
    too_much = search([job("a", rate=5000.0)], BOARD)
    assert too_much is not None
    assert too_much.best.unmet == 1
    assert "5000" in too_much.best.networks[0].missed
    late = search([job("a", rate=10.0, budget=0.5)], BOARD)
    assert late is not None
    assert "budget of 0.5 ms" in late.best.networks[0].missed


def test_at_equal_rates_the_least_energy_wins() -> None:
    found = search([job("a", rate=100.0)], BOARD)
    assert found is not None
    assert found.best.networks[0].cores == ("DLA 0",)
    assert found.best.watts is not None
    unknown = search([job("a", rate=100.0)], replace(BOARD, power=None))
    assert unknown is not None
    assert unknown.best.watts is None


def test_no_schedule_of_the_front_is_beaten() -> None:
    found = search([job("a", rate=200.0), job("b")], BOARD)
    assert found is not None
    assert found.best.title in [each.title for each in found.front]
    for one, other in product(found.front, repeat=2):
        if one.unmet == other.unmet and one.watts and other.watts and one.energy_mj and other.energy_mj:
            free = [each.networks[1].rate.value for each in (one, other)]
            late = [sum(net.latency.value for net in each.networks) for each in (one, other)]
            energy = [one.energy_mj.value, other.energy_mj.value]
            assert not (free[0] > free[1] * 1.01 and late[0] < late[1] * 0.99 and energy[0] < energy[1] * 0.99)


def test_beyond_its_end_the_search_says_that_it_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [job(name, rate=rate) for name, rate in (("a", 50.0), ("b", 60.0), ("c", 70.0))]
    whole = search(jobs, BOARD)
    monkeypatch.setattr(search_module, "ENUMERATED", 12)
    bounded = search(jobs, BOARD)
    assert whole is not None
    assert bounded is not None
    assert whole.complete
    assert not bounded.complete
    assert bounded.judged <= 12
    assert bounded.best.unmet == 0


def test_without_a_dla_everything_is_on_the_gpu_and_with_one_core_nothing_on_a_second() -> None:
    none = search([job("a"), job("b")], replace(BOARD, dla_cores=0))
    one = search([job("a"), job("b")], replace(BOARD, dla_cores=1))
    assert none is not None
    assert one is not None
    assert none.assignments == 1
    assert all("DLA 1" not in each.cores for schedule in one.front for each in schedule.networks)
    assert search([job("a", ways=(option(HYBRID),))], replace(BOARD, dla_cores=0)) is None


def test_a_pipeline_goes_at_the_pace_of_its_slowest_piece() -> None:
    tail = replace(ON_GPU, alone_ms=0.2, crowded_ms=0.2, gpu_ms=0.2)
    found = judge([job("a")], [(option(PURE, tail, cut=("t",)), ("DLA 0", GPU))], BOARD)
    assert found.networks[0].rate.value == pytest.approx(1e3 / PURE.alone_ms, rel=0.05)
    assert found.networks[0].latency.value > PURE.alone_ms + 0.2
    assert dict(found.loads)[GPU] < 0.25


def test_a_cut_that_hardly_gains_is_not_recommended() -> None:
    shorter = replace(PURE, alone_ms=PURE.alone_ms * 0.96, crowded_ms=PURE.crowded_ms * 0.96)
    tail = replace(ON_GPU, alone_ms=0.02, crowded_ms=0.02, gpu_ms=0.02)
    found = search([job("a", ways=(option(PURE), option(shorter, tail, cut=("t",))))], BOARD)
    assert found is not None
    assert not found.best.networks[0].cut
    assert "cut" in found.why


def test_the_cuts_of_a_network_lie_at_borders_of_loadables() -> None:
    target = resolve_target("agx-orin-64gb", "6.2")
    network = NETWORKS["resnet50"](1, 224, 224)
    placement = place(network, ModelInfo("m", "", {}), target)
    assert placement.summary.loadables == 2
    ways = options_of(network, placement, setting_of(target, None))
    cuts = [each for each in ways if each.cut]
    assert [len(each.pieces) for each in ways][:2] == [1, 1]
    assert cuts
    crossing = {switch.tensor for switch in placement.switches}
    assert all(set(each.cut) <= crossing | {tensor.name for tensor in network.outputs} for each in cuts)
    assert all(each.cut for each in cuts)


def test_a_cut_network_is_the_whole_network() -> None:
    network = NETWORKS["resnet18"](1, 224, 224)
    front, back, passed = cut_at(network, 20)
    assert front.layers + back.layers == network.layers
    assert set(passed) <= set(back.inputs)
    assert {tensor.name for tensor in passed} <= {tensor.name for tensor in front.outputs}
    assert back.outputs == network.outputs


def test_a_hand_over_costs_by_its_bytes() -> None:
    """1.0 MB through shared memory took 0.97 ms (UniV2X)."""
    assert hand_over_ms(1_000_000) == pytest.approx(0.97, rel=0.05)
    assert hand_over_ms(2_000_000) > 1.8


def bench(**rates_of: float) -> list[Measurement]:
    names = {"gpu_together": "gpu (together)", "dla0_together": "dla0 (together)"}
    return [
        Measurement("throughput", names.get(name, name), rate, "batches/s", 3, 1.0) for name, rate in rates_of.items()
    ]


def test_a_bench_sets_the_times_and_moves_the_sharing() -> None:
    found = bench_of(bench(gpu=500.0, dla0=400.0, gpu_together=450.0, dla0_together=90.0), "b.json")
    ways = adjusted(WAYS, found)
    assert [each.pieces[0].stream.alone_ms for each in ways] == pytest.approx([2.0, 2.5])
    learned = learned_sharing(ways, found, SHARING)
    streams = [each.pieces[0].stream for each in ways]
    before, after = (flows(streams, each)[1].rate for each in (SHARING, learned))
    assert abs(after - 90.0) < abs(before - 90.0)
    assert learned_sharing(ways, bench_of(bench(dla0=400.0), "b.json"), SHARING) == SHARING


def test_what_is_no_bench_is_refused() -> None:
    with pytest.raises(InputError, match="holds no bench"):
        bench_of([Measurement("latency", "gpu", 1.0, "ms", 1)], "b.json")


def test_spans_of_a_core_never_overlap() -> None:
    found = search([job("a", rate=150.0), job("b", rate=40.0), job("c")], BOARD)
    assert found is not None
    spans = [each for each in timeline(found.best) if each.kind != "copy"]
    assert {each.network for each in spans} == {"a", "b", "c"}
    for core in {each.core for each in spans}:
        own = [each for each in spans if each.core == core]
        assert all(one.end <= other.start + 1e-9 for one, other in pairwise(own))


def test_the_second_piece_follows_the_first() -> None:
    spans = simulate([Chain("a", ((PURE, 2.0), (ON_GPU, 1.0)), 5.0)], 11.0)
    assert [(each.core, each.start, each.end) for each in spans] == [
        ("DLA 0", 0.0, 2.0),
        (GPU, 2.0, 3.0),
        ("DLA 0", 5.0, 7.0),
        (GPU, 7.0, 8.0),
        ("DLA 0", 10.0, 12.0),
        (GPU, 12.0, 13.0),
    ]


def test_what_the_intervals_cannot_tell_apart_is_said() -> None:
    """Two ways of nearly the same time cannot be told apart; two that differ by far more than their intervals can."""
    slower = replace(HYBRID, alone_ms=1.4, crowded_ms=1.45)
    close = search([job("a", ways=(option(replace(ON_GPU, alone_ms=1.3)), option(slower)))], BOARD)
    far = search([job("a", ways=(option(ON_GPU), option(replace(HYBRID, alone_ms=5.0, crowded_ms=5.2))))], BOARD)
    assert close is not None
    assert far is not None
    assert (close.certain, far.certain) == (False, True)


def test_two_cores_of_a_kind_are_never_told_apart() -> None:
    jobs = [job("a", ways=(option(HYBRID),))]
    found = [judge(jobs, [(WAYS[1], (core,))], BOARD).networks[0].rate.value for core in ("DLA 0", "DLA 1")]
    assert not search_module.apart(found[0] - found[1], [0.0] * 3)
