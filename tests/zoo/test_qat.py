"""Quantisation-aware training end to end: scales where the DLA has them, and a file that every next command takes."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from dlaflow.cli import main
from dlaflow.errors import InputError
from dlaflow.runtime.dla import DlaRunner
from dlaflow.zoo import qat
from dlaflow.zoo.export import example_images, largest_difference
from dlaflow.zoo.plan import TrainConfig
from dlaflow.zoo.qat import calibrate_quantisers, export_quantised, quantised
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
    assert {weights[node.input[1]].ndim for node in pairs} == {0, 1}  # NVIDIA's qdq-translator takes no list of one
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


class Branches(nn.Module):
    """What networks have besides convolutions: a layer called twice, Concat, ReLU6, sums in place, ConvTranspose2d."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.twice, self.after = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.up = nn.Sequential(nn.ConvTranspose2d(16, 8, 2, stride=2), nn.BatchNorm2d(8), nn.ReLU6())
        self.drop, self.head = nn.Dropout2d(), nn.Conv2d(8, 4, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found = nn.functional.relu6(self.norm(self.stem(images)))
        once = self.after(self.twice(found)).relu()
        again = self.after(self.twice(once))
        again += once
        joined = torch.cat([found, nn.functional.relu(again, inplace=True)], 1)
        return self.head(self.drop(self.up(nn.functional.max_pool2d(joined, 2)))).mean((2, 3))


def branches() -> Branches:
    torch.manual_seed(1)
    network = Branches()
    with torch.no_grad():
        for images in torch.randn(4, 8, 3, 8, 8):  # statistics that folding cannot ignore
            network(images)
    return network.eval()


def test_what_the_dla_wants_on_one_scale_shares_a_quantiser() -> None:
    student = quantised(branches(), torch.randn(2, 3, 8, 8))
    behind = {node.args[0].name: str(node.target) for node in student.graph.nodes if "quantise_" in str(node.target)}
    # One for the Concat and its inputs, one for the operands of the sum.
    assert list(behind) == ["images", "relu6", "relu", "twice_1", "relu_1", "cat", "up_2", "head", "mean"]
    assert behind["relu6"] == behind["relu_1"] == behind["cat"]
    assert behind["relu"] == behind["twice_1"]
    assert len(set(behind.values())) == 6


def test_folding_changes_nothing_and_the_file_says_what_torch_says() -> None:
    network, images = branches(), torch.randn(4, 3, 8, 8)
    student = quantised(network, images)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in student.modules())
    torch.testing.assert_close(student(images), network(images), rtol=1e-4, atol=1e-4)
    calibrate_quantisers(student, [images])
    model = onnx.load_from_string(export_quantised(student, "branches", 1, (3, 8, 8)))
    stored = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    pairs = [node for node in model.graph.node if node.op_type == "DequantizeLinear" and node.input[0] in stored]
    assert len(pairs) == 5  # the layer that is called twice has its weights twice
    assert all(stored[node.input[0]].dtype == "int8" for node in pairs)


def test_calibration_needs_images_and_finite_numbers() -> None:
    student = quantised(Residual().eval(), torch.ones(2, 3, 8, 8))
    with pytest.raises(InputError, match="no scales yet"):
        export_quantised(student, "residual", 1, (3, 8, 8))
    with pytest.raises(InputError, match="no images"):
        calibrate_quantisers(student, [])
    with pytest.raises(InputError, match="holds NaN"):
        calibrate_quantisers(student, [torch.full((2, 3, 8, 8), torch.nan)])


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--limit", "0", "limit is too small"),
        ("--limit", "-5", "limit is too small"),
        ("--epochs", "-1", "epochs is too small"),
        ("--batch-size", "0", "batch size is too small"),
        ("--lr", "nan", "learning rate makes no sense"),
        ("--lr", "-1", "learning rate makes no sense"),
        ("--seed", "-1", "seed makes no sense"),
        ("--input-shape", "0x32x32", "input-shape makes no sense"),
        ("--weights", "missing.safetensors", "missing.safetensors"),
    ],
)
def test_options_that_make_no_sense(option: str, value: str, told: str, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = {"--weights": "bn.safetensors", "--data": "digits", "--out": "int8.onnx", option: value}
    assert main(["qat", "model_bn", *(word for pair in options.items() for word in pair)]) == 2
    assert told in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def uneven() -> nn.Sequential:
    """Convolutions whose channels lie 1 to 300 apart and are brought together again behind each ReLU."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU())
    for _ in range(4):
        network.extend([nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.ReLU(), nn.Conv2d(16, 16, 1), nn.ReLU()])
    network.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)])
    layers = [layer for layer in network if isinstance(layer, nn.Conv2d)]
    with torch.no_grad():
        for layer in layers:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        for first, second in pairwise(layers):
            spread = 300 ** torch.rand(16)
            first.weight *= spread.view(-1, 1, 1, 1)
            first.bias *= spread
            second.weight /= spread.view((-1, 1, 1, 1) if second.groups > 1 else (1, -1, 1, 1))
    return network.eval()


def test_the_file_is_held_against_torch_in_steps_as_evaluate_runs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    student = quantised(uneven(), torch.randn(2, 3, 16, 16))
    calibrate_quantisers(student, [torch.from_numpy(example_images(16, (3, 16, 16)))])
    exported = export_quantised(student, "uneven", None, (3, 16, 16))
    # onnxruntime left alone rounds the biases too, by more than two steps of the outputs.
    images = torch.from_numpy(example_images(4, (3, 16, 16)))
    wanted = student(images).abs().max().item()
    assert largest_difference(student, exported, (3, 16, 16), None) > 2 * wanted / 127

    def halved(content: bytes) -> bytes:
        model = onnx.load_from_string(stored(content))
        scales = {node.input[1] for node in model.graph.node if node.op_type == "DequantizeLinear"}
        scale = next(each for each in model.graph.initializer if each.name in scales and list(each.dims) == [10])
        scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) / 2, scale.name))
        return model.SerializeToString()

    stored = qat._stored
    monkeypatch.setattr(qat, "_stored", halved)
    with pytest.raises(InputError, match="differs from torch"):
        export_quantised(student, "uneven", None, (3, 16, 16))
