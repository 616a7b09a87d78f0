"""Boards side by side: columns for a few, rows for many."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from dlaflow.report.boards_text import board_table, of_run
from dlaflow.report.records import RunRecord, Variant
from dlaflow.types import Measurement


def row(subject, value, quantity="throughput"):
    return Measurement(quantity, subject, value, "batches/s", 3, 1.5)


def printed(table):
    text = io.StringIO()
    Console(file=text, width=80).print(table)
    return text.getvalue()


@pytest.mark.parametrize("count", [2, 8])
def test_nothing_is_cut_off_in_80_columns(count):
    found = {f"orin{number}": [row("gpu", 1000.0 + number), row("dla0", 600.0)] for number in range(count)}
    text = printed(board_table(found, "a title"))
    assert "…" not in text
    for number in range(count):
        assert f"orin{number}" in text
        assert f"{1000 + number:,} ±1.5" in text


def test_a_run_tells_its_boards_apart():
    rows = [
        row("orin dla0", 650.0),
        row("orin2 dla0", 651.0),
        row("int8 on orin", 90.0, "top1"),
        row("int8", 91.0, "top1"),
        row("orin", 1.5, "latency"),
        row("orin dla0", 5.0, "idle power"),
    ]
    found = of_run(RunRecord("r", "now", variants=[Variant("bn", measurements=rows)]), ["orin", "orin2"])
    assert [(one.quantity, one.subject, one.value) for one in found["orin"]] == [
        ("throughput", "bn dla0", 650.0),
        ("top1", "bn int8", 90.0),
        ("latency", "bn", 1.5),
    ]
    assert [one.value for one in found["orin2"]] == [651.0]
