"""What a placement adds to the parser's network: helper shuffles, vanished reshapes, weights of products."""

from __future__ import annotations

from collections.abc import Callable

from dlaflow.estimate.program import assemble, assignments_of, with_helpers
from dlaflow.graph.layer import Network
from dlaflow.targets.target import Target, resolve_target
from dlaflow.types import Device, Placement

Placed = Callable[[Target], tuple[Network, Placement]]
TARGET = resolve_target("agx-orin-64gb", "5.1.1", batch=2)


def test_the_shuffle_behind_a_gemm_is_a_kernel_and_a_crossing(placed: Placed) -> None:
    network, placement = placed(TARGET)
    extra = {layer.name for layer in placement.layers} - {layer.name for layer in network.layers}
    assert any(name.startswith("reshape_after_") for name in extra)
    whole = with_helpers(network, placement)
    program = assemble(whole, assignments_of(placement))
    shuffles = [step for step in program.steps if step.name in extra]
    assert len(shuffles) == len(extra)
    assert all(step.assignment.device is Device.GPU for step in shuffles)
    leaving = [copy for copy in program.copies if not copy.inward]
    assert leaving
    assert not any(copy.host for copy in leaving)


def test_a_vanished_flatten_hides_no_crossing(placed: Placed) -> None:
    network, placement = placed(TARGET)
    program = assemble(with_helpers(network, placement), assignments_of(placement))
    entering = [copy.elements for copy in program.copies if copy.inward and not copy.host]
    assert entering == [2 * 128]


def test_the_weights_of_a_gemm_are_streamed(placed: Placed) -> None:
    network, placement = placed(TARGET)
    program = assemble(with_helpers(network, placement), assignments_of(placement))
    (gemm,) = [step for step in program.steps if step.kind == "MATRIX_MULTIPLY"]
    assert 128 * 10 <= gemm.weights <= 128 * 10 + 10
    assert (gemm.reduced, gemm.produced, gemm.positions) == (128, 10, 1)
