"""One model over many targets: every choice is a row with an estimate of its own, or is told as left out."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from dlaflow.api.estimate import EstimateOptions, estimate_model, estimates_json
from dlaflow.api.estimate_table import AgainstOptions, estimate_table
from dlaflow.errors import UsageError
from dlaflow.report.estimate_table import COLUMNS, estimate_table_page, estimate_table_text
from dlaflow.targets.board import boards
from dlaflow.targets.target import resolve_target

TARGET = resolve_target("agx-orin-64gb", "6.2")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    graph = onnx.helper.make_model(
        onnx.helper.make_graph(
            [onnx.helper.make_node("Conv", ["x", "w"], ["y"], name="conv", pads=[1, 1, 1, 1])],
            "net",
            [onnx.helper.make_tensor_value_info("x", 1, ["N", 3, 32, 32])],
            [onnx.helper.make_tensor_value_info("y", 1, ["N", 8, 32, 32])],
            [onnx.helper.make_tensor("w", 1, [8, 3, 3, 3], [0.0] * 216)],
        ),
        opset_imports=[onnx.helper.make_opsetid("", 17)],
        ir_version=8,
    )
    path = tmp_path_factory.mktemp("table") / "net.onnx"
    onnx.save(graph, path)
    return path


def test_every_choice_is_a_row(model: Path) -> None:
    options = AgainstOptions(power_modes="MAXN, 15W", precisions="all", batches="1,8")
    found = estimate_table(model, TARGET, None, options)
    rows = [(row.release, row.estimate.mode, row.estimate.precision, row.estimate.batch) for row in found.rows]
    assert len(rows) == len(set(rows)) == 8
    assert {row[0] for row in rows} == {"6.2"}
    assert not found.left_out


def test_a_row_is_the_estimate_of_its_target(model: Path) -> None:
    (row,) = estimate_table(model, TARGET, None, AgainstOptions(releases="5.1.1", batches=[4])).rows
    alone = estimate_model(model, resolve_target("agx-orin-64gb", "5.1.1", batch=4), EstimateOptions()).estimate
    assert row.estimate.latency == alone.latency
    assert row.estimate.energy_mj == alone.energy_mj


def test_all_boards_are_there_with_their_modes_or_told(model: Path) -> None:
    found = estimate_table(model, TARGET, None, AgainstOptions(boards="all", power_modes="all"))
    shown = {row.estimate.board for row in found.rows}
    told = " ".join(found.left_out)
    assert all(board.id in shown or board.id in told for board in boards() if board.dla_version)
    modes = {row.estimate.mode for row in found.rows if row.estimate.board == "agx-orin-64gb"}
    assert modes == {"MAXN", "50W", "30W", "15W"}
    assert all(row.estimate.latency or row.estimate.unknown for row in found.rows)
    # a mode whose clocks nobody published has no GPU time either: it is not that of the full clocks
    low = next(row.estimate for row in found.rows if (row.estimate.board, row.estimate.mode) == ("orin-nx-16gb", "10W"))
    assert low.gpu_alone is None


def test_what_a_board_lacks_is_left_out_and_told(model: Path) -> None:
    options = AgainstOptions(boards="agx-orin-64gb,orin-nx-16gb", power_modes="50W,25W")
    found = estimate_table(model, TARGET, None, options)
    assert [(row.estimate.board, row.estimate.mode) for row in found.rows] == [
        ("agx-orin-64gb", "50W"),
        ("orin-nx-16gb", "25W"),
    ]
    assert "agx-orin-64gb has no power mode 25W" in found.left_out
    with pytest.raises(UsageError, match="no target is left"):
        estimate_table(model, TARGET, None, AgainstOptions(power_modes="14W"))


@pytest.mark.parametrize(
    "options", [{"batches": "many"}, {"precisions": "int4"}, {"boards": "moon"}, {"releases": "9"}]
)
def test_names_that_nobody_knows_are_refused(model: Path, options: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        estimate_table(model, TARGET, None, AgainstOptions(**options))  # type: ignore[arg-type]


def test_text_json_and_page_hold_the_same_rows(model: Path) -> None:
    found = estimate_table(model, TARGET, None, AgainstOptions(boards="agx-orin-64gb,orin-nx-8gb", power_modes="all"))
    rows = [(row.release, row.estimate) for row in found.rows]
    text = estimate_table_text("net<b>.onnx", rows, found.left_out)
    page = estimate_table_page("net<b>.onnx", rows, found.left_out, "2026-01-01T00:00:00Z")
    written = json.loads(estimates_json(found, "net<b>.onnx"))
    assert written["schema"] == "dlaflow.estimates/1"
    assert [row["estimate"]["mode"] for row in written["rows"]] == [row.estimate.mode for row in found.rows]
    assert all(name in text and name in page for name in COLUMNS)
    assert page.count("<tr>") == len(rows) + 1
    assert "net<b>" not in page
    assert "not published" in text
    assert "not published" in page
