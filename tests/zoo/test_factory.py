"""What of a user's own code may be named by a model: where it lies, and what is called."""

from __future__ import annotations

import importlib
import sys
from itertools import count
from pathlib import Path

import pytest

from dlaflow.cli import main
from dlaflow.errors import DlaflowError, InputError, UsageError
from dlaflow.recipe.load import load_recipe
from dlaflow.zoo.factory import beside, reference
from dlaflow.zoo.models import build_model, check_name

_numbers = count()
NETWORK = """from torch import nn

def make():
    return nn.Linear(2, 3)

class Net(nn.Linear):
    def __init__(self):
        super().__init__(2, 5)

"""
OPEN = "open('pwned', 'w')"
RECIPE = 'name = "mine"\nsteps = ["train", "export"]\n[[variant]]\nname = "a"\nmodel = "{model}"\n'


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module that no test used before; the current folder is empty."""
    monkeypatch.chdir(tmp_path)
    return f"own_{next(_numbers)}"


def write(folder: Path, module: str, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{module}.py").write_text(text)
    importlib.invalidate_caches()


@pytest.mark.parametrize(
    "name",
    [
        "subprocess:getoutput@cmd=touch pwned; id > pwned",
        "os:system@command=touch pwned",
        "builtins:exec@source=1",
        "posix:system@command=1",
        "importlib.util:find_spec@name=x",
        "__main__:main",
        "../elsewhere:make.__globals__",
        "package.module:a b",
        "-m:x",
        ".relative:make",
    ],
)
def test_what_cannot_name_a_network_is_refused_before_anything_is_imported(module: str, name: str) -> None:
    before = set(sys.modules)
    with pytest.raises(UsageError):
        check_name(name)
    assert set(sys.modules) == before
    with pytest.raises(UsageError):
        build_model(name)
    assert not Path("pwned").exists()


@pytest.mark.parametrize(
    ("text", "factory", "message"),
    [
        ("from subprocess import getoutput as make", "make@cmd=touch pwned", "subprocess of Python itself"),
        ("from subprocess import Popen as make", "make@args=touch pwned", "makes no network"),
        ("from os import system as make", "make@command=touch pwned", "received a builtin_function_or_method"),
        ("import functools, os\nmake = functools.partial(os.system, 'touch pwned')", "make", "received a partial"),
        (f"class make:\n    def __init__(self): {OPEN}", "make", "makes no network"),
        (f"class Call:\n    def __call__(self): {OPEN}\nmake = Call()", "make", "received a Call"),
        (f"import functools, subprocess\nmake = functools.wraps(subprocess.getoutput)(lambda: {OPEN})", "make",
         "subprocess of Python itself"),
    ],
)  # fmt: skip
def test_only_what_a_module_defines_is_called(module: str, text: str, factory: str, message: str) -> None:
    write(Path(), module, text)
    with pytest.raises(DlaflowError, match=message):
        build_model(f"{module}:{factory}")
    assert not Path("pwned").exists()


@pytest.mark.parametrize(
    "name",
    [
        "torch.utils.cpp_extension:load_inline@name=b,cpp_sources=int x;",
        "torch.distributed.run:main@args=x",
        "torch.hub:load@repo_or_dir=x,model=y",
        "torch:load@f=x",
        "setuptools:setup@name=x",
        "dlaflow.files:write_atomic@path=pwned,data=x",
    ],
)
def test_functions_that_are_not_there_to_make_networks_are_not_called(module: str, name: str) -> None:
    found = reference(name.partition("@")[0])
    with pytest.raises(UsageError, match="is not called"):
        build_model(name)
    write(Path(), module, f"from {found.module} import {found.factory} as make\n")
    with pytest.raises(UsageError, match="is not called"):
        build_model(f"{module}:make@{name.partition('@')[2]}")


@pytest.mark.parametrize(
    ("needs", "allowed"),
    [("torch", True), ("torch>=2; python_version>'3'", True), ("torch; extra == 'train'", False), ("torchless", False)],
)
def test_a_function_of_an_installed_package_that_needs_torch_is_called(
    module: str, needs: str, allowed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dlaflow.zoo import factory

    site = tmp_path / "site"
    write(site, module, NETWORK)
    about = site / f"{module}-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1\nRequires-Dist: {needs}\n")
    (about / "top_level.txt").write_text(f"{module}\n")
    monkeypatch.syspath_prepend(site)
    factory._installed.cache_clear()
    if allowed:
        assert build_model(f"{module}:make").out_features == 3
    else:
        with pytest.raises(UsageError, match="a package that needs torch"):
            build_model(f"{module}:make")
    assert build_model(f"{module}:Net").out_features == 5
    factory._installed.cache_clear()


def test_functions_classes_and_wrapped_functions_are_called(module: str) -> None:
    write(Path(), module, f"{NETWORK}import functools\n@functools.lru_cache\ndef kept(): return make()\n")
    assert build_model(f"{module}:make").out_features == 3
    assert build_model(f"{module}:Net").out_features == 5
    assert build_model(f"{module}:kept").out_features == 3
    assert build_model("torch.nn:Linear@in_features=4,out_features=7").out_features == 7
    assert str(Path.cwd()) not in sys.path


def test_a_module_that_is_neither_in_the_folder_nor_installed_is_not_imported(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "elsewhere", module, "open('pwned', 'w')\n")
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path.parent)
    with pytest.raises(UsageError, match="is not called") as caught:
        build_model(f"{module}:make")
    assert str(tmp_path / "elsewhere") in str(caught.value)
    assert module not in sys.modules


def test_an_editable_package_is_installed(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dlaflow.zoo import factory

    project, site = tmp_path / "project", tmp_path / "site"
    write(project / "src", module, NETWORK)
    about = site / f"{module}-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1\n")
    (about / "direct_url.json").write_text(f'{{"url": "{project.as_uri()}", "dir_info": {{"editable": true}}}}')
    for folder in (site, project / "src"):
        monkeypatch.syspath_prepend(folder)
    monkeypatch.chdir(tmp_path.parent)
    factory._installed.cache_clear()
    assert build_model(f"{module}:make").out_features == 3
    factory._installed.cache_clear()


def test_a_recipes_networks_lie_beside_it(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.b" / "nets", module, NETWORK)
    recipe = tmp_path / "a.b" / "nets" / "recipe.toml"
    recipe.write_text(RECIPE.format(model=f"{module}:make@"[:-1]))
    (variant,) = load_recipe(recipe).variant
    assert variant.model == f"a.b/nets/{module}:make"
    assert build_model(variant.model).out_features == 3
    assert reference(variant.model).source == Path("a.b/nets") / f"{module}.py"
    monkeypatch.chdir(recipe.parent)
    assert load_recipe("recipe.toml").variant[0].model == f"{module}:make"


def test_two_modules_of_one_name_are_told_apart(module: str, tmp_path: Path) -> None:
    write(tmp_path / "one", module, NETWORK)
    write(tmp_path / "two", module, NETWORK.replace("2, 3", "2, 4"))
    for folder, size in (("one", 3), ("two", 4), ("one", 3)):
        assert build_model(beside(f"{module}:make", tmp_path / folder)).out_features == size


def test_an_installed_package_that_is_loaded_is_not_replaced(module: str) -> None:
    write(Path(), "msgspec", f"{NETWORK}{OPEN}")
    loaded = sys.modules["msgspec"]
    with pytest.raises(InputError, match="another module 'msgspec' is loaded"):
        build_model("msgspec:make")
    assert sys.modules["msgspec"] is loaded
    assert not Path("pwned").exists()


@pytest.mark.parametrize("model", ["subprocess:getoutput@cmd=touch pwned", "/tmp/evil/net:make", "../net:make"])
def test_a_hostile_recipe_or_sweep_is_one_line(module: str, capsys: pytest.CaptureFixture[str], model: str) -> None:
    Path("recipe.toml").write_text(RECIPE.format(model=model))
    Path("sweep.toml").write_text(f'name = "s"\n[space]\nmodel = ["{model}"]\n')
    for command in ("run", "sweep"):
        assert main([command, f"{'recipe' if command == 'run' else 'sweep'}.toml"]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert not Path("pwned").exists()
    assert not Path("runs").exists()
