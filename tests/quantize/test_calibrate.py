"""Calibration of a small network: against observing everything at once, resumed after a kill, and on bad input."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import onnx
import pytest

from dlaflow.errors import InputError, UsageError
from dlaflow.graph.load import load_model
from dlaflow.quantize.calibrate import calibrate
from dlaflow.quantize.calibration import (
    CalibrationConfig,
    read_calibration,
    sidecar_of,
    write_calibration,
)
from dlaflow.quantize.fp16 import write_fp16
from dlaflow.quantize.qdq import write_qdq
from dlaflow.runtime.ort import OrtRunner


def everything(path: Path, pictures: np.ndarray, names: list[str]) -> dict[str, float]:
    """The largest magnitudes, from keeping all activations."""
    model = load_model(path).whole()
    del model.graph.output[:]
    for name in names:
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    return {
        name: float(np.abs(value).max()) for name, value in zip(names, OrtRunner(model).run_all(pictures), strict=True)
    }


@pytest.mark.parametrize("batch", [1, 7, 96])
def test_minmax_equals_the_largest_of_all_activations(small_network: Path, pictures: np.ndarray, batch: int) -> None:
    batches = [pictures[i : i + batch] for i in range(0, 96, batch)]
    found = calibrate(small_network, lambda: batches, CalibrationConfig("minmax"))
    names = ["c1", "r1", "r2", "c3", "g", "m", "pool", "output"]
    largest = everything(small_network, pictures, names)
    measured = {tensor.name: tensor for tensor in found.tensors}
    for name in ("r1", "c3", "g", "m", "pool", "output"):
        assert measured[name].largest == pytest.approx(largest[name], rel=1e-5), name
    assert measured["input"].largest == np.abs(pictures).max()
    assert measured["c1"].scale == measured["r1"].scale
    assert found.images == 96


def test_every_activation_has_a_scale_in_network_order(small_network: Path, pictures: np.ndarray) -> None:
    found = calibrate(small_network, lambda: [pictures], CalibrationConfig("entropy"))
    nodes = load_model(small_network).whole().graph.node
    assert list(found.scales) == ["input", *(node.output[0] for node in nodes)]
    assert all(np.float32(scale) == scale and scale > 0 for scale in found.scales.values())


def test_rules_of_the_dla(small_network: Path, pictures: np.ndarray) -> None:
    scales = calibrate(small_network, lambda: [pictures]).scales
    assert scales["n2"] == scales["r1"]
    assert scales["p"] == scales["q"] == scales["cat"] == scales["r2"]


@pytest.mark.parametrize("method", ["percentile", "mse", "auto"])
def test_other_methods_stay_below_minmax(small_network: Path, pictures: np.ndarray, method: str) -> None:
    upper = calibrate(small_network, lambda: [pictures], CalibrationConfig("minmax")).scales
    found = calibrate(small_network, lambda: [pictures], CalibrationConfig(method)).scales
    assert found.keys() == upper.keys()
    assert all(found[name] <= upper[name] * (1 + 1e-6) for name in upper)


def test_a_fixed_batch_is_filled_up_without_counting_twice(
    small_network: Path, pictures: np.ndarray, tmp_path: Path
) -> None:
    model = load_model(small_network).whole()
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = 10
    onnx.save(model, str(tmp_path / "fixed.onnx"))
    fixed = calibrate(tmp_path / "fixed.onnx", lambda: [pictures[:25]])
    assert fixed.scales == pytest.approx(calibrate(small_network, lambda: [pictures[:25]]).scales, rel=1e-3)


def test_the_number_of_images_is_limited(small_network: Path, pictures: np.ndarray) -> None:
    batches = [pictures[:40], pictures[40:80]]
    few = calibrate(small_network, lambda: batches, CalibrationConfig(images=50))
    assert few.images == 50
    assert few.scales == calibrate(small_network, lambda: [pictures[:50]]).scales


def test_constant_and_broken_activations(small_network: Path, pictures: np.ndarray) -> None:
    dark = calibrate(small_network, lambda: [np.zeros_like(pictures[:2])])
    assert any("'input'" in warning for warning in dark.warnings)
    assert dark.scales["input"] > 0
    broken = pictures[:2].copy()
    broken[1, 0, 0, 0] = np.nan
    with pytest.raises(InputError, match="NaN"):
        calibrate(small_network, lambda: [broken])


def test_bad_input(small_network: Path, pictures: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no calibration images"):
        calibrate(small_network, list)
    with pytest.raises(InputError, match=r"refused the images.*3, 16, 16"):
        calibrate(small_network, lambda: [pictures[:, :, :8]])
    with pytest.raises(UsageError, match="entropy"):
        CalibrationConfig("entropie")
    (tmp_path / "no.onnx").write_bytes(b"no model")
    with pytest.raises(InputError, match=r"no\.onnx"):
        calibrate(tmp_path / "no.onnx", lambda: [pictures])


def test_models_that_are_converted_already(small_network: Path, pictures: np.ndarray, tmp_path: Path) -> None:
    write_fp16(small_network, tmp_path / "16.onnx")
    write_qdq(small_network, calibrate(small_network, lambda: [pictures]), tmp_path / "8.onnx")
    with pytest.raises(InputError, match="FP16 model"):
        calibrate(tmp_path / "16.onnx", lambda: [pictures])
    with pytest.raises(InputError, match="quantised already"):
        calibrate(tmp_path / "8.onnx", lambda: [pictures])


def test_the_record_comes_back(small_network: Path, pictures: np.ndarray, tmp_path: Path) -> None:
    found = calibrate(small_network, lambda: [pictures[:8]])
    write_calibration(found, sidecar_of(tmp_path / "c.cache"))
    assert read_calibration(tmp_path / "c.cache.json") == found
    (tmp_path / "other.json").write_text('{"schema": "x"}')
    with pytest.raises(InputError, match=r"other\.json"):
        read_calibration(tmp_path / "other.json")


KILLED = """
import sys, time
from pathlib import Path
import numpy as np
from dlaflow.quantize.calibrate import calibrate
from dlaflow.quantize.calibration import CalibrationConfig
pictures = np.load(sys.argv[2])
def slowly():
    for start in range(0, 96, 8):
        yield pictures[start:start + 8]
        print(start, flush=True)
        time.sleep(0.05 if start < 48 else 60)
