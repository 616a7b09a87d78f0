"""What must hold for any network, whatever the fitted numbers are: clocks, sizes, sparsity and precision."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlaflow.estimate.dla import Conditions
from dlaflow.estimate.gpu import GpuHardware
from dlaflow.estimate.parameters import dla_set, gpu_set
from dlaflow.estimate.program import Assignment, assemble, on_gpu
from dlaflow.estimate.schedule_flow import beside_itself
from dlaflow.estimate.split import GpuModel, Split, Workload, gpu_only, split_of
from dlaflow.graph.layer import Network
from dlaflow.types import Device
from tools.fit.draw import Drawing, Window

MAXN = Conditions(dla_mhz=1600)
ORIN = GpuModel(gpu_set("ampere").parameters, GpuHardware(85.3, 16, 204.8))

channels = st.sampled_from([3, 16, 24, 64, 130, 512])
sizes = st.integers(4, 96)
kernels = st.sampled_from([1, 3, 5, 7])


def chain(n: int, c: int, size: int, kernel: int) -> Network:
    d = Drawing()
    y = d.conv(d.input(n, c, size, size), 64, Window(kernel))
    return d.network(d.conv(y, 128, Window(3, 2)))


def split(network: Network, conditions: Conditions = MAXN, key: str = "v2-int8") -> Split:
    generation, precision = key.split("-")
    work = Workload.of(assemble(network, {layer.name: Assignment(Device.DLA, 0) for layer in network.layers}))
    return split_of(work, dla_set(generation, precision).engine, conditions, None)


@settings(deadline=None, max_examples=25)
@given(channels, sizes, kernels, st.integers(1, 8))
def test_slower_clocks_larger_batches_and_slower_memory_never_help(c: int, size: int, kernel: int, n: int) -> None:
    network = chain(n, c, size, kernel)
    base = split(network).total
    assert base > 0
    assert split(network, Conditions(dla_mhz=614.4)).total >= base
    assert split(network, Conditions(dla_mhz=1600, dram_scale=0.5)).total > base
    assert split(network, Conditions(dla_mhz=1600, cores=2)).total > base
    assert split(chain(n + 1, c, size, kernel)).total > base
    assert split(network, replace(MAXN, native_io=True)).total < base


@pytest.mark.parametrize("key", ["v1-int8", "v1-fp16", "v2-int8", "v2-fp16"])
def test_a_product_waits_for_its_weights_not_for_tensors(key: str) -> None:
    """A fully connected layer streams weights at their rate; it hardly reads tensors."""
    d = Drawing()
    network = d.network(d.linear(d.input(1, 4096, 1, 1), 4096))
    work = Workload.of(assemble(network, {layer.name: Assignment(Device.DLA, 0) for layer in network.layers}))
    engine = dla_set(*key.split("-")).engine
    base, weights, tensors = (
        split_of(work, replace(engine, parameters=replace(engine.parameters, **faster)), MAXN, None).dla
        for faster in (
            {},
            {"weight_gb_s": 2 * engine.parameters.weight_gb_s},
            {"dram_gb_s": 2 * engine.parameters.dram_gb_s},
        )
    )
    assert weights < 0.6 * base
    assert tensors == pytest.approx(base, rel=0.01)


@settings(deadline=None, max_examples=25)
@given(channels, sizes, kernels)
def test_precision_and_sparsity(c: int, size: int, kernel: int) -> None:
    network = chain(1, c, size, kernel)
    assert split(network, key="v2-fp16").dla > split(network).dla
    assert split(network, replace(MAXN, sparse=True)).total <= split(network).total


def test_before_8_5_weights_are_streamed_for_every_image() -> None:
    d = Drawing()
    network = d.network(d.conv(d.input(32, 256, 4, 4), 512, Window(3, 2)))
    assert split(network, replace(MAXN, shared_passes=False)).dla > 3 * split(network).dla


def test_a_depthwise_convolution_uses_the_array_poorly() -> None:
    d, full = Drawing(), Drawing()
    depthwise = d.network(d.conv(d.input(1, 256, 56, 56), 256, Window(3, groups=256)))
    dense = full.network(full.conv(full.input(1, 256, 56, 56), 256, Window(3)))
    work = {name: sum(layer.macs for layer in network.layers) for name, network in (("d", depthwise), ("f", dense))}
    assert work["d"] / split(depthwise).dla < 0.1 * work["f"] / split(dense).dla


def test_the_gpu_amortises_batches_better_than_the_dla() -> None:
    def gpu(n: int) -> float:
        return gpu_only(Workload.of(on_gpu(chain(n, 64, 28, 3))), ORIN, "int8") / n

    def dla(n: int) -> float:
        return split(chain(n, 64, 28, 3)).dla / n

    assert gpu(1) / gpu(16) > dla(1) / dla(16)


def test_the_split_adds_up() -> None:
    found = split(chain(1, 3, 32, 3))
    assert found.total == pytest.approx(found.dla + found.gpu + found.switches + found.launch + found.formats)
    assert found.gpu == found.switches == 0


def one(c: int, k: int, groups: int = 1) -> Network:
    d = Drawing()
    return d.network(d.conv(d.input(1, c, 56, 56), k, Window(3, groups=groups)))


def test_input_channels_cost_whole_atoms_and_more_of_them_never_help() -> None:
    for key, atom in (("v2-int8", 32), ("v2-fp16", 16)):
        times = [split(one(c, 64), key=key).dla for c in (1, 3, 4, 5, 16, atom, atom + 1, 2 * atom, 255, 512)]
        assert times == sorted(times)
        assert split(one(atom + 1, 64), key=key).dla > 1.1 * split(one(atom, 64), key=key).dla


def test_groups_share_passes() -> None:
    """Groups that fit into the columns of the array side by side cost the same however narrow they are."""
    times = [split(one(256, 256, groups)).dla for groups in (4, 16, 64, 256)]
    assert max(times) < 1.2 * min(times)
    assert 0.15 * split(one(256, 256)).dla < times[0] < split(one(256, 256)).dla


def test_a_softmax_and_a_transpose_are_slow_on_the_dla() -> None:
    """An attention's SoftMax and the transpose behind it took 3.5 ms on Orin at full clocks for 2 x 400 x 400."""
    d, p = Drawing(), Drawing()
    attention = d.network(d.transpose(d.softmax(d.input(1, 2, 400, 400)), (0, 1, 3, 2)))
    passes = p.network(p.scale(p.scale(p.input(1, 2, 400, 400))))
    assert 2.5 < split(attention, key="v2-fp16").dla < 4.5
    assert split(attention).dla > 20 * split(passes).dla


