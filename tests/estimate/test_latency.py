"""The whole answer: what it holds, how it reacts to the target, and when it says that nobody knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dlaflow.errors import UsageError
from dlaflow.estimate.answer import Range, Worth
from dlaflow.estimate.latency import estimate, latency_ms
from dlaflow.estimate.text import estimate_text
from dlaflow.graph.layer import Network, Reading, Refusal
from dlaflow.placement.place import place
from dlaflow.targets.target import Target, resolve_target
from dlaflow.types import ModelInfo, Placement, Provenance
from tools.fit.draw import Drawing, Window, dims
from tools.fit.networks import NETWORKS

Placed = Callable[[Target], tuple[Network, Placement]]


@pytest.fixture(autouse=True)
def no_own_parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLAFLOW_PARAMETERS", str(tmp_path))


def test_the_answer_is_whole(placed: Placed) -> None:
    target = resolve_target("agx-orin-64gb", "5.1.1", batch=8)
    found = estimate(*placed(target), target)
    assert found.latency is not None
    assert found.split is not None
    assert found.split.total == pytest.approx(found.latency.value)
    assert found.latency.low < found.latency.value < found.latency.high
    assert found.throughput is not None
    assert found.throughput.value == pytest.approx(8e3 / found.latency.value)
    assert found.split.gpu > 0
    assert found.split.switches > 0
    for other in (found.gpu_alone, found.two_cores, found.with_gpu, found.sparse, found.energy_mj):
        assert other is not None
    assert found.two_cores is not None
    assert found.throughput.value < found.two_cores.value < 2 * found.throughput.value
    assert found.with_gpu is not None
    assert found.with_gpu.value > found.two_cores.value
    assert found.sparse is not None
    assert found.sparse.value < found.latency.value
    assert {row.provenance for row in found.measurements()} == {Provenance.ESTIMATED}
    assert "public points of v2-int8" in found.basis


def test_fp16_on_orin_is_a_trap_and_on_xavier_is_not(placed: Placed) -> None:
    for board, jetpack, trap in (("agx-orin-64gb", "5.1.1", True), ("agx-xavier-32gb", "5.1.1", False)):
        target = resolve_target(board, jetpack, precision="fp16", batch=8)
        found = estimate(*placed(target), target)
        assert found.dla_precision_ratio is not None
        assert (found.dla_precision_ratio > 3) is trap
        assert ("FP16 is slow" in found.advice.reason) is trap


def test_boards_without_measurements_are_scaled_and_say_so(placed: Placed) -> None:
    widths = {}
    for board in ("agx-orin-64gb", "orin-nx-8gb"):
        target = resolve_target(board, "5.1.1")
        found = estimate(*placed(target), target)
        assert found.latency is not None
        widths[board] = found.latency.high / found.latency.value
        assert ("nobody measured" in found.basis) is (board == "orin-nx-8gb")
    assert widths["orin-nx-8gb"] > widths["agx-orin-64gb"]


@pytest.mark.parametrize(
    ("board", "mode", "reason"),
    [
        ("orin-nano", None, "no DLA"),
        ("agx-orin-32gb", "30W", "not published"),
        ("agx-orin-industrial", None, "not published"),
    ],
)
def test_what_nobody_measured_is_unknown(placed: Placed, board: str, mode: str | None, reason: str) -> None:
    target = resolve_target(board, tensorrt="8.5.2") if board == "orin-nano" else resolve_target(board)
    found = estimate(*placed(target), target, mode)
    assert found.latency is None
    assert found.advice.worth is Worth.UNKNOWN
    assert any(reason in line for line in found.unknown)
    assert "unknown" in estimate_text(found, "m.onnx")
    assert all(row.subject == "GPU alone" for row in found.measurements())


def test_a_model_that_contradicts_itself_has_no_latency(placed: Placed) -> None:
    target = resolve_target("agx-orin-64gb")
    network, placement = placed(target)
    broken = Refusal("/Concat", "Concat", "1x8x80x80 and 1x8x79x80 cannot be joined", Reading.CONTRADICTION)
    found = estimate(replace(network, refusals=(broken,)), placement, target)
    assert found.latency is None
    assert "/Concat contradicts itself" in found.unknown[0]


def test_a_power_mode_of_another_board_is_refused(placed: Placed) -> None:
    target = resolve_target("agx-orin-64gb")
    with pytest.raises(UsageError, match="15W"):
        estimate(*placed(target), target, "14W")


def test_energy_grows_with_the_time_on_the_dla_and_with_its_clock(placed: Placed) -> None:
    target = resolve_target("agx-orin-64gb", "5.1.1", batch=8)
    powers = {}
    for mode, mhz in (("MAXN", 1600.0), ("15W", 614.4)):
        found = estimate(*placed(target), target, mode)
        assert found.energy_mj is not None
        assert found.split is not None
        powers[mhz] = found.energy_mj.value / (found.split.dla / found.batch)  # watts
    low, high = sorted(powers)
    assert powers[high] / powers[low] == pytest.approx(high / low)


def test_power_modes_slow_down_by_less_than_their_clock(placed: Placed) -> None:
    target = resolve_target("agx-orin-64gb", "5.1.1", batch=32)
    full, low = (estimate(*placed(target), target, mode).latency for mode in ("MAXN", "15W"))
    assert full is not None
    assert low is not None
    assert full.value < low.value < full.value * 1600 / 614.4


def test_standalone_needs_no_format_copies(placed: Placed) -> None:
    target = resolve_target("agx-orin-64gb", "5.1.1", mode="standalone")
    network, placement = placed(target)
    found = estimate(network, placement, target)
    if found.split is not None:
        assert found.split.formats == 0


def test_ranges() -> None:
    found = Range.around(10, 0.1)
    assert found.holds(10.9)
    assert not found.holds(12)
    turned = found.inverse(100)
    assert turned.low < turned.value < turned.high
    assert turned.value == pytest.approx(10)


def test_the_text_puts_the_answer_first(placed: Placed) -> None:
    target = resolve_target("agx-orin-64gb", "5.1.1")
    lines = estimate_text(estimate(*placed(target), target), "m.onnx").splitlines()
    assert lines[0] == "m.onnx on agx-orin-64gb, MAXN, int8, batch 1"
    assert lines[2].lstrip().startswith("latency")
    assert any(line.startswith("Worth it: ") for line in lines)
    assert max(map(len, lines)) <= 200


def test_a_fixed_batch_is_not_multiplied_by_the_one_that_was_asked_for(placed: Placed) -> None:
    target = resolve_target("agx-orin-64gb", "5.1.1", batch=2)
    network, placement = placed(target)
    asked = replace(placement, target=replace(placement.target, batch=64))
    found, usual = estimate(network, asked, target), estimate(network, placement, target)
    assert found.batch == 2
    assert found.throughput == usual.throughput
    assert any("fixed at 2" in note for note in found.notes)
    assert not any("fixed" in note for note in usual.notes)


def test_kinds_that_no_point_tells_of_widen_and_are_named() -> None:
    answers = []
    for unseen in (False, True):
        d = Drawing()
        y = d.conv(d.input(1, 64, 56, 56), 64, Window(3))
        for _ in range(6):
            y = d.upsample(y, 112, 112) if unseen and dims(y)[2] == 56 else d.conv(y, 64, Window(3, 2))
        network, target = d.network(y), resolve_target("agx-orin-64gb", "5.1.1")
        answers.append(estimate(network, place(network, ModelInfo("drawn.onnx", "", {}), target), target))
    usual, strange = answers
    assert usual.latency is not None
    assert strange.latency is not None
    assert strange.latency.high / strange.latency.value > usual.latency.high / usual.latency.value
    assert any("RESIZE" in note for note in strange.notes)
    assert not any("RESIZE" in note for note in usual.notes)


def test_the_latency_alone_is_that_of_the_estimate(placed: Placed) -> None:
    target = resolve_target("agx-orin-64gb", "5.1.1")
    network, placement = placed(target)
    found = estimate(network, placement, target)
    assert found.latency is not None
    assert latency_ms(network, placement, target) == found.latency.value


def test_super_clocks_are_told_or_scaled_and_widen() -> None:
    d = Drawing()
    network = d.network(*[d.conv(d.conv(d.input(1, 64, 56, 56), 64, Window(3)), 64, Window(3)) for _ in range(2)])
    widths = {}
    for board, mode in (("orin-nx-16gb", "MAXN"), ("orin-nx-16gb", "MAXN_SUPER"), ("agx-orin-32gb", "MAXN_SUPER")):
        target = resolve_target(board, "6.2")
        found = estimate(network, place(network, ModelInfo("drawn.onnx", "", {}), target), target, mode)
        assert found.latency is not None
        widths[board, mode] = found.latency.high / found.latency.value
        assert ("nobody published" in " ".join(found.notes)) is (board == "agx-orin-32gb")
    usual = widths.pop(("orin-nx-16gb", "MAXN"))
    assert all(width > usual for width in widths.values())


def test_a_hybrid_waits_for_a_busy_gpu() -> None:
    """ResNet-50 in two loadables made 1,197 images a second on all three engines, 2,534 if none had waited."""
    network = NETWORKS["resnet50"](1, 224, 224)
    target = resolve_target("agx-orin-64gb", "6.2")
    found = estimate(network, place(network, ModelInfo("drawn.onnx", "", {}), target), target)
    assert found.with_gpu is not None
    assert found.two_cores is not None
    assert found.gpu_alone is not None
    assert found.with_gpu.holds(1197)
    assert found.with_gpu.value < found.two_cores.value + 0.5 * 1e3 / found.gpu_alone.value
