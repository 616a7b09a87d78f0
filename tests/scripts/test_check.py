"""scripts/check on small trees that break one rule each, and on this repository."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.metadata import Distribution
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

PYPROJECT = """
[project]
name = "dlaflow"
dependencies = ["numpy>=2", "Py-Yaml[fast]>=6"]
[project.optional-dependencies]
run = ["pillow>=12"]
dev = ["dlaflow[run]", "pytest>=9", "ruff"]
"""
PROVIDED = {"numpy": ["numpy"], "yaml": ["py_yaml"], "PIL": ["pillow"], "pytest": ["pytest"], "google": ["protobuf"]}
SOUND = {
    "pyproject.toml": PYPROJECT,
    "src/dlaflow/__init__.py": "",
    "src/dlaflow/types.py": "import numpy\n",
    "src/dlaflow/graph/__init__.py": "",
    "src/dlaflow/graph/load.py": "import dlaflow.types\ndef load():\n    import yaml\n    from PIL import Image\n",
    "src/dlaflow/rules/base.py": "from dlaflow.graph import load\n",
    "src/dlaflow/estimate/latency.py": "from dlaflow.rules.base import Rule\n",
    "src/dlaflow/rewrites/search.py": "from dlaflow.estimate.latency import estimate\n",
    "src/dlaflow/zoo/data.py": "import dlaflow.types\n",
    "src/dlaflow/cli/__init__.py": "from dlaflow.zoo import data\n",
    "tests/test_load.py": "import pytest\nfrom helper import draw\nfrom dlaflow.cli import main\n",
    "tests/helper.py": "",
    "scripts/build": "#!/usr/bin/env python3\nimport dlaflow.graph\n",
    "scripts/action": "#!/usr/bin/env bash\nimport ${this} is no Python\n",
}


ONLY = "dlaflow.zoo, which is for zoo, api, recipe, sweep, survey, cli alone"


@pytest.fixture(scope="module")
def guard() -> ModuleType:
    """scripts/check as a module."""
    loader = SourceFileLoader("scripts_check", str(ROOT / "scripts" / "check"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("scripts_check", loader))
    sys.modules["scripts_check"] = module
    loader.exec_module(module)
    return module


@pytest.fixture
def tree(guard: ModuleType, tmp_path: Path):
    """Write the sound tree with some files changed or added; gives its Python files as the guard sees them."""

    def write(changed: dict[str, str]):
        for name, text in (SOUND | changed).items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return guard.python_files(tmp_path, "src", "tests", "scripts")

    return write


def test_the_sound_tree_is_sound(guard, tree, tmp_path):
    files = tree({})
    assert [str(file.path) for file in files if file.path.parts[0] == "scripts"] == ["scripts/build"]
    assert guard.wrong_imports(files) == []
    assert guard.wrong_circles(files) == []
    assert guard.wrong_dependencies(tmp_path, files, PROVIDED) == []


@pytest.mark.parametrize(
    ("name", "text", "wrong"),
    [
        ("targets/board.py", "import dlaflow.rewrites.search\n", "dlaflow.rewrites.search, which stands above it"),
        ("targets/board.py", "def f():\n    import dlaflow.graph.load\n", "dlaflow.graph.load, which stands above it"),
        ("targets/board.py", "from dlaflow import __version__\n", "dlaflow, which stands above it"),
        ("targets/board.py", "import_module('dlaflow.graph.load')\n", "dlaflow.graph.load, which stands above it"),
        ("quantize/plan.py", "import dlaflow.rewrites.search\n", "dlaflow.rewrites.search, which stands beside it"),
        ("report/html.py", "from dlaflow.zoo import data\n", ONLY),
        ("targets/board.py", "from ..graph import load\n", "dlaflow.graph.load, which stands above it"),
        ("targets/board.py", "from .. import graph\n", "dlaflow.graph, which stands above it"),
        ("report/html.py", "def f():\n    from torch import nn\n", "torch, which is for zoo alone"),
    ],
)  # fmt: skip
def test_an_import_goes_down_only(guard, tree, name, text, wrong):
    module = "dlaflow." + name.removesuffix(".py").replace("/", ".")
    assert guard.wrong_imports(tree({f"src/dlaflow/{name}": text})) == [f"{module} imports {wrong}"]


def test_imports_for_type_checking_are_free(guard, tree):
    text = "if TYPE_CHECKING:\n    from dlaflow.cli import main\nelse:\n    from dlaflow.rules.base import Rule\n"
    assert guard.wrong_imports(tree({"src/dlaflow/targets/board.py": text})) == [
        "dlaflow.targets.board imports dlaflow.rules.base, which stands above it"
    ]


def test_a_package_without_a_level_is_reported(guard, tree):
    assert guard.wrong_imports(tree({"src/dlaflow/odd/one.py": ""})) == [
        "dlaflow.odd.one: odd has no level, scripts/check must know it"
    ]


def test_a_circle_of_files_inside_a_package_is_found(guard, tree):
    loads = SOUND["src/dlaflow/graph/load.py"] + "    from dlaflow.graph.wire import read\n"
    files = tree({"src/dlaflow/graph/load.py": loads, "src/dlaflow/graph/wire.py": "from . import load\n"})
    assert guard.wrong_imports(files) == []
    (circle,) = guard.wrong_circles(files)
    assert set(circle.split(" -> ")) == {"dlaflow.graph.load", "dlaflow.graph.wire"}


def test_a_circle_of_packages_is_found_where_no_files_form_one(guard, tree):
    """The sideways import rewrites -> estimate is allowed; one back, from another file, is not."""
    files = tree({"src/dlaflow/estimate/gain.py": "from dlaflow.rewrites.search import find\n"})
    assert guard.wrong_imports(files) == [
        "dlaflow.estimate.gain imports dlaflow.rewrites.search, which stands beside it"
    ]
    (circle,) = guard.wrong_circles(files)
    assert circle in {"packages: estimate -> rewrites -> estimate", "packages: rewrites -> estimate -> rewrites"}


def test_every_circle_is_reported_once(guard):
    found = guard.circles({"a": {"b", "a"}, "b": {"a", "c"}, "c": {"d"}, "d": {"b"}, "e": {"a"}})
    assert sorted(frozenset(circle.split(" -> ")) for circle in found) == [frozenset("ab"), frozenset("bcd")]
    assert all(circle.split(" -> ")[0] == circle.split(" -> ")[-1] for circle in found)
    assert guard.circles({"a": {"b"}, "b": {"c"}, "c": set()}) == []


@pytest.mark.parametrize(
    ("name", "text", "wrong"),
    [
        ("src/dlaflow/graph/wire.py", "import google.protobuf\n", "imports google, which no dependency provides"),
        ("src/dlaflow/graph/wire.py", "import pytest\n", "imports pytest, which no dependency provides"),
        ("src/dlaflow/graph/wire.py", "require('scipy', extra='run')\n", "imports scipy, which no dependency provides"),
        ("src/dlaflow/graph/wire.py", "import tests.helper\n", "imports tests, which no dependency provides"),
        ("tests/helper.py", "from google import protobuf\n", "imports google, which no dependency provides"),
    ],
)  # fmt: skip
def test_an_import_needs_a_dependency(guard, tree, tmp_path, name, text, wrong):
    assert guard.wrong_dependencies(tmp_path, tree({name: text}), PROVIDED) == [f"{name} {wrong}"]


def test_a_dependency_needs_an_import(guard, tree, tmp_path):
    files = tree({"pyproject.toml": PYPROJECT.replace('"pytest>=9"', '"pytest>=9", "Six_Teen"')})
    assert guard.wrong_dependencies(tmp_path, files, PROVIDED) == [
        "pyproject.toml lists six-teen, which nothing imports"
    ]


def test_what_users_install_is_imported_by_the_package_itself(guard, tree, tmp_path):
    files = tree({"src/dlaflow/types.py": "", "tests/helper.py": "import numpy\n"})
    (unused,) = guard.wrong_dependencies(tmp_path, files, PROVIDED)
    assert unused == "pyproject.toml lists numpy for users, which src does not import"


def package(name: str, *fields: tuple[str, str]) -> Distribution:
    """An installed package with these lines of metadata."""

    class Package(Distribution):
        def read_text(self, filename):
            lines = (("Metadata-Version", "2.4"), ("Name", name), ("Version", "1.0"), *fields)
            return "".join(f"{key}: {value}\n" for key, value in lines) if filename == "METADATA" else None

        def locate_file(self, path):
            raise FileNotFoundError(path)

    return Package()


@pytest.mark.parametrize(
    "fields",
    [
        [("License-Expression", "MIT")],
        [("License-Expression", "GPL-3.0-only OR Apache-2.0")],
        [("License-Expression", "(MIT OR AGPL-3.0) AND BSD-3-Clause")],
        [("License", "MPL-2.0 AND MIT")],
        [("License", "UNKNOWN"), ("Classifier", "License :: OSI Approved :: MIT License")],
        [("License", "Apache 2.0"), ("Classifier", "License :: OSI Approved")],
        [("Classifier", "License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)")],
    ],
)
def test_free_licences_are_taken(guard, fields):
    assert guard.wrong_licences([package("some", *fields)]) == []


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ([("License-Expression", "GPL-3.0-only")], "GPL-3.0-only"),
        ([("License-Expression", "MIT AND AGPL-3.0-or-later")], "MIT AND AGPL-3.0-or-later"),
        ([("License", "GNU Lesser General Public License")], "GNU Lesser General Public License"),
        (
            [("License", "MIT"), ("Classifier", "License :: OSI Approved :: GNU Affero General Public License v3")],
            "GNU Affero General Public License v3",
        ),
        ([("License", "Proprietary")], "Proprietary"),
        ([], "a licence that it does not state"),
        ([("License", "UNKNOWN")], "UNKNOWN"),
    ],
)
def test_other_licences_are_refused(guard, fields, shown):
    assert guard.wrong_licences([package("some", *fields)]) == [f"some 1.0 is under {shown}"]


def test_the_terms_of_the_rtx_extra_are_known_and_no_others(guard):
    terms = ("License", "Proprietary")
    assert guard.wrong_licences([package("tensorrt_rtx_cu13_libs", terms), package("nvidia-cublas", terms)]) == []
    assert guard.wrong_licences([package("tensorrt", terms)]) == ["tensorrt 1.0 is under Proprietary"]


def test_the_lines_of_src_have_a_budget(guard, tree):
    files = tree({"src/dlaflow/zoo/data.py": "x = 1\n" * 500})
    total = sum(text.count("\n") for name, text in SOUND.items() if name.startswith("src")) - 1 + 500
    wrong, note = guard.counted_lines(files, total)
    assert wrong == []
    assert note.startswith(f", {total} of at most {total}: zoo 500, ")
    assert guard.counted_lines(files, total - 1)[0] == ["1 lines above the budget"]


def test_lint_and_types_cover_all_python(guard):
    """Ruff is asked; mypy's list names scripts one by one, because they have no suffix."""
    python = {str(file.path) for file in guard.python_files(ROOT, "src", "tests", "benchmarks", "tools", "scripts")}
    command = [sys.executable, "-m", "ruff", "check", "--show-files"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    assert python <= {str(Path(line).relative_to(ROOT)) for line in shown}
    typed = guard.tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["files"]
    assert [name for name in sorted(python) if not name.startswith(tuple(typed))] == []
