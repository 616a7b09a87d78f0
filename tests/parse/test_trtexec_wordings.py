"""The wording of each release, written from the format descriptions: summaries, tables, marks, odd lines."""

from __future__ import annotations

import math

import pytest

from dlaflow.parse.log import LogRun, Percentile
from dlaflow.parse.trtexec import parse_log

I = "[07/29/2021-19:44:10] [I] "  # noqa: E741 - the level's own letter


def one(*lines: str) -> LogRun:
    (run,) = parse_log("\n".join(lines) + "\n").runs
    return run


def test_summary_of_eight_zero() -> None:
    run = one(
        I + "=== Performance summary ===",
        I + "Throughput: 100.5 qps",
        I + "Latency: min = 1 ms, max = 3 ms, mean = 2 ms, median = 1.9 ms, percentile(99%) = 2.9 ms",
        I + "End-to-End Host Latency: min = 1.1 ms, max = 3.1 ms, mean = 2.1 ms, median = 2 ms, percentile(99%) = 3 ms",
        I + "Total Host Walltime: 3.01 s",
        I + "Total GPU Compute Time: 2.5 s",
    )
    assert run.performance is not None
    assert run.performance.end_to_end is not None
    assert run.performance.end_to_end.percentiles == (Percentile(99.0, 3.0),)
    assert (run.performance.walltime_s, run.performance.gpu_total_s) == (3.01, 2.5)


def test_summary_with_odd_numbers() -> None:
    run = one(
        I + "Throughput: inf qps",
        I + "H2D Latency: min = 1e-05 ms, max = nan ms, mean = 0 ms, median = 0 ms, percentile(90%) = 0 ms",
    )
    assert run.performance is not None
    assert run.performance.throughput_qps == math.inf
    assert run.performance.h2d is not None
    assert run.performance.h2d.min == 1e-05
    assert math.isnan(run.performance.h2d.max or 0.0)


def test_summary_of_seven_zero() -> None:
    run = one(
        I + "Host latency",
        I + "min: 3.05505 ms (end to end 3.06653 ms)",
        I + "percentile: 3.4563 ms at 99% (end to end 3.47168 ms at 99%)",
        I + "throughput: 318.785 qps",
        I + "GPU Compute",
        I + "median: 3.03919 ms",
        I + "total compute time: 2.92575 s",
    )
    assert run.performance is not None
    assert run.performance.latency is not None
    assert run.performance.latency.percentiles == (Percentile(99.0, 3.4563),)
    assert run.performance.gpu_compute is not None
    assert run.performance.gpu_compute.median == 3.03919
    assert run.performance.gpu_total_s == 2.92575


def test_averages_of_all_releases() -> None:
    run = one(
        "[I] Average over 10 runs is 5.1 ms (host walltime is 5.3 ms, 99% percentile time is 5.5).",
        I + "Average on 10 runs - GPU latency: 3.4 ms - Host latency: 3.5 ms (end to end 3.6 ms)",
        I + "Average on 10 runs - GPU latency: 3.4 ms - Host latency: 3.5 ms (end to end 3.6 ms, enqueue 3.7 ms)",
        I + "Average on 10 runs - GPU latency: 3.4 ms - Host latency: 3.5 ms (enqueue 3.7 ms)",
    )
    assert [(each.gpu_ms, each.end_to_end_ms, each.enqueue_ms) for each in run.averages] == [
        (5.1, None, None), (3.4, 3.6, None), (3.4, 3.6, 3.7), (3.4, None, 3.7),
    ]  # fmt: skip


@pytest.mark.parametrize("median", [False, True])
def test_table_with_the_name_first(median: bool) -> None:
    middle = "  Median Time (ms)" if median else ""
    extra = "   0.25" if median else ""
    run = one(
        I + "=== Profile (20 iterations ) ===",
        I + f"                Layer   Time (ms)   Avg. Time (ms){middle}   Time %",
        I + f"      conv + relu (x)        5.00             0.25{extra}     25.0",
        I + f"{{a,b}} output reformatter 0  15.00             0.75{extra}     75.0",
        I + f"                Total       20.00             1.00{extra}    100.0",
        I + "",
    )
    assert run.profile is not None
    assert [row.name for row in run.profile.rows] == ["conv + relu (x)", "{a,b} output reformatter 0"]
    assert run.profile.rows[1].average_ms == 0.75
    assert run.profile.rows[0].median_ms == (0.25 if median else None)
    assert run.profile.total is not None
    assert run.profile.total.percent == 100.0


def test_warnings_between_the_rows_of_a_table() -> None:
    run = one(
        I + "=== Profile (2 iterations ) ===",
        I + "   Time(ms)     Avg.(ms)   Median(ms)   Time(%)   Layer",
        "[07/29/2021-19:44:10] [W] [TRT] stderr comes when it likes",
        I + "      1.00       0.5000       0.5000      100.0   a  b",
    )
    assert run.profile is not None
    assert [row.name for row in run.profile.rows] == ["a  b"]


