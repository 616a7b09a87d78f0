"""Which layers become one step, what crosses the DLA's border, and what stays inside a loadable."""

from __future__ import annotations

from dlaflow.estimate.program import Assignment, assemble, on_gpu
from dlaflow.graph.layer import Network, Tensor
from dlaflow.types import Device
from tools.fit.draw import Drawing, Window


def everything_on_dla(network: Network) -> dict[str, Assignment]:
    return {layer.name: Assignment(Device.DLA, 0) for layer in network.layers}


def test_a_residual_block_is_two_steps_on_the_dla() -> None:
    d = Drawing()
    x = d.input(1, 64, 56, 56)
    y = d.conv(d.conv(x, 64, Window(3)), 64, Window(3), None)
    network = d.network(d.activation(d.elementwise(d.scale(y), x)))
    program = assemble(network, everything_on_dla(network))
    assert [step.kind for step in program.steps] == ["CONVOLUTION", "CONVOLUTION"]
    assert len(program.steps[1].layers) == 4
    assert program.steps[1].inputs == 2 * 64 * 56 * 56


def test_pooling_behind_a_convolution_streams_with_it() -> None:
    d = Drawing()
    network = d.network(d.pool(d.conv(d.input(1, 3, 224, 224), 64, Window(7, 2)), Window(3, 2)))
    (step,) = assemble(network, everything_on_dla(network)).steps
    assert step.outputs == 64 * 56 * 56
    assert step.points == 64 * 112 * 112  # what the pooling sees, each element once


def test_quantisation_is_part_of_the_layers_beside_it() -> None:
    plain, quantised = Drawing(), Drawing()
    plain.conv(plain.conv(plain.input(1, 8, 8, 8), 8, Window(3)), 8, Window(3))
    y = quantised.conv(quantised.input(1, 8, 8, 8), 8, Window(3))
    quantised.conv(quantised.quantised(y), 8, Window(3))
    networks = [d.network(Tensor(d.layers[-1].outputs[0].name, (1, 8, 8, 8), "float32")) for d in (plain, quantised)]
    for programs in ([on_gpu(network) for network in networks], [assemble(n, everything_on_dla(n)) for n in networks]):
        one, other = ([(step.kind, step.inputs, step.outputs) for step in program.steps] for program in programs)
        assert one == other


def test_the_gpu_runs_parallel_1x1_convolutions_as_one_and_writes_a_concatenation_in_place() -> None:
    """TensorRT's horizontal fusion, with GoogLeNet as NVIDIA's own example; the DLA has neither."""
    d = Drawing()
    x = d.input(1, 64, 28, 28)
    branches = [d.conv(x, 32, Window(1)), d.conv(d.conv(x, 16, Window(1)), 32, Window(3)), d.conv(x, 8, Window(1, 2))]
    network = d.network(d.concat(branches[:2]), branches[2])
    steps = on_gpu(network).steps
    assert [step.kind for step in steps] == ["CONVOLUTION"] * 3, "a stride of its own is a kernel of its own"
    assert (steps[0].inputs, steps[0].outputs) == (64 * 28 * 28, 48 * 28 * 28)
    assert sum(step.macs for step in steps) == sum(layer.macs for layer in network.layers)
    assert len(assemble(network, everything_on_dla(network)).steps) == 5


def test_a_concatenation_of_the_networks_own_input_is_a_kernel() -> None:
    d = Drawing()
    x = d.input(1, 8, 8, 8)
    network = d.network(d.concat([x, d.conv(x, 8, Window(3))]))
    assert [step.kind for step in on_gpu(network).steps] == ["CONVOLUTION", "CONCATENATION"]


def test_a_transpose_is_known_as_such() -> None:
    d = Drawing()
    network = d.network(d.transpose(d.conv(d.input(1, 8, 4, 4), 8, Window(3)), (0, 1, 3, 2)))
    steps = assemble(network, everything_on_dla(network)).steps
    assert [step.transposes for step in steps] == [False, True]


def test_a_tensor_with_two_readers_is_not_swallowed() -> None:
    d = Drawing()
    y = d.conv(d.input(1, 8, 8, 8), 8, Window(3), None)
    network = d.network(d.elementwise(d.activation(y), y, "PROD"))
    assert [step.kind for step in assemble(network, everything_on_dla(network)).steps] == [
        "CONVOLUTION",
        "ACTIVATION",
        "ELEMENTWISE",
    ]


def test_sigmoid_is_a_pass_of_its_own_on_the_dla_and_part_of_the_kernel_on_the_gpu() -> None:
    d = Drawing()
    network = d.network(d.conv(d.input(1, 8, 8, 8), 8, Window(3), "SILU"))
    assert len(assemble(network, everything_on_dla(network)).steps) == 3
    assert len(on_gpu(network).steps) < 3


def test_crossings_and_edges() -> None:
    d = Drawing()
    y = d.conv(d.input(2, 4, 8, 8), 8, Window(3))
    y = d.mean(y)
    network = d.network(d.linear(y, 10))
    assignments = everything_on_dla(network)
    mean = next(layer.name for layer in network.layers if layer.kind == "REDUCE")
    last = network.layers[-1].name
    assignments |= {mean: Assignment(Device.GPU), last: Assignment(Device.DLA, 1)}
    program = assemble(network, assignments)
    assert program.loadables == 2
    assert [(copy.elements, copy.inward, copy.host) for copy in program.copies] == [
        (2 * 4 * 64, True, True),
        (2 * 8 * 64, False, False),
        (2 * 8, True, False),
        (2 * 10, False, True),
    ]
    assert program.steps[0].edge == 2 * 4 * 64 + 2 * 8 * 64


def test_tensors_inside_a_loadable_are_no_edges() -> None:
    d = Drawing()
    network = d.network(d.conv(d.conv(d.input(1, 4, 8, 8), 8, Window(3)), 16, Window(3)))
    first, second = assemble(network, everything_on_dla(network)).steps
    assert first.edge == 4 * 64
    assert second.edge == 16 * 64


def test_folded_layers_take_no_time_and_reshapes_are_free_on_the_gpu_alone() -> None:
    d = Drawing()
    network = d.network(d.shuffle(d.conv(d.input(1, 4, 8, 8), 8, Window(3), None), 1, 512))
    assert [step.kind for step in on_gpu(network).steps] == ["CONVOLUTION"]
    assignments = {layer.name: Assignment(Device.FOLDED) for layer in network.layers}
    assert assemble(network, assignments).steps == ()


def test_grouped_and_depthwise_channels() -> None:
    d = Drawing()
    x = d.input(1, 32, 8, 8)
    network = d.network(d.conv(d.conv(x, 32, Window(3, groups=32)), 64, Window(3, groups=8)))
    depthwise, grouped = assemble(network, everything_on_dla(network)).steps
    assert (depthwise.reduced, depthwise.produced, depthwise.grouped) == (1, 1, False)
    assert (grouped.reduced, grouped.produced, grouped.grouped) == (4, 8, True)
