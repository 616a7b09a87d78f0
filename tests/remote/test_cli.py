"""The commands as typed: one board of an inventory through all of them, then a recording in its place."""

from __future__ import annotations

import json
import re

import numpy as np
import onnx
import pytest

from dlaflow.cli import main
from dlaflow.errors import EXIT_DONE, EXIT_FINDINGS, EXIT_USAGE
from dlaflow.parse.notes import flags_of
from dlaflow.parse.trtexec import parse_log

NETWORK = """
<ir_version: 8, opset_import: ["" : 13]>
two (float[N, 3, 8, 8] input) => (float[N, 3, 8, 8] output) { middle = Atan (input) output = Relu (middle) }
"""


@pytest.fixture
def board(tmp_path, monkeypatch, stand_in):
    """The word for the board, in a folder with a model and labelled images; JetPack 6.2."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DLAFLOW_ANSWERS", str(tmp_path / "answers"))
    monkeypatch.setenv("COLUMNS", "200")
    stand_in.setting("version", "100300")
    stand_in.setting("seconds", 0.05)
    onnx.save(onnx.parser.parse_model(NETWORK), "two.onnx")
    labels = np.arange(8) % 5
    images = np.zeros((8, 3, 8, 8), np.float32)
    images[:, 0, 0, 0] = labels
    np.savez("images.npz", images=images, labels=labels)
    (tmp_path / "one.toml").write_text(f'[[board]]\nname = "orin"\nhost = "local"\nroot = "{tmp_path}/root"\n')
    return "one.toml"


@pytest.mark.slow
def test_one_board_through_all_commands(board, tmp_path, capsys):
    def said(*words, code=EXIT_DONE):
        assert main(["remote", board, *words]) == code, capsys.readouterr()
        out, err = capsys.readouterr()
        return out + err

    assert "no jobs" in said("jobs")
    assert "TensorRT    10.3.0" in said("doctor")
    target = ("--precision", "fp16", "--batch", "4")
    assert "Built dla.engine on orin" in said("build", "two.onnx", "--out", "dla.engine", *target)
    said("build", "two.onnx", "--out", "gpu.engine", "--gpu-only", *target)
    text = said(
        "profile", "dla.engine", "--out", "profile", "--duration", "1", "--idle", "0.1", "--json", "profile.json"
    )
    assert "On orin" in text
    assert json.loads((tmp_path / "profile.json").read_text())
    words = ("--duration", "1", "--idle", "0.1", "--repeats", "1", "--json", "bench.json")
    text = said("bench", "--gpu", "gpu.engine", "--dla", "dla.engine", "--core", "0", *words)
    assert "throughput kept beside the others" in text
    rows = json.loads((tmp_path / "bench.json").read_text())["measurements"]
    assert {row["subject"] for row in rows if row["quantity"] == "throughput"} >= {"gpu", "dla0"}
    assert "top-1 100.00%" in said("evaluate", "dla.engine", "--data", "images.npz")

    assert (
        main(["check", "two.onnx", "--jetpack", "6.2", "--precision", "fp16", "--fail-on", "unknown"]) == EXIT_FINDINGS
    )
    assert "1 layers asked on orin" in said("probe", "two.onnx", "--precision", "fp16")
    assert main(["check", "two.onnx", "--jetpack", "6.2", "--precision", "fp16", "--fail-on", "unknown"]) == EXIT_DONE
    capsys.readouterr()

    job = re.findall(r"build-[0-9a-f-]+", said("jobs"))[0]
    assert "files in again" in said("attach", job, "--out", "again")
    assert (tmp_path / "again" / "model.engine").read_bytes() == (tmp_path / "dla.engine").read_bytes()
    assert "asked to stop" in said("stop", job)
    assert "another TensorRT" in said("build", "two.onnx", "--out", "x.engine", "--jetpack", "5.1.1", code=EXIT_USAGE)
    assert "forgot 6 jobs" in said("clean", "--days", "0")


def test_the_dla_core_reaches_the_boards_trtexec(board, tmp_path):
    target = ("--precision", "fp16", "--batch", "4", "--dla-core", "1")
    assert (
        main(["remote", board, "build", "two.onnx", "--out", "m.engine", "--build-only", "--quiet", *target])
        == EXIT_DONE
    )
    (run,) = parse_log(tmp_path / "m.engine.log").runs
    assert flags_of(run.command)["useDLACore"] == "1"


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("remote", "boards.toml"), "no command for the board"),
        (("remote", "doctor", "orin"), "The board comes first: dlaflow remote orin doctor"),
        (("remote", "orin", "bild"), "Did you mean 'build'"),
        (("remote", "a b;rm -rf", "doctor"), "cannot read the board's address"),
        (("remote", "no.toml", "doctor"), "cannot read no.toml"),
        (("remote", "replay:nothing", "doctor"), "no recording"),
    ],
)
def test_mistakes_are_one_line(words, wanted, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(list(words)) == EXIT_USAGE
    assert wanted in capsys.readouterr().err