def test_options_with_colons_empty_values_and_items() -> None:
    run = one(
        I + "=== Build Options ===",
        I + "Input(s)s format: fp32:CHW",
        I + "Save engine: ",
        I + "Dump refittable layers:Disabled",
        I + "=== System Options ===",
        I + "Plugins:",
        I + "libmine.so",
        I + "",
        I + "Start parsing network model",
    )
    options = [(option.section, option.key, option.value) for option in run.options]
    assert options == [
        ("Build Options", "Input(s)s format", "fp32:CHW"),
        ("Build Options", "Save engine", ""),
        ("Build Options", "Dump refittable layers", "Disabled"),
        ("System Options", "Plugins", "libmine.so"),
    ]


def test_lines_after_the_mark_belong_to_the_run_before() -> None:
    log = parse_log(
        "&&&& RUNNING TensorRT.trtexec [TensorRT v8003] # trtexec a\n"
        "&&&& PASSED TensorRT.trtexec [TensorRT v8003] # trtexec a\n"
        "[07/29/2021-19:44:10] [W] [TRT] late\n"
        "&&&& RUNNING TensorRT.trtexec [TensorRT v8003] # trtexec b\n"
    )
    assert [len(run.problems) for run in log.runs] == [1, 0]
    assert [run.result for run in log.runs] == ["PASSED", ""]
    assert "truncated" in {note.code for note in log.runs[1].notes}


def test_early_stderr_belongs_to_the_first_run() -> None:
    log = parse_log(
        "[07/29/2021-19:44:10] [W] [TRT] early\n&&&& RUNNING TensorRT.trtexec # trtexec\n"
        "&&&& PASSED TensorRT.trtexec # trtexec\n"
    )
    assert [len(run.problems) for run in log.runs] == [1]


def test_collector_lines_are_no_continuation() -> None:
    run = one("[07/29/2021-19:44:10] [W] last", "Collecting data...", "[1/1] [=27%    ] a.nsys-rep", "Generated:")
    assert run.problems[0].text == "last"
    assert run.unknown_count == 0


def test_head_of_a_library_error() -> None:
    run = one(
        "[07/29/2021-19:44:10] [E] Error[2]: [nvmRegionOptimizer.cpp::forceToUseNvmIO::175] Error Code 2: Internal"
        " Error (Assertion failed. )",
        "[07/29/2021-19:44:10] [E] [TRT] ../rtExt/dla/native/dlaUtils.cpp (194) - DLA Error in submit: 7 (Failure to"
        " submit program to DLA engine.)",
    )
    first, second = run.problems
    assert (first.file, first.function, first.code) == ("nvmRegionOptimizer.cpp", "forceToUseNvmIO", 2)
    assert first.reason == "io_consumer_not_on_dla"
    assert (second.file, second.function, second.code, second.reason) == (
        "dlaUtils.cpp",
        "submit",
        7,
        "dla_submit_failed",
    )


def test_old_engine_lines() -> None:
    run = one(
        "[07/29/2021-19:44:10] [V] [TRT] Engine Layer Information:",
        "Layer(Convolution): conv1, Tactic: -4208188808979933945, in[Float(3,224,224)] -> out[Float(64,112,112)]",
        "Layer(Constant): k, Tactic: 0x0000000000000000,  -> k_out (Float[1,2])",
    )
    conv, constant = run.engine_layers
    assert (conv.name, conv.tactic, conv.inputs[0].name) == ("conv1", "-4208188808979933945", "in")
    assert conv.outputs[0].dimensions == (64, 112, 112)
    assert (constant.inputs, constant.outputs[0].name) == ((), "k_out")


def test_unknown_lines_are_kept_and_counted() -> None:
    run = one(*[I + f"a line of the future {number}" for number in range(1500)])
    assert run.unknown_count == 1500
    assert run.unknown[0] == "a line of the future 0"
    assert len(run.unknown) == 1000


def test_a_list_of_layers_may_hold_a_compiled_subgraph() -> None:
    entries = ("/a/Conv", "{ForeignNode[/b...c]}", "{d,e}")
    run = one(*(f"[07/29/2021-19:44:10] [V] [TRT] [DlaLayer] {entry}" for entry in entries))
    assert run.placement.style == "layers"
    assert [(node.first, node.last) for node in run.placement.dla] == [("/a/Conv", "/a/Conv"), ("/b", "c"), ("d", "e")]
    assert run.placement.dla[2].members == ("d", "e")


def test_engine_layers_in_the_wording_of_the_inspector() -> None:
    run = one(
        "[07/29/2021-19:44:10] [V] [TRT] Engine Layer Information:",
        "Name: {ForeignNode[a...b]}, LayerType: DLA, Inputs: [ { Name: x, Dimensions: [1,3], Format/Datatype: Half }]",
    )
    assert [(layer.kind, layer.name) for layer in run.engine_layers] == [("DLA", "{ForeignNode[a...b]}")]
