"""Small files that announce huge things: each ends in an answer or in one line, and with little memory.

Each runs in a process of its own that may take 3 GB, so that a bound that fails ends this test and not the machine.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

BYTES = 3_000_000_000
HUGE = 10**12
Node = onnx.NodeProto


def check(path: Path) -> subprocess.CompletedProcess[str]:
    """`dlaflow check` in a process with little memory."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "dlaflow", "check", str(path), "--board", "agx-orin-64gb", "--quiet"],
        text=True,
        capture_output=True,
        timeout=300,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES)),
    )


def saved(folder: Path, *nodes: Node, inputs: Sequence[onnx.ValueInfoProto] = (), **constants: object) -> Path:
    """A model of a Relu with these nodes besides, which nothing of the network needs."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 8, 8])
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    relu = helper.make_node("Relu", ["x"], ["y"])
    graph = helper.make_graph([relu, *nodes], "g", [x, *inputs], [y], stored)
    path = folder / "m.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())
    return path


def node(kind: str, inputs: str, output: str, **attributes: object) -> Node:
    return helper.make_node(kind, inputs.split(), [output], **attributes)


def one_line(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Exit code 2 with one line that holds these words."""
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("dlaflow: ")
    assert done.stderr.count("\n") == 1
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize(
    "nodes",
    [
        (node("Range", "zero huge one", "r"), node("Cast", "r", "z", to=1)),
        (node("ConstantOfShape", "sizes", "r"), node("Add", "r r", "z")),
        (node("Expand", "ones sizes", "r"), node("Mul", "r r", "z")),
        (node("Tile", "ones sizes", "r"), node("Sub", "r r", "z")),
        (node("RandomNormal", "", "r", shape=[HUGE]), node("Cast", "r", "z", to=7)),
    ],
    ids=lambda nodes: nodes[0].op_type,
)
def test_a_list_that_constants_announce_is_not_made(nodes: tuple[Node, ...], tmp_path: Path) -> None:
    done = check(saved(tmp_path, *nodes, zero=0, one=1, huge=HUGE, ones=np.ones(1, np.int64), sizes=[HUGE]))
    assert (done.returncode, done.stderr) == (0, "")


def test_an_input_of_any_length_is_not_made(tmp_path: Path) -> None:
    many = helper.make_tensor_value_info("many", TensorProto.FLOAT, [HUGE])
    done = check(saved(tmp_path, node("Cast", "many", "z", to=7), inputs=[many]))
    assert (done.returncode, done.stderr) == (0, "")


def test_a_list_whose_length_only_inference_knows_is_not_made(tmp_path: Path) -> None:
    """8^8 values: the size is computed from a dimension, so no look at the constants tells it."""
    powers = [node("Mul", f"p{n} p{n}", f"p{n + 1}") for n in range(3)]
    nodes = (node("Shape", "x", "s"), node("Slice", "s two three", "p0"), *powers, node("Reshape", "p3 minus", "q"))
    path = saved(
        tmp_path,
        *nodes,
        node("Mul", "q q", "w"),
        node("ConstantOfShape", "w", "r"),
        node("Cast", "r", "z", to=7),
        two=[2],
        three=[3],
        minus=[-1],
    )
    done = check(path)
    assert done.returncode in {0, 2}
    assert done.stderr.count("\n") == (done.returncode == 2)


def test_lists_that_double_are_refused(tmp_path: Path) -> None:
    doubling = [node("Concat", f"s{n} s{n}", f"s{n + 1}", axis=0) for n in range(40)]
    path = saved(tmp_path, node("Shape", "x", "s0"), *doubling, node("ConstantOfShape", "s40", "z"))
    one_line(check(path), "Concat", "at most 1,000 axes, and 1,000,000 values", "received 1,048,576 values")


def test_axes_without_end_are_refused(tmp_path: Path) -> None:
    nodes = [node("Unsqueeze", f"u{n} axes", f"u{n + 1}") for n in range(300)]
    path = saved(tmp_path, node("Identity", "x", "u0"), *nodes, axes=np.arange(4000))
    one_line(check(path), "Unsqueeze", "at most 1,000 axes", "received 4,004 axes")


def test_folding_has_a_budget(tmp_path: Path) -> None:
    """Each of these is small enough to fold; all of them, and what they broadcast to, are not."""
    many = [node("ConstantOfShape", "size", f"c{n}") for n in range(3000)]
    wide = (node("Expand", "ones size", "e"), node("Reshape", "e column", "f"), node("Add", "e f", "z"))
    path = saved(tmp_path, *many, *wide, size=[65536], ones=np.ones(1, np.int64), column=[65536, 1])
    done = check(path)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_tensor_that_no_board_holds_is_refused(tmp_path: Path) -> None:
    wide = helper.make_tensor_value_info("wide", TensorProto.FLOAT, [1, 3, 1 << 40, 8])
    one_line(check(saved(tmp_path, node("Relu", "wide", "z"), inputs=[wide])), "at most 2^40", "1x3x1099511627776x8")


@pytest.mark.parametrize("dims", [[-4, 3], [1 << 40, 1 << 20]], ids=["negative", "huge"])
def test_stored_tensors_have_possible_sizes(dims: list[int], tmp_path: Path) -> None:
    model = onnx.load(saved(tmp_path, node("Relu", "w", "z")))
    model.graph.initializer.append(TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims))
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    one_line(check(tmp_path / "m.onnx"), "'w'")


