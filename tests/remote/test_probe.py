"""The board answers what `check` does not know, and the next `check` uses the answer."""

from __future__ import annotations

import onnx
import pytest

from dlaflow.errors import EnvironmentLacksError
from dlaflow.placement.answers import keep, known_answers
from dlaflow.placement.check import check
from dlaflow.remote.probe import ProbeOptions, probe
from dlaflow.targets.target import resolve_target
from dlaflow.types import Confidence, Device, Verdict

NETWORK = """
<ir_version: 8, opset_import: ["" : 13]>
three (float[2, 3, 8, 8] input) => (float[2, 3, 8, 8] output)
{ first = Relu (input) second = Erf (first) third = Relu (second) output = MaxPool <kernel_shape = [1, 1]> (third) }
"""


def test_a_probe_asks_each_layer_once_and_keeps_the_answer(here, tmp_path):
    path = tmp_path / "three.onnx"
    onnx.save(onnx.parser.parse_model(NETWORK), path)
    target = resolve_target("agx-orin-64gb", "5.1.1", precision="fp16")
    found = probe(here, path, target, ProbeOptions(everything=True))
    devices = {answer.op: answer.device for answer in found.answers.answers}
    assert devices == {"Relu": "DLA", "Erf": "GPU", "MaxPool": "DLA"}, "two equal layers are one question"
    keep(found.answers, tmp_path / "answers")
    known = known_answers("T234", target.release.tensorrt, "fp16", tmp_path / "answers")
    assert len(known) == 3
    assert not known_answers("T194", target.release.tensorrt, "fp16", tmp_path / "answers"), "another chip"


def test_a_board_that_builds_nothing_gives_no_answers(here, stand_in, tmp_path):
    stand_in.setting("fails", "yes")
    path = tmp_path / "three.onnx"
    onnx.save(onnx.parser.parse_model(NETWORK), path)
    with pytest.raises(EnvironmentLacksError, match="built none of 3 layers"):
        probe(here, path, resolve_target("agx-orin-64gb", "5.1.1", precision="fp16"), ProbeOptions(everything=True))


UNKNOWN = """
<ir_version: 8, opset_import: ["" : 13]>
two (float[2, 3, 8, 8] input) => (float[2, 3, 8, 8] output) { middle = Atan (input) output = Relu (middle) }
"""


@pytest.mark.parametrize(
    ("refuses", "device", "verdict"),
    [("nothing", Device.DLA, Verdict.NATIVE), ("Atan", Device.GPU, Verdict.FALLBACK)],
)
def test_the_next_check_uses_the_answer(here, stand_in, tmp_path, monkeypatch, refuses, device, verdict):
    monkeypatch.setenv("DLAFLOW_ANSWERS", str(tmp_path / "answers"))
    stand_in.setting("version", "100300")
    stand_in.setting("refuses", refuses)
    path = tmp_path / "two.onnx"
    onnx.save(onnx.parser.parse_model(UNKNOWN), path)
    target = resolve_target("agx-orin-64gb", "6.2", precision="fp16")
    before = check(path, target)
    assert before.summary.unknown_layers == 1
    found = probe(here, path, target)
    assert [answer.op for answer in found.answers.answers] == ["Atan"], "only what is unknown is asked"
    keep(found.answers)
    after = check(path, target)
    assert after.summary.unknown_layers == 0
    layer = after.layers[0]
    assert (layer.device, layer.verdict) == (device, verdict)
    assert layer.findings[0].confidence is Confidence.MEASURED
    assert "probe of agx-orin-64gb, TensorRT 10.3.0" in layer.findings[0].source
    again = probe(here, path, target)
    assert again.answers is None, "what was answered is not asked again"
    assert [answer.op for answer in again.known] == ["Atan"]
    other = check(path, resolve_target("agx-orin-64gb", "6.2", precision="int8"))
    assert other.summary.unknown_layers == 1, "an answer holds for its precision alone"


@pytest.mark.parametrize(("precision", "kind"), [("int8", b"QuantizeLinear"), ("fp16", b"Cast")])
def test_a_release_that_chooses_no_types_is_asked_with_typed_layers(here, stand_in, tmp_path, precision, kind):
    stand_in.setting("version", "110401")
    path = tmp_path / "three.onnx"
    onnx.save(onnx.parser.parse_model(NETWORK), path)
    target = resolve_target("agx-orin-64gb", tensorrt="11.4.1", precision=precision)
    found = probe(here, path, target, ProbeOptions(everything=True))
    assert {answer.op: answer.device for answer in found.answers.answers} == {
        "Relu": "DLA", "Erf": "GPU", "MaxPool": "DLA",
    }  # fmt: skip
    models = [file.read_bytes() for file in (stand_in.root / "store").iterdir() if b"probe" in file.read_bytes()]
    assert models
    assert all(kind in model for model in models)
