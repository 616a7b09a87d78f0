"""Whatever ONNX file it is: `check` and `estimate` answer, or say in one line why not. Never a crash.

ONNX's own backend tests are every operator in every form that its authors thought of; the graphs of Hypothesis are such
as nobody thought of.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import resource
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import onnx
import pytest
from hypothesis import given, settings
from onnx.backend.test.case.node import collect_testcases

sys.path.insert(0, str(Path(__file__).parent))

from any_graphs import models

from dlaflow.cli import main

RELEASES = ("5.1.1", "6.2", "7.2.2")
"""TensorRT 8.5.2, 10.3 and 11.4.1."""
LEGITIMATE: tuple[str, ...] = ()
"""Patterns of the refusals that are right for one of ONNX's own files. All of these are valid and none is too large, so
what stands here is what TensorRT's parser refuses and `check` reports as a refusal (exit code 2)."""


@pytest.fixture(scope="module", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """Thousands of files are written here; that they outlive a power cut is tested elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(scope="module")
def backend_files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The files of onnx.backend.test: those in the package, and those that it makes from code."""
    folder = tmp_path_factory.mktemp("backend")
    shipped = sorted((Path(onnx.__file__).parent / "backend" / "test" / "data").rglob("*.onnx"))
    made = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the expected outputs divide by zero on purpose
        cases = collect_testcases(None)
    for number, case in enumerate(cases):
        if case.model is not None:
            path = folder / f"{number:04}_{case.name}.onnx"
            path.write_bytes(case.model.SerializeToString())
            made.append(path)
    assert len(made) > 1000
    assert len(shipped) > 100
    return [*shipped, *made]


@pytest.mark.parametrize("release", RELEASES)
def test_a_third_of_onnx_own_models_on_each_release(
    release: str, backend_files: Sequence[Path], capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Every file is read once; `test_all_of_onnx_own_models` has all files on all releases."""
    third = backend_files[RELEASES.index(release) :: len(RELEASES)]
    assert not _wrong(third, release, capfd, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("release", RELEASES)
def test_all_of_onnx_own_models(
    release: str, backend_files: Sequence[Path], capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert not _wrong(backend_files, release, capfd, tmp_path)


def _wrong(files: Iterable[Path], release: str, capfd: pytest.CaptureFixture[str], folder: Path) -> list[str]:
    """What came out otherwise than it should: crashes, refusals without a reason, exit codes of something else."""
    found = []
    for path in files:
        code, said = _check(path, release, folder, capfd)
        refused = code == 2 and any(re.search(pattern, said) for pattern in LEGITIMATE)
        if code not in {0, 1} and not refused:
            found.append(f"{path.stem}: {code} {said}")
    return found


def _check(path: Path, release: str, folder: Path, capfd: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Everything that `check` can say, in text and files; the exit code and what went to stderr."""
    target = ["--board", "agx-orin-64gb", "--jetpack", release]
    files = [f"--{kind}={folder / kind}" for kind in ("json", "sarif", "html", "model-explorer")]
    code = main(["check", str(path), *target, *files, "--layers", "--fail-on", "unknown"])
    return code, capfd.readouterr().err.strip()


@settings(deadline=None, max_examples=150, derandomize=True, database=None)
@given(model=models())
def test_graphs_that_nobody_thought_of(model: onnx.ModelProto, tmp_path_factory: pytest.TempPathFactory) -> None:
    _never_crashes(model, tmp_path_factory.getbasetemp())


@pytest.mark.slow
@settings(deadline=None, max_examples=3000, derandomize=True, database=None)
@given(model=models())
def test_many_graphs_that_nobody_thought_of(model: onnx.ModelProto, tmp_path_factory: pytest.TempPathFactory) -> None:
    _never_crashes(model, tmp_path_factory.getbasetemp())


def _never_crashes(model: onnx.ModelProto, folder: Path) -> None:
    path = folder / "any.onnx"
    path.write_bytes(model.SerializeToString())
    target = [str(path), "--board", "orin-nx-16gb", "--jetpack", "6.2", "--quiet"]
    for words in (
        ["check", *target, *(f"--{kind}={folder / kind}" for kind in ("json", "sarif", "html"))],
        ["estimate", *target, f"--json={folder / 'estimate'}"],
    ):
        said = io.StringIO()
        with contextlib.redirect_stderr(said), _little_memory():
            code = main(words)
        assert code in {0, 2}, said.getvalue()
        assert said.getvalue().count("\n") == (code == 2), said.getvalue()
        assert "out of memory" not in said.getvalue()


@contextlib.contextmanager
def _little_memory() -> Iterator[None]:
    """2 GB more than the process has, so that a size that nobody bounds ends this test and not the machine."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    held = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + (2 << 30), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
