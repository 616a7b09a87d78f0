"""NVIDIA's matrix of operators beside what `check` says: no cell contradicts it without a stated reason.

116 operators under three releases, less four cells without a row: 344 cells, each in INT8 and FP16. 327 agree; of the
17 others 7 contradict it (Min, Mean, Cos under 8.5.2) and 10 are unknown.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import onnx
import pytest

from dlaflow.graph.load import load_model
from dlaflow.placement.check import check_model
from dlaflow.rules.base import Example
from dlaflow.targets.target import resolve_target
from dlaflow.types import Device, Placement, Verdict
from tests.rules.test_examples import build

RELEASES = {"8.5.2": "agx-orin-64gb", "8.6.2": "agx-orin-64gb", "8.6.12": "drive-orin"}
"""The releases of the matrix, in its order, each with a board that has it."""


class Row(msgspec.Struct, frozen=True):
    """One operator of the matrix with a model of it."""

    op: str
    says: tuple[str, str, str]
    nodes: str
    opset: int = 17
    inputs: dict[str, str] = {}
    weights: dict[str, str] = {}
    constants: dict[str, tuple[str, str]] = {}


class Differs(msgspec.Struct, frozen=True):
    """Cells in which `check` says something else than the matrix, and why."""

    ops: tuple[str, ...]
    releases: tuple[str, ...]
    check: str
    reason: str


class Matrix(msgspec.Struct, frozen=True):
    operator: tuple[Row, ...]
    differs: tuple[Differs, ...]


MATRIX = msgspec.toml.decode(Path(__file__).with_name("operator_matrix.toml").read_bytes(), type=Matrix)
AGREES = {
    "native": {"native", "folded"},
    "build_time": {"folded"},
    "reconstruction": {"fallback"},
    "unsupported": {"fallback"},
}
"""What `check` may answer for each word of the matrix; a constant that folds runs nowhere."""


def model_of(row: Row) -> onnx.ModelProto:
    """The operator behind a convolution and in front of a ReLU."""
    example = Example(
        f"a = Conv(x, w)\n{row.nodes}\ny = Relu(b)",
        x="1,4,8,8",
        weights=(("w", "4,4,1,1"), *row.weights.items()),
        constants=tuple((name, kind, values) for name, (kind, values) in row.constants.items()),
        more_inputs=tuple(row.inputs.items()),
    )
    model = build(example)
    model.opset_import[0].version = row.opset
    return model


def answer(placement: Placement, model: onnx.ModelProto, op: str) -> str:
    """native, folded, unknown or fallback: the worst of the layers of that operator; what is not parsed falls back."""
    if any(finding.rule in {"DLA020", "DLA021"} and f"({op})" in finding.message for finding in placement.findings):
        return "fallback"
    names = {node.name for node in model.graph.node if node.op_type == op}
    layers = [layer for layer in placement.layers if names & set(layer.onnx_nodes)]
    working = [layer for layer in layers if layer.device is not Device.FOLDED]
    if not working:
        return "folded"
    verdicts = {layer.verdict for layer in working}
    for verdict in (Verdict.FALLBACK, Verdict.UNKNOWN):
        if verdict in verdicts:
            return verdict.value
    assert {layer.device for layer in working} == {Device.DLA}
    return "native"


@pytest.mark.parametrize("precision", ["int8", "fp16"])
@pytest.mark.parametrize("row", MATRIX.operator, ids=lambda row: row.op)
def test_no_cell_contradicts_without_a_reason(row: Row, precision: str, tmp_path: Path):
    path = tmp_path / "model.onnx"
    model = model_of(row)
    path.write_bytes(model.SerializeToString())
    loaded = load_model(path)
    for (release, board), says in zip(RELEASES.items(), row.says, strict=True):
        if says == "-":
            continue
        placement = check_model(loaded, resolve_target(board, tensorrt=release, precision=precision))
        stated = {each.check for each in MATRIX.differs if row.op in each.ops and release in each.releases}
        assert answer(placement, model, row.op) in (stated or AGREES[says]), (release, says)


def test_the_reasons_are_about_cells_of_the_matrix_that_differ():
    rows = {row.op: row for row in MATRIX.operator}
    assert len(rows) == len(MATRIX.operator) == 116
    told = [(op, release) for each in MATRIX.differs for op in each.ops for release in each.releases]
    assert len(set(told)) == len(told)
    for each in MATRIX.differs:
        assert len(each.reason) > 20
        for op in each.ops:
            for release in each.releases:
                says = rows[op].says[list(RELEASES).index(release)]
                assert each.check not in AGREES[says], (op, release)
    assert sum(says != "-" for row in MATRIX.operator for says in row.says) == 344
    assert len(told) == 17
