"""Sensitivity: a layer that INT8 must hurt is found and kept in FP16."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from dlaflow.errors import InputError
from dlaflow.quantize.calibrate import calibrate
from dlaflow.quantize.calibration import CalibrationConfig
from dlaflow.quantize.images import ImageArray, Preparation
from dlaflow.quantize.sensitivity import Sample, rank


@pytest.fixture
def fragile(small_network: Path, tmp_path: Path) -> Path:
    """The same network with one channel that is always zero and enters the third convolution with enormous weights:
    in float they do nothing, in INT8 the other weights round to nothing beside them."""
    model = onnx.load(small_network)
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor).copy()
        if tensor.name == "b1":
            value[0] = -50.0
        elif tensor.name in {"gamma", "beta", "mean"}:
            value[0] = 0.0
        elif tensor.name == "w3":
            value[:, 0] = 300.0
        tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    path = tmp_path / "fragile.onnx"
    onnx.save(model, str(path))
    return path


def sample(pictures: np.ndarray) -> Sample:
    return Sample(ImageArray(pictures, np.arange(len(pictures)), Preparation()), None, 48)


def test_the_fragile_layer_comes_first_and_is_kept(fragile: Path, pictures: np.ndarray) -> None:
    calibration = calibrate(fragile, lambda: [pictures], CalibrationConfig("minmax"))
    found = rank(fragile, calibration, sample(pictures), max_drop=0.0)
    assert found.layers[0].node == "/c3"
    assert len(found.layers) == 4
    assert found.drop_all > 0
    assert found.keep[:1] == ("/c3",)
    assert found.drop <= found.drop_all


def test_a_generous_limit_keeps_nothing(small_network: Path, pictures: np.ndarray) -> None:
    calibration = calibrate(small_network, lambda: [pictures])
    found = rank(small_network, calibration, sample(pictures), max_drop=100.0)
    assert found.keep == ()
    assert all(layer.top1 is None and 0 <= layer.agreement <= 1 for layer in found.layers)


def test_nothing_to_compare(small_network: Path, pictures: np.ndarray) -> None:
    calibration = calibrate(small_network, lambda: [pictures])
    with pytest.raises(InputError, match="nothing to compare"):
        rank(small_network, calibration, sample(pictures[:0]), max_drop=1.0)
