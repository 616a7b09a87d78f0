"""The folder that engines are written into, and what reads and runs what was made of them."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from tests.deploy.engines import Engines

STAND_IN = Path(__file__).parent / "stand_in"


@pytest.fixture
def engines(tmp_path: Path) -> Engines:
    return Engines(tmp_path)


def compiled(*words: object) -> None:
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++ here")
    done = subprocess.run([compiler, "-std=c++17", *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def cudart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("cudart") / "libcudart.so"
    compiled("-shared", "-fPIC", "-o", library, STAND_IN / "cudart.cpp")
    return library


@pytest.fixture(scope="session")
def model_config(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """model_config_pb2 of Triton's own client, alone: the rest of the package wants grpc."""
    folder = tmp_path_factory.mktemp("triton")
    words = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), "tritonclient==2.73.0"]
    done = subprocess.run(words, capture_output=True, text=True)
    wheel = next(folder.glob("tritonclient*.whl"), None)
    if wheel is None:
        pytest.skip(f"tritonclient cannot be had here: {done.stderr.strip()[-120:]}")
    name = "tritonclient/grpc/model_config_pb2.py"
    zipfile.ZipFile(wheel).extract(name, folder)
    spec = importlib.util.spec_from_file_location("model_config_pb2", folder / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
