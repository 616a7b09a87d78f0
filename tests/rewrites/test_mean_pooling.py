"""GlobalAveragePool → AveragePool alone: the outputs and the open batch stay, and it refuses what it cannot do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import parser

from dlaflow.errors import InputError
from dlaflow.rewrites.reductions import replace_global_average_pool
from dlaflow.targets.target import resolve_target

TARGET = resolve_target("agx-orin-64gb", "5.1.1")

TWO_POOLS = """
<ir_version: 8, opset_import: ["" : 17]>
two (float[batch, 4, {height}, {width}] input) => (float[batch, 4, 1, 1] output, float[batch, 4, 1, 1] other)
{{
  [pool_GlobalAveragePool] output = GlobalAveragePool (input)
  active = Relu (input)
  [mean] other = GlobalAveragePool (active)
}}
"""


def write(text: str, path: Path) -> Path:
    onnx.save(parser.parse_model(text), path)
    return path


def outputs(path: Path, images: np.ndarray) -> list[np.ndarray]:
    return onnxruntime.InferenceSession(path).run(None, {"input": images})


@given(height=st.integers(1, 12), width=st.integers(1, 12), batch=st.integers(1, 3), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=15)
def test_outputs_stay(height: int, width: int, batch: int, seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("pool")
    source = write(TWO_POOLS.format(height=height, width=width), folder / "m.onnx")
    assert replace_global_average_pool(source, folder / "out.onnx", TARGET) == 2
    images = np.random.default_rng(seed).standard_normal((batch, 4, height, width)).astype(np.float32)
    for before, after in zip(outputs(source, images), outputs(folder / "out.onnx", images), strict=True):
        np.testing.assert_allclose(after, before, atol=1e-6)


def test_names_and_windows(tmp_path: Path) -> None:
    source = write(TWO_POOLS.format(height=5, width=7), tmp_path / "m.onnx")
    before = source.read_bytes()
    replace_global_average_pool(source, tmp_path / "out.onnx", TARGET)
    graph = onnx.load(tmp_path / "out.onnx").graph
    assert [(node.name, node.op_type) for node in graph.node] == [
        ("pool_GlobalAveragePool/AveragePool", "AveragePool"),
        ("", "Relu"),
        ("mean/AveragePool", "AveragePool"),
    ]
    windows = [onnx.helper.get_node_attr_value(graph.node[index], "kernel_shape") for index in (0, 2)]
    assert windows == [[5, 7], [5, 7]]
    assert [value.name for value in graph.output] == ["output", "other"]
    assert source.read_bytes() == before


def test_a_window_beyond_the_dlas_is_taken_in_steps(tmp_path: Path) -> None:
    source = write(TWO_POOLS.format(height=12, width=12), tmp_path / "m.onnx")
    assert replace_global_average_pool(source, tmp_path / "out.onnx", TARGET) == 2
    graph = onnx.load(tmp_path / "out.onnx").graph
    windows = [onnx.helper.get_node_attr_value(node, "kernel_shape") for node in graph.node if node.op_type != "Relu"]
    assert windows == [[6, 6], [2, 2]] * 2


def test_a_model_without_such_a_pool_stays_as_it_is(tmp_path: Path) -> None:
    text = '<ir_version: 8, opset_import: ["" : 17]> g (float[1, 4, N, N] input) => (float[1, 4, N, N] output)'
    source = write(f"{text} {{ output = Relu (input) }}", tmp_path / "m.onnx")
    assert replace_global_average_pool(source, tmp_path / "out.onnx", TARGET) == 0
    assert onnx.load(tmp_path / "out.onnx") == onnx.load(source)


def test_the_window_is_found_through_the_layers_before(tmp_path: Path, zoo_export: Path) -> None:
    assert replace_global_average_pool(zoo_export, tmp_path / "out.onnx", TARGET) == 1
    images = np.random.default_rng(0).standard_normal((3, 3, 32, 32)).astype(np.float32)
    (before,), (after,) = outputs(zoo_export, images), outputs(tmp_path / "out.onnx", images)
    np.testing.assert_allclose(after, before, atol=1e-5)
    (pool,) = [node for node in onnx.load(tmp_path / "out.onnx").graph.node if node.op_type == "AveragePool"]
    assert onnx.helper.get_node_attr_value(pool, "kernel_shape") == [2, 2]


@pytest.fixture(params=["model_bn", "model_gn"])
def zoo_export(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The walk-through's networks with a dynamic batch, exported here."""
    from dlaflow.zoo.export import ExportConfig, export
    from dlaflow.zoo.models import build_model
    from dlaflow.zoo.weights import save_tensors

    save_tensors(tmp_path / "w.safetensors", build_model(request.param).state_dict())
    export(ExportConfig(request.param, tmp_path / "w.safetensors", tmp_path / "m.onnx"))
    return tmp_path / "m.onnx"


def test_a_window_that_is_not_static_is_refused(tmp_path: Path) -> None:
    source = write(TWO_POOLS.format(height=5, width="w"), tmp_path / "m.onnx")
    with pytest.raises(InputError, match=r"'pool_GlobalAveragePool'.*received 5x\?"):
        replace_global_average_pool(source, tmp_path / "out.onnx", TARGET)
    assert not (tmp_path / "out.onnx").exists()


@pytest.mark.parametrize("content", [b"", b"not a model", None])
def test_no_model_is_one_clear_line(content: bytes | None, tmp_path: Path) -> None:
    source = tmp_path / "m.onnx"
    if content is not None:
        source.write_bytes(content)
    with pytest.raises(InputError, match=r"m\.onnx") as caught:
        replace_global_average_pool(source, tmp_path / "out.onnx", TARGET)
    assert "\n" not in str(caught.value)
