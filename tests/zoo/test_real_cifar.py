"""The real data and weights that were trained and measured elsewhere, read in place where they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dlaflow.zoo.augment import DeviceImages
from dlaflow.zoo.data import load_dataset
from dlaflow.zoo.dataset import Dataset
from dlaflow.zoo.loop import accuracy
from dlaflow.zoo.models import build_model
from dlaflow.zoo.weights import load_weights


@pytest.fixture(scope="module")
def dataset(real_cifar: Path) -> Dataset:
    return load_dataset("cifar10", real_cifar)


def test_counts_and_statistics(dataset: Dataset) -> None:
    assert np.bincount(dataset.train.labels).tolist() == [5000] * 10
    assert np.bincount(dataset.test.labels).tolist() == [1000] * 10
    sample = dataset.train.images[:5000] / 255
    np.testing.assert_allclose(sample.mean(axis=(0, 2, 3)), dataset.mean, atol=0.01)
    np.testing.assert_allclose(sample.std(axis=(0, 2, 3)), dataset.std, atol=0.01)


@pytest.mark.parametrize(("name", "correct"), [("model_bn", 8852), ("model_gn", 8736)])
def test_published_weights_reach_their_published_accuracy(
    name: str, correct: int, published_weights: Path, dataset: Dataset
) -> None:
    """Networks, pixels, normalisation and the count itself, against figures measured by someone else."""
    model = build_model(name)
    load_weights(model, published_weights / f"{name}.safetensors")
    top1 = accuracy(model, DeviceImages(dataset.test, dataset, torch.device("cpu")), len(dataset.classes))
    # A logit that is nearly a tie may fall either way with another version of torch.
    assert abs(top1 * 10_000 - correct) <= 3
