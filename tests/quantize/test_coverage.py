"""Scales for TensorRT's own tensors, and lint against a model."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from dlaflow.graph.load import load_model
from dlaflow.quantize.cache import read_cache, write_cache
from dlaflow.quantize.calibrate import calibrate
from dlaflow.quantize.calibration import Calibration, sidecar_of, write_calibration
from dlaflow.quantize.coverage import cover
from dlaflow.quantize.lint import lint_cache, lint_for_model
from dlaflow.quantize.model import index
from dlaflow.quantize.plan import with_residual_ones, without_float_nodes
from dlaflow.rewrites.reductions import replace_global_average_pool
from dlaflow.targets.target import resolve_target

MODELS = Path(os.environ.get("DLAFLOW_EVIDENCE", Path(__file__).parents[2] / "../shared/evidence")).parent / "models"


@pytest.fixture(scope="module")
def calibration(small_network: Path, pictures: np.ndarray) -> Calibration:
    return calibrate(small_network, lambda: [pictures])


def kinds(problems: list[object]) -> list[str]:
    return sorted({problem.kind for problem in problems})  # type: ignore[attr-defined]


OWN_TENSORS = {
    "8.5.2": ("(Unnamed Layer* 20) [Matrix Multiply]_output", "(Unnamed Layer* 19) [Constant]_output"),
    "10.3.0": ("/output_output", "w4_output"),
}


@pytest.mark.parametrize("release", OWN_TENSORS)
def test_the_parsers_own_tensors_follow(small_network: Path, calibration: Calibration, release: str) -> None:
    covered = cover(small_network, calibration, release)
    assert covered.missing == ()
    assert covered.scales.items() >= calibration.scales.items()
    product, weight = OWN_TENSORS[release]
    assert covered.derived[product] == "output"
    assert covered.scales[weight] == pytest.approx(np.abs(read(small_network, "w4")).max() / 127)


def read(path: Path, name: str) -> np.ndarray:
    value = index(load_model(path).whole()).value(name)
    assert value is not None
    return np.asarray(value)


def walk_through(name: str, folder: Path) -> Path:
    """One of the three networks; the AveragePool variant is made from model_bn."""
    path = MODELS / f"{name.removesuffix('_averagepool')}.onnx"
    if not path.is_file():
        pytest.skip("the trained demo models are not there (DLAFLOW_EVIDENCE)")
    if path.stem != name:
        assert (
            replace_global_average_pool(path, folder / "averagepool.onnx", resolve_target("agx-orin-64gb", "5.1.1"))
            == 1
        )
        return folder / "averagepool.onnx"
    return path


@pytest.mark.parametrize("name", ["model_bn", "model_bn_averagepool", "model_gn"])
@pytest.mark.parametrize("release", ["8.5.2", "10.3.0", "11.4.1"])
def test_nothing_is_missing_in_the_walk_through(name: str, release: str, tmp_path: Path) -> None:
    path = walk_through(name, tmp_path)
    images = np.random.default_rng(0).standard_normal((4, 3, 32, 32)).astype(np.float32)
    assert cover(path, calibrate(path, lambda: [images]), release).missing == ()


@pytest.mark.parametrize("name", ["model_bn", "model_bn_averagepool", "model_gn"])
def test_tensorrts_own_parser_finds_no_tensor_without_scale(name: str, tmp_path: Path) -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    path = walk_through(name, tmp_path)
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    assert parser.parse(path.read_bytes())
    tensors = [network.get_input(0)]
    for position in range(network.num_layers):
        layer = network.get_layer(position)
        tensors += [layer.get_output(output) for output in range(layer.num_outputs)]
    names = {tensor.name for tensor in tensors if tensor.dtype == trt.float32}
    images = np.random.default_rng(0).standard_normal((4, 3, 32, 32)).astype(np.float32)
    covered = cover(path, calibrate(path, lambda: [images]), "11.4.1")
    assert names - set(covered.scales) == set()


def test_a_complete_cache_is_in_order(small_network: Path, calibration: Calibration, tmp_path: Path) -> None:
    path = tmp_path / "c.cache"
    write_cache(cover(small_network, calibration, "8.5.2").scales, "8.5.2", path)
    write_calibration(calibration, sidecar_of(path))
    assert lint_for_model(read_cache(path), path, small_network) == []


def test_lint_names_each_fault(small_network: Path, calibration: Calibration, tmp_path: Path) -> None:
    path = tmp_path / "c.cache"
    scales = dict(cover(small_network, calibration, "8.5.2").scales)
    del scales["r2"]
    scales |= {"elsewhere": 0.1, "p": scales["q"] * 2, "g": 0.0, "m": float("inf"), "pool": 1e6, "flat": 1e-9}
    write_cache(scales, "8.5.2", path)
    changed = Calibration(calibration.tensors, "entropy", 1, "0" * 64, "")
    write_calibration(changed, sidecar_of(path))
    problems = lint_for_model(read_cache(path), path, small_network, "10.3.0")
    expected = ["huge", "infinite", "missing", "other model", "release", "stranger", "tiny", "unequal", "zero"]
    assert kinds(problems) == expected  # type: ignore[arg-type]
    assert sorted(problem.tensor for problem in problems if problem.kind == "missing") == ["/output_output", "r2"]


def test_lint_without_a_model() -> None:
    from dlaflow.quantize.cache import parse_cache

    text = "TRT-8400-MinMaxCalibration\na: 3c010204\na: 3c010205\nb: bf800000\n"
    assert kinds(lint_cache(parse_cache(text))) == ["calibrator", "duplicate", "negative"]  # type: ignore[arg-type]


def test_choices(small_network: Path, calibration: Calibration) -> None:
    graph = index(load_model(small_network).whole())
    assert set(calibration.scales) - set(without_float_nodes(graph, calibration.scales, ["/output", "/flat"])) == {
        "flat",
        "output",
    }


def test_a_unit_scale_before_the_residual_sum(small_network: Path, calibration: Calibration, tmp_path: Path) -> None:
    graph = index(load_model(small_network).whole())
    ones = with_residual_ones(graph, calibration.scales)
    assert [name for name, scale in ones.items() if scale == 1.0] == ["c2", "n2"]
    assert with_residual_ones(graph, {"r1": 0.1, "n2": 0.2}) == {"r1": 0.1, "n2": 1.0}
    path = tmp_path / "c.cache"
    write_cache(cover(small_network, calibration, "8.5.2").scales | ones, "8.5.2", path)
    assert lint_for_model(read_cache(path), path, small_network) == []
