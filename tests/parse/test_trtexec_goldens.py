"""Facts of real logs, counted by eye or listed in the evidence's index."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlaflow.parse.log import DlaMemory, LogRun, TrtexecLog
from dlaflow.parse.trtexec import parse_log, version_of

VERBOSE = "trtexec_10.3.0_orin_dla0_fp16_resnet50_verbose_skipinference.log"
ORIN = "trtexec_10.3.0_orin_dla0_fp16_resnet50_passed.log"
XAVIER = "trtexec_8.5.2_xavier_dla0_fp16_fallback_passed.log"
SEVEN = "trtexec_7.1.3_jetson_int8_resnet50_n2_concat.txt"


def run_of(artefacts: Path, name: str) -> LogRun:
    log = parse_log(artefacts / name)
    assert len(log.runs) == 1
    return log.runs[0]


@pytest.mark.parametrize(
    ("digits", "version"),
    [("8502", "8.5.2"), ("8510", "8.5.10"), ("7203", "7.2.3"), ("100300", "10.3.0"), ("101601", "10.16.1")],
)
def test_version_digits(digits: str, version: str) -> None:
    assert version_of(digits) == version


def test_orin_verbose_placement(artefacts: Path) -> None:
    run = run_of(artefacts, VERBOSE)
    assert (len(run.placement.dla), len(run.placement.gpu), run.placement.style) == (120, 2, "layers")
    assert run.placement.dla[0].first == "/conv1/Conv"
    assert run.placement.dla[-1].members == ("/fc/Gemm + (Unnamed Layer* 125) [ElementWise]",)
    assert [(node.type, node.name) for node in run.placement.gpu] == [
        ("REDUCE", "/avgpool/GlobalAveragePool"),
        ("SHUFFLE", "reshape_after_/fc/Gemm"),
    ]


def test_orin_verbose_dla_compiler(artefacts: Path) -> None:
    build = run_of(artefacts, VERBOSE).dla
    assert build.pools == DlaMemory(1, 1024, 512)
    assert (build.offloaded, build.candidates) == (2, 2)
    assert [loadable.memory for loadable in build.loadables] == [DlaMemory(1, 16, 64), DlaMemory(1, 2, 8)]
    assert build.total == DlaMemory(1, 18, 72)
    assert len(build.layers) == 120
    assert {layer.precision for layer in build.layers} == {"Half"}
    assert build.layers[0].inputs[0].dimensions == (1, 3, 224, 224)
    assert min(tactic.time_ms for tactic in build.tactics if "conv1" in tactic.node) == 17.405


def test_orin_verbose_engine(artefacts: Path) -> None:
    layers = run_of(artefacts, VERBOSE).engine_layers
    assert [layer.kind for layer in layers] == [
        "Reformat", "DLA", "Reformat", "CaskPooling", "Reformat", "DLA", "Reformat", "NoOp",
    ]  # fmt: skip
    tensor = layers[1].inputs[0]
    assert (tensor.dtype, tensor.dimensions, tensor.vector) == ("Half", (1, 3, 224, 224), 16)
    assert layers[1].outputs[0].name == "/layer4/layer4.2/relu_2/Relu_output_0"


def test_orin_messages(artefacts: Path) -> None:
    run = run_of(artefacts, ORIN)
    assert [(message.reason, message.layer, message.type) for message in run.messages] == [
        ("reduce_avg_unsupported", "/avgpool/GlobalAveragePool", "REDUCE"),
        ("unsupported_layer", "/avgpool/GlobalAveragePool", "REDUCE"),
        ("unsupported_layer", "/Flatten", "SHUFFLE"),
        ("unsupported_layer", "fc.weight", "CONSTANT"),
        ("unsupported_layer", "fc.bias", "CONSTANT"),
        ("unsupported_layer", "ONNXTRT_Broadcast", "SHUFFLE"),
    ]
    assert run.messages[0].operation == "AVG"


def test_orin_performance(artefacts: Path) -> None:
    run = run_of(artefacts, ORIN)
    assert (run.tensorrt, run.result, run.placement.printed) == ("10.3.0", "PASSED", False)
    performance = run.performance
    assert performance is not None
    assert performance.throughput_qps == 56.2678
    assert performance.gpu_compute is not None
    assert performance.gpu_compute.median == 17.7314
    assert [(p.percent, p.ms) for p in performance.gpu_compute.percentiles] == [
        (90.0, 17.7461), (95.0, 17.7554), (99.0, 17.8259),
    ]  # fmt: skip
    assert (performance.walltime_s, performance.gpu_total_s, len(run.averages)) == (10.059, 10.0384, 56)
    assert run.device is not None
    assert (run.device.name, run.device.sms, run.device.global_memory_mib) == ("Orin", 16, 62841)


def test_xavier_subgraphs(artefacts: Path) -> None:
    run = run_of(artefacts, XAVIER)
    assert (len(run.placement.dla), len(run.placement.gpu), run.placement.style) == (6, 28, "subgraphs")
    first, last = run.placement.dla[0], run.placement.dla[5]
    assert (first.first, first.last, first.members) == (
        "/model.0/conv/Conv", "/model.10/m/m.0/attn/qkv/conv/Conv", None,
    )  # fmt: skip
    assert last.last == "/model.23/Concat_2"
    assert run.placement.dla[4].members == ("/model.10/Split",)
    assert run.placement.gpu[1].type == "MATRIX_MULTIPLY"
    assert run.placement.gpu[19].name == "PWN(scale_eltwise_of_/model.23/Sub, /model.23/Sub)"
    assert run.performance is not None
    assert run.performance.throughput_qps == 42.8649
    assert run.bindings[0].dimensions == (1, 3, 640, 640)


def test_seven_runs_in_one_file(artefacts: Path) -> None:
    log = parse_log(artefacts / SEVEN)
    assert len(log.runs) == 7
    assert {run.result for run in log.runs} == {"PASSED"}
    assert all(run.tensorrt is None for run in log.runs)
    first = log.runs[0]
    assert first.performance is not None
    assert first.performance.throughput_qps == 318.785
    assert first.performance.latency is not None
    assert first.performance.end_to_end is not None
    assert (first.performance.latency.median, first.performance.end_to_end.median) == (3.09796, 3.10852)
    assert first.performance.enqueue is not None
    assert first.performance.enqueue.mean is None
    assert (first.placement.printed, len(first.placement.dla), len(first.placement.gpu)) == (True, 0, 56)


def test_import_error_is_whole(artefacts: Path) -> None:
    run = run_of(artefacts, "trtexec_10.3.0_orin_gpu_int8_qdq_parse_failed.log")
    assert run.result == "FAILED"
    assert [problem.level for problem in run.problems] == ["E"] * 8
    assert 'op_type: "DequantizeLinear"' in run.problems[1].text
    assert "zero point" in run.problems[3].text
    assert run.problems[0].reason == "onnx_import_error"


def test_table_with_the_name_last(artefacts: Path) -> None:
    profile = run_of(artefacts, "trtexec_10.14.1_dumpprofile.log").profile
    assert profile is not None
    assert (profile.iterations, len(profile.rows)) == (21248, 16)
    assert profile.rows[0].name == "Reformatting CopyNode for Input Tensor 0 to node_conv2d + node_relu"
    assert profile.total is not None
    assert profile.total.average_ms == 0.071


def test_nothing_is_lost_silently(artefacts: Path) -> None:
    """No line of the collected logs is of an unknown kind, other programs' lines aside."""
    for name in (VERBOSE, ORIN, XAVIER, SEVEN, "trtexec_10.16_under_nsys.log", "trtexec_8.4.1_load_fp32_trimmed.txt"):
        log: TrtexecLog = parse_log(artefacts / name)
        assert sum(run.unknown_count for run in log.runs) == 0, (name, log.runs[0].unknown)


def test_inputs_and_outputs_of_the_network(artefacts: Path) -> None:
    verbose = run_of(artefacts, VERBOSE)
    assert [(binding.role, binding.name, binding.dimensions) for binding in verbose.bindings] == [
        ("input", "input", (1, 3, 224, 224)), ("output", "logits", ()),
    ]  # fmt: skip
    xavier = run_of(artefacts, XAVIER)
    assert (xavier.figures.network_inputs, xavier.figures.network_outputs) == (1, 3)
    assert [(binding.name, binding.dimensions) for binding in xavier.bindings] == [
        ("images", (1, 3, 640, 640)), ("output0", (1, 12, 8400)),
    ]  # fmt: skip
    assert verbose.model is not None
    assert (verbose.model.filename, verbose.model.opset) == ("onnx/resnet50_fp32.onnx", 17)
    assert (verbose.figures.engine_mib, verbose.figures.build_s) == (49.1416, 15.6813)
