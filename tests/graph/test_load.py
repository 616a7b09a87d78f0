"""Loading: weights stay in the file, and every unusable file is one clear line."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from dlaflow.errors import InputError
from dlaflow.graph.load import load_model

GOOD = '<ir_version: 8, opset_import: ["" : 17]> g (float[1,4] x) => (float[1,4] y) { [a] y = Relu(x) }'


def _save(folder: Path, text: str) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(parser.parse_model(text).SerializeToString())
    return path


def _weighted(folder: Path, elements: int, *, external: bool = False) -> Path:
    weight = numpy_helper.from_array(np.arange(elements, dtype=np.float32).reshape(-1, 4), "w")
    constant = helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(np.ones(elements, np.float32)))
    nodes = [helper.make_node("MatMul", ["x", "wt"], ["y"]), helper.make_node("Transpose", ["w"], ["wt"]), constant]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, elements // 4])],
        [weight],
    )
    path = folder / "weighted.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path, save_as_external_data=external, location="weights.bin", size_threshold=0)
    return path


def test_weights_are_left_in_the_file_and_read_when_asked(tmp_path: Path) -> None:
    path = _weighted(tmp_path, 40_000)
    model = load_model(path)
    assert len(model.proto.SerializeToString()) < 1_000
    assert model.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    np.testing.assert_array_equal(model.initializer("w"), np.arange(40_000, dtype=np.float32).reshape(-1, 4))
    np.testing.assert_array_equal(model.initializer("k"), np.ones(40_000, np.float32))


def test_small_tensors_stay(tmp_path: Path) -> None:
    model = load_model(_weighted(tmp_path, 64))
    assert not model.spans
    assert model.initializer("w").shape == (16, 4)


def test_typed_data_is_left_in_the_file_too(tmp_path: Path) -> None:
    weight = helper.make_tensor("w", TensorProto.FLOAT, [20_000], np.arange(20_000, dtype=np.float32))
    assert not weight.raw_data
    model = parser.parse_model(GOOD)
    model.graph.initializer.append(weight)
    path = tmp_path / "typed.onnx"
    path.write_bytes(model.SerializeToString())
    loaded = load_model(path)
    assert not loaded.tensors["w"].float_data
    assert loaded.initializer("w")[-1] == 19_999


def test_nodes_are_sorted(tmp_path: Path) -> None:
    assert [node.op_type for node in load_model(_weighted(tmp_path, 64)).proto.graph.node][-1] == "MatMul"


@pytest.mark.parametrize("external", [False, True])
def test_the_whole_model_has_the_weights_and_the_order_of_the_held_one(tmp_path: Path, external: bool) -> None:
    model = load_model(_weighted(tmp_path, 64, external=external))
    whole = model.whole()
    assert [node.op_type for node in whole.graph.node] == [node.op_type for node in model.proto.graph.node]
    assert [tensor.data_location for tensor in whole.graph.initializer] == [TensorProto.DEFAULT]
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(whole.graph.initializer[0]), model.initializer("w"))
    del whole.graph.node[:]
    assert model.whole().graph.node


@pytest.mark.parametrize("external", [False, True])
@pytest.mark.parametrize("elements", [64, 40_000])
def test_the_serialized_model_is_the_held_one_with_all_weights(tmp_path: Path, elements: int, external: bool) -> None:
    model = load_model(_weighted(tmp_path, elements, external=external))
    model.proto.graph.output.add(name="wt")
    found = onnx.ModelProto.FromString(model.serialized())
    assert found.graph.node[0].attribute == model.whole().graph.node[0].attribute
    assert [node.op_type for node in found.graph.node] == [node.op_type for node in model.proto.graph.node]
    assert [value.name for value in found.graph.output] == ["y", "wt"]
    assert [tensor.data_location for tensor in found.graph.initializer] == [TensorProto.DEFAULT]
    np.testing.assert_array_equal(numpy_helper.to_array(found.graph.initializer[0]), model.initializer("w"))


def test_only_weights_that_are_initializers_are_not_parsed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight = numpy_helper.from_array(np.arange(20_000, dtype=np.float32), "w")
    made = parser.parse_model(GOOD)
    made.graph.initializer.append(weight)
    (tmp_path / "m.onnx").write_bytes(made.SerializeToString())
    model = load_model(tmp_path / "m.onnx")
    monkeypatch.delattr(type(model), "whole")
    assert onnx.ModelProto.FromString(model.serialized()).graph.initializer[0] == weight


def test_the_whole_model_is_valid_onnx(tmp_path: Path) -> None:
    model = load_model(_save(tmp_path, GOOD.replace("Relu", "Wonder")))
    with pytest.raises(InputError, match=r"not a usable model.*Wonder"):
        model.whole()


def test_an_output_without_a_shape_is_no_fault(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(GOOD)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    onnx.save(model, tmp_path / "m.onnx")
    assert load_model(tmp_path / "m.onnx").whole().graph.output == model.graph.output


def test_external_data_is_read_when_asked_only(tmp_path: Path) -> None:
    path = _weighted(tmp_path, 64, external=True)
    model = load_model(path)
    np.testing.assert_array_equal(model.initializer("w").reshape(-1), np.arange(64, dtype=np.float32))
    (tmp_path / "weights.bin").unlink()
    assert load_model(path).opset == 17
    with pytest.raises(InputError, match=r"weights\.bin"):
        load_model(path).initializer("w")


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/passwd", "", "a/../../weights.bin"])
def test_external_data_outside_the_folder_is_refused(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    (tmp_path / "weights.bin").write_bytes(bytes(16))
    model = parser.parse_model(GOOD)
    tensor = model.graph.initializer.add(name="w", data_type=TensorProto.FLOAT, dims=[4])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match="outside the model's folder"):
        load_model(path).initializer("w")


def test_external_data_that_ends_early(tmp_path: Path) -> None:
    path = _weighted(tmp_path, 64, external=True)
    (tmp_path / "weights.bin").write_bytes(bytes(8))
    with pytest.raises(InputError, match="ends before tensor 'w' does"):
        load_model(path).initializer("w")


def test_a_missing_initializer_has_no_values(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no initializer named 'nothing'"):
        load_model(_save(tmp_path, GOOD)).initializer("nothing")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04rest of a zip file", "PyTorch checkpoint"),
        (b"ftrt and more", "TensorRT engine"),
        (b"TRT-8502-EntropyCalibration2\nx: 3c010a14\n", "calibration cache"),
        (b"\x02\0\0\0\0\0\0\0{}", "safetensors"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"\x00\x01\x02\x03\x04\x05", "not a readable ONNX file"),
        (b"this is a text file, not a model", "not a readable ONNX file"),
        (b"\x08\x08", "holds no graph"),
    ],
)
def test_other_files(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


def test_a_truncated_file(tmp_path: Path) -> None:
    path = _weighted(tmp_path, 40_000)
    whole = path.read_bytes()
    for length in (10, len(whole) // 2, len(whole) - 3):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"not a readable ONNX file|no graph|no nodes|nothing produces"):
            load_model(path)


def test_a_folder_and_an_absent_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        load_model(tmp_path)
    with pytest.raises(InputError, match=r"cannot read .*No such file"):
        load_model(tmp_path / "absent.onnx")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD.replace(": 17", ": 99"), "opset that is not known here: expected 1 to [0-9]+, received 99"),
        (GOOD.replace("Relu(x)", "Add(x, gone)"), "nothing produces 'gone', an input of node 'a'"),
        (GOOD.replace("y = Relu(x)", "z = Relu(x)"), "nothing produces the output 'y'"),
        (GOOD.replace("[a] y = Relu(x)", "[a] y = Relu(x) [b] y = Sigmoid(x)"), "'y' is produced twice"),
        (GOOD.replace("[a] y = Relu(x)", "[a] z = Add(x, y) [b] y = Relu(z)"), "cycle.*'a'"),
        (GOOD.replace("[a] y = Relu(x)", "[a] x = Relu(x) [b] y = Relu(x)"), "'x' is produced twice"),
    ],
)
def test_broken_graphs(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_model(_save(tmp_path, text))


def test_an_operator_that_nobody_knows_is_no_error(tmp_path: Path) -> None:
    assert load_model(_save(tmp_path, GOOD.replace("Relu", "Wonder"))).proto.graph.node[0].op_type == "Wonder"


def test_local_functions_are_inlined(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17, "mine" : 1]>
        g (float[1,4] x) => (float[1,4] y) { y = mine.Twice(x) }
        <domain: "mine", opset_import: ["" : 17]> Twice (a) => (b) { c = Relu(a) b = Sigmoid(c) }"""
    assert [node.op_type for node in load_model(_save(tmp_path, text)).proto.graph.node] == ["Relu", "Sigmoid"]


