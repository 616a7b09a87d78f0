"""A small network with everything that matters here: BatchNormalization, a residual sum, Concat, Sigmoid, Gemm."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
small (float[N,3,16,16] input) => (float[N,10] output)
{
    c1 = Conv<pads=[1,1,1,1]>(input, w1, b1)
    r1 = Relu(c1)
    c2 = Conv<pads=[1,1,1,1]>(r1, w2)
    n2 = BatchNormalization(c2, gamma, beta, mean, var)
    s = Add(n2, r1)
    r2 = Relu(s)
    p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r2)
    q = AveragePool<kernel_shape=[2,2], strides=[2,2]>(r2)
    cat = Concat<axis=1>(p, q)
    c3 = Conv(cat, w3, b1)
    g = Sigmoid(c3)
    m = Mul(c3, g)
    pool = GlobalAveragePool(m)
    flat = Flatten(pool)
    output = Gemm<transB=1>(flat, w4, b4)
}
"""


def weights() -> dict[str, np.ndarray]:
    """He-initialised weights and the statistics of a trained normalization, always the same."""
    generator = np.random.default_rng(7)

    def he(*shape: int) -> np.ndarray:
        return generator.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))

    return {
        "w1": he(8, 3, 3, 3),
        "b1": generator.uniform(-0.2, 0.2, 8),
        "w2": he(8, 8, 3, 3),
        "gamma": generator.uniform(0.5, 1.5, 8),
        "beta": generator.uniform(-0.3, 0.3, 8),
        "mean": generator.uniform(-0.3, 0.3, 8),
        "var": generator.uniform(0.5, 2.0, 8),
        "w3": he(8, 16, 1, 1),
        "w4": he(10, 8) * 3,
        "b4": generator.uniform(-0.2, 0.2, 10),
    }


@pytest.fixture(scope="session")
def small_network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network as a file: input [N, 3, 16, 16], output [N, 10]."""
    model = onnx.parser.parse_model(TEXT)
    for name, value in weights().items():
        model.graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
    for node in model.graph.node:
        node.name = f"/{node.output[0]}"
    path = tmp_path_factory.mktemp("networks") / "small.onnx"
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))
    return path


@pytest.fixture(scope="session")
def pictures() -> np.ndarray:
    """Smooth random images, float32 [96, 3, 16, 16]."""
    generator = np.random.default_rng(11)
    coarse = generator.standard_normal((96, 3, 4, 4)).astype(np.float32)
    return coarse.repeat(4, 2).repeat(4, 3) + 0.1 * generator.standard_normal((96, 3, 16, 16)).astype(np.float32)
