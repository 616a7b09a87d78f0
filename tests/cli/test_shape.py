"""`--shape` as a user gives it: every command that reads a model sees the same sizes, and misses them out loud."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from dlaflow.cli import main

TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N,3,H,W] images) => (float[N,4] output)
{
    c = Conv<pads=[1,1,1,1]>(images, w)
    r = Relu(c)
    p = GlobalAveragePool(r)
    f = Flatten(p)
    output = Gemm(f, v, b)
}
"""
OPEN = "images leaves dimensions 2 and 3 (height, width) open: 1x3x?x?"
GIVEN = ("--shape", "images:2x3x8x8")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same network with open and with fixed sizes, and images of two sizes."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(2)
    for path, inputs in (("net.onnx", "N,3,H,W"), ("fixed.onnx", "2,3,8,8")):
        proto = onnx.parser.parse_model(TEXT.replace("N,3,H,W", inputs))
        for name, shape in {"w": (6, 3, 3, 3), "v": (6, 4), "b": (4,)}.items():
            values = np.random.default_rng(len(name + str(shape))).standard_normal(shape).astype(np.float32)
            proto.graph.initializer.append(numpy_helper.from_array(values, name))
        for node in proto.graph.node:
            node.name = f"/{node.output[0]}"
        onnx.save(proto, path)
    for path, size in (("data.npz", 8), ("large.npz", 12)):
        images = generator.standard_normal((20, 3, size, size)).astype(np.float32)
        np.savez(path, images=images, labels=np.arange(20) % 4)
    return tmp_path


def checked(*words: str) -> dict:
    assert main(["check", *words, "--json", "p.json", "-q"]) == 0
    return json.loads(Path("p.json").read_text())


@pytest.mark.parametrize("shape", ["images:2x3x8x8", "2x3x8x8"])
def test_check_sees_the_given_size(shape: str) -> None:
    found = checked("net.onnx", "--shape", shape)
    fixed = checked("fixed.onnx")
    assert found["model"]["inputs"] == {"images": [2, 3, 8, 8]}
    assert found["target"]["batch"] == 2
    macs = {layer["name"]: layer["macs"] for layer in fixed["layers"]}
    assert macs["/c"] == 2 * 6 * 8 * 8 * 3 * 9
    assert {layer["name"]: layer["macs"] for layer in found["layers"]}["/c"] == macs["/c"]
    assert found["summary"]["dla_mac_share"] == fixed["summary"]["dla_mac_share"]
    assert not any(finding["rule"] == "DLA004" for finding in found["findings"])


def test_an_open_size_is_told_before_the_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "net.onnx"]) == 0
    text = capsys.readouterr().out
    told = " ".join(text.split("unknown share of the multiply-accumulates")[0].split())
    assert OPEN in told
    assert "--shape images:1x3x640x640\n" in text
    assert "A build with a real range of shapes puts nothing on the DLA" in told
    assert "100%" not in text
    assert "100.0%" not in text
    assert text.count("open: 1x3x?x?") == 1


def test_an_open_size_has_an_unknown_share_and_a_conditional_verdict() -> None:
    found = checked("net.onnx")
    assert found["summary"]["dla_mac_share"] is None
    (finding,) = [finding for finding in found["findings"] if finding["rule"] == "DLA004"]
    assert finding["verdict"] == "conditional"
    assert finding["received"] == OPEN
    verdicts = {layer["name"]: layer["verdict"] for layer in found["layers"]}
    assert verdicts["/c"] == "conditional"
    assert verdicts["/p"] == "fallback"


def test_nothing_on_the_dla_is_known_without_a_size() -> None:
    assert checked("net.onnx", "--board", "orin-nano", "--jetpack", "6.2")["summary"]["dla_mac_share"] == 0


def test_fail_on_unknown_asks_for_the_size() -> None:
    onnx.save(onnx.parser.parse_model(TEXT.partition("{")[0] + "{ output = Relu(images) }"), "relu.onnx")
    assert main(["check", "relu.onnx", "-q", "--fail-on", "unknown"]) == 1
    assert main(["check", "relu.onnx", "-q", "--fail-on", "fallback"]) == 0
    assert main(["check", "relu.onnx", "-q", "--fail-on", "unknown", "--shape", "1x3x8x8"]) == 0


