"""Runs that are not one clean trtexec run: calibration before the build, two runs at once, crashes, other programs."""

from __future__ import annotations

import pytest

from dlaflow.parse.exports import parse_layer_info, parse_profile, parse_times
from dlaflow.parse.log import LogRun
from dlaflow.parse.nodes import foreign_ends
from dlaflow.parse.trtexec import parse_log

I = "[02/16/2020-18:41:47] [I] "  # noqa: E741 - the level's own letter
T = I + "[TRT] "


def one(*lines: str) -> LogRun:
    (run,) = parse_log("\n".join(lines) + "\n").runs
    return run


def test_the_placement_of_the_calibration_engine_does_not_count() -> None:
    run = one(
        "&&&& RUNNING TensorRT.trtexec # trtexec --int8 --useDLACore=0",
        T + "--------------- Layers running on DLA: ",
        T,
        T + "--------------- Layers running on GPU: ",
        T + "a + b, c, d, ",
        T + "Starting Calibration.",
        T + "--------------- Layers running on DLA: ",
        T + "{a,b}, ",
        T + "--------------- Layers running on GPU: ",
        T + "d, ",
    )
    assert [node.members for node in run.placement.dla] == [("a", "b")]
    assert [node.name for node in run.placement.gpu] == ["d"]


def test_two_engines_of_one_program_are_both_kept() -> None:
    lists = [T + "---------- Layers Running on DLA ----------", T + "---------- Layers Running on GPU ----------"]
    run = one(*lists, T + "[GpuLayer] SHUFFLE: a", *lists, T + "[GpuLayer] SHUFFLE: b")
    assert [node.name for node in run.placement.gpu] == ["a", "b"]


def test_sample_programs_mix_the_old_header_with_new_entries() -> None:
    run = one(
        "&&&& RUNNING TensorRT.sample_cudla # ./sample_cudla",
        "[I] [TRT] --------------- Layers running on DLA:",
        "[I] [TRT] [DlaLayer] {ForeignNode[(Unnamed Layer* 0) [ElementWise]]},",
        "[I] [TRT] --------------- Layers running on GPU:",
        "[I] [TRT]",
        "&&&& PASSED TensorRT.sample_cudla",
    )
    assert run.placement.style == "subgraphs"
    assert [node.first for node in run.placement.dla] == ["(Unnamed Layer* 0) [ElementWise]"]
    assert run.result == "PASSED"


def test_two_runs_at_the_same_time_are_told() -> None:
    log = parse_log(
        "&&&& RUNNING TensorRT.trtexec [TensorRT v8502] # trtexec a\n"
        "&&&& RUNNING TensorRT.trtexec [TensorRT v8502] # trtexec b\n" + I + "Throughput: 1 qps\n"
        "&&&& FAILED TensorRT.trtexec [TensorRT v8502] # trtexec a\n"
        "&&&& PASSED TensorRT.trtexec [TensorRT v8502] # trtexec b\n"
    )
    assert [(run.command, run.result) for run in log.runs] == [("trtexec a", "FAILED"), ("trtexec b", "PASSED")]
    assert all("mixed" in {note.code for note in run.notes} for run in log.runs)


@pytest.mark.parametrize(
    ("line", "level", "reason"),
    [
        ("Segmentation fault (core dumped)", "F", "crashed"),
        ("./run.sh: line 3:  1234 Killed                  trtexec --onnx=a.onnx", "F", "crashed"),
        ("NvMapMemAllocInternalTagged: 1075072515 error 12", "E", "out_of_memory"),
        ("NVMEDIA_DLA :  885, ERROR: runtime registerEvent failed. err: 0x4.", "E", "dla_runtime_error"),
    ],
)
def test_lines_of_the_driver_and_the_shell(line: str, level: str, reason: str) -> None:
    run = one("&&&& RUNNING TensorRT.trtexec # trtexec", I + "Starting inference", line)
    assert [(problem.level, problem.reason) for problem in run.problems] == [(level, reason)]


