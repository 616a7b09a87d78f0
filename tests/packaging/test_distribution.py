"""The wheel and the sdist as a user gets them: what is in them, and that the core runs in an environment of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import onnx
import pytest

pytestmark = pytest.mark.skipif(find_spec("hatchling") is None, reason="needs the build backend: make setup")

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "src" / "dlaflow"
MODEL = """
<ir_version: 8, opset_import: ["" : 17]>
small (float[1,8,16,16] x) => (float[1,8,16,16] y) { y = Relu (x) }
"""
LOG = "[11/28/2026-21:00:00] [I] Throughput: 812.5 qps\n"
NO_INDEX = re.compile(r"No matching distribution|Connection(Error| refused| broken)|Max retries|Temporary failure")


def build(folder: Path, target: str, out: Path) -> Path:
    """Build the sdist or the wheel of a source tree, with the backend that is installed here."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(out)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = out.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, "sdist", tmp_path_factory.mktemp("sdist"))


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel):
    files = contents(wheel)
    sources = {path for path in SOURCES.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert {f"dlaflow/{path.relative_to(SOURCES).as_posix()}" for path in sources} == {
        name for name in files if ".dist-info/" not in name
    }
    assert all(files[f"dlaflow/{path.relative_to(SOURCES).as_posix()}"] == path.read_bytes() for path in sources)
    (licence,) = (text for name, text in files.items() if name.endswith(".dist-info/licenses/LICENSE"))
    assert licence == (ROOT / "LICENSE").read_bytes()


def test_the_sdist_builds_the_same_wheel(wheel, sdist, tmp_path):
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    again = build(folder, "wheel", tmp_path / "again")
    assert again.name == wheel.name
    assert contents(again) == contents(wheel)


@dataclass(frozen=True)
class Installed:
    """An environment that holds the wheel and requirements/core.txt, and a folder with a model and a log."""

    bin: Path
    folder: Path

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        # The variables of this test run must not let the environment see the repository.
        variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        command = [str(self.bin / program), *arguments]
        return subprocess.run(command, cwd=self.folder, env=variables, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("clean")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "env")], check=True)
    there = Installed(folder / "env" / ("Scripts" if os.name == "nt" else "bin"), folder)
    pip = ("-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps")
    locked = there.run("python", *pip, "--require-hashes", "--requirement", str(ROOT / "requirements" / "core.txt"))
    if locked.returncode and NO_INDEX.search(locked.stderr) and "HASHES" not in locked.stderr:
        pytest.skip("no package index is reached from here")
    assert locked.returncode == 0, locked.stderr
    done = there.run("python", *pip, "--no-index", str(wheel))
    assert done.returncode == 0, done.stderr
    onnx.save(onnx.parser.parse_model(MODEL), folder / "model.onnx")
    (folder / "build.log").write_text(LOG)
    return there


TARGET = ("--board", "agx-orin-64gb", "--jetpack", "6.2")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (("check", "model.onnx", *TARGET), "DLA"),
        (("explain", "DLA110"), "DLA110"),
        (("boards",), "agx-orin-64gb"),
        (("build", "model.onnx", "--out", "model.engine", *TARGET, "--print-command"), "trtexec"),
        (("estimate", "model.onnx", *TARGET), "ms"),
        (("doctor",), "onnxruntime"),
        (("parse", "build.log"), "812.5"),
        (("--version",), "dlaflow "),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_the_core_alone_does_what_needs_no_board(installed, command, expected):
    done = installed.run("dlaflow", *command)
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout


@pytest.mark.skipif(find_spec("uv") is None, reason="needs uv: make setup")
def test_uvx_runs_the_wheel_without_an_installation(installed, wheel, tmp_path):
    variables = {**os.environ, "UV_CACHE_DIR": str(tmp_path / "cache"), "UV_TOOL_DIR": str(tmp_path / "tools")}
    command = [sys.executable, "-m", "uv", "tool", "run", "--python", sys.executable, "--from", str(wheel), "dlaflow"]
    done = subprocess.run(
        [*command, "check", "model.onnx", *TARGET], cwd=installed.folder, env=variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "DLA" in done.stdout


def test_the_core_is_whole_and_says_what_it_lacks(installed):
    assert installed.run("python", "-m", "pip", "check").returncode == 0
    code = "import dlaflow; print(dlaflow.__version__, dlaflow.__file__)"
    version, file = installed.run("python", "-c", code).stdout.split()
    assert Path(file).is_relative_to(installed.folder)
    assert installed.run("python", "-m", "dlaflow", "--version").stdout == f"dlaflow {version}\n"
    lacking = installed.run("dlaflow", "fix", "model.onnx", "--out", "fixed.onnx")
    assert lacking.returncode == 3
    assert "pip install" in lacking.stderr
