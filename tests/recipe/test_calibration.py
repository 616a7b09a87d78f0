"""A recipe calibrates as the command does: the same files, and the same warnings in front of the user."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from dlaflow.cli import main
from dlaflow.quantize.cache import read_cache

ZERO = "tensor 'a' was zero for every image: its scale is arbitrary"
RECIPE = """
name = "warned"
steps = ["calibrate"]
[target]
tensorrt = "8.5.2"
[data]
name = "digits"
[calibrate]
samples = 20
method = "minmax"
[[variant]]
name = "mine"
onnx = "{model}"
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A convolution that answers nothing but zeros, so that its scale is arbitrary."""
    weights = {"w": np.zeros((4, 3, 3, 3), np.float32), "f": np.ones((10, 4), np.float32)}
    nodes = [
        helper.make_node("Conv", ["input", "w"], ["a"], name="/conv", strides=[4, 4]),
        helper.make_node("GlobalAveragePool", ["a"], ["p"], name="/pool"),
        helper.make_node("Flatten", ["p"], ["t"], name="/flatten"),
        helper.make_node("Gemm", ["t", "f"], ["output"], name="/fc", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 32, 32])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_warnings_and_scales_are_those_of_the_command(model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = ["--data", "digits", "--samples", "20", "--method", "minmax", "--cache", "own.cache"]
    assert main(["calibrate", str(model), *options]) == 0
    of_command = " ".join(capsys.readouterr().err.split())
    assert f"warning: {ZERO}" in of_command

    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE.format(model=model))
    assert main(["run", str(recipe), "--out", "run"]) == 0
    of_recipe = " ".join(capsys.readouterr().err.split())
    warnings = [part.split("warning: ")[-1] for part in of_command.split("warning: ")[1:]]
    assert warnings
    for warning in warnings:
        assert f"mine: {warning.strip()}" in of_recipe

    made = read_cache(tmp_path / "run" / "mine" / "calib.cache")
    assert made == read_cache(tmp_path / "own.cache")
