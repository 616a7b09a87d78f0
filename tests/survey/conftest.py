"""What the tests of surveys share: a folder of small models, and a package `timm` whose models misbehave."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import onnx.parser
import pytest

from dlaflow.survey.records import Case, Fixing, OnBoard, Reason, Result, Side, Surveyed, Times
from tests.report.conftest import Page, page

__all__ = ["Page", "page"]

MODEL = """<ir_version: 8, opset_import: ["" : 17]>
net (float[1, 3, 16, 16] input) => (float[1, 8, 1, 1] output)
<float[8, 3, 3, 3] w = {WEIGHTS}> {
    a = Conv <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]> (input, w)
    b = Relu (a)
    output = GlobalAveragePool (b)
}""".replace("WEIGHTS", ", ".join(f"{(index * 7) % 11 / 10 - 0.5:.1f}" for index in range(216)))
TIMM = """
import os, time, sys
import torch
from torch import nn

def list_models():
    return ["dies", "good", "greedy", "hangs", "raises", "sleeps"]

def model_entrypoint(name):
    return list_models

def create_model(name, pretrained, exportable):
    if name == "dies":
        os.kill(os.getpid(), 11)
    if name == "hangs":
        while True:
            pass
    if name == "greedy":
        kept = [bytearray(1 << 28) for _ in range(64)]
    if name == "sleeps":
        with open("pid", "w") as file:
            file.write(str(os.getpid()))
        time.sleep(3600)
    if name == "raises":
        raise ValueError("no <b>such</b> thing\\nat all")
    layers = [nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    network = nn.Sequential(*layers, nn.Linear(8, 10))
    network.default_cfg = {"input_size": (3, 32, 32)}
    return network
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with models/ and the package `timm`, which other processes find too."""
    models = tmp_path / "models"
    models.mkdir()
    for name in ("one.onnx", "two <b>|.onnx"):
        onnx.save(onnx.parser.parse_model(MODEL), str(models / name))
    (models / "broken.onnx").write_bytes(b"no model")
    (tmp_path / "timm.py").write_text(TIMM)
    info = tmp_path / "timm-9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: timm\nVersion: 9\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, sys.path)]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    return tmp_path


def side(share: float, loadables: int, switches: int, *reasons: Reason) -> Side:
    return Side(True, share, loadables, switches, switches, False, list(reasons))


def made(name: str, rate: float, *, fits: bool, family: str = "resnet", macs: int = 10**9) -> Result:
    """A result that a fix makes whole, or does not."""
    why = Reason("DLA250", "conditional", 2, "AVG reduction of <script>alert(1)</script>, allowed MAX")
    after = side(1.0, 1, 1) if fits else side(0.9, 4, 7, why)
    times = [Times((900 / each, 1000 / each, 1100 / each), (0.9 * each, each, 1.1 * each)) for each in (rate / 2, rate)]
    return Result(
        Surveyed(name, family, "classification", "1"),
        Case("6.2", "10.3.0", "v2", "int8"),
        "done",
        inputs={"input": [1, 3, 224, 224]},
        macs=macs,
        before=side(0.8, 6, 11, why),
        after=after,
        fix=Fixing([("mean-pooling", 2)], 1e-7, 0.001),
        boards=[OnBoard(board, "MAXN", *times) for board in ("agx-orin-64gb", "orin-nx-16gb")],
    )
