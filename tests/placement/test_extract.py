"""A piece of a model shows what the whole shows of it: the same findings on the same device, and a valid file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import dlaflow
from dlaflow.cli import main
from dlaflow.errors import InputError, UsageError
from dlaflow.graph.load import load_model
from dlaflow.graph.lower.naming import node_name
from dlaflow.placement.check import check_model, check_network, network_of
from dlaflow.placement.extract import Extracted, extract
from dlaflow.rules.limits_of_model import LoadableLimit
from dlaflow.rules.registry import RULES
from dlaflow.targets.target import Target, resolve_target
from dlaflow.types import Device, PlacedLayer, Placement
from tests.rules.test_examples import build

TARGET = resolve_target("agx-orin-64gb", "6.2")


def told(layer: PlacedLayer) -> tuple[object, ...]:
    """What a layer is said to be, without what a model alone decides: its name and its loadable."""
    findings = sorted((each.rule, each.verdict, each.expected, each.received) for each in layer.findings)
    return layer.kind, layer.device, tuple(layer.onnx_nodes), tuple(findings)


def told_of(placement: Placement, nodes: list[str]) -> list[tuple[object, ...]]:
    found = [told(layer) for layer in placement.layers if set(nodes) & set(layer.onnx_nodes)]
    return sorted((each for each in found if each[1] is not Device.FOLDED or each[3]), key=repr)


def cut(path: Path, what: str, target: Target = TARGET) -> tuple[Extracted, Path, Placement]:
    """The piece, where it was written, and what `check` says of the whole."""
    model = load_model(path)
    network = network_of(model, target)
    placement = check_network(model, network, target)
    piece = extract(model, network, placement, target, what)
    out = path.with_name("piece.onnx")
    out.write_bytes(piece.content)
    return piece, out, placement


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_the_piece_of_each_rules_example_breaks_the_rule(rule, tmp_path):
    mode = "standalone" if rule.id in {"DLA011", "DLA013", "DLA016", "DLA284"} else "hybrid"
    example = rule.bad
    target = resolve_target(example.board, tensorrt=example.tensorrt, precision=example.precision, mode=mode)
    path = tmp_path / "whole.onnx"
    path.write_bytes(build(example).SerializeToString())
    network = network_of(load_model(path), target)
    whole = check_model(load_model(path), target)
    guilty = [layer for layer in whole.layers if any(each.rule == rule.id for each in layer.findings)]
    names = [name for layer in guilty for name in layer.onnx_nodes[:1]]
    if any(each.rule == rule.id for each in whole.findings):
        names += [each.node for each in network.refusals if each.op not in ("input", "output", "initializer")]
    if not names:
        pytest.skip("the rule speaks of the whole model")
    for name in dict.fromkeys(names):
        piece, out, placement = cut(path, name, target)
        if rule is LoadableLimit:  # it speaks of how many there are in the whole
            assert piece.differs == [rule.id]
            assert piece.nodes == 1
            continue
        assert not piece.differs
        again = check_model(load_model(out), replace(target, batch=None))
        assert told_of(again, piece.asked) == told_of(placement, piece.asked)
        if not guilty:
            assert rule.id in {each.rule for each in again.findings}
        if piece.refused:
            with pytest.raises(onnx.checker.ValidationError):
                onnx.checker.check_model(path)
        else:
            onnx.checker.check_model(out, full_check=True)


def network(nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], x: list[int | str], outputs: dict):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def node(op: str, inputs: str, output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), [output], name=f"/{output}", **attributes)


WEIGHTS = {"w": random(8, 4, 3, 3), "v": random(8, 8, 1, 1), "f": random(512, 5)}
NODES = [
    node("Conv", "x w", "a", pads=[1, 1, 1, 1]),
    node("Relu", "a", "b"),
    node("Conv", "b v", "c"),
    node("Shape", "c", "s"),
    node("Gather", "s zero", "n", axis=0),
    node(
        "Unsqueeze",
        "n first",
        "u",
    ),
    node("Concat", "u rest", "to", axis=0),
    node("Reshape", "c to", "r"),
    node("Gemm", "r f", "y"),
]
SHAPE = {"zero": np.array(0), "first": np.array([0]), "rest": np.array([512])}


@pytest.fixture(params=[2, "batch"])
def whole(request, tmp_path) -> Path:
    path = tmp_path / "whole.onnx"
    onnx.save(network(NODES, WEIGHTS | SHAPE, [request.param, 4, 8, 8], {"y": [request.param, 5]}), path)
    return path


def nodes_of(path: Path) -> list[str]:
    return [node_name(each) for each in onnx.load(path).graph.node]


def test_a_node_comes_with_its_weights_and_its_shapes(whole):
    piece, out, _ = cut(whole, "/c")
    proto = onnx.load(out)
    assert nodes_of(out) == ["/c"]
    assert [value.name for value in proto.graph.input] == ["b"]
    assert [value.name for value in proto.graph.output] == ["c"]
    np.testing.assert_array_equal(numpy_helper.to_array(proto.graph.initializer[0]), WEIGHTS["v"])
    assert [dim.dim_value for dim in proto.graph.input[0].type.tensor_type.shape.dim[1:]] == [8, 8, 8]
    assert {entry.key: entry.value for entry in proto.metadata_props}["dlaflow.piece"] == "/c"
    assert piece.nodes == 1


def test_a_reshape_takes_the_arithmetic_of_an_open_batch_along(whole):
    piece, out, placement = cut(whole, "/r")
    assert not piece.differs
    assert told_of(check_model(load_model(out), TARGET), ["/r"]) == told_of(placement, ["/r"])
    is_open = onnx.load(whole).graph.input[0].type.tensor_type.shape.dim[0].dim_param
    assert ("/s" in nodes_of(out)) == bool(is_open)


def test_a_layer_beside_one_that_the_parser_refuses_comes_alone(tmp_path):
    nodes = [node("Relu", "x", "a"), node("EfficientNMS_TRTX", "a", "b"), node("Sigmoid", "b", "y")]
    path = tmp_path / "whole.onnx"
    onnx.save(network(nodes, {}, [1, 4, 8, 8], {"y": [1, 4, 8, 8]}), path)
    assert nodes_of(cut(path, "/a")[1]) == ["/a"]
    piece, out, _ = cut(path, "/b")
    assert nodes_of(out) == ["/b"]
    assert "plugin by the parser" in piece.shows
    assert "DLA021" in {each.rule for each in check_model(load_model(out), TARGET).findings}


@pytest.mark.parametrize("what", ["x:c", "a:c", "a,x:c"])
def test_what_lies_between_two_tensors(whole, what):
    _, out, _ = cut(whole, what)
    assert nodes_of(out) == ["/a", "/b", "/c"][what.startswith("a") :]
    assert [value.name for value in onnx.load(out).graph.output] == ["c"]


def test_a_loadable(whole):
    piece, out, placement = cut(whole, "0")
    inside = {name for layer in placement.layers if layer.loadable == 0 for name in layer.onnx_nodes}
    assert set(nodes_of(out)) == inside == set(piece.asked)
    assert check_model(load_model(out), TARGET).summary.loadables == 1


@pytest.mark.parametrize("what", ["/nowhere", "c:x", "7", "x:nowhere"])
def test_what_the_model_does_not_have(whole, what):
    with pytest.raises(UsageError):
        cut(whole, what)


def test_tensors_whose_names_hold_colons(tmp_path):
    nodes = [
        helper.make_node("Relu", ["x"], ["a:0"], name="/a"),
        helper.make_node("Sigmoid", ["a:0"], ["b:0"], name="/b"),
        helper.make_node("Tanh", ["b:0"], ["y"], name="/y"),
    ]
    path = tmp_path / "whole.onnx"
    onnx.save(network(nodes, {}, [1, 4, 8, 8], {"y": [1, 4, 8, 8]}), path)
    assert nodes_of(cut(path, "a:0:b:0")[1]) == ["/b"]
    assert nodes_of(cut(path, "x:b:0")[1]) == ["/a", "/b"]


def test_only_the_weights_of_the_piece_are_read(tmp_path):
    nodes = [node("Conv", "x w", "a"), node("Sin", "a", "s"), node("Conv", "s v", "y")]
    weights = {"w": random(64, 4, 9, 9), "v": random(64, 64, 9, 9)}
    path = tmp_path / "whole.onnx"
    onnx.save(
        network(nodes, weights, [1, 4, 32, 32], {"y": [1, 64, 16, 16]}),
        path,
        save_as_external_data=True,
        all_tensors_to_one_file=False,
        size_threshold=0,
    )
    (tmp_path / "v").unlink()
    _, out, _ = cut(path, "/a")
    np.testing.assert_array_equal(numpy_helper.to_array(onnx.load(out).graph.initializer[0]), weights["w"])
    assert not onnx.load(out, load_external_data=False).graph.initializer[0].external_data
    with pytest.raises(InputError, match="v"):
        cut(path, "/y")


def test_weights_of_branches_that_share_a_name(tmp_path):
    branches = []
    for number in (1.0, 2.0):
        large = numpy_helper.from_array(np.full((1, 40, 32, 32), number, np.float32), "k")
        branches.append(
            helper.make_graph(
                [helper.make_node("Add", ["a", "k"], ["o"])],
                "branch",
                [],
                [helper.make_tensor_value_info("o", TensorProto.FLOAT, [1, 40, 32, 32])],
                [large],
            )
        )
    nodes = [
        node("Relu", "x", "a"),
        helper.make_node("If", ["flag"], ["b"], name="/b", then_branch=branches[0], else_branch=branches[1]),
        node("Relu", "b", "y"),
    ]
    proto = network(nodes, {}, [1, 40, 32, 32], {"y": [1, 40, 32, 32]})
    proto.graph.input.append(helper.make_tensor_value_info("flag", TensorProto.BOOL, []))
    path = tmp_path / "whole.onnx"
    onnx.save(proto, path)
    (branching,) = onnx.load(cut(path, "a,flag:b")[1]).graph.node
    kept = {attribute.name: numpy_helper.to_array(attribute.g.initializer[0]) for attribute in branching.attribute}
    assert np.all(kept["then_branch"] == 1)
    assert np.all(kept["else_branch"] == 2)


def test_the_command_and_the_function_write_the_same(whole, capsys):
    out, other = whole.with_name("command.onnx"), whole.with_name("function.onnx")
    assert main(["check", str(whole), "--jetpack", "6.2", "--extract", "/r", str(out)]) == 0
    assert "as in the whole model: DLA241, on the GPU." in " ".join(capsys.readouterr().out.split())
    dlaflow.check(whole, jetpack="6.2", extract=("/r", other))
    assert nodes_of(out) == nodes_of(other)
    assert main(["check", str(whole), "--extract", "/r", str(whole)]) == 2
    assert "overwrite" in capsys.readouterr().err
