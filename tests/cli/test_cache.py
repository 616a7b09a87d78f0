"""`dlaflow cache`: every subcommand on caches that TensorRT could have written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from dlaflow.cli import main
from dlaflow.quantize.cache import read_cache

FIRST = "TRT-8502-EntropyCalibration2\ninput: 3c010204\nr: 3d010204\na: b: 0\n"
SECOND = "TRT-8600-EntropyCalibration2\nr: 3e010204\nnew: 3c010204"


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    (tmp_path / "one").write_text(FIRST)
    (tmp_path / "two").write_text(SECOND)
    return str(tmp_path / "one"), str(tmp_path / "two")


@pytest.fixture
def model(tmp_path: Path) -> str:
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[1,2,4,4] input) => (float[1,2,4,4] r) { c = Conv(input, w)  r = Relu(c) }
    """
    proto = onnx.parser.parse_model(text)
    weight = np.random.default_rng(0).standard_normal((2, 2, 1, 1)).astype(np.float32)
    proto.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    for node in proto.graph.node:
        node.name = f"/{node.output[0]}"
    onnx.save(proto, str(tmp_path / "net.onnx"))
    return str(tmp_path / "net.onnx")


def test_show(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "show", files[0]]) == 0
    printed = capsys.readouterr().out
    assert "3 scales" in printed
    assert "3c010204" in printed
    assert "a: b" in printed


def test_lint(files: tuple[str, str], model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "lint", files[0]]) == 1
    assert "zero" in capsys.readouterr().out
    assert main(["cache", "lint", files[0], "--model", model]) == 1
    printed = capsys.readouterr().out
    assert "missing     c" in printed
    assert "stranger    a: b" in printed
    assert main(["cache", "lint", files[1]]) == 0


def test_merge_and_rename(files: tuple[str, str], tmp_path: Path) -> None:
    merged = str(tmp_path / "merged")
    assert main(["cache", "merge", *files, "--out", merged]) == 0
    cache = read_cache(merged)
    assert cache.tensorrt == "8.5.2"
    assert list(cache.scales) == ["input", "r", "a: b", "new"]
    assert cache.scales["r"] == read_cache(files[1]).scales["r"]
    assert main(["cache", "rename", files[0], "r=relu", "--tensorrt", "10.3.0", "--out", merged]) == 0
    expected = FIRST.replace("TRT-8502", "TRT-100300").replace("\nr:", "\nrelu:")
    assert Path(merged).read_text() == expected


def test_diff(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "diff", *files]) == 0
    printed = capsys.readouterr().out
    assert "4.000 times" in printed
    assert "only in one  input" in printed
    assert "only in two  new" in printed
    assert main(["cache", "diff", files[0], files[0]]) == 0
    assert capsys.readouterr().out == ""


