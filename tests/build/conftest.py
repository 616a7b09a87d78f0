"""The pretended boards: one strict double of TensorRT's Python API for each release that a dump is kept of."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

_spec = importlib.util.spec_from_file_location("tensorrt_machine", Path(__file__).with_name("tensorrt_machine.py"))
machines = sys.modules.setdefault("tensorrt_machine", importlib.util.module_from_spec(_spec))
_spec.loader.exec_module(machines)

MODEL = """
<ir_version: 8, opset_import: ["" : 13]>
tiny (float[N, 3, 8, 8] input) => (float[N, 10] output)
<float[4, 3, 3, 3] weight = {WEIGHT}, float[4, 10] last = {LAST}>
{
   hidden = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (input, weight)
   active = Relu (hidden)
   pooled = GlobalAveragePool (active)
   flat = Flatten (pooled)
   output = MatMul (flat, last)
}
"""


def write_tiny(path: Path, *, pooled: bool = True) -> Path:
    """A small classifier; without the pooling nothing in it is refused by the pretended DLA."""
    random = np.random.default_rng(0)
    weight = ", ".join(f"{value:.4f}" for value in random.normal(size=4 * 3 * 3 * 3))
    last = ", ".join(f"{value:.4f}" for value in random.normal(size=4 * 10))
    text = MODEL.replace("{WEIGHT}", f"{{{weight}}}").replace("{LAST}", f"{{{last}}}")
    if not pooled:
        head, _, _ = text.partition("   pooled")
        text = head.replace("active = Relu", "output = Relu") + "}\n"
        text = text.replace("float[N, 10] output", "float[N, 4, 8, 8] output").replace(
            text[text.index(", float[4, 10]") : text.index(">\n{")], ""
        )
    model = onnx.parser.parse_model(text)
    for index, node in enumerate(model.graph.node):
        node.name = f"node{index}"
    onnx.save(model, path)
    return path


def _load(release: str) -> object:
    if not machines.DUMPS.is_dir():
        pytest.skip(f"no dumps of the bindings in {machines.DUMPS}")
    return machines.load_machine(release)


@pytest.fixture(params=machines.RELEASES)
def machine(request: pytest.FixtureRequest) -> object:
    return _load(request.param)


@pytest.fixture(params=machines.RELEASES[:-1])
def implicit_machine(request: pytest.FixtureRequest) -> object:
    """The releases whose builder chooses types and calibrates."""
    return _load(request.param)


@pytest.fixture
def typed_machine() -> object:
    """The release that takes all types from the model."""
    return _load(machines.RELEASES[-1])


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "tiny.onnx")


@pytest.fixture
def all_on_dla(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "all_on_dla.onnx", pooled=False)
