"""A build that is passed on: written by score --share, dropped into the tests' folder, scored as before."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import msgspec
import onnx
import onnx.parser
import pytest
from graphs import builds, cifar, yolo

import dlaflow
from dlaflow.api.score import score_shared
from dlaflow.cli import main
from dlaflow.errors import DlaflowError, InputError
from dlaflow.graph.load import load_model
from dlaflow.graph.weightless import graph_from_text, graph_text
from dlaflow.observed.shared import Agreement, read_shared

LOG = """&&&& RUNNING TensorRT.trtexec [TensorRT v8502] # trtexec --onnx=m.onnx --useDLACore=0 --fp16 --allowGPUFallback
[11/28/2026-10:00:00] [W] [TRT] Layer '/secret/soft' (ACTIVATION): Unsupported on DLA. Switching
[11/28/2026-10:00:00] [I] [TRT] ---------- Layers Running on DLA ----------
[11/28/2026-10:00:00] [I] [TRT] [DlaLayer] {ForeignNode[/secret/conv1.../secret/relu]}
[11/28/2026-10:00:00] [I] [TRT] [DlaLayer] {ForeignNode[/secret/conv2]}
[11/28/2026-10:00:00] [I] [TRT] ---------- Layers Running on GPU ----------
[11/28/2026-10:00:00] [I] [TRT] [GpuLayer] SOFTPLUS: PWN(/secret/soft)
[11/28/2026-10:00:00] [I] [TRT] [GpuLayer] SHUFFLE: reshape_after_/secret/conv2 + (Unnamed Layer* 9) [Shuffle]
[11/28/2026-10:00:00] [I] [TRT] [GpuLayer] COPY: /secret/y copy
[11/28/2026-10:00:00] [I] [TRT] ---------- end ----------
&&&& PASSED TensorRT.trtexec [TensorRT v8502] # trtexec --onnx=m.onnx --useDLACore=0 --fp16 --allowGPUFallback
"""
NETWORK = """<ir_version: 8, opset_import: ["" : 17]>
secret (float[1, 3, 8, 8] "/secret/x") => (float[1, 4, 8, 8] "/secret/y")
<float[4, 3, 1, 1] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 1234.5, 11, 12},
 float[4, 4, 1, 1] v = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}>
{ ["/secret/conv1"] a = Conv ("/secret/x", w)  ["/secret/relu"] b = Relu (a)  ["/secret/soft"] c = Softplus (b)
  ["/secret/conv2"] "/secret/y" = Conv (c, v) }"""
TARGET = ["--board", "agx-orin-64gb", "--tensorrt", "8.5.2"]


@pytest.fixture
def build(tmp_path: Path) -> tuple[Path, Path]:
    """A model and the log of its build."""
    model, log = tmp_path / "m.onnx", tmp_path / "build.log"
    onnx.save(onnx.parser.parse_model(NETWORK), model)
    log.write_text(LOG)
    return model, log


@pytest.mark.parametrize("hashed", [[], ["--hash-names"]], ids=["names", "hashed"])
def test_a_share_dropped_in_is_scored_equal(build, hashed, tmp_path, monkeypatch, capsys):
    model, log = build
    folder = tmp_path / "builds"
    folder.mkdir()
    shared = folder / "mine.json"
    assert main(["score", str(model), "--log", str(log), *TARGET, "--share", str(shared), *hashed]) == 0
    whole = dlaflow.score(model, log=log, board="agx-orin-64gb", tensorrt="8.5.2")
    monkeypatch.setattr(builds, "BUILDS", folder)
    (case,) = builds.contributed()
    found, placement = builds.run(case, case.draw(tmp_path / "again.onnx"))
    assert Agreement.of(found) == Agreement.of(whole) == read_shared(shared).scored
    assert (found.named, found.named_agreeing, len(placement.loadables)) == (whole.named, whole.named_agreeing, 2)
    assert len(found.disagreements) == len(whole.disagreements)
    capsys.readouterr()


def test_a_share_holds_no_weight_and_no_log(build, tmp_path, capsys):
    model, log = build
    shared = tmp_path / "mine.json"
    assert main(["score", str(model), "--log", str(log), *TARGET, "--share", str(shared)]) == 0
    text = shared.read_text()
    assert "1234" not in text
    assert "Switching" not in text
    assert "/secret/conv1" in text
    assert main(["score", str(model), "--log", str(log), *TARGET, "--share", str(shared), "--hash-names"]) == 0
    hashed = shared.read_text()
    assert "secret" not in hashed
    assert "(Unnamed Layer* 9) [Shuffle]" in hashed
    names = set(re.findall(r"\bn[0-9a-f]{12}\b", hashed))
    assert main(["score", str(model), "--log", str(log), *TARGET, "--share", str(shared), "--hash-names"]) == 0
    assert not names & set(re.findall(r"\bn[0-9a-f]{12}\b", shared.read_text())), "one salt a file"
    capsys.readouterr()


PRIVATE = """<ir_version: 8, opset_import: ["" : 17, "secret.unused" : 3, "secret.vision" : 2, "com.microsoft" : 1]>
secret (float[1, 3, 8, 8] "/secret/x") => (float[1, 4, 8, 8] "/secret/y")
<float[4, 3, 1, 1] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 1234.5, 11, 12},
 float[4, 4, 1, 1] v = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}>
{ ["/secret/conv1"] a = Conv <auto_pad = "VALID"> ("/secret/x", w)  ["/secret/relu"] b = Relu (a)
  ["/secret/soft"] c = Softplus (b)  ["/secret/conv2"] "/secret/y" = Conv (c, v)
  d = secret.vision.SecretTracker <secret_path = "/home/secret", labels = ["secret cat"], secret_size = 3> (c)
  e = SecretPlugin <plugin_version = "secret 1"> (c)
  f = com.microsoft.Gelu (c)
  g = secret.vision.Relu <mode = "secret"> (c)
  h = Constant <value_strings = ["secret dog"]> ()
  k = Constant <value = string[1] {"secret bird"}> () }"""


def test_hashing_leaves_nothing_of_an_owner(build, tmp_path, capsys):
    model, log = build
    onnx.save(onnx.parser.parse_model(PRIVATE), model)
    shared, again = tmp_path / "mine.json", tmp_path / "again.onnx"
    command = ["score", str(model), "--log", str(log), *TARGET, "--share", str(shared)]
    assert main(command) == 0
    assert "secret.vision.SecretTracker" in shared.read_text()
    assert main([*command, "--hash-names"]) == 0
    assert "secret" not in shared.read_text().lower()
    found, _ = score_shared(read_shared(shared), again)
    assert Agreement.of(found) == read_shared(shared).scored
    proto = onnx.load(again, load_external_data=False)
    names = [(bool(node.domain), node.op_type) for node in proto.graph.node]
    for kept in ((False, "Conv"), (True, "Gelu"), (True, "Relu")):
        assert kept in names
    assert [len(entry.domain) for entry in proto.opset_import] == [0, 13, 13]
    assert proto.graph.node[0].attribute[0].s == b"VALID"
    (tracker,) = [node for node in proto.graph.node if any(each.i == 3 for each in node.attribute)]
    assert re.fullmatch(r"(n[0-9a-f]{12})\.(n[0-9a-f]{12})", f"{tracker.domain}.{tracker.op_type}")
    capsys.readouterr()


def test_hashing_without_a_file_is_no_order(build, capsys):
    model, log = build
    assert main(["score", str(model), "--log", str(log), *TARGET, "--hash-names"]) == 2
    assert "--share" in capsys.readouterr().err


@pytest.mark.parametrize("draw", [partial(cifar.scoped, name="model_gn"), yolo.yolo11n_dla], ids=["gn", "yolo11n-dla"])
def test_a_graph_without_weights_is_placed_alike(draw, tmp_path):
    from dlaflow.placement.check import check_model
    from dlaflow.targets.target import resolve_target

    model = load_model(draw(tmp_path / "m.onnx"))
    again = tmp_path / "again.onnx"
    lines = graph_text(model)
    onnx.save(graph_from_text(lines, again), again)
    assert sum(map(len, lines)) < 100_000
    for board, tensorrt, precision in (("agx-orin-64gb", "8.5.2", "int8"), ("orin-nx-16gb", "10.3.0", "fp16")):
        target = resolve_target(board, tensorrt=tensorrt, precision=precision)
        before, after = (check_model(each, target, {}) for each in (model, load_model(again)))
        assert (before.layers, before.loadables, before.switches) == (after.layers, after.loadables, after.switches)


GOOD = {
    "schema": "dlaflow.build/1",
    "dlaflow": "0.1.0",
    "board": "agx-orin-64gb",
    "tensorrt": "8.5.2",
    "precision": "fp16",
    "graph": [
        '<ir_version: 8, opset_import: ["" : 17]>',
        "g (float[1, 3, 8, 8] x) => (float[1, 3, 8, 8] y) {",
        "y = Relu (x)",
        "}",
    ],
    "listed": [{"name": "node_of_y", "device": "DLA"}],
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": "dlaflow.build/9"}, "schema"),
        ({"listed": [{"name": "y", "device": "TPU"}]}, "TPU"),
        ({"listed": [{"name": "y" * 70_000, "device": "GPU"}]}, "length"),
        ({"batch": -1}, "batch"),
        ({"shapes": {"x": [2**40]}}, "shapes"),
        ({"surprise": 1}, "surprise"),
        ({"board": "toaster"}, "toaster"),
        ({"tensorrt": "banana"}, "banana"),
        ({"graph": ["no graph"]}, "no ONNX text"),
        ({"graph": []}, "no ONNX text"),
        ({"graph": ["{" * 5_000]}, "nested too deeply"),
        ({"graph": [*GOOD["graph"][:2], "y = Relu (z)", "}"]}, "z"),
        (
            {
                "graph": [
                    GOOD["graph"][0],
                    "g (float[1, 3, 8, 8] x) => (float[1, 3, 8, 8] y)",
                    '<float[9] w = ["location": "../../etc/passwd"]> {',
                    "y = Relu (x)",
                    "}",
                ]
            },
            "a file of weights",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_strangers_send_is_one_line(change, said, tmp_path):
    path = tmp_path / "theirs.json"
    path.write_bytes(msgspec.json.encode({**GOOD, **change}))
    with pytest.raises(DlaflowError, match=re.escape(said)) as caught:
        score_shared(read_shared(path), tmp_path / "graph.onnx")
    assert "\n" not in str(caught.value)


def test_the_good_one_is_read(tmp_path):
    path = tmp_path / "theirs.json"
    path.write_bytes(msgspec.json.encode(GOOD))
    found, _ = score_shared(read_shared(path), tmp_path / "graph.onnx")
    assert (found.named, found.named_agreeing) == (1, 1)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"null"])
def test_files_that_are_no_share(data, tmp_path):
    path = tmp_path / "theirs.json"
    path.write_bytes(data)
    with pytest.raises(InputError, match="no shared build"):
        read_shared(path)
    with pytest.raises(InputError, match="cannot read"):
        read_shared(tmp_path / "absent.json")
