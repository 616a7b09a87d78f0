"""Quantisation-aware training end to end: scales where the DLA has them, and a file that every next command takes."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from dlaflow.cli import main
from dlaflow.errors import InputError
from dlaflow.runtime.dla import DlaRunner
from dlaflow.zoo.export import example_images
from dlaflow.zoo.plan import TrainConfig
from dlaflow.zoo.qat import quantised
from dlaflow.zoo.training import train


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8))
        self.head = nn.Linear(8, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found = self.first(images)
        found = torch.relu(self.second(found) + found)
        return self.head(found.mean((2, 3)).flatten(1))


def test_quantisers_stand_behind_the_layers_of_the_dla() -> None:
    network = Residual().eval()
    images = torch.from_numpy(example_images(2, (3, 8, 8)))
    student = quantised(network, images)
    behind = [node.args[0].name for node in student.graph.nodes if str(node.target).startswith("quantise_")]
    # A convolution and its ReLU are one layer, so are a sum and its ReLU.
    assert behind == ["images", "first_2", "second_0", "relu", "mean", "head"]
    assert not any(isinstance(module, nn.BatchNorm2d) for module in student.modules())


def test_a_network_whose_way_depends_on_its_input_is_refused() -> None:
    class Turns(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images if images.sum() > 0 else -images

    with pytest.raises(InputError, match=r"torch\.fx cannot trace Turns"):
        quantised(Turns(), torch.ones(1, 3, 4, 4))


def test_from_weights_to_a_cache_and_to_7_2(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    train(TrainConfig("model_bn", Path("bn.safetensors"), data="digits", epochs=2, limit=600))
    command = ["qat", "model_bn", "--weights", "bn.safetensors", "--data", "digits", "--epochs", "1", "--limit", "512"]
    assert main([*command, "--batch-size", "64", "--batch", "1", "--out", "int8.onnx", "--json", "qat.json"]) == 0
    assert "in INT8 without training" in capsys.readouterr().out
    rows = json.loads(Path("qat.json").read_text())["measurements"]
    shares = {row["detail"]: row["value"] for row in rows}
    assert shares.keys() == {"float", "int8, not trained", "int8, trained"}
    assert min(shares.values()) > shares["float"] - 10

    model = onnx.load("int8.onnx")
    weights = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    pairs = [node for node in model.graph.node if node.op_type == "DequantizeLinear"]
    assert all(not weights[node.input[2]].any() and weights[node.input[2]].dtype == "int8" for node in pairs)
    assert sum(weights[node.input[1]].size > 1 for node in pairs) == 5  # the weights of four convolutions and a Gemm
    assert "Identity" not in {node.op_type for node in model.graph.node}
    runner = DlaRunner("int8.onnx")
    runner.run(example_images(1, (3, 32, 32)))
    assert not runner.layers.floating

    assert main(["cache", "from-qdq", "int8.onnx", "--cache", "c.cache", "--plain", "plain.onnx", "--guess"]) == 0
    assert main(["cache", "lint", "c.cache", "--model", "plain.onnx"]) == 0
    target = ["--board", "agx-orin-64gb", "--precision", "int8", "--quiet"]
    assert main(["check", "plain.onnx", *target, "--jetpack", "6.2", "--json", "6.json"]) == 0
    assert main(["check", "int8.onnx", *target, "--jetpack", "7.2.2", "--json", "7.json"]) == 0
    for name in ("6.json", "7.json"):
        assert json.loads(Path(name).read_text())["summary"]["dla_mac_share"] > 0.99
    assert main(["evaluate", "plain.onnx", "int8.onnx", "--data", "digits", "--quiet"]) == 0
