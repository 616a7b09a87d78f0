"""What is cheaper on the GPU although the DLA takes it: attention is, convolutions are not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dlaflow.estimate.latency import estimate, latency_ms
from dlaflow.estimate.text import estimate_text
from dlaflow.graph.layer import Network
from dlaflow.placement.place import place
from dlaflow.targets.target import resolve_target
from dlaflow.types import Device, ModelInfo
from tools.fit.draw import Drawing, Window

TARGET = resolve_target("agx-orin-64gb", "6.2")
MODEL = ModelInfo("drawn.onnx", "", {})


def with_attention(side: int) -> Network:
    """Convolutions, the SoftMax of an attention over `side` positions with its transpose, convolutions."""
    d = Drawing()
    y = d.conv(d.conv(d.input(1, 64, side, side), 64, Window(3)), 2, Window(3))
    y = d.transpose(d.softmax(y), (0, 1, 3, 2))
    return d.network(d.conv(d.conv(y, 64, Window(3)), 64, Window(3)))


def test_attention_goes_to_the_gpu_with_what_stands_around_it() -> None:
    network = with_attention(320)
    placement = place(network, MODEL, TARGET)
    assert any(layer.kind == "SOFTMAX" and layer.device is Device.DLA for layer in placement.layers)
    found = estimate(network, placement, TARGET, moves=True)
    assert found.latency is not None
    assert found.move is not None
    kinds = {layer.name: layer.kind for layer in network.layers}
    assert {kinds[name] for name in found.move.layers} >= {"SOFTMAX"}
    assert "CONVOLUTION" not in {kinds[name] for name in found.move.layers}
    assert found.move.gain.low < found.move.gain.value < found.move.gain.high
    assert found.move.after == pytest.approx(found.latency.value - found.move.gain.value)
    # what is told is what a build with these layers aside takes
    after = place(network, MODEL, TARGET, None, frozenset(found.move.layers))
    assert latency_ms(network, after, TARGET) == pytest.approx(found.move.after)
    text = estimate_text(found, "m.onnx")
    assert "--layerDeviceTypes=" + ",".join(f"{name}:GPU" for name in found.move.layers) in text
    assert "SOFTMAX" in text


def test_what_the_dla_does_well_stays_there() -> None:
    d = Drawing()
    y = d.input(1, 64, 56, 56)
    for _ in range(4):
        y = d.pool(d.conv(y, 64, Window(3)), Window(3))
    network = d.network(y)
    assert estimate(network, place(network, MODEL, TARGET), TARGET, moves=True).move is None


def test_a_standalone_engine_has_no_gpu_to_go_to() -> None:
    network, alone = with_attention(320), replace(TARGET, mode="standalone")
    found = estimate(network, place(network, MODEL, alone), alone, moves=True)
    assert found.move is None


def test_nobody_searches_unless_asked() -> None:
    network = with_attention(320)
    assert estimate(network, place(network, MODEL, TARGET), TARGET).move is None


def test_layers_that_are_left_aside_run_on_the_gpu() -> None:
    network = with_attention(64)
    aside = frozenset(layer.name for layer in network.layers if layer.kind == "SOFTMAX")
    usual, told = place(network, MODEL, TARGET), place(network, MODEL, TARGET, None, aside)
    assert {layer.device for layer in usual.layers if layer.name in aside} == {Device.DLA}
    assert {layer.device for layer in told.layers if layer.name in aside} == {Device.GPU}
    assert told.summary.switches > usual.summary.switches