def test_two_hybrids_meet_on_the_gpu() -> None:
    d = Drawing()
    y = d.input(1, 64, 56, 56)
    for _ in range(4):
        y = d.normalization(d.conv(y, 64, Window(3)))
    network = d.network(y)
    engine, two = dla_set("v2", "int8").engine, replace(MAXN, cores=2)
    for loadables, low, high in ((1, 1.0, 1.05), (4, 1.3, 2.0)):
        aside = [layer.name for layer in network.layers if layer.kind == "NORMALIZATION"][-loadables:]
        devices = [Device.GPU if layer.name in aside else Device.DLA for layer in network.layers]
        assignments = {
            layer.name: Assignment(device, min(loadables - 1, index // 3) if device is Device.DLA else None)
            for index, (layer, device) in enumerate(zip(network.layers, devices, strict=True))
        }
        work = Workload.of(assemble(network, assignments))
        assert work.program.loadables == loadables
        alone = split_of(work, engine, two, None).total
        assert low * alone <= beside_itself(work, engine, two, None) <= high * alone


def test_a_slower_cpu_makes_submissions_longer_and_the_work_not() -> None:
    full, slow = split(one(64, 64)), split(one(64, 64), replace(MAXN, host_scale=0.5))
    assert slow.launch > full.launch
    assert slow.dla == full.dla


def test_a_gpu_at_half_its_clock_pays_more_for_each_kernel() -> None:
    work = Workload.of(on_gpu(chain(1, 16, 8, 1)))
    slow = GpuModel(ORIN.parameters, replace(ORIN.hardware, clock_share=0.5, cpu_share=0.5))
    assert gpu_only(work, slow, "int8") > 1.5 * gpu_only(work, ORIN, "int8")
