"""`dlaflow run MODEL.onnx`: one line, any model, and a recipe that is left behind for edits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from dlaflow.cli import main
from dlaflow.estimate.answer import Range, Speed
from dlaflow.report.json import read_run

HEAD = '<ir_version: 8, opset_import: ["" : 17]>'
WEIGHTS = "<float[4,3,3,3] w = {" + ",".join(["0.1"] * 108) + "}>"
MODELS = {
    "plain": f"g (float[1,3,16,16] x) => (float[1,4,16,16] y) {WEIGHTS} {{ y = Conv<pads=[1,1,1,1]>(x, w) }}",
    "two": f"g (float[N,3,16,16] left, float[N,3,16,16] right) => (float[N,4,16,16] y) {WEIGHTS} "
    "{ a = Add(left, right) y = Conv<pads=[1,1,1,1]>(a, w) }",
    "bytes": f"g (uint8[1,3,16,16] x) => (float[1,4,16,16] y) {WEIGHTS} "
    "{ a = Cast<to=1>(x) y = Conv<pads=[1,1,1,1]>(a, w) }",
    "refused": "g (float[1,3,16,16] x) => (float[1,3] y) { a = Relu(x) y = Det(a) }",
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path


def write(name: str) -> str:
    onnx.save(onnx.parser.parse_model(f"{HEAD}{MODELS[name]}"), f"{name}.onnx")
    return f"{name}.onnx"


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape, np.float32)


def test_one_line_leaves_a_recipe_a_report_and_the_build_line(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", write("plain"), "--board", "orin-nx-16gb", "--jetpack", "5.1.1", "--json", "run.json"]) == 0
    out = capsys.readouterr().out
    line = (place / "runs/plain/fixed/build.sh").read_text().strip()
    assert line.startswith("trtexec --onnx=runs/plain/fixed/model.onnx")
    assert "--fp16" in line
    assert line in out
    assert "--int8" not in line  # nobody gave images for scales
    assert (place / "runs/plain/report.html").is_file()
    record = read_run(place / "run.json")
    assert [variant.name for variant in record.variants] == ["as_it_is", "fixed"]
    assert any(line in each for each in record.environment)
    assert record.variants[0].placement is not None
    assert record.variants[0].placement.target.jetpack == "5.1.1"

    # The recipe says the same again, and all of it is kept.
    capsys.readouterr()
    assert main(["run", "runs/plain/recipe.toml", "--out", "runs/plain", "--resume"]) == 0
    done = [row for row in capsys.readouterr().out.splitlines() if row.startswith("✓")]
    assert len(done) == 8
    assert [row for row in done if not row.endswith("kept")] == []


def test_a_fix_that_makes_it_slower_is_told_at_the_top(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = [Range.around(rate, 0.26) for rate in (90.0, 54.0)]
    monkeypatch.setattr("dlaflow.api.gain.speed_of", lambda fixed, target: Speed(rates[0], rates[1], None, None))
    assert main(["run", write("plain"), "--quiet", "--json", "run.json"]) == 0
    (notice,) = [each for each in read_run(place / "run.json").notices if "slower" in each]
    assert notice.startswith("fixed: Estimated slower: 90 (69.4 to 117) -> 54 (41.6 to 70) images/s")
    assert "dlaflow fix --prefer speed" in notice
    assert "Estimated slower" in (place / "runs/plain/report.html").read_text()


def test_edits_of_the_recipe_are_not_lost(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, recipe = write("plain"), place / "runs/plain/recipe.toml"
    assert main(["run", model, "--quiet"]) == 0
    assert main(["run", model, "--quiet", "--board", "orin-nx-16gb"]) == 0  # nobody edited it
    assert 'board = "orin-nx-16gb"' in recipe.read_text()
    edited = recipe.read_text().replace('"exact"', '"data"')
    recipe.write_text(edited)
    capsys.readouterr()
    assert main(["run", model, "--quiet"]) == 2
    assert "was edited" in capsys.readouterr().err
    assert recipe.read_text() == edited


def test_images_without_labels_give_scales_and_agreement(place: Path) -> None:
    np.savez("pairs.npz", left=pixels(8, 3, 16, 16), right=pixels(8, 3, 16, 16))
    assert main(["run", write("two"), "--data", "pairs.npz", "--jetpack", "6.2", "--quiet"]) == 0
    assert "--calib=runs/two/fixed/calib.cache" in (place / "runs/two/fixed/build.sh").read_text()
    (fixed,) = [each for each in read_run(place / "runs/two/run.json").variants if each.name == "fixed"]
    agreement = [row for row in fixed.measurements if row.quantity == "cosine"]
    assert [(row.subject, row.n) for row in agreement] == [("int8", 4)]  # the other half calibrates


def test_images_with_labels_give_accuracy(place: Path) -> None:
    np.savez("images.npz", images=(255 * pixels(8, 3, 16, 16)).astype(np.uint8), labels=np.arange(8) % 2)
    model = (
        HEAD
        + f"g (uint8[1,3,16,16] x) => (float[1,4] y) {WEIGHTS} "
        + ("{ a = Cast<to=1>(x) b = Conv(a, w) c = GlobalAveragePool(b) y = Flatten(c) }")
    )
    onnx.save(onnx.parser.parse_model(model), "net.onnx")
    assert main(["run", "net.onnx", "--data", "images.npz", "--jetpack", "6.2", "--quiet"]) == 0
    measured = read_run(place / "runs/net/run.json").variants[1].measurements
    assert {row.subject for row in measured if row.quantity == "top1"} == {"fp32", "int8"}


def test_what_the_release_refuses_is_said_and_ends_the_run(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", write("refused"), "--jetpack", "6.2"]) == 2
    assert "no engine comes out of" in capsys.readouterr().err
    assert not (place / "runs/refused/report.html").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["plain.onnx", "--epochs", "3"], "--epochs is for recipes that train"),
        (["plain.onnx", "--data", "nowhere"], "--data nowhere does not exist"),
        (["plain.onnx", "--board", "orin-nx-16", "--jetpack", "6.2"], "orin-nx-16gb"),
        (["absent.onnx"], "absent.onnx"),
        (["bytes.onnx", "--shape", "z:1x3x16x16"], "z"),
    ],
)
def test_wrong_options_are_one_line(
    words: list[str], said: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("plain", "bytes"):
        write(name)
    assert main(["run", *words, "--quiet"]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_without_a_file_the_only_one_is_offered(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run"]) == 2
    assert "MODEL.onnx or RECIPE.toml" in capsys.readouterr().err
    write("plain")
    assert main(["run"]) == 2  # nobody is there to be asked
    assert "dlaflow run plain.onnx" in capsys.readouterr().err
    assert not (place / "runs").exists()


def test_a_recipe_takes_the_target_from_the_command_line(place: Path) -> None:
    assert main(["run", write("plain"), "--quiet"]) == 0
    recipe = "runs/plain/recipe.toml"
    assert main(["run", recipe, "--out", "runs/old", "--tensorrt", "8.5.2", "--precision", "int8", "--quiet"]) == 0
    target = json.loads((place / "runs/old/run.json").read_text())["variants"][0]["placement"]["target"]
    assert (target["tensorrt"], target["precision"]) == ("8.5.2", "int8")