def test_to_qdq_and_back(
    files: tuple[str, str], model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quantised, plain, cache, layers = (str(tmp_path / name) for name in ("8.onnx", "p.onnx", "c.cache", "layers.txt"))
    assert main(["cache", "to-qdq", files[0], model, "--out", quantised]) == 0
    arguments = ["--cache", cache, "--plain", plain, "--layer-precisions", layers]
    assert main(["cache", "from-qdq", quantised, *arguments]) == 0
    original = read_cache(files[0]).scales
    known = {"input": original["input"], "c": original["r"], "r": original["r"]}
    assert read_cache(cache).scales == pytest.approx(known, rel=2**-11)  # the file holds FP16 scales
    assert [node.op_type for node in onnx.load(plain).graph.node] == ["Conv", "Relu"]
    assert Path(layers).read_text().strip() == ""
    (tmp_path / "none.cache").write_text("TRT-8502-EntropyCalibration2\nelsewhere: 3c010204\n")
    for option in (["--fill", str(tmp_path / "nowhere")], ["--data", str(tmp_path / "nowhere")]):
        assert main(["cache", "from-qdq", quantised, *arguments, *option]) == 2
    assert main(["cache", "from-qdq", quantised, *arguments, "--fill", str(tmp_path / "none.cache"), "-q"]) == 2
    assert "none.cache is not of this model: expected its tensors, received elsewhere" in capsys.readouterr().err
    assert main(["cache", "from-qdq", quantised, *arguments, "--fill", cache]) == 2  # an input is not written over
    capsys.readouterr()
    assert main(["cache", "from-qdq", model, *arguments]) == 2
    assert "no Q/DQ" in capsys.readouterr().err


def test_layers_that_stay_in_fp16(files: tuple[str, str], model: str, tmp_path: Path) -> None:
    quantised, layers = str(tmp_path / "8.onnx"), tmp_path / "layers.txt"
    arguments = ["cache", "to-qdq", files[0], model, "--out", quantised, "--layer-precisions", str(layers)]
    for text, code in (("/c:fp16\n", 0), ("/c:int7", 2), ("/x:fp16", 2)):
        layers.write_text(text)
        assert main(arguments) == code
    assert main([*arguments[:-1], str(tmp_path / "none")]) == 2
    assert "w" in {tensor.name for tensor in onnx.load(quantised).graph.initializer}


def test_a_cache_moves_to_another_release(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The tensors of the parser itself have other names there."""
    text = (
        """<ir_version: 8, opset_import: ["" : 17]> net (float[1,4] x) => (float[1,2] y) { [fc] y = Gemm(x, w, b) }"""
    )
    proto = onnx.parser.parse_model(text)
    for name, shape in {"w": (4, 2), "b": (2,)}.items():
        proto.graph.initializer.append(numpy_helper.from_array(np.ones(shape, np.float32), name))
    path = str(tmp_path / "gemm.onnx")
    onnx.save(proto, path)
    old, new = str(tmp_path / "old"), str(tmp_path / "new")
    (tmp_path / "old").write_text(
        "TRT-8502-EntropyCalibration2\nx: 3c010204\ny: 3d010204\nmine: 3c010204\n"
        "(Unnamed Layer* 0) [Constant]_output: 3c010204\n(Unnamed Layer* 1) [Matrix Multiply]_output: 3d010204\n"
    )
    assert main(["cache", "rename", old, "--out", new, "--tensorrt", "10.3.0", "--model", path]) == 0
    scales = read_cache(new).scales
    assert {"x", "y", "mine", "w_output", "fc_output"} <= set(scales)
    assert not any(name.startswith("(Unnamed Layer* 1)") for name in scales)
    assert main(["cache", "rename", old, "--out", new, "--model", path]) == 2
    capsys.readouterr()
    assert main(["cache", "lint", new, "--model", path]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == f"1 finding in {len(scales)} scales"


def test_wrong_use(files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    for arguments in (
        ["show", str(tmp_path / "none")],
        ["rename", files[0], "--out", out],
        ["rename", files[0], "x=y", "--out", out],
        ["rename", files[0], "--tensorrt", "11.4.1", "--out", out],
        ["rename", files[0], "xy", "--out", out],
        ["nothing"],
    ):
        assert main(["cache", *arguments]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert not Path(out).exists()


def test_names_that_are_no_text_are_written_as_what_they_are(tmp_path: Path) -> None:
    path, out = tmp_path / "a.cache", tmp_path / "o.json"
    path.write_bytes(b"TRT-8502-EntropyCalibration2\na\xffb: 3c010a14\n")
    assert main(["cache", "show", str(path), "--json", str(out), "-q"]) == 0
    assert "udcff" in out.read_text(encoding="utf-8")


def test_diff_of_two_large_caches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each entry is looked at once: 40,000 of them twice over would not end."""
    before, after = (tmp_path / f"{name}.cache" for name in ("before", "after"))
    lines = [f"t{number}: 3c010a14\n" for number in range(40_000)]
    before.write_text("".join(["TRT-8502-EntropyCalibration2\n", *lines]))
    after.write_text("".join(["TRT-8502-EntropyCalibration2\n", *lines[1:], "new: 3c010a14\n"]))
    assert main(["cache", "diff", str(before), str(after)]) == 0
    assert capsys.readouterr().out.splitlines() == ["only in before.cache  t0", "only in after.cache  new"]
