"""`dlaflow schedule`: what it reads, what it writes, what it refuses."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from xml.etree import ElementTree

import onnx
import pytest

import dlaflow
from dlaflow.api.schedule import Wish, wish_of
from dlaflow.cli import main
from dlaflow.errors import UsageError
from dlaflow.report.json import measurements_json
from dlaflow.types import Measurement


@pytest.fixture
def model(tmp_path: Path) -> Path:
    found = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 13]>
        net (float[1,16,32,32] x) => (float[1,16,32,32] y)
        <float[16,16,3,3] w> { c = Conv<pads=[1,1,1,1]>(x, w)
          y = Relu(c) }"""
    )
    weight = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [16, 16, 3, 3], [0.01] * 2304)
    del found.graph.initializer[:]
    found.graph.initializer.append(weight)
    path = tmp_path / "a@b.onnx"
    onnx.save(found, path)
    return path


def test_what_is_asked_stands_behind_the_path(model: Path) -> None:
    assert wish_of(str(model)) == Wish(model)
    assert wish_of(f"{model}@30") == Wish(model, 30.0)
    assert wish_of(f"{model}@20ms") == Wish(model, None, 20.0)
    assert wish_of(f"{model}@20ms@30fps") == Wish(model, 30.0, 20.0)


@pytest.mark.parametrize("text", ["m.onnx@0", "m.onnx@fast", "m.onnx@3@4", "m.onnx@nan", "m.onnx@-1"])
def test_what_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        wish_of(text)


def test_the_files_are_whole(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = {name: tmp_path / f"out.{name}" for name in ("json", "html", "svg", "trace")}
    options = [word for name, path in out.items() for word in (f"--{name}", str(path))]
    assert main(["schedule", f"{model}@30", str(model), "--jetpack", "6.2", *options]) == 0
    assert "Recommended: a@b #1 on" in capsys.readouterr().out
    answer = json.loads(out["json"].read_text())
    assert answer["schema"] == "dlaflow.schedule/1"
    assert len(answer["found"]["best"]["networks"]) == 2
    assert ElementTree.fromstring(out["svg"].read_text()).tag.endswith("svg")
    assert "Recommended" in out["html"].read_text()
    events = json.loads(out["trace"].read_text())["traceEvents"]
    complete = [event for event in events if event["ph"] == "X"]
    named = {event["tid"] for event in events if event["name"] == "thread_name"}
    assert complete
    assert {event["ph"] for event in events} == {"M", "X"}
    assert all(event["dur"] >= 0 and event["ts"] >= 0 and event["tid"] in named for event in complete)
    assert all(event["tid"] not in (0, event["pid"]) for event in events), "Perfetto's idle and main threads"
    by_track: dict[int, float] = {}
    for event in sorted(complete, key=lambda each: (each["tid"], each["ts"])):
        assert event["ts"] >= by_track.get(event["tid"], 0.0) - 1e-6, "Perfetto drops slices that overlap"
        by_track[event["tid"]] = event["ts"] + event["dur"]


def test_the_lines_can_be_pasted(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is a command of its own that this version takes; the deploy lines name a real system and a folder."""
    assert main(["schedule", str(model), "--jetpack", "6.2", "--shape", "x:1x16x32x32", "--for", "triton"]) == 0
    said = capsys.readouterr().out
    lines = [shlex.split(line) for line in said.splitlines() if line.startswith("  dlaflow ")]
    assert [line[1] for line in lines] == ["build", "deploy"]
    assert main([*lines[0][1:], "--print-command"]) == 0
    assert lines[1][3:5] == ["--for", "triton"]
    assert "changes none" in said


def test_a_bench_of_another_engine_is_asked_about(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench = model.with_name("bench.json")
    rows = [Measurement("throughput", unit, 2.0, "batches/s", 1) for unit in ("gpu", "dla0")]
    bench.write_bytes(measurements_json(rows))
    assert main(["schedule", str(model), "--jetpack", "6.2", "--measured", str(bench)]) == 0
    said = capsys.readouterr().out
    assert "times the estimate on the GPU: is it of this model" in said
    assert "times the estimate on the DLA: is it of this model" in said


def test_python_has_it_too(model: Path) -> None:
    found = dlaflow.schedule([f"{model}@30", model], board="orin-nx-16gb", jetpack="6.2", try_fix=False)
    assert [each.name for each in found.found.best.networks] == ["a@b #1", "a@b #2"]
    assert found.after_fix is None
    with pytest.raises(UsageError, match="system"):
        dlaflow.schedule([model], system="windows")  # type: ignore[arg-type]


def test_a_model_that_the_parser_refuses_is_told(model: Path) -> None:
    proto = onnx.load(model)
    proto.graph.node.append(onnx.helper.make_node("Identity", ["s"], ["t"]))
    for listed, name in ((proto.graph.input, "s"), (proto.graph.output, "t")):
        listed.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.STRING, [1]))
    onnx.save(proto, model)
    found = dlaflow.schedule([model], board="agx-orin-64gb", jetpack="6.2")
    assert "type string is not known" in found.notes[0]


def test_a_model_is_never_overwritten(model: Path) -> None:
    before = model.read_bytes()
    assert main(["schedule", f"{model}@30", "--json", str(model)]) == 2
    assert model.read_bytes() == before
