"""The drawn architectures have the published work and weights, and equal what `graph` makes of an ONNX file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from dlaflow.estimate.program import Assignment, assemble
from dlaflow.graph.layer import Network
from dlaflow.targets.target import Target, resolve_target
from dlaflow.types import Device, Placement
from tools.fit.networks import NETWORKS


@pytest.mark.parametrize(
    ("name", "size", "gmacs", "million_weights"),
    [
        ("resnet18", (224, 224), 1.81, 11.68),
        ("resnet50", (224, 224), 4.09, 25.5),
        ("mobilenet_v1", (224, 224), 0.57, 4.21),
        ("mobilenet_v2", (224, 224), 0.30, 3.47),
        ("googlenet", (224, 224), 1.58, 6.99),
        ("vgg19", (224, 224), 19.6, 143.7),
        ("inception_v4", (299, 299), 12.25, 42.6),  # Caffe's prototxt, as the two below
        ("resnet101", (224, 224), 7.57, 44.4),
        ("resnet152", (224, 224), 11.28, 60.0),
        ("ssd_resnet34", (1200, 1200), 216.4, 20.0),
        ("ssd_mobilenet_v1", (300, 300), 1.24, 6.8),
    ],
)
def test_work_and_weights_are_the_published_ones(
    name: str, size: tuple[int, int], gmacs: float, million_weights: float
) -> None:
    network = NETWORKS[name](1, *size)
    assert sum(layer.macs for layer in network.layers) / 1e9 == pytest.approx(gmacs, rel=0.02)
    assert sum(layer.weight_elements for layer in network.layers) / 1e6 == pytest.approx(million_weights, rel=0.02)


def test_every_network_is_connected() -> None:
    for name, build in NETWORKS.items():
        network = build(1, 256, 256) if not name.startswith("cifar") else build(1, 32, 32)
        made = {tensor.name for tensor in network.inputs}
        for layer in network.layers:
            assert {tensor.name for tensor in layer.inputs} <= made, name
            made |= {tensor.name for tensor in layer.outputs}


def test_a_lowered_file_has_the_steps_of_a_drawing(placed: Callable[[Target], tuple[Network, Placement]]) -> None:
    from tools.fit.draw import Drawing, Window

    network, _ = placed(resolve_target("agx-orin-64gb", "5.1.1", batch=2))
    d = Drawing()
    y = d.conv(d.input(2, 3, 64, 64), 64, Window(3, 2))
    drawn = d.network(d.conv(y, 128, Window(3, 2)))

    def steps(found: Network) -> list[object]:
        assignments = {layer.name: Assignment(Device.DLA, 0) for layer in found.layers if not layer.folded}
        made = [step for step in assemble(found, assignments).steps if step.kind == "CONVOLUTION"]
        return [replace(step, name="", layers=(), weights=0, edge=0) for step in made]

    assert steps(network) == steps(drawn)
