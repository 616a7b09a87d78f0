"""Runs side by side: which layers moved, and what names alone cannot tell."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dlaflow.observed.build import ObservedBuild, ObservedLayer
from dlaflow.parse.log import Outcome, ValidatorMessage
from dlaflow.profile.compare import Side, compare_sides
from dlaflow.profile.comparison import Change
from dlaflow.types import (
    Device,
    Finding,
    Loadable,
    Measurement,
    ModelInfo,
    PlacedLayer,
    Placement,
    Summary,
    TargetInfo,
    Verdict,
)

REFUSED = Finding("DLA203", "norm", Verdict.FALLBACK, "InstanceNormalization", "", "", "", "")
CHAIN = ("conv", "norm", "relu", "pool", "tail")


def graph(gpu: dict[str, list[Finding]]) -> Placement:
    """A chain of layers; those in `gpu` are on the GPU, for the findings there."""
    layers = [
        PlacedLayer(
            name, name.upper(), [name], Device.GPU if name in gpu else Device.DLA,
            Verdict.FALLBACK if name in gpu else Verdict.NATIVE, None if name in gpu else 0, 1, 1,
            gpu.get(name, []), [f"t{place}"], [f"t{place + 1}"],
        )
        for place, name in enumerate(CHAIN)
    ]  # fmt: skip
    on_dla = [layer.name for layer in layers if layer.device is Device.DLA]
    return Placement(
        ModelInfo("m.onnx", "", {}),
        TargetInfo("agx-orin-64gb", "5.1.1", "8.5.2", "v2", "int8", 1, "hybrid"),
        Summary(len(layers), len(on_dla), len(gpu), 0, 0, 1.0, 2, 2, 3, not gpu),
        layers,
        [Loadable(0, on_dla[0], on_dla[-1], on_dla, 1)],
        [],
        tensors={f"t{place}": 1 for place in range(len(CHAIN) + 1)},
    )


def build(*dla: tuple[str, ...], gpu: tuple[str, ...], single: bool = False) -> ObservedBuild:
    """A build: loadables by their ends, or by all their layers (`single`)."""
    nodes = []
    for each in dla:
        name = f"{{ForeignNode[{each[0]}...{each[-1]}]}}" if len(each) > 1 else f"{{ForeignNode[{each[0]}]}}"
        nodes.append(ObservedLayer(name, "", Device.DLA, members=each if single or len(each) == 1 else None))
    layers = (*nodes, *(ObservedLayer(name, name.upper(), Device.GPU) for name in gpu))
    messages = tuple(ValidatorMessage(name, name.upper(), "unsupported_layer", f"{name}: refused") for name in gpu)
    ends = tuple((each[0], each[-1]) for each in dla)
    return ObservedBuild(layers, "lists", False, len(dla), listed=layers, ends=ends, messages=messages)


def change_of(*sides: Side) -> Change:
    return compare_sides(sides).changes[-1]


PREDICTED = Side("check", placement=graph({"norm": [REFUSED], "pool": []}))


def test_a_build_as_predicted() -> None:
    found = compare_sides([PREDICTED, Side("run", build(("conv",), ("relu",), ("tail",), gpu=("norm", "pool")))])
    assert found.changes[0].moved == found.changes[0].only_before == found.changes[0].only_after == ()
    assert found.changes[0].shared == 5
    assert {row.quantity: row.values for row in found.rows}["GPU layers"] == (2.0, 2.0)


def test_what_is_named_elsewhere_moved() -> None:
    """Named on the DLA where the rules refuse it, and on the GPU where they allow it."""
    change = change_of(PREDICTED, Side("run", build(("conv", "norm"), ("pool", "tail"), gpu=("relu",), single=True)))
    assert [(each.layer, each.before.value, each.after.value) for each in change.moved] == [
        ("norm", "GPU", "DLA"),
        ("relu", "DLA", "GPU"),
        ("pool", "GPU", "DLA"),
    ]
    assert change.moved[0].why == "DLA203 fallback: InstanceNormalization"


def test_between_two_ends_a_refused_layer_may_be_missing() -> None:
    """The same names without the norm: nothing says that it moved, and no sum over the graph is made."""
    comparison = compare_sides([PREDICTED, Side("other", build(("conv", "relu"), ("tail",), gpu=("pool",)))])
    (change,) = comparison.changes
    assert change.moved == ()
    assert [each.layer for each in change.only_before] == ["norm"]
    assert not change.whole_after
    assert "switches" not in {row.quantity for row in comparison.rows}


def test_two_builds_by_their_names() -> None:
    one = Side("one", build(("conv", "tail"), gpu=("norm", "pool")))
    two = Side("two", build(("conv", "relu"), ("tail",), gpu=("pool", "norm")))
    assert change_of(one, two).only_after == ()
    left = change_of(one, Side("left", build(("conv", "tail"), gpu=("norm", "pool", "relu"))))
    assert [(each.layer, each.device, each.why) for each in left.only_after] == [("relu", Device.GPU, "relu: refused")]
    assert left.moved == ()


def test_unnamed_layers_count_in_one_network_alone() -> None:
    unnamed = "(Unnamed Layer* 7) [Shuffle]"
    one = Side("one", build(("conv", unnamed), gpu=("norm", "pool"), single=True))
    same = Side("same", build(("conv",), gpu=("norm", "pool", unnamed), single=True))
    other = Side("other", build(("conv", "relu"), gpu=("norm", "pool", unnamed), single=True))
    assert [each.layer for each in change_of(one, same).moved] == [unnamed]
    assert change_of(one, other).moved == ()


def test_two_graphs_are_matched_by_their_nodes() -> None:
    """Releases number the layers of one node differently; a number that means another layer there is no match."""
    before = graph({"pool": []})
    names = {"norm": "norm_7", "relu": "norm"}
    layers = [replace(each, name=names.get(each.name, each.name), findings=[]) for each in before.layers]
    layers[1] = replace(layers[1], device=Device.GPU, findings=[REFUSED])
    change = change_of(Side("one", placement=before), Side("two", placement=replace(before, layers=layers)))
    assert [(each.layer, each.after) for each in change.moved] == [("norm", Device.GPU)]
    assert (change.shared, change.only_before, change.only_after) == (5, (), ())


def test_a_copy_without_time_is_no_move() -> None:
    idle = build(("conv",), gpu=("norm", "pool"))
    layers = tuple(replace(layer, idle=layer.name == "pool") for layer in idle.layers)
    change = change_of(Side("one", idle), Side("two", replace(idle, layers=layers, listed=layers)))
    assert (change.moved, change.only_before, change.only_after) == ((), (), ())


def test_different_networks_are_not_compared_layer_by_layer() -> None:
    change = change_of(Side("one", build(("a", "b"), gpu=("c", "d"))), Side("two", build(("e", "f"), gpu=("g", "h"))))
    assert (change.same_network, change.shared, change.known) == (False, 0, 4)
    assert (change.moved, change.only_before, change.only_after, change.cause) == ((), (), (), "")
    assert change_of(PREDICTED, Side("nothing")).same_network is None


def rate(value: float) -> tuple[Measurement, ...]:
    return (Measurement("throughput", "", value, "queries/s", 10),)


def test_speed_is_of_one_batch_and_of_runs_that_worked() -> None:
    engine = build(("conv", "tail"), gpu=("norm",))
    slow, fast = (Side(name, engine, measurements=rate(value)) for name, value in (("slow", 10.0), ("fast", 20.0)))
    assert change_of(slow, fast).factor == pytest.approx(2)
    batches = [replace(side, settings=(("batch", batch),)) for side, batch in ((slow, "1"), (fast, "32"))]
    assert change_of(*batches).factor is None
    assert compare_sides(batches).settings[0].values == ("1", "32")
    assert change_of(slow, replace(fast, outcome=Outcome("failed", "x"))).factor is None


def test_a_run_without_the_dla_is_called_that() -> None:
    gpu = Side("gpu", build(gpu=("conv", "norm", "relu")), measurements=rate(30.0))
    dla = Side("dla", build(("conv", "relu"), gpu=("norm",)), measurements=rate(10.0))
    assert change_of(dla, gpu).cause == "Nothing of gpu runs on the DLA."
