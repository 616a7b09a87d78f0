"""The notebook: its cells run in order, and show what is kept in it."""

from __future__ import annotations

import importlib.util
import json
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_loader = SourceFileLoader("run_notebook", str(ROOT / "scripts/run_notebook"))
_spec = importlib.util.spec_from_loader("run_notebook", _loader)
assert _spec is not None
script = importlib.util.module_from_spec(_spec)
_loader.exec_module(script)


def shown(cell: dict) -> str:
    """All that a cell shows, as text."""
    return "".join(
        "".join(out.get("text") or out["data"].get("text/html", out["data"]["text/plain"])) for out in cell["outputs"]
    )


def test_it_runs_and_shows_what_it_says() -> None:
    text = script.NOTEBOOK.read_text(encoding="utf-8")
    found = script.executed(text)
    assert script.words(found) == script.words(text), "run scripts/run_notebook"
    cells = {"".join(cell["source"]).splitlines()[-1]: cell for cell in json.loads(found)["cells"]}
    assert "2 loadables, 3 switches" in shown(cells["placement"])
    for option in ("board: str", "batch: int | None", "precision: str"):  # typed options, not **options
        assert option in shown(cells["help(dlaflow.check)"])
    assert "loadables=1" in shown(cells['dlaflow.check("fixed.onnx", **TARGET).summary'])


def test_a_cell_that_fails_is_no_output() -> None:
    with pytest.raises(ZeroDivisionError):
        script.run_cell("1 / 0", {}, 1)


def test_what_a_cell_shows_is_kept() -> None:
    assert script.run_cell("x = 1", {}, 1) == []
    (printed, value) = script.run_cell("print('a'); 1 + 1", {}, 2)
    assert printed == {"output_type": "stream", "name": "stdout", "text": ["a\n"]}
    assert value["data"] == {"text/plain": ["2"]}


def test_numbers_alone_do_not_make_it_stale() -> None:
    assert script.words("took 0.6 s,  1.3e-05") == script.words("took 12 s, 9")
    assert script.words("2 switches") != script.words("2 loadables")
