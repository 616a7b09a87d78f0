"""Data sets and networks small enough to train within a test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dlaflow.zoo.dataset import Dataset, Split

TINY_NETWORK = """
from torch import nn

def tiny():
    features = [nn.Conv2d(3, 8, 3, stride=4), nn.BatchNorm2d(8), nn.ReLU()]
    return nn.Sequential(*features, nn.Dropout(0.1), nn.Flatten(), nn.Linear(512, 10))
"""


def coloured(count: int, seed: int) -> Split:
    """Noise whose mean colour is the class: easy to learn, and neither a crop nor a flip changes it."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 10, count)
    tints = np.array([[(label // 3**channel) % 3 * 75 for channel in range(3)] for label in labels], dtype=np.uint8)
    images = random.integers(0, 100, (count, 3, 32, 32), dtype=np.uint8) + tints[:, :, None, None]
    return Split(images, labels.astype(np.int64))


@pytest.fixture
def colours() -> Dataset:
    """200 training and 50 test images."""
    classes = tuple(f"colour {number}" for number in range(10))
    return Dataset("colours", coloured(200, 1), coloured(50, 2), (0.4,) * 3, (0.25,) * 3, classes, mirrored=True)


@pytest.fixture
def tiny_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """The name of a user's own factory, in a module that lies in the current folder."""
    module = f"own_{abs(hash(request.node.nodeid))}"
    (tmp_path / f"{module}.py").write_text(TINY_NETWORK)
    monkeypatch.chdir(tmp_path)
    return f"{module}:tiny"


@pytest.fixture(scope="session")
def real_cifar() -> Path:
    """The folder with the real archive, for tests that read it in place."""
    default = Path(__file__).parents[3] / "shared" / "cifar10"
    folder = Path(os.environ.get("DLAFLOW_DATA", default))
    if not (folder / "cifar-10-binary.tar.gz").is_file():
        pytest.skip(f"no CIFAR-10 archive in {folder}")
    return folder


@pytest.fixture(scope="session")
def published_weights() -> Path:
    """The folder with weights that were trained elsewhere under the same names."""
    folder = Path(__file__).parents[3] / "shared" / "models"
    if not folder.is_dir():
        pytest.skip(f"no published weights in {folder}")
    return folder


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums depend on how many threads share them, and threads that wait for each other tell nothing of a network's
    speed on a busy machine."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
