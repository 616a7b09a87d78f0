"""Networks by name, and every way in which a user's own can be wrong."""

from __future__ import annotations

import importlib
from itertools import count
from pathlib import Path

import pytest
import torch

from dlaflow.errors import DlaflowError, InputError, UsageError
from dlaflow.zoo.models import MODELS, build_model

_numbers = count()


@pytest.mark.parametrize("name", MODELS)
def test_known_models_map_images_to_ten_logits(name: str) -> None:
    model = build_model(name).eval()
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_the_variants_differ_in_normalization_alone() -> None:
    kinds = {name: [type(layer).__name__ for layer in build_model(name).cnn] for name in MODELS}
    assert kinds["model_gn"] == ["Conv2d", "GroupNorm", "ReLU"] * 4
    assert kinds["model_bn"] == ["Conv2d", "BatchNorm2d", "ReLU"] * 4
    groups = [layer.num_groups for layer in build_model("model_gn").cnn if hasattr(layer, "num_groups")]
    assert groups == [8, 8, 8, 8]


@pytest.mark.parametrize("name", MODELS)
def test_width_scales_the_channels_in_whole_groups(name: str) -> None:
    narrow = build_model(f"{name}@width=0.3")
    widths = [layer.out_channels for layer in narrow.cnn if isinstance(layer, torch.nn.Conv2d)]
    assert widths == [16, 40, 80, 152]
    assert narrow(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert build_model(f"{name}@width=1").linear.in_features == build_model(name).linear.in_features == 512


def test_arguments_of_a_users_factory_are_numbers_or_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = f"arguments_{next(_numbers)}"
    text = "from torch import nn\ndef make(width, norm, depth): return nn.Linear(width, depth + (norm == 'group'))\n"
    (tmp_path / f"{module}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    importlib.invalidate_caches()
    assert build_model(f"{module}:make@width=4,norm=group,depth=2").weight.shape == (3, 4)


@pytest.mark.parametrize(
    "name", ["model_bn@", "model_bn@0.5", "model_bn@width=", "model_bn@width=1,,", "model_bn@a=1\n2", "model_bn@a=\x1b"]
)
def test_arguments_that_make_no_sense(name: str) -> None:
    with pytest.raises(UsageError, match=r"such as model_bn@width=0\.5"):
        build_model(name)


def test_an_argument_that_the_network_does_not_take() -> None:
    with pytest.raises(InputError, match="unexpected keyword argument 'depth'"):
        build_model("model_bn@depth=3")


def test_unknown_model_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean 'model_bn'"):
        build_model("model_b")


def test_a_users_factory_in_the_current_folder(tiny_network: str) -> None:
    assert build_model(tiny_network)(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize(
    ("source", "factory", "kind", "message"),
    [
        ("import absent_package_xyz", "make", InputError, "needs the module 'absent_package_xyz'"),
        ("def make(:", "make", InputError, "SyntaxError"),
        ("def make(): return 3", "make", InputError, "received int"),
        ("def make(size): return 3", "make", InputError, "missing 1 required positional argument"),
        ("def make(): return 3", "mak", UsageError, "Did you mean 'make'"),
        ("make = 3", "make", UsageError, "unknown factory"),
        ("def make(): return 3", "", UsageError, "incomplete"),
    ],
)
def test_a_users_mistake_is_one_clear_line(
    source: str, factory: str, kind: type[DlaflowError], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = f"mistake_{next(_numbers)}"
    (tmp_path / f"{module}.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    importlib.invalidate_caches()
    with pytest.raises(kind, match=message) as caught:
        build_model(f"{module}:{factory}")
    assert "\n" not in str(caught.value)


def test_an_absent_module_tells_where_it_was_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="no Python module 'nowhere_at_all'") as caught:
        build_model("nowhere_at_all.nets:make")
    assert str(tmp_path) in str(caught.value)