def test_every_report_says_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    checked("net.onnx")
    assert main(["compare", "p.json", "p.json", "--markdown", "m.md", "--html", "p.html"]) == 0
    assert "unknown" in capsys.readouterr().out
    assert "| unknown |" in Path("m.md").read_text()
    page = Path("p.html").read_text()
    assert "<dd>unknown<small>" in page
    assert OPEN in page


def test_open_sizes_are_no_progress(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a size nothing is cut into loadables, which must not read as fewer of them."""
    checked("fixed.onnx")
    Path("p.json").rename("before.json")
    checked("net.onnx")
    assert main(["compare", "before.json", "p.json", "--fail-on", "loadables", "-q"]) == 2
    assert f"loadables cannot be compared: net: {OPEN}" in capsys.readouterr().err


def test_estimate_knows_the_size(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", "net.onnx", *GIVEN, "--json", "a.json", "-q"]) == 0
    assert main(["estimate", "fixed.onnx", "--json", "b.json", "-q"]) == 0
    found, fixed = (json.loads(Path(name).read_text())["estimate"] for name in ("a.json", "b.json"))
    assert found["batch"] == 2
    assert found["latency"] is not None
    assert found["gpu_alone"] == fixed["gpu_alone"]


def test_estimate_asks_for_the_size(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", "net.onnx"]) == 0
    assert "images: no size, name one with --shape" in capsys.readouterr().out


def test_build_gives_the_shape_as_minimum_optimum_and_maximum(capsys: pytest.CaptureFixture[str]) -> None:
    build = ["build", "net.onnx", "--out", "m.engine", "--tensorrt", "8.5.2", "--print-command"]
    assert main([*build, *GIVEN]) == 0
    assert "--shapes=images:2x3x8x8 " in capsys.readouterr().out
    assert main([*build, "--shape", "2x3x8x8", "--batch", "2"]) == 0
    assert "--shapes=images:2x3x8x8 " in capsys.readouterr().out
    assert main(build) == 2
    told = capsys.readouterr().err
    assert OPEN in told
    assert "--shape images:1x3x640x640" in told
    assert "minimum, optimum and maximum" in told


def test_fix_writes_a_model_of_that_size(capsys: pytest.CaptureFixture[str]) -> None:
    for out, option in (("a.onnx", GIVEN), ("b.onnx", ("--input-shape", "3x8x8", "--batch", "2"))):
        assert main(["fix", "net.onnx", "--out", out, *option]) == 0
        dims = onnx.load(out).graph.input[0].type.tensor_type.shape.dim
        assert [dim.dim_value for dim in dims] == [2, 3, 8, 8]
        assert "fixed the open dimensions of images, batch 2" in capsys.readouterr().out
    assert onnx.load("a.onnx") == onnx.load("b.onnx")
    assert main(["fix", "net.onnx", "--out", "c.onnx"]) == 2
    assert "--shape images:1x3x640x640" in capsys.readouterr().err
    assert main(["fix", "net.onnx", "--out", "c.onnx", *GIVEN, "--input-shape", "3x8x8"]) == 2
    assert "--input-shape is --shape without name and batch" in capsys.readouterr().err
    assert main(["fix", "net.onnx", "--out", "c.onnx", "--input-shape", "4x8x8"]) == 2
    assert "fixes dimension 1 of images: expected ?x3x?x?, received 1x4x8x8" in capsys.readouterr().err


def test_fix_proves_on_images_of_that_size() -> None:
    assert main(["fix", "net.onnx", "--out", "a.onnx", *GIVEN, "--data", "data.npz", "--json", "f.json", "-q"]) == 0
    assert any("images" in each["inputs"] for each in json.loads(Path("f.json").read_text())["proof"])


@pytest.mark.parametrize(
    "command",
    [
        ["calibrate", "net.onnx", "--cache", "c.cache"],
        ["sensitivity", "net.onnx", "--max-drop", "100"],
        ["evaluate", "net.onnx"],
    ],
    ids=lambda words: words[0],
)
def test_images_must_have_the_given_size(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--data", "data.npz", *GIVEN, "-q"]) == 0
    assert main([*command, "--data", "large.npz", "-q"]) == 0, "without --shape the images give the size"
    assert main([*command, "--data", "large.npz", *GIVEN, "-q"]) == 2
    assert "the model refused the images: expected images [2, 3, 8, 8], received [2, 3, 12, 12]" in (
        capsys.readouterr().err
    )
    assert main([*command, "--data", "data.npz", "--shape", "image:2x3x8x8", "-q"]) == 2
    assert "Did you mean 'images'?" in capsys.readouterr().err


def test_image_files_are_brought_to_the_given_size() -> None:
    from PIL import Image

    for place in ("cat", "dog"):
        Path("pictures", place).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (20 + number, 30), (9, 90, 200)).save(Path("pictures", place, f"{number}.png"))
    words = ["calibrate", "net.onnx", "--data", "pictures", "--resize", "8", "--cache", "c.cache", "-q"]
    assert main([*words, "--shape", "1x3x8x8"]) == 0
    assert json.loads(Path("c.cache.json").read_text())["images"] == 4


LOG = """&&&& RUNNING TensorRT.trtexec [TensorRT v8502] # trtexec --onnx=net.onnx --fp16 --useDLACore=0
[I] === Build Options ===
[I] Precision: FP32+FP16
[I] === Device Information ===
[I] Selected Device: Orin
[I] [TRT] ---------- Layers Running on DLA ----------
[I] [TRT] [DlaLayer] {ForeignNode[/c.../r]}
[I] [TRT] ---------- Layers Running on GPU ----------
[I] [TRT] [GpuLayer] REDUCE: /p
&&&& PASSED TensorRT.trtexec [TensorRT v8502] # trtexec --onnx=net.onnx --fp16 --useDLACore=0
"""


def test_score_compares_the_build_of_that_size() -> None:
    Path("build.log").write_text(LOG)
    assert main(["score", "net.onnx", "--log", "build.log", *GIVEN, "--json", "s.json", "-q"]) == 0
    assert json.loads(Path("s.json").read_text())["target"]["batch"] == 2
    assert main(["score", "net.onnx", "--log", "build.log", "--shape", "1x8x8", "-q"]) == 2


@pytest.mark.parametrize(
    "words",
    [
        ["check", "net.onnx"],
        ["estimate", "net.onnx"],
        ["fix", "net.onnx", "--dry-run"],
        ["build", "net.onnx", "--out", "m.engine", "--print-command"],
    ],
    ids=lambda words: words[0],
)
def test_a_shape_that_does_not_fit_ends_in_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for shape, told in (("1x1x8x8", "fixes dimension 1"), ("4x3x8", "3 dimensions"), ("1x3x0x8", "1 or more")):
        assert main([*words, "--shape", shape]) == 2
        said = capsys.readouterr().err
        assert told in said
        assert said.count("\n") == 1
    assert main([*words, *GIVEN, "--batch", "4"]) == 2
    assert "expected --shape images:4x3x8x8, received 2x3x8x8" in capsys.readouterr().err


def test_a_recipe_names_the_size() -> None:
    recipe = """name = "sized"
steps = ["check", "estimate", "report"]
[target]
SHAPE
[[variant]]
name = "net"
onnx = "net.onnx"
"""
    for number, shape in enumerate(("shape = {images = [2, 3, 8, 8]}", 'shape = ["2x3x8x8"]')):
        Path("r.toml").write_text(recipe.replace("SHAPE", shape))
        assert main(["run", "r.toml", "--out", f"run{number}", "-q"]) == 0
        found = json.loads(Path(f"run{number}/net/placement.json").read_text())
        assert found["model"]["inputs"] == {"images": [2, 3, 8, 8]}
        assert Path(f"run{number}/net/estimate.json").is_file()
        assert found["summary"]["dla_mac_share"] is not None
    Path("r.toml").write_text(recipe.replace("SHAPE", 'shape = ["net:2x3x8x8"]'))
    assert main(["run", "r.toml", "--out", "run2", "-q"]) == 2
