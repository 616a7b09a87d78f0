"""A recipe is read whole or refused in one line that names the place."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlaflow.errors import InputError
from dlaflow.fixed_shape import FixedShape, fixed_shapes
from dlaflow.recipe.load import load_recipe, recipe_toml

EXAMPLES = Path(__file__).parents[2] / "examples"

GOOD = """
name = "two"
[target]
board = "orin-nx-16gb"
[[variant]]
name = "a"
model = "model_bn"
[[variant]]
name = "b"
from = "a"
rewrite = "average-pool"
[train]
epochs = 3
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    return path


def test_a_recipe_is_read(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, GOOD))
    assert recipe.target.board == "orin-nx-16gb"
    assert recipe.train.epochs == 3
    assert recipe.variant[1].source == "a"
    assert recipe.steps[0] == "train"


@pytest.mark.parametrize("shape", ['{"x:0" = [1, 3, 8, 8], y = [1, 2]}', '["x:0:1x3x8x8", "y:1x2"]'])
def test_shapes_are_written_and_read_back(tmp_path: Path, shape: str) -> None:
    recipe = load_recipe(write(tmp_path, GOOD.replace("[target]", f"[target]\nshape = {shape}")))
    wanted = (FixedShape("x:0", (1, 3, 8, 8)), FixedShape("y", (1, 2)))
    assert fixed_shapes(recipe.target.shape or ()) == wanted
    assert load_recipe(write(tmp_path, recipe_toml(recipe))) == recipe


RECIPES = sorted(set(EXAMPLES.glob("*.toml")) - {EXAMPLES / "sweep.toml"})


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_the_examples_are_recipes(path: Path) -> None:
    assert load_recipe(path).variant


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("epochs = 3", "epoch = 3"), "Did you mean 'epochs'?"),
        (("[train]", "[trian]"), "Did you mean 'train'?"),
        (('rewrite = "average-pool"', 'rewrites = "average-pool"'), "[[variant]] number 2"),
        (("epochs = 3", 'epochs = "three"'), "train.epochs"),
        (("epochs = 3", "epochs = 0"), "train.epochs is too small"),
        (('name = "two"', ""), "misses"),
        (('from = "a"', 'from = "aa"'), "Did you mean 'a'?"),
        (('from = "a"', ""), "exactly one of"),
        (('model = "model_bn"', 'model = "model_bn"\nonnx = "m.onnx"'), "model and onnx"),
        (('name = "b"', 'name = "a"'), "two variants have one name"),
        (('name = "b"', 'name = "../b"'), "unusable name"),
        (('rewrite = "average-pool"', ""), "a `rewrite`, a `fix` or `qat`"),
        (('rewrite = "average-pool"', 'rewrite = "average-pool"\nqat = true'), "changed in two ways"),
        (('rewrite = "average-pool"', "qat = true\n[qat]\nlr = nan"), "qat: the learning rate makes no sense"),
        (('rewrite = "average-pool"', "qat = true\n[qat]\nlimit = 5"), "qat: the limit is too small"),
        (('rewrite = "average-pool"', 'qat = true\n[qat]\nreleases = ["6.9"]'), "qat: unknown"),
        (('rewrite = "average-pool"', "qat = true\n[qat]\nepoch = 5"), "Did you mean 'epochs'?"),
        (('rewrite = "average-pool"', 'rewrite = "average-pool"\nfix = "exact"'), "changed in two ways"),
        (('rewrite = "average-pool"', 'fix = "retrain"'), "variant[1].fix"),
        (('model = "model_bn"', 'model = "model_bn"\nfix = "exact"'), "has a fix"),
        (("[train]", "[fix]\nimages = 0\n[train]"), "fix.images is too small"),
        (('model = "model_bn"', 'model = "model_bn"\nrewrite = "average-pool"'), "has a rewrite"),
        (('name = "two"', 'name = "two"\nsteps = ["trian"]'), "steps"),
        (('name = "two"', 'name = "two"\nsteps = []'), "nothing to do"),
        (("[train]", '[report]\nfile = "../x.html"\n[train]'), "report.file"),
        (("[train]", "[train"), "not TOML"),
        (('name = "two"', 'name = "two"\nsteps = ["check"]'), "has no ONNX file"),
        (('name = "two"', 'name = "two"\nsteps = ["train", "export", "evaluate"]'), "needs a calibration"),
        (('name = "two"', 'name = "../two"'), "unusable name"),
        (("[target]", "[target]\nshape = [1, 3]"), "target.shape"),
        (("[target]", "[target]\nshape = {x = [1, 0]}"), "target.shape: cannot read a shape"),
        (("[target]", '[target]\nshape = ["x:1x3", "x:1x4"]'), "target.shape: x has two shapes"),
        (('name = "two"', 'name = "two"\nsteps = ["train", "export", "sensitivity"]'), "needs a calibration"),
        (('name = "two"', 'name = "two"\nsteps = ["train", "export", "estimate"]'), "needs a placement"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, change: tuple[str, str], says: str) -> None:
    assert change[0] in GOOD
    with pytest.raises(InputError) as caught:
        load_recipe(write(tmp_path, GOOD.replace(*change, 1)))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_recipe_no_traceback(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.toml", tmp_path):
        with pytest.raises(InputError, match=r"cannot read|is a folder"):
            load_recipe(path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not TOML"):
        load_recipe(tmp_path / "binary.toml")


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 100_000])
def test_toml_that_python_cannot_hold(value: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not TOML"):
        load_recipe(write(tmp_path, f"name = {value}"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (('model = "model_bn"', 'onnx = "m.onnx"'), "which is not trained here"),
        (('name = "two"', 'name = "two"\nsteps = ["train", "export"]'), "variant 'b' has scales"),
    ],
)
def test_what_is_fine_tuned_was_trained_and_is_compared(change: tuple[str, str], says: str, tmp_path: Path) -> None:
    text = GOOD.replace('rewrite = "average-pool"', "qat = true")
    assert load_recipe(write(tmp_path, text)).variant[1].qat
    with pytest.raises(InputError, match=says):
        load_recipe(write(tmp_path, text.replace(*change)))