calibrate(Path(sys.argv[1]), slowly, CalibrationConfig(checkpoint=Path(sys.argv[3]), checkpoint_seconds=0.0))
"""


def test_a_killed_calibration_goes_on_where_it_was(small_network: Path, pictures: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "pictures.npy", pictures)
    state = tmp_path / "state.npz"
    arguments = [str(small_network), str(tmp_path / "pictures.npy"), str(state)]
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(KILLED), *arguments], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == "48":
            break
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert state.is_file()
    asked: list[int] = []

    def batches() -> object:
        for start in range(0, 96, 8):
            asked.append(start)
            yield pictures[start : start + 8]

    began = time.monotonic()
    config = CalibrationConfig(checkpoint=state, checkpoint_seconds=1e9)
    resumed = calibrate(small_network, batches, config)  # type: ignore[arg-type]
    assert time.monotonic() - began < 30
    straight = calibrate(small_network, lambda: (pictures[i : i + 8] for i in range(0, 96, 8)))
    assert resumed == straight
    assert not state.exists()


def test_auto_stopped_in_its_second_pass_counts_nothing_again(
    small_network: Path, pictures: np.ndarray, tmp_path: Path
) -> None:
    state = tmp_path / "state.npz"
    passes: list[int] = []

    def batches() -> object:
        passes.append(0)
        for start in range(0, 96, 8):
            passes[-1] += 1
            if len(passes) == 2:
                raise KeyboardInterrupt
            yield pictures[start : start + 8]

    config = CalibrationConfig("auto", checkpoint=state)
    with pytest.raises(KeyboardInterrupt):
        calibrate(small_network, batches, config)  # type: ignore[arg-type]
    with np.load(state) as stored:
        assert int(stored["images"]) == 96
    resumed = calibrate(small_network, batches, config)  # type: ignore[arg-type]
    assert resumed == calibrate(small_network, lambda: (pictures[i : i + 8] for i in range(0, 96, 8)), config)
    assert not state.exists()


def test_a_state_of_other_images_is_not_used(small_network: Path, pictures: np.ndarray, tmp_path: Path) -> None:
    state = tmp_path / "state.npz"

    class Stopped(Exception):
        pass

    def stopping() -> object:
        yield pictures[:8] * 100
        yield pictures[8:16]
        raise Stopped

    with pytest.raises(Stopped):
        calibrate(small_network, stopping, CalibrationConfig(checkpoint=state, checkpoint_seconds=0))  # type: ignore[arg-type]
    assert state.is_file()
    fresh = calibrate(small_network, lambda: [pictures], CalibrationConfig(checkpoint=state))
    assert fresh == calibrate(small_network, lambda: [pictures])
