"""The script that users copy: it learns, and what it writes goes on to a cache and through check for both worlds."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from dlaflow.cli import main

pytest.importorskip("torch")
EXAMPLE = Path(__file__).parents[2] / "examples" / "qat_own_model.py"


def test_the_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spec = importlib.util.spec_from_file_location("qat_own_model", EXAMPLE)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    before, after = example.main(Path("int8.onnx"))
    assert after < before

    assert main(["cache", "from-qdq", "int8.onnx", "--cache", "calib.cache", "--plain", "plain.onnx", "--guess"]) == 0
    assert main(["cache", "lint", "calib.cache", "--model", "plain.onnx"]) == 0
    for model, jetpack in (("plain.onnx", "6.2"), ("int8.onnx", "7.2.2")):
        target = ["--board", "agx-orin-64gb", "--precision", "int8", "--jetpack", jetpack]
        assert main(["check", model, *target, "--quiet", "--json", "check.json"]) == 0
        assert json.loads(Path("check.json").read_text())["summary"]["dla_mac_share"] > 0.99
