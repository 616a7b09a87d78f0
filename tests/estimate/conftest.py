"""The public measurements, read in place, and a small model that every board can take."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from dlaflow.graph.layer import Network
from dlaflow.graph.load import load_model
from dlaflow.graph.lower import lower
from dlaflow.placement.check import check_model
from dlaflow.targets.target import Target
from dlaflow.types import Placement
from tools.fit.cases import read_evidence
from tools.fit.points import Collection

CLASSIFIER = """
<ir_version: 8, opset_import: ["" : 17]>
classifier (float[N, 3, 64, 64] input) => (float[N, 10] output)
<float[64, 3, 3, 3] w0, float[64] b0, float[128, 64, 3, 3] w1, float[128] b1, float[10, 128] w2, float[10] b2>
{
  c0 = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (input, w0, b0)
  r0 = Relu (c0)
  c1 = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (r0, w1, b1)
  r1 = Relu (c1)
  p = GlobalAveragePool (r1)
  f = Flatten (p)
  output = Gemm <transB = 1> (f, w2, b2)
}
"""


@pytest.fixture(scope="session")
def evidence() -> Path:
    """The folder of public measurements."""
    return Path(os.environ.get("DLAFLOW_EVIDENCE", Path(__file__).resolve().parents[3] / "shared" / "evidence"))


@pytest.fixture(scope="session")
def exported(evidence: Path) -> Path:
    """The folder of the networks that exist as files, or a skip."""
    if not (evidence / "placement" / "models").exists():
        pytest.skip(f"{evidence}/placement/models is not here")
    return evidence / "placement" / "models"


@pytest.fixture(scope="session")
def collection(evidence: Path) -> Collection:
    """The public measurements, or a skip."""
    path = evidence / "perf" / "measured_perf.json"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return read_evidence(evidence)


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier whose pooling falls back, with zero weights."""
    import numpy as np

    model = onnx.parser.parse_model(CLASSIFIER)
    shapes = {"w0": (64, 3, 3, 3), "b0": (64,), "w1": (128, 64, 3, 3), "b1": (128,), "w2": (10, 128), "b2": (10,)}
    del model.graph.initializer[:]
    for name, shape in shapes.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(shape, np.float32), name))
    path = tmp_path_factory.mktemp("estimate") / "classifier.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture(scope="session")
def placed(classifier: Path) -> Callable[[Target], tuple[Network, Placement]]:
    """The classifier's network and placement on a target."""

    def on(target: Target) -> tuple[Network, Placement]:
        model = load_model(classifier)
        return lower(model, tensorrt=str(target.version), batch=target.batch), check_model(model, target)

    return on
