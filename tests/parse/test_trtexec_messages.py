"""Every message template that was ever collected, and the placement lists of each release."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dlaflow.parse.log import LogRun
from dlaflow.parse.trtexec import parse_log

STRUCTURE = {"info", "noise"}
"""Templates that are headings, options or profile rows rather than messages."""

FILLERS = {
    "{name}": "/a/Conv_1", "{TYPE}": "SHUFFLE", "{OP}": "POW", "{AVG}": "AVG", "{N}": "16", "{n}": "64", "{max}": "32",
    "{T}": "LEAKY_RELU", "{id}": "0x3", "{line}": "885",
}  # fmt: skip


def one(text: str) -> LogRun:
    (run,) = parse_log(text).runs
    return run


def filled(template: str) -> str:
    for mark, value in FILLERS.items():
        template = template.replace(mark, value)
    return template


def test_every_collected_template_is_known(evidence: Path) -> None:
    templates = json.loads((evidence / "placement" / "messages.json").read_text())["log_messages"]
    checked = 0
    for template in templates:
        if template["quality"] != "verbatim" or template["reason_code"] in STRUCTURE:
            continue
        run = one(f"[01/23/2025-09:18:04] [W] [TRT] {filled(template['template'])}\n")
        reasons = {message.reason for message in run.messages} | {problem.reason for problem in run.problems}
        assert template["reason_code"] in reasons, template["template"]
        if "{name}" in template["template"] and run.messages:
            assert run.messages[0].layer == "/a/Conv_1", template["template"]
        checked += 1
    assert checked >= 38


@pytest.mark.parametrize(
    ("text", "reason", "layer"),
    [
        ("DLA does not support dynamic shape tensor: input.1", "dynamic_shape", "input.1"),
        ("x: DLA cores do not support DIV ElementWise operation.", "elementwise_op_unsupported", "x"),
        ("y: DLA cores do not support MAX Reduce operation.", "reduce_op_unsupported", "y"),
        ("Layer 'it's (odd)' (SLICE): Unsupported on DLA. Switching", "unsupported_layer", "it's (odd)"),
        ("DLA supports only 8 subgraphs per DLA core. Switching to GPU for layer conv_6", "subgraph_limit", "conv_6"),
    ],
)
def test_values_of_messages(text: str, reason: str, layer: str) -> None:
    (message,) = one(f"[01/23/2025-09:18:04] [W] [TRT] {text}\n").messages
    assert (message.reason, message.layer) == (reason, layer)


def test_a_nameless_reason_takes_the_layer_of_the_next_line() -> None:
    run = one(
        "[01/23/2025-09:18:04] [W] [TRT] This version of DLA does not support reshape layers directly connected to"
        " Slice or Concat\n"
        "[01/23/2025-09:18:04] [W] [TRT] Validation failed for DLA layer: /a/Reshape. Switching to GPU fallback.\n"
        "[01/23/2025-09:18:04] [W] [TRT] Splitting DLA subgraph at: /a/Reshape because DLA validation failed for this"
        " layer.\n"
    )
    assert [(message.reason, message.layer) for message in run.messages] == [
        ("reshape_next_to_slice_or_concat", "/a/Reshape"),
        ("dla_validation_failed", "/a/Reshape"),
        ("dla_validation_split", "/a/Reshape"),
    ]


SEVEN = """\
[09/30/2020-10:00:00] [W] [TRT] Default DLA is enabled but layer Softplus is not supported on DLA, falling back to GPU.
[09/30/2020-10:00:00] [I] [TRT]
[09/30/2020-10:00:00] [I] [TRT] --------------- Layers running on DLA:
[09/30/2020-10:00:00] [I] [TRT] {Tanh_3,Mul_4,Conv_5}, {Tanh_8,(Unnamed Layer* 5) [Scale]}, {prob},
[09/30/2020-10:00:00] [I] [TRT] --------------- Layers running on GPU:
[09/30/2020-10:00:00] [I] [TRT] Conv_0, 2253[Constant], PWN(a, PWN(b, c)), (Unnamed Layer* 6) [Constant] + x,
"""


def test_braces_of_seven() -> None:
    placement = one(SEVEN).placement
    assert placement.style == "braces"
    assert [node.members for node in placement.dla] == [
        ("Tanh_3", "Mul_4", "Conv_5"), ("Tanh_8", "(Unnamed Layer* 5) [Scale]"), ("prob",),
    ]  # fmt: skip
    assert (placement.dla[0].first, placement.dla[0].last) == ("Tanh_3", "Conv_5")
    assert placement.dla[0].raw == "{Tanh_3,Mul_4,Conv_5}"
    assert [node.name for node in placement.gpu] == [
        "Conv_0", "2253[Constant]", "PWN(a, PWN(b, c))", "(Unnamed Layer* 6) [Constant] + x",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "prefix",
    [
        "[01/23/2025-09:18:04] [I] [TRT] ",
        "[01/23/2025-09:18:04] [TRT] [I] ",
        "[01/23/2025-09:18:04] [01/23/2025-09:18:04] [I] [TRT] ",
        "[I] [TRT] ",
        "INFO: [TRT]: ",
        "[TensorRT] INFO: ",
        "[TRT]    ",
        "0:00:05.1 INFO nvinfer: [TRT]: ",
        "",
    ],
)
def test_every_prefix_of_the_library(prefix: str) -> None:
    placement = one(
        f"{prefix}---------- Layers Running on DLA ----------\n{prefix}[DlaLayer] {{ForeignNode[a...b]}}\n"
        f"{prefix}---------- Layers Running on GPU ----------\n{prefix}[GpuLayer] c + d\n"
    ).placement
    assert [(node.first, node.last, node.members) for node in placement.dla] == [("a", "b", None)]
    assert [(node.type, node.name) for node in placement.gpu] == [("", "c + d")]


def test_windows_endings_and_colours() -> None:
    run = one("\x1b[33m[01/23/2025-09:18:04] [W] [TRT] Layer 'a' (SLICE): Unsupported on DLA.\x1b[0m\r\n")
    assert run.messages[0].type == "SLICE"


def test_utf16_of_powershell(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes("[01/23/2025-09:18:04] [W] [TRT] Layer 'a' (SLICE): Unsupported on DLA.\r\n".encode("utf-16"))
    assert parse_log(path).runs[0].messages[0].layer == "a"


def test_an_empty_dla_list_whose_blanks_were_stripped() -> None:
    stamp = "[02/22/2021-15:13:17] [I] [TRT]"
    run = one(
        f"{stamp}\n{stamp} --------------- Layers running on DLA:\n{stamp}\n"
        f"{stamp} --------------- Layers running on GPU:\n{stamp} conv1 + relu, pool\n"
    )
    assert (run.placement.printed, run.placement.dla) == (True, ())
    assert [node.name for node in run.placement.gpu] == ["conv1 + relu", "pool"]
    assert run.unknown_count == 0


def test_a_library_line_without_a_level_is_no_continuation() -> None:
    run = one("[01/23/2025-09:18:04] [E] [TRT] broken\n[TRT]    Layer 'a' (SLICE): Unsupported on DLA.\n")
    assert run.problems[0].text == "broken"
    assert [message.layer for message in run.messages] == ["a"]
