"""The connections of a placed graph and its switches: fan-out, folded layers, and what crosses."""

from __future__ import annotations

from dlaflow.placement.switches import Edge, edges, switches
from dlaflow.types import Device, PlacedLayer, Switch, Verdict

DLA, GPU, FOLDED = Device.DLA, Device.GPU, Device.FOLDED


def layer(name: str, device: Device, reads: str, writes: str) -> PlacedLayer:
    return PlacedLayer(
        name, "CONVOLUTION", [], device, Verdict.NATIVE, None, 0, 0, [], reads.split(), writes.split()
    )  # fmt: skip


def test_a_tensor_with_two_readers_on_the_gpu_crosses_once() -> None:
    layers = [
        layer("a", DLA, "x", "t"),
        layer("b", GPU, "t", "u"),
        layer("c", GPU, "t", "v"),
        layer("d", DLA, "t", "w"),
    ]
    assert switches(layers, {"t": 8}) == [Switch("a", "b", "t", 8)]


def test_each_tensor_crosses_for_itself() -> None:
    layers = [layer("a", DLA, "x", "t s"), layer("b", GPU, "t s", "u"), layer("c", DLA, "u t", "v")]
    assert switches(layers, {"t": 8, "s": 4, "u": 2}) == [
        Switch("a", "b", "t", 8), Switch("a", "b", "s", 4), Switch("b", "c", "u", 2),
    ]  # fmt: skip


def test_folded_layers_and_the_networks_inputs_cross_nothing() -> None:
    layers = [layer("k", FOLDED, "", "w"), layer("a", GPU, "x w", "t"), layer("r", FOLDED, "t", "u")]
    assert switches([*layers, layer("b", GPU, "t", "y")], {}) == []
    assert [each.to for each in switches([*layers, layer("b", DLA, "t", "y")], {})] == ["b"]


def test_a_layer_that_reads_a_tensor_twice_is_one_reader() -> None:
    assert len(switches([layer("a", DLA, "x", "t"), layer("b", GPU, "t t", "u")], {})) == 1


def test_edges_go_through_folded_layers() -> None:
    layers = [
        layer("a", DLA, "x", "t"),
        layer("r", FOLDED, "t", "u"),
        layer("b", DLA, "u", "v"),
        layer("c", GPU, "v", "y"),
    ]
    assert edges(layers) == [Edge("a", "b", "u"), Edge("b", "c", "v")]


def test_a_loop_of_folded_layers_ends() -> None:
    assert edges([layer("r", FOLDED, "u", "t"), layer("s", FOLDED, "t", "u"), layer("b", GPU, "t", "y")]) == []
