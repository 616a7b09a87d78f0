"""Export: names, shapes, opsets and equality with torch; nothing is written when something is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from dlaflow.errors import InputError, UsageError
from dlaflow.zoo.export import ExportConfig, choose_opset, example_images, export
from dlaflow.zoo.models import build_model
from dlaflow.zoo.weights import load_weights, save_tensors


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of both networks, with normalizations that are not the identity."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    for name in ("model_bn", "model_gn"):
        model = build_model(name)
        for _ in range(2):
            model.train()(torch.randn(8, 3, 32, 32))
        save_tensors(folder / f"{name}.safetensors", model.state_dict())
    return folder


@pytest.fixture
def config(weights: Path, tmp_path: Path) -> ExportConfig:
    return ExportConfig("model_bn", weights / "model_bn.safetensors", tmp_path / "m.onnx")


def dims(value: onnx.ValueInfoProto) -> list[int | str]:
    return [each.dim_param or each.dim_value for each in value.type.tensor_type.shape.dim]


@pytest.mark.parametrize("name", ["model_bn", "model_gn"])
def test_the_file_is_the_network(name: str, config: ExportConfig) -> None:
    config = replace(config, model=name, weights=config.weights.with_name(f"{name}.safetensors"))
    result = export(config)
    assert result.max_difference < 1e-4
    assert (result.opset, result.batch) == (17, None)
    proto = onnx.load(config.out)
    assert [(value.name, dims(value)) for value in proto.graph.input] == [("input", ["batch", 3, 32, 32])]
    assert [value.name for value in proto.graph.output] == ["output"]
    assert {"/cnn/cnn.0/Conv", "/cnn/cnn.11/Relu", "/pool/GlobalAveragePool", "/linear/Gemm"} <= {
        node.name for node in proto.graph.node
    }
    model = build_model(name).eval()
    load_weights(model, config.weights)
    images = np.random.default_rng(1).standard_normal((7, 3, 32, 32)).astype(np.float32)
    (ours,) = onnxruntime.InferenceSession(config.out).run(None, {"input": images})
    np.testing.assert_allclose(ours, model(torch.from_numpy(images)).detach().numpy(), atol=1e-4)


def test_nodes_are_those_of_the_published_export(config: ExportConfig, published_weights: Path) -> None:
    export(replace(config, weights=published_weights / "model_bn.safetensors"))
    ours, theirs = onnx.load(config.out).graph.node, onnx.load(published_weights / "model_bn.onnx").graph.node
    assert [(node.name, node.op_type) for node in ours] == [(node.name, node.op_type) for node in theirs]


def test_a_fixed_batch_and_simplify(config: ExportConfig) -> None:
    plain = export(config)
    result = export(replace(config, batch=4, simplify=True))
    proto = onnx.load(config.out)
    assert dims(proto.graph.input[0]) == [4, 3, 32, 32]
    assert dims(proto.graph.output[0]) == [4, 10]
    assert result.nodes == len(proto.graph.node) < plain.nodes
    assert not {"Shape", "Gather", "Concat"} & {node.op_type for node in proto.graph.node}


def test_opset_and_input_shape_are_as_asked(config: ExportConfig) -> None:
    assert export(replace(config, opset=13, input_shape=(3, 64, 48))).opset == 13
    proto = onnx.load(config.out)
    assert proto.opset_import[0].version == 13
    assert dims(proto.graph.input[0]) == ["batch", 3, 64, 48]


@pytest.mark.parametrize(
    ("wanted", "reads", "chosen"), [(None, None, 17), (None, 24, 17), (None, 13, 13), (18, 20, 18)]
)
def test_auto_takes_what_the_release_reads(wanted: int | None, reads: int | None, chosen: int) -> None:
    assert choose_opset(wanted, reads) == chosen


@pytest.mark.parametrize(("wanted", "reads"), [(18, 17), (9, None), (99, None)])
def test_an_opset_beyond_the_release_is_refused(wanted: int, reads: int | None) -> None:
    with pytest.raises(UsageError, match=f"opset {wanted} cannot be used"):
        choose_opset(wanted, reads)


HARD = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return {}
"""


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (
            "x.mean((1, 2, 3)) + torch.rand(1)",
            "differs from torch",
        ),
        ("x, x", "one tensor as its output, received tuple"),
        ("torch.linalg.svdvals(x)", "torch cannot export"),
        ("x.reshape(7, -1)", "torch cannot export"),
    ],
)
def test_what_cannot_be_exported_is_one_line_and_writes_nothing(
    forward: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = f"hard_{abs(hash(forward))}"
    (tmp_path / f"{module}.py").write_text(f"import torch\nfrom torch import nn\n{HARD.format(forward)}")
    monkeypatch.chdir(tmp_path)
    save_tensors(tmp_path / "w.safetensors", {"unused": torch.zeros(1)})
    with pytest.raises(InputError, match=message) as caught:
        export(ExportConfig(f"{module}:Net", tmp_path / "w.safetensors", tmp_path / "m.onnx"))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize("change", [{"batch": 0}, {"input_shape": (3, 0, 32)}])
def test_options_that_make_no_sense(change: dict[str, object], config: ExportConfig) -> None:
    with pytest.raises(UsageError):
        export(replace(config, **change))


def test_example_images_look_like_normalised_photographs() -> None:
    images = example_images(8, (3, 30, 34))
    assert images.shape == (8, 3, 30, 34)
    assert np.abs(images).max() <= 2
    assert 0.5 < images.std() < 1.2
    neighbours = np.corrcoef(images[..., :-1].ravel(), images[..., 1:].ravel())[0, 1]
    assert neighbours > 0.5


def test_torch_exports_in_silence(config: ExportConfig) -> None:
    code = (
        "from pathlib import Path; from dlaflow.zoo.export import ExportConfig, export;"
        f"export(ExportConfig('model_gn', Path({str(config.weights.with_name('model_gn.safetensors'))!r}),"
        f" Path({str(config.out)!r}), simplify=True))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    assert (done.stdout, done.stderr) == ("", "")
