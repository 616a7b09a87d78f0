"""Public architectures: their packages load, and what is missing is one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dlaflow.errors import EnvironmentLacksError
from dlaflow.zoo.public import load

FOREIGN = """
import torch
@torch.library.register_fake("torchvision::nms")
def nms(dets, scores, iou_threshold): ...
@torch.library.register_fake("torchvision::qnms")
def qnms(dets, scores, iou_threshold): ...
loaded = True
"""


def loaded(place: Path, package: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: what torch has learnt it keeps."""
    code = f"import sys; sys.path.insert(0, {str(place)!r}); from dlaflow.zoo.public import load; load({package!r})"
    command = [sys.executable, "-c", f"{code}; import torchvision; print(torchvision.loaded)"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_torchvision_beside_a_torch_that_it_was_not_built_for(tmp_path: Path) -> None:
    """Its own library does not load there, so that its operators are missing when its import speaks of them."""
    pytest.importorskip("torch")
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(FOREIGN)
    (tmp_path / "timm.py").write_text("import torchvision")
    for package in ("torchvision", "timm"):
        done = loaded(tmp_path, package)
        assert done.stdout == "True\n", done.stderr


def test_another_fault_of_torchvision_stays_one(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('it is Monday')")
    assert "it is Monday" in loaded(tmp_path, "torchvision").stderr


def test_what_is_not_installed(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    with pytest.raises(EnvironmentLacksError, match="dlaflow\\[gallery\\]"):
        load("no_such_package")
