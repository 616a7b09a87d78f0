"""`dlaflow calibrate`, `evaluate`, `cache` and `sensitivity` share one small classifier and its images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

from dlaflow.cli import main
from dlaflow.files import sha256_of
from dlaflow.quantize.cache import read_cache
from dlaflow.quantize.calibration import read_calibration

TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N,3,8,8] input) => (float[N,4] output)
{
    c = Conv<pads=[1,1,1,1]>(input, w)
    r = Relu(c)
    p = GlobalAveragePool(r)
    f = Flatten(p)
    output = Gemm(f, v, b)
}
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    generator = np.random.default_rng(2)
    proto = onnx.parser.parse_model(TEXT)
    shapes = {"w": (6, 3, 3, 3), "v": (6, 4), "b": (4,)}
    for name, shape in shapes.items():
        proto.graph.initializer.append(
            numpy_helper.from_array(generator.standard_normal(shape).astype(np.float32), name)
        )
    for node in proto.graph.node:
        node.name = f"/{node.output[0]}"
    onnx.save(proto, str(tmp_path / "net.onnx"))
    return tmp_path / "net.onnx"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    generator = np.random.default_rng(3)
    images = generator.standard_normal((40, 3, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "data.npz", images=images, labels=np.arange(40) % 4)
    return tmp_path / "data.npz"


def test_writes_cache_qdq_and_fp16(model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = [
        "--cache",
        str(tmp_path / "c.cache"),
        "--qdq",
        str(tmp_path / "8.onnx"),
        "--fp16",
        str(tmp_path / "16.onnx"),
    ]
    assert main(["calibrate", str(model), "--data", str(data), "--samples", "20", "--jetpack", "6.2", *outputs]) == 0
    printed = capsys.readouterr().out
    assert "20 of 40 images" in printed
    cache = read_cache(tmp_path / "c.cache")
    assert cache.header == "TRT-100300-EntropyCalibration2"
    assert {"input", "c", "r", "p", "f", "output", "v_output"} <= set(cache.scales)
    record = json.loads((tmp_path / "c.cache.json").read_text())
    assert (record["schema"], record["images"]) == ("dlaflow.calibration/1", 20)
    for name in ("8.onnx", "16.onnx"):
        onnx.checker.check_model(onnx.load(tmp_path / name), full_check=True)
    assert not list(tmp_path.glob(".*"))


def test_recovery_writes_the_model_that_the_cache_is_of(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, cache, quantised = (str(tmp_path / name) for name in ("plain.onnx", "c.cache", "8.onnx"))
    arguments = ["calibrate", str(model), "--data", str(data), "--recover", plain]
    assert main([*arguments, "--cache", cache, "--qdq", quantised]) == 0
    printed = capsys.readouterr().out
    assert "scales by entropy" in printed
    assert "top-1" in printed
    assert main(["cache", "lint", cache, "--model", plain]) == 0
    assert read_calibration(f"{cache}.json").model_sha256 == sha256_of(plain)
    assert main(["evaluate", str(model), plain, quantised, "--data", str(data), "-q"]) == 0
    assert main([*arguments, "--fp16", str(tmp_path / "16.onnx")]) == 2
    assert main([*arguments[:-1], "-", "--cache", cache]) == 2
    assert main([*arguments, "--cache", cache, "--samples", "1"]) == 2


def test_a_release_without_caches_takes_the_qdq_model(model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "8.onnx"
    assert main(["calibrate", str(model), "--data", str(data), "--tensorrt", "11.4.1", "--qdq", str(out), "-q"]) == 0
    assert out.is_file()


def test_fp16_needs_no_images(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "16.onnx"
    assert main(["calibrate", str(model), "--fp16", str(out), "--io-types", "float16"]) == 0
    half = onnx.load(out)
    kinds = {value.type.tensor_type.elem_type for value in (*half.graph.input, *half.graph.output)}
    assert kinds == {onnx.TensorProto.FLOAT16}
    assert "Cast" not in {node.op_type for node in half.graph.node}
    capsys.readouterr()
    assert main(["calibrate", str(model), "--cache", str(tmp_path / "c")]) == 2
    assert "no images are named" in capsys.readouterr().err


def test_layers_by_choice(model: Path, data: Path, tmp_path: Path) -> None:
    out = ["--cache", str(tmp_path / "c.cache"), "--qdq", str(tmp_path / "8.onnx"), "-q"]
    assert main(["calibrate", str(model), "--data", str(data), "--fp16-nodes", "/output,/f", *out]) == 0
    assert not {"f", "output"} & set(read_cache(tmp_path / "c.cache").scales)
    assert "v" in {tensor.name for tensor in onnx.load(tmp_path / "8.onnx").graph.initializer}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "nothing to write"),
        (["--cache", "C", "--method", "entropie"], "unknown calibration method"),
        (["--cache", "C", "--samples", "0"], "too few images"),
        (["--cache", "C", "--tensorrt", "new"], "expected a release such as"),
        (["--cache", "C", "--tensorrt", "11.4.1"], "reads no calibration cache"),
        (["--cache", "C", "--fp16-nodes", "/outptu"], "'/output'"),
        (["--cache", "C", "--mean", "a,b"], "--mean makes no sense"),
        (["--cache", "C", "--data", "nowhere"], "no such file or folder"),
    ],
)
def test_wrong_options_write_nothing(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    given = [str(tmp_path / "c.cache") if option == "C" else option for option in options]
    arguments = given if "--data" in given else ["--data", str(data), *given]
    assert main(["calibrate", str(model), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "c.cache").exists()


def test_broken_images_write_nothing(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "nan.npy", np.full((4, 3, 8, 8), np.nan, np.float32))
    (tmp_path / "half.npy").write_bytes((tmp_path / "nan.npy").read_bytes()[:100])
    (tmp_path / "empty").mkdir()
    (tmp_path / "mixed").mkdir()
    for side in (8, 10):
        Image.new("RGB", (side, 8)).save(tmp_path / "mixed" / f"{side}.png")
    for data, message in (
        ("mixed", "does not fit the network"),
        ("nan.npy", "NaN"),
        ("half.npy", "cannot be read"),
        ("empty", "holds no images"),
    ):
        before = set(tmp_path.iterdir())
        outputs = ["--cache", str(tmp_path / "c.cache"), "--qdq", str(tmp_path / "8"), "--fp16", str(tmp_path / "16")]
        assert main(["calibrate", str(model), "--data", str(tmp_path / data), *outputs]) == 2
        assert message in capsys.readouterr().err
        assert set(tmp_path.iterdir()) == before


def test_the_built_in_digits(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> net (float[N,3,32,32] input) => (float[N,3,1,1] output)'
        "{ r = Relu(input)  output = GlobalAveragePool(r) }"
    )
    onnx.save(proto, str(tmp_path / "net.onnx"))
    out = tmp_path / "c.cache"
    assert (
        main(
            ["calibrate", str(tmp_path / "net.onnx"), "--data", "digits", "--samples", "30", "--cache", str(out), "-q"]
        )
        == 0
    )
    assert set(read_cache(out).scales) == {"input", "r", "output"}


def test_a_recovery_within_a_limit_says_the_layers_in_fp16(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A limit that no INT8 keeps: the output's difference is beyond it in every layer that is asked to stay INT8."""
    images = np.random.default_rng(4).standard_normal((400, 3, 8, 8)).astype(np.float32)
    weights = onnx.load(model)
    for tensor in weights.graph.initializer:
        if tensor.name == "v":  # classes that lie close together change with every rounding
            base = np.random.default_rng(5).standard_normal((6, 1)) + np.random.default_rng(6).normal(0, 3e-3, (6, 4))
            tensor.CopyFrom(numpy_helper.from_array(base.astype(np.float32), "v"))
        elif tensor.name == "b":
            tensor.CopyFrom(numpy_helper.from_array(np.zeros(4, np.float32), "b"))
    onnx.save(weights, str(model))
    np.save(tmp_path / "x.npy", images)
    names = ("plain.onnx", "c.cache", "8.onnx", "fp16.txt")
    plain, cache, quantised, layers = (str(tmp_path / name) for name in names)
    arguments = ["calibrate", str(model), "--data", str(tmp_path / "x.npy"), "--recover", plain, "--cache", cache]
    assert main([*arguments, "--qdq", quantised, "--layer-precisions", layers, "--max-drop", "1"]) == 0
    printed = capsys.readouterr().out
    assert "in FP16" in printed
    kept = [each.rpartition(":")[0] for each in Path(layers).read_text().strip().split(",")]
    assert kept
    assert {*kept} <= {"/c", "/output"}
    written = {node.name: node for node in onnx.load(quantised).graph.node}
    weights_of = {tensor.name for tensor in onnx.load(quantised).graph.initializer}
    assert all(written[name].input[1] in weights_of for name in kept)  # no DequantizeLinear before them
    without = read_cache(Path(cache)).scales
    assert ("output" in without) == ("/output" not in kept)
    assert main([*arguments, "--max-drop", "100"]) == 0
    assert "in FP16: nothing" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ["--max-drop", "1", "--cache", "out"],
        ["--recover", "p.onnx", "--max-drop", "nan", "--cache", "out"],
        ["--recover", "p.onnx", "--max-drop", "-1", "--cache", "out"],
        ["--layer-precisions", "l.txt", "--fp16", "h.onnx"],
        ["--layer-precisions", "l.txt", "--qdq", "q.onnx", "--tensorrt", "11.4.1"],
    ],
)
def test_limits_that_make_no_sense(
    words: list[str], model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = {*tmp_path.iterdir()}
    assert main(["calibrate", str(model), "--data", str(data), *words]) == 2
    assert {*tmp_path.iterdir()} == before
