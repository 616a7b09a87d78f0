"""`dlaflow doctor` on this very computer."""

from __future__ import annotations

import json

from dlaflow.cli import main


def test_page_and_file(tmp_path, capsys):
    assert main(["doctor", "--json", str(tmp_path / "machine.json")]) == 0
    said = capsys.readouterr().out
    assert "DLA cores" in said
    assert "build --via" in said
    written = json.loads((tmp_path / "machine.json").read_text())
    assert written["schema"] == "dlaflow.doctor/1"
    assert {"machine", "abilities", "oddities", "dlaflow"} <= set(written)
    assert all(one["works"] or one["why"] for one in written["abilities"])