def test_constants_of_subgraphs_are_known(tmp_path: Path) -> None:
    text = GOOD.replace(
        "[a] y = Relu(x)",
        "c = Constant<value = bool {1}>() y = If(c)<then_branch = t () => (float[1,4] p) "
        "{ k = Constant<value = float[1] {2.0}>() p = Mul(x, k) }, "
        "else_branch = e () => (float[1,4] q) { q = Relu(x) }>",
    )
    assert load_model(_save(tmp_path, text)).initializer("k").tolist() == [2.0]


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    path = _save(tmp_path, GOOD)
    path.write_bytes(path.read_bytes().replace(b"Relu", b"Re\xffu"))
    with pytest.raises(InputError, match="a name that is not UTF-8"):
        load_model(path)


@pytest.mark.parametrize("end", ["input", "output"])
def test_a_node_with_connections_without_end(end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLAFLOW_MAX_CONNECTIONS", "50")
    many = ["x"] * 51 if end == "input" else ["x"]
    node = helper.make_node("Concat" if end == "input" else "Split", many, ["y"] + [f"o{n}" for n in range(50)], axis=0)
    if end == "input":
        del node.output[1:]
    proto = parser.parse_model(GOOD)
    proto.graph.node[0].CopyFrom(node)
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(InputError, match=r"at most 50 inputs or outputs, received 51.*DLAFLOW_MAX_CONNECTIONS"):
        load_model(tmp_path / "m.onnx")


def test_padding_is_no_graph(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"0" * (5 << 20))
    with pytest.raises(InputError, match="2,000,000 fields in one message"):
        load_model(tmp_path / "m.onnx")