def test_a_warning_has_no_continuation() -> None:
    """Python programs print between the library's warnings."""
    run = one("[08/21/2026-16:44:03] [TRT] [W] Using default stream in enqueueV3()", "  200/1000", "done")
    assert [problem.text for problem in run.problems] == ["Using default stream in enqueueV3()"]
    assert run.unknown == ("  200/1000", "done")


@pytest.mark.parametrize("level", ["[WARNING]", "WARNING:", "[kWARNING]"])
def test_loggers_of_other_people(level: str) -> None:
    run = one(f"[TRT] {level} Layer 'a' (POOLING): Unsupported on DLA. Switching this layer's device type to GPU.")
    assert [(message.layer, message.level) for message in run.messages] == [("a", "W")]


def test_a_refusal_in_unknown_words_is_the_reason_of_the_fallback_behind_it() -> None:
    run = one(
        "[02/14/2025-10:33:45] [TRT] [W] 066_maxpool: DLA only supports windows in the range of [1-8].",
        "[02/14/2025-10:33:45] [TRT] [W] 066_maxpool: and its padding is odd.",
        "[02/14/2025-10:33:45] [TRT] [W] Layer '066_maxpool' (POOLING): Unsupported on DLA. Switching it",
        "[02/14/2025-10:33:45] [TRT] [W] Layer 'z' (POOLING): Unsupported on DLA. Switching this layer's device",
    )
    assert [(message.layer, message.type, message.reason) for message in run.messages] == [
        ("066_maxpool", "POOLING", "other_restriction"),
        ("066_maxpool", "POOLING", "other_restriction"),
        ("066_maxpool", "POOLING", "unsupported_layer"),
        ("z", "POOLING", "unsupported_layer"),
    ]


def test_head_of_an_error_of_ten() -> None:
    run = one(
        "[08/21/2026-10:49:20] [E] Error[10]: IBuilder::buildSerializedNetwork: Error Code 10: Internal Error (Could "
        "not find any implementation for node {ForeignNode[a...b]}.)"
    )
    (problem,) = run.problems
    assert (problem.function, problem.code, problem.reason) == (
        "IBuilder::buildSerializedNetwork", 10, "no_implementation_for_dla_node",
    )  # fmt: skip


def test_version_of_programs_that_print_it_in_words() -> None:
    assert one("[TRT]    TensorRT version 7.1.3").tensorrt == "7.1.3"
    assert one("[V] Loaded Module: tensorrt     | Version: 8.5.2.2 | Path: ['x']").tensorrt == "8.5.2"


def test_a_profile_that_was_indented_and_torn() -> None:
    row = '{\n  "name": "{a,b}",\n  "timeMs": 50,\n  "averageMs": 5.0,\n  "percentage": 90\n }'
    text = f'[\n {{\n  "count": 10\n }},\n {row},\n {{\n  "na'
    found = parse_profile(text)
    assert [(row.name, row.average_ms) for row in found.profiles[0].rows] == [("{a,b}", 5.0)]
    assert (found.profiles[0].iterations, found.complete) == (10, False)


def test_a_profile_on_one_line_and_torn() -> None:
    row = '{"name":"%s","timeMs":50,"averageMs":5.0,"medianMs":4.5,"percentage":50}'
    found = parse_profile(f'[{{"count":10}},{row % "a"},{row % "b {0}"},{{"name":"c')
    assert [(row.name, row.median_ms) for row in found.profiles[0].rows] == [("a", 4.5), ("b {0}", 4.5)]


def test_torn_times_are_told() -> None:
    query = '{"computeMs":1,"latencyMs":2}'
    found = parse_times(f'[{query},{query},{{"comp')
    assert (len(found.queries), found.complete) == (2, False)
    assert parse_times(f"[{query}]").complete


