"""Names of logs, the layers between two ends, and what counts as agreement."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx.parser
import pytest

from dlaflow.graph.load import load_model
from dlaflow.observed.build import ObservedBuild, ObservedLayer
from dlaflow.observed.names import is_noise, parts_of
from dlaflow.observed.score import score
from dlaflow.parse.log import ValidatorMessage
from dlaflow.placement.check import check_model
from dlaflow.targets.target import resolve_target
from dlaflow.types import Device, Placement

CLASSIFIER = """<ir_version: 8, opset_import: ["" : 17]> net (float[1, 3, 8, 8] x) => (float[1, 4, 1, 1] y)
<float[4, 3, 1, 1] w = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1},
 float[4, 4, 1, 1] v = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}>
{ a = Conv (x, w)  b = Relu (a)  c = Softplus (b)  d = Conv (c, v)  y = GlobalAveragePool (d) }"""
NAMES = ("conv1", "relu", "softplus", "conv2", "pool")


@pytest.fixture(scope="module")
def predicted(tmp_path_factory: pytest.TempPathFactory) -> Placement:
    """conv1, relu on the DLA; softplus on the GPU; conv2 on the DLA; pool on the GPU (TensorRT 8.5.2, Orin)."""
    model = onnx.parser.parse_model(CLASSIFIER)
    for node, name in zip(model.graph.node, NAMES, strict=True):
        node.name = name
    path = tmp_path_factory.mktemp("score") / "net.onnx"
    onnx.save(model, path)
    loaded = load_model(path)
    target = resolve_target("agx-orin-64gb", None, precision="fp16", tensorrt="8.5.2")
    return check_model(loaded, target)


def real(
    *dla: tuple[str, str], gpu: tuple[str, ...] = (), messages: tuple[ValidatorMessage, ...] = ()
) -> ObservedBuild:
    nodes = tuple(ObservedLayer(f"{{ForeignNode[{first}...{last}]}}", "", Device.DLA) for first, last in dla)
    layers = (*nodes, *(ObservedLayer(name, "", Device.GPU) for name in gpu))
    return ObservedBuild(layers, "lists", False, len(dla), listed=layers, ends=dla, messages=messages, file="test.log")


def test_the_same_placement_agrees_wholly(predicted: Placement) -> None:
    result = score(predicted, real(("conv1", "relu"), ("conv2", "conv2"), gpu=("softplus", "pool")))
    assert (result.named_agreeing, result.named) == (4, 4)
    assert (result.layers_agreeing, result.layers) == (5, 5)
    assert result.mac_share == 1.0
    assert result.loadables_right
    assert [match.predicted for match in result.loadables] == [0, 1]
    assert result.disagreements == ()


def test_both_sides_give_their_reasons(predicted: Placement) -> None:
    text = "Layer 'relu' (ACTIVATION): Unsupported on DLA."
    messages = (ValidatorMessage("relu", "ACTIVATION", "unsupported_layer", text),)
    build = real(("conv1", "conv1"), ("softplus", "conv2"), gpu=("relu", "pool"), messages=messages)
    result = score(predicted, build)
    wrong = {each.layer: each for each in result.disagreements}
    assert set(wrong) == {"relu", "softplus"}
    assert (wrong["relu"].predicted, wrong["relu"].real, wrong["relu"].certain) == (Device.DLA, Device.GPU, True)
    assert wrong["relu"].theirs == ("Layer 'relu' (ACTIVATION): Unsupported on DLA.",)
    assert [finding.rule for finding in wrong["softplus"].ours] == ["DLA170"]
    assert not wrong["softplus"].certain
    assert [match.predicted for match in result.loadables] == [None, None]


def test_work_is_weighed(predicted: Placement) -> None:
    """conv1 has 64 * 3 * 4 multiply-accumulates, conv2 64 * 4 * 4: with conv2 wrong 3 of 7 parts are right."""
    result = score(predicted, real(("conv1", "relu"), gpu=("softplus", "conv2", "pool")))
    assert result.mac_share == pytest.approx(3 / 7)
    assert result.layer_share == pytest.approx(4 / 5)
    assert not result.loadables_right


def test_fused_and_decorated_names_are_understood(predicted: Placement) -> None:
    gpu = (
        "PWN(softplus)",
        "pool + (Unnamed Layer* 9) [Shuffle]",
        "Reformatting CopyNode for Input Tensor 0 to pool",
        "d copy",
    )
    result = score(predicted, real(("conv1 + relu", "conv1 + relu"), ("conv2", "conv2"), gpu=gpu))
    assert (result.named_agreeing, result.named) == (4, 4)
    assert result.disagreements == ()


def test_an_entry_that_the_prediction_has_not_counts(predicted: Placement) -> None:
    result = score(predicted, real(("conv1", "relu"), ("conv2", "conv2"), gpu=("softplus", "pool", "reshape_after_fc")))
    assert (result.named_agreeing, result.named) == (4, 5)
    assert [(each.layer, each.predicted) for each in result.disagreements] == [("reshape_after_fc", None)]


def test_excerpts_say_nothing_of_the_rest(predicted: Placement) -> None:
    result = score(
        predicted, ObservedBuild((ObservedLayer("pool", "POOLING", Device.GPU),), "lists", False, None, complete=False)
    )
    assert (result.layers, result.named) == (1, 1)
    assert result.loadables_right
    assert result.loadables_real is None


def test_nothing_to_compare_is_no_agreement_to_boast_of(predicted: Placement) -> None:
    result = score(predicted, ObservedBuild((), "lists", False, None))
    assert (result.named, result.layers, result.named_share) == (0, 0, 1.0)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("/fc/Gemm + (Unnamed Layer* 125) [ElementWise]", ["/fc/Gemm", "(Unnamed Layer* 125) [ElementWise]"]),
        (
            "PWN(c + (Unnamed Layer* 386) [Shuffle], PWN(/Add_2, /Div_1))",
            ["c", "(Unnamed Layer* 386) [Shuffle]", "/Add_2", "/Div_1"],
        ),
        ("PWN(PWN(PWN(/a/Sigmoid), /a/Mul), /Add) + /b", ["/a/Sigmoid", "/a/Mul", "/Add", "/b"]),
        ("conv_a || conv_b", ["conv_a", "conv_b"]),
        ("{single}", ["single"]),
        ("(Unnamed Layer* 3) [Shuffle]", ["(Unnamed Layer* 3) [Shuffle]"]),
    ],
)
def test_parts(name: str, parts: list[str]) -> None:
    assert list(parts_of(name)) == parts


@pytest.mark.parametrize(
    ("name", "kind", "noise"),
    [
        ("/model.23/Div_1_output_0 copy", "COPY", True),
        ("/model.23/Reshape_copy_output", "", True),
        ("scale_constant_of_/model.23/Sub", "CONSTANT", True),
        ("head_1 from nvm", "", True),
        ("{conv1,relu} output reformatter 0", "", True),
        ("{conv1,relu} output to be reformatted 0 finish", "", True),
        ("/model.23/Reshape", "SHUFFLE", False),
        ("copied_squeeze_after_x", "SHUFFLE", False),
    ],
)
def test_copies_are_no_layers(name: str, kind: str, noise: bool) -> None:
    assert is_noise(name, kind) is noise


def test_a_side_branch_belongs_and_a_stranger_does_not(tmp_path: Path) -> None:
    """Between `first` and `last`: `side` hangs on `first`; `other` comes from the input and leads elsewhere."""
    text = """<ir_version: 8, opset_import: ["" : 17]> net (float[1, 4, 8, 8] x, float[1, 4, 8, 8] z)
    => (float[1, 4, 8, 8] p, float[1, 4, 8, 8] q, float[1, 4, 8, 8] r)
    { a = Relu (x)  p = Sigmoid (a)  q = Tanh (z)  r = Relu (a) }"""
    model = onnx.parser.parse_model(text)
    for node, name in zip(model.graph.node, ("first", "side", "other", "last"), strict=True):
        node.name = name
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    loaded = load_model(path)
    target = resolve_target("agx-orin-64gb", None, precision="fp16", tensorrt="8.5.2")
    result = score(check_model(loaded, target), real(("first", "last")))
    assert result.layers == 3
