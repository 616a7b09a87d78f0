"""The file of a survey: what a kill leaves is passed over, and later lines count."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from dlaflow.errors import InputError
from dlaflow.survey.store import add_results, read_results
from tests.survey.conftest import made


def test_half_a_line_costs_itself_alone(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    first, second = made("a", 100, fits=True), made("b", 200, fits=False)
    add_results(path, [first, second])
    path.write_bytes(path.read_bytes()[:-40])
    assert read_results(path) == [first]
    add_results(path, [second])
    assert read_results(path) == [first, second]


def test_later_lines_count_and_boards_come_together(tmp_path: Path) -> None:
    path, whole = tmp_path / "results.jsonl", made("a", 100, fits=True)
    parts = [replace(whole, boards=[board]) for board in whole.boards]
    failed = replace(whole, status="failed", error="it died", boards=[])
    add_results(path, [failed, *parts])
    assert read_results(path) == [whole]
    newer = replace(parts[0], dlaflow="99", macs=7)
    add_results(path, [newer])
    assert read_results(path) == [newer], "what another version said is not mixed in"


def test_a_row_that_lacks_a_side_is_none(tmp_path: Path) -> None:
    path, whole = tmp_path / "results.jsonl", made("a", 100, fits=True)
    add_results(path, [replace(whole, **{side: None}) for side in ("before", "after", "fix")])
    assert read_results(path) == []


@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_what_is_no_file_is_not_waited_for(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(InputError):
        read_results(path)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"[]\n1\n{}\n\xff\xfe\n", b'{"schema": "dlaflow.sweep/1"}'])
def test_what_is_no_result(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(content)
    assert read_results(path) == []
    add_results(path, [made("a", 1, fits=True)])
    assert len(read_results(path)) == 1


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        read_results(tmp_path)
