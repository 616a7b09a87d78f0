"""A space becomes trials: each combination once, each a recipe that can be run by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlaflow.errors import DlaflowError
from dlaflow.recipe.load import load_recipe, recipe_toml
from dlaflow.sweep.schema import Sweep
from dlaflow.sweep.space import grid, load_sweep

EXAMPLE = Path(__file__).parents[2] / "examples" / "sweep.toml"


def read(folder: Path, space: str, rest: str = "") -> Sweep:
    (folder / "s.toml").write_text(f'name = "s"\n{rest}\n[space]\n{space}\n')
    return load_sweep(folder / "s.toml")


def test_the_example(tmp_path: Path) -> None:
    trials = grid(load_sweep(EXAMPLE))
    assert len(trials) == 36, "2 norms x 3 widths x (fp16 + int8 by 2 methods) x 2 boards"
    assert len({trial.training for trial in trials}) == 6, "calibration, precision and board share the weights"
    for trial in trials:
        (tmp_path / "recipe.toml").write_text(recipe_toml(trial.recipe))
        assert load_recipe(tmp_path / "recipe.toml") == trial.recipe


def test_what_is_picked_reaches_the_recipe(tmp_path: Path) -> None:
    space = """
        norm = ["group"]
        width = [0.5]
        precisions = [["fp16", "int8"]]
        method = ["mse"]
        samples = [48]
        target = [{ board = "orin-nx-16gb", batch = 8 }]
    """
    (trial,) = grid(read(tmp_path, space, '[target]\njetpack = "5.1.1"'))
    recipe = trial.recipe
    assert recipe.variant[0].model == "model_gn@width=0.5"
    assert (recipe.calibrate.method, recipe.calibrate.samples) == ("mse", 48)
    assert recipe.evaluate.precisions == ("fp32", "fp16", "int8")
    target = recipe.target
    assert (target.board, target.jetpack, target.batch, target.precision) == ("orin-nx-16gb", "5.1.1", 8, "int8")
    assert trial.choices["target"] == "orin-nx-16gb batch 8"
    assert trial.name.startswith("trial-"), "where nothing varies there is nothing to tell"


def test_without_int8_the_calibration_makes_no_difference(tmp_path: Path) -> None:
    space = 'precisions = [["fp16"], ["int8"]]\nmethod = ["entropy", "mse"]\nsamples = [16, 32]'
    trials = grid(read(tmp_path, space))
    assert len(trials) == 1 + 4
    (half,) = [trial for trial in trials if "calibrate" not in trial.recipe.steps]
    assert half.recipe.target.precision == "fp16"
    assert set(half.choices) == {"precisions"}


def test_own_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.onnx").write_bytes(b"one")
    (own,) = grid(read(tmp_path, 'model = ["own.onnx"]'))
    assert own.training is None
    assert "train" not in own.recipe.steps
    Path("own.onnx").write_bytes(b"another")
    assert grid(read(tmp_path, 'model = ["own.onnx"]'))[0].name != own.name, "another file is another trial"

    Path("nets.py").write_text("one")
    space = 'model = ["nets:make"]\nnorm = ["layer"]\nwidth = [2]'
    (made,) = grid(read(tmp_path, space))
    assert made.recipe.variant[0].model == "nets:make@width=2,norm=layer"
    Path("nets.py").write_text("another")
    (again,) = grid(read(tmp_path, space))
    assert (again.name, again.training) != (made.name, made.training)


def test_a_range_with_a_step_is_counted_up(tmp_path: Path) -> None:
    trials = grid(read(tmp_path, "width = { low = 0.1, high = 0.3, step = 0.1 }\nsamples = [8]"))
    assert [trial.choices["width"] for trial in trials] == ["0.1", "0.2", "0.3"]


@pytest.mark.parametrize(
    ("rest", "space", "says"),
    [
        ("", 'norms = ["batch"]', "Did you mean 'norm'?"),
        ("", 'norm = ["layer"]', "expected one of batch, group"),
        ("", 'norm = "batch"', "wrong value"),
        ("", 'model = ["model_bn"]\nnorm = ["group"]', "space.norm cannot change model_bn"),
        ("", 'model = ["absent.onnx"]', "absent.onnx"),
        ("", "width = [0]", "Expected `float` > 0.0 - at `space.width[0]`"),
        ("", "width = { low = 0.5, high = 1.0 }", "expected a `step`"),
        (
            "",
            "width = { low = 0.5, high = 0.1, step = 0.1 }",
            "expected `low` below `high`, received 0.5 and 0.1 - at `space.width`",
        ),
        ("", "width = { lo = 0.5 }", "Did you mean 'low'?"),
        ("", "width = { low = 0.5, high = 1e30, step = 0.1 }", "expected at most 10,000 values"),
        ("", "width = { low = 0.5, high = 1.0, step = 1e-300 }", "expected at most 10,000 values"),
        ("", "width = { low = 0.5, high = inf }", "expected at most 10,000 values"),
        ("", "width = { low = inf, high = inf, step = 1 }", "expected at most 10,000 values"),
        (
            "",
            "width = { low = 1, high = 5000, step = 1 }\nsamples = { low = 1, high = 5000, step = 1 }",
            "too many trials: expected at most 10,000, received 25,000,000",
        ),
        ("", "width = { low = 0.5, high = 1, step = 0.1, log = true }", "expected `step` or `log`, received both"),
        ("", "width = { low = 0, high = 1 }", "Expected `float` > 0.0 - at `space.width.low`"),
        ("", "samples = [0]", "Expected `int` >= 1 - at `space.samples[0]`"),
        ("", 'precisions = [["int4"]]', "int4"),
        ("", "precisions = [[]]", "length >= 1 - at `space.precisions[0]`"),
        ("", 'method = ["entropie"]', "Did you mean 'entropy'?"),
        ("", 'target = [{ board = "agx-tegra" }]', "unknown board"),
        ("", 'target = [{ bord = "agx-orin-64gb" }]', "Did you mean 'board'?"),
        ('[search]\nkind = "random"', "", "random"),
        ("[search]\ntrials = 4", "", "a grid has the trials that it has"),
        ('[search]\nkind = "optuna"\ntrials = 0', "", "Expected `int` >= 1 - at `search.trials`"),
        ('[search]\nkind = "optuna"', 'target = [{ board = "agx-tegra" }]', "unknown board"),
        ("[cluster]\ncpus = 0", "", "Expected `float` > 0.0 - at `cluster.cpus`"),
        ("[cluster]\nretries = -1", "", "Expected `int` >= 0 - at `cluster.retries`"),
        ('steps = ["check"]', "", "unknown key"),
        ("[train]\nepochs = 0", "", "train.epochs is too small"),
        ("[train]\nepoch = 1", "", "Did you mean 'epochs'?"),
        ("= 3", "", "is not TOML"),
    ],
)
def test_a_mistake_is_one_line(rest: str, space: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(DlaflowError) as caught:
        read(tmp_path, space, rest)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