def test_layer_information_one_layer_a_line() -> None:
    found = parse_layer_info(
        "Name: {ForeignNode[a...b]}, LayerType: DLA, Inputs: [ { Name: x, Location: Device, Dimensions: [1,3,8,8], "
        "Format/Datatype: Half }], Outputs: [ { Name: y, Location: Device, Dimensions: [1,8], Format/Datatype: Int8 }]"
        ", TacticName: , TacticValue: 0x0000000000000003, StreamId: 1, Metadata: [ONNX Layer: a]\x1e[ONNX Layer: b]\n\n"
        "Bindings:\nx\ny\n"
    )
    (layer,) = found.layers
    assert (layer.type, layer.tactic, layer.stream, layer.onnx_layers) == ("DLA", "0x0000000000000003", 1, ("a", "b"))
    assert [tensor.datatype for tensor in (*layer.inputs, *layer.outputs)] == ["FP16", "INT8"]
    assert found.bindings == ("x", "y")


def test_ends_of_a_single_bracketed_name() -> None:
    name = "(Unnamed Layer* 0) [ElementWise]"
    assert foreign_ends(f"{{ForeignNode[{name}]}}") == (name, name)


def test_the_importers_errors_of_seven_have_no_prefix() -> None:
    run = one(
        "&&&& RUNNING TensorRT.trtexec # trtexec --onnx=a.onnx",
        "Input filename:   a.onnx",
        "Opset version:    9",
        "WARNING: ONNX model has a newer ir_version (0.0.6) than this parser was built against (0.0.3).",
        "Successfully casted down to INT32.",
        "While parsing node number 2 [Gather]:",
        "ERROR: onnx2trt_utils.hpp:347 In function convert_axis:",
        "[8] Assertion failed: axis >= 0 && axis < nbDims",
        "[04/14/2020-22:02:18] [E] Failed to parse onnx file",
        "&&&& FAILED TensorRT.trtexec # trtexec --onnx=a.onnx",
    )
    assert run.model is not None
    assert (run.model.filename, run.model.opset) == ("a.onnx", 9)
    assert [problem.reason for problem in run.problems if problem.reason] == ["onnx_import_error", "onnx_import_error"]
    assert run.problems[2].text.endswith("axis < nbDims")
    assert run.unknown_count == 0


def test_an_error_that_tells_only_its_code() -> None:
    run = one(
        "[E] Error[10]: Could not find any implementation for node {ForeignNode[(Unnamed Layer* 56) [Constant].../M]}."
    )
    (problem,) = run.problems
    assert (problem.code, problem.reason) == (10, "no_implementation_for_dla_node")


def test_torch_tensorrt() -> None:
    head = "[Torch-TensorRT TorchScript Conversion Context] - "
    run = one(
        f"WARNING: {head}a: DLA cores do not support POW ElementWise operation.",
        f"ERROR: {head}1: [nvdlaUtils.cpp::submit::198] Error Code 1: DLA (Failure to submit program to DLA engine.)",
    )
    assert [(message.layer, message.level) for message in run.messages] == [("a", "W")]
    assert [(problem.code, problem.reason) for problem in run.problems][1:] == [(1, "dla_submit_failed")]


def test_errors_of_five_and_what_the_driver_prints_beside_them() -> None:
    run = one(
        "NVMEDIA_DLA :  528, ERROR: load from memory failed.",
        "[E] [TRT] dla/dlaUtils.cpp (171) - DLA Error in deserialize: 7 (Failure to load program.)",
        "NVMAP_IOC_PARAMETERS failed: Bad file descriptor",
    )
    assert [problem.reason for problem in run.problems] == ["dla_load_failed", "dla_load_failed", "nvmap_at_exit"]
    assert run.problems[1].file == "dlaUtils.cpp"


def test_the_autotuner_in_a_program_without_levels_is_no_news() -> None:
    run = one(
        "[TRT]    =============== Computing costs for ",
        "[TRT]    *************** Autotuning format combination: Half(1) -> Half(2) ***************",
        "[TRT]    --------------- Timing Runner: {ForeignNode[a...b]} (DLA)",
        "[TRT]    Skipping tactic 0x0000000000000003 due to exception Assertion context.dlaContext != nullptr failed. ",
        "[TRT]    Fastest Tactic: 0xd15ea5edd15ea5ed Time: inf",
    )
    assert run.unknown == ()
    assert [problem.reason for problem in run.problems] == ["no_dla_available"]
