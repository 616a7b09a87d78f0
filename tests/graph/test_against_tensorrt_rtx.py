"""Our layers against those of NVIDIA's own ONNX parser, which TensorRT-RTX carries and which runs without a GPU.

Compared are kind, name (with the parser's counter), order and output shape of every layer that computes something at
run time. Its parser is that of TensorRT 11.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs torch to export networks")
pytest.importorskip("tensorrt_rtx", reason="needs TensorRT-RTX's ONNX parser")
sys.path.insert(0, str(Path(__file__).parent))

from graph_loops import LOOPS
from graph_networks import CASES, Case, export
from graph_operators import OPERATORS, model_of, operator_model
from graph_rtx import Seen, ours, parse
from graph_transformers import TRANSFORMERS

from dlaflow.graph.load import load_model
from dlaflow.graph.lower import lower

RELEASE = "11.4.1"

pytestmark = pytest.mark.filterwarnings("ignore")  # the old exporter warns of tracing and of its age


def _compare(data: bytes, folder: Path) -> None:
    path = folder / "model.onnx"
    path.write_bytes(data)
    theirs, mine = parse(data), ours(lower(load_model(path), tensorrt=RELEASE))
    assert [_line(seen) for seen in mine] == [_line(seen) for seen in theirs]


def _line(seen: Seen) -> str:
    return f"{seen.kind} {seen.name} {seen.shape}"


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.dynamo])
def test_network(name: str, tmp_path: Path) -> None:
    _compare(export(CASES[name]), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.dynamo])
def test_network_of_the_new_exporter(name: str, tmp_path: Path) -> None:
    _compare(export(CASES[name]), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(TRANSFORMERS))
def test_transformers(name: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    case: Case = TRANSFORMERS[name]
    _compare(export(case), tmp_path)


@pytest.mark.parametrize("name", list(OPERATORS))
def test_operator(name: str, tmp_path: Path) -> None:
    _compare(operator_model(name), tmp_path)


@pytest.mark.parametrize("name", list(LOOPS))
def test_loop(name: str, tmp_path: Path) -> None:
    _compare(model_of(LOOPS[name]), tmp_path)
