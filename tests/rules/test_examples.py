"""Every rule has a graph that keeps it and one that breaks it; both are checked whole."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from dlaflow.graph.load import load_model
from dlaflow.placement.check import check_model
from dlaflow.rules.base import Example, Rule, fix_safety, section, title
from dlaflow.rules.page import page, summary
from dlaflow.rules.registry import LAYER_RULES, RULES, find_rule
from dlaflow.targets.limits import limits
from dlaflow.targets.target import resolve_target
from dlaflow.types import Finding, Placement, Remedy

_TYPES = {
    "float": TensorProto.FLOAT,
    "int64": TensorProto.INT64,
    "int32": TensorProto.INT32,
    "int8": TensorProto.INT8,
    "uint8": TensorProto.UINT8,
    "bool": TensorProto.BOOL,
}


def build(example: Example) -> onnx.ModelProto:
    """The example as a model: weights become random initializers, constants the given values."""
    nodes = [onnx.parser.parse_node(line) for line in example.nodes.splitlines()]
    for index, node in enumerate(nodes):
        node.name = f"{node.op_type}_{index}"
    x = [dim if not dim.isdigit() else int(dim) for dim in example.x.split(",")]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)]
    for name, kind in example.more_inputs:
        inputs.append(helper.make_tensor_value_info(name, *_typed(kind)))
    rng = np.random.default_rng(0)
    initializers = [
        numpy_helper.from_array(rng.random(tuple(map(int, shape.split(","))), dtype=np.float32), name)
        for name, shape in example.weights
    ]
    for name, kind, values in example.constants:
        element, shape = _typed(kind)
        numbers = np.array([float(value) for value in values.split(",") if value])
        array = numbers.astype(helper.tensor_dtype_to_np_dtype(element)).reshape(shape)
        initializers.append(numpy_helper.from_array(array, name))
    topk = example.nodes.startswith("y, i = TopK")
    floats = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    outputs = [helper.make_empty_tensor_value_info("y") if topk else floats]
    graph = helper.make_graph(nodes, "example", inputs, outputs, initializers)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("my.domain", 1)]
    if "num_outputs" in example.nodes:
        opsets[0] = helper.make_opsetid("", 18)
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def _typed(text: str) -> tuple[int, list[int]]:
    name, _, shape = text.partition("[")
    return _TYPES[name], [int(dim) for dim in shape.rstrip("]").split(",") if dim]


def checked(example: Example, tmp_path, mode: str = "hybrid") -> Placement:
    path = tmp_path / "example.onnx"
    path.write_bytes(build(example).SerializeToString())
    target = resolve_target(example.board, tensorrt=example.tensorrt, precision=example.precision, mode=mode)
    return check_model(load_model(path), target)


def findings(placement: Placement, rule: type[Rule]) -> list[Finding]:
    found = [*placement.findings, *(finding for layer in placement.layers for finding in layer.findings)]
    return [finding for finding in found if finding.rule == rule.id]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_bad_example_breaks_the_rule_and_good_one_keeps_it(rule, tmp_path):
    mode = "standalone" if rule.id in {"DLA011", "DLA013", "DLA016", "DLA284"} else "hybrid"
    broken = findings(checked(rule.bad, tmp_path, mode), rule)
    assert broken, "the bad example keeps the rule"
    assert broken[0].message
    assert broken[0].expected
    assert broken[0].received
    assert broken[0].source
    # A remark on a good example is fine (a lower confidence); a verdict against it is not.
    kept = [f for f in findings(checked(rule.good, tmp_path, mode), rule) if f.verdict.value != "native"]
    assert not kept, kept


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_docstring_is_a_page(rule):
    assert title(rule).endswith((".", "."))
    assert section(rule, "Why")
    assert section(rule, "Use instead")
    assert isinstance(rule.remedy, Remedy)
    assert f"**Fix safety:** {fix_safety(rule)}" in page(rule)
    assert "{" not in summary(rule)
    assert rule.id in page(rule)
    assert all(limit.source in page(rule) for limit in limits() if limit.id in {rule.limit, *rule.further})


def test_ids_are_unique_and_found():
    assert len({rule.id for rule in RULES}) == len(RULES)
    assert all(find_rule(rule.id) is rule and find_rule(rule.__name__.lower()) is rule for rule in RULES)


def test_each_limit_is_used_by_a_rule():
    import inspect

    from dlaflow.rules import limits_of_model

    sources = {inspect.getsource(inspect.getmodule(rule)) for rule in RULES} | {inspect.getsource(limits_of_model)}
    unused = {limit.id for limit in limits() if not any(f'"{limit.id}"' in source for source in sources)}
    assert not unused


def test_all_failing_rules_of_a_layer_are_told(tmp_path):
    example = Example(
        "y = Conv<strides=[9,9], pads=[3,3,3,3], dilations=[33,33]>(x, w)", x="1,8,90,90", weights=(("w", "8,8,3,3"),)
    )
    placement = checked(example, tmp_path)
    assert {f.rule for f in placement.layers[0].findings} == {"DLA112", "DLA113", "DLA114"}


def test_registry_names_every_rule_class():
    import dlaflow.rules as package

    found = set()
    for module in {__import__(rule.__module__, fromlist=["x"]) for rule in RULES}:
        for value in vars(module).values():
            if (
                isinstance(value, type)
                and issubclass(value, Rule)
                and value.__module__ == module.__name__
                and "id" in vars(value)
            ):
                found.add(value)
    assert found == set(RULES)
    assert package.__doc__
    assert LAYER_RULES