@pytest.mark.parametrize("kind", [0, 74, -1, 2**31 - 1])
def test_stored_tensors_have_a_known_type(kind: int, tmp_path: Path) -> None:
    model = onnx.load(saved(tmp_path, node("Relu", "w", "z")))
    model.graph.initializer.append(TensorProto(name="w", data_type=kind, dims=[1], raw_data=b"1234"))
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    one_line(check(tmp_path / "m.onnx"), "'w'", "an element type that ONNX does not know", f"received {kind}")


def _with_functions(folder: Path, functions: Sequence[onnx.FunctionProto], last: str) -> Path:
    model = onnx.load(saved(folder))
    model.graph.node[0].CopyFrom(helper.make_node(last, ["x"], ["y"], domain="d"))
    model.functions.extend(functions)
    model.opset_import.add(domain="d", version=1)
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    return folder / "m.onnx"


def _function(name: str, nodes: Sequence[Node]) -> onnx.FunctionProto:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("d", 1)]
    return helper.make_function("d", name, ["a"], ["b"], nodes, opsets)


def test_functions_that_double_are_counted_before_they_are_inlined(tmp_path: Path) -> None:
    functions = [_function("f0", [node("Relu", "a", "b")])]
    for n in range(1, 27):
        calls = [node(f"f{n - 1}", "a", "t", domain="d"), node(f"f{n - 1}", "t", "b", domain="d")]
        functions.append(_function(f"f{n}", calls))
    assert len(_with_functions(tmp_path, functions, "f26").read_bytes()) < 5000
    one_line(check(tmp_path / "m.onnx"), "at most 200,000 nodes, received 67,108,864")
    assert check(_with_functions(tmp_path, functions, "f5")).returncode == 0


def test_functions_that_call_themselves_are_refused(tmp_path: Path) -> None:
    functions = [_function("f", [node("g", "a", "b", domain="d")]), _function("g", [node("f", "a", "b", domain="d")])]
    one_line(check(_with_functions(tmp_path, functions, "f")), "calls itself")


@pytest.mark.parametrize(("calls", "words"), [(99, ""), (30_000, "at most 100 calls inside calls")])
def test_calls_inside_calls_have_a_bound(calls: int, words: str, tmp_path: Path) -> None:
    functions = [_function("f0", [node("Relu", "a", "b")])]
    functions += [_function(f"f{n}", [node(f"f{n - 1}", "a", "b", domain="d")]) for n in range(1, calls)]
    done = check(_with_functions(tmp_path, functions, f"f{calls - 1}"))
    if words:
        one_line(done, words)
    else:
        assert (done.returncode, done.stderr) == (0, "")


def _nested(depth: int) -> bytes:
    """A ModelProto with so many Ifs inside each other, written by hand since protobuf would refuse to."""

    def number(value: int) -> bytes:
        out = bytearray()
        while value > 127:
            out.append(value & 127 | 128)
            value >>= 7
        return bytes([*out, value])

    def field(tag: int, data: bytes) -> bytes:
        return number(tag << 3 | 2) + number(len(data)) + data

    graph = field(1, field(1, b"x") + field(2, b"y") + field(4, b"Relu")) + field(12, field(1, b"y"))
    for n in range(depth):
        branch = field(1, b"then_branch") + field(6, graph) + number(20 << 3) + b"\x05"
        inner = field(1, field(1, b"c") + field(2, b"q%d" % n) + field(4, b"If") + field(5, branch))
        graph = inner + field(12, field(1, b"q%d" % n))
    graph += field(11, field(1, b"x")) + field(11, field(1, b"c"))
    return b"\x08\x08" + field(7, graph) + field(8, field(1, b"") + b"\x10\x11")


@pytest.mark.parametrize("depth", [33, 5000, 20_000])
def test_subgraphs_inside_subgraphs_have_protobufs_bound(depth: int, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(_nested(depth))
    one_line(check(tmp_path / "m.onnx"), "more than 100 messages inside each other")


def test_as_many_subgraphs_as_protobuf_reads_are_read(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(_nested(30))
    assert check(tmp_path / "m.onnx").returncode == 0


@pytest.mark.parametrize(
    ("kind", "domain", "attributes"),
    [
        ("EyeLike", "", {}),
        ("EyeLike", "", {"dtype": TensorProto.FLOAT16}),
        ("RegexFullMatch", "", {"pattern": "a"}),
        ("LabelEncoder", "ai.onnx.ml", {"keys_int64s": [1], "values_int64s": [2]}),
        ("DictVectorizer", "ai.onnx.ml", {"int64_vocabulary": [1]}),
        ("TreeEnsemble", "ai.onnx.ml", {"n_targets": 1}),
    ],
)
def test_operators_whose_inference_fails_in_onnx_behind_an_unknown_one(
    kind: str, domain: str, attributes: dict[str, object], tmp_path: Path
) -> None:
    """An input without a type ends the process inside onnx: nothing could be caught."""
    unknown = node("NobodyKnowsThis", "x", "u")
    path = saved(tmp_path, unknown, helper.make_node(kind, ["u"], ["z"], domain=domain, **attributes))
    model = onnx.load(path)
    model.opset_import[0].version = 20
    model.opset_import.add(domain="ai.onnx.ml", version=5 if kind == "TreeEnsemble" else 1)
    path.write_bytes(model.SerializeToString())
    done = check(path)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_pipe_is_no_model(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.onnx")
    one_line(check(tmp_path / "m.onnx"), "a pipe")
