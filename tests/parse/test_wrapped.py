"""Logs as people keep them: behind docker's, ROS' or a timestamper's prefix, coloured, torn, gzipped, in UTF-16."""

from __future__ import annotations

import gzip
import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from dlaflow.parse.detect import Kind, detect
from dlaflow.parse.log import LogRun
from dlaflow.parse.trtexec import parse_log

LOG = """\
&&&& RUNNING TensorRT.trtexec [TensorRT v8502] # trtexec --onnx=a.onnx --useDLACore=0
[02/14/2025-10:33:45] [I] === Build Options ===
[02/14/2025-10:33:45] [I] Precision: FP32+INT8
[02/14/2025-10:33:45] [I]\x20
[02/14/2025-10:33:45] [W] [TRT] a: DLA cores do not support POW ElementWise operation.
[02/14/2025-10:33:45] [W] [TRT] Layer 'a' (ELEMENTWISE): Unsupported on DLA. Switching this layer's device type to GPU.
[02/14/2025-10:33:45] [I] [TRT] ---------- Layers Running on DLA ----------
[02/14/2025-10:33:45] [I] [TRT] [DlaLayer] {ForeignNode[b...c]}
[02/14/2025-10:33:45] [V] [TRT] Engine Layer Information:
Layer(DLA): {ForeignNode[b...c]}, Tactic: 0x0000000000000003, x (Half[1,3:16,2,2]) -> y (Half[1,3:16,2,2])
[02/14/2025-10:33:45] [I] === Performance summary ===
[02/14/2025-10:33:45] [I] Throughput: 10 qps
&&&& PASSED TensorRT.trtexec [TensorRT v8502] # trtexec --onnx=a.onnx --useDLACore=0
"""


def behind(prefix: str, end: str = "") -> str:
    return "".join(f"{prefix}{line}{end}\n" for line in LOG.splitlines())


def facts(run: LogRun) -> tuple[object, ...]:
    return (
        run.tensorrt,
        run.result,
        run.command,
        [(option.key, option.value) for option in run.options],
        [(message.layer, message.reason, message.level) for message in run.messages],
        [node.raw for node in run.placement.dla],
        [(layer.kind, layer.name) for layer in run.engine_layers],
        run.performance,
        run.unknown_count,
    )


@pytest.mark.parametrize(
    "text",
    [
        behind("trt_1  | "),
        behind("2025-02-14T10:33:45.123456789Z "),
        behind("2025-02-14T10:33:45.123456789Z stdout F "),
        behind("2025-02-14 10:33:45,123 "),
        behind("Feb 14 10:33:45 "),
        behind("Feb 14 10:33:45 orin trtexec[1234]: "),
        behind("[component_container_mt-1] "),
        behind("[INFO] [1680123.123456] [builder]: "),
        behind("trt_1  | 2025-02-14T10:33:45.123456789Z "),
        behind("#"),
        behind("[2025-02-14T10:33:45.123Z] "),
        behind("[   12.345678] "),
        behind("10:33:45 "),
        "".join(json.dumps({"log": f"{line}\n", "stream": "stdout", "time": "x"}) + "\n" for line in LOG.splitlines()),
        "".join(f"{number}:{line}\n" for number, line in enumerate(LOG.splitlines(), start=1)),
        behind("> "),
        behind("[10:33:45] "),
        behind("2025-02-14 10:33:45,123 - trt - INFO - "),
        behind("job 7 @ orin-3 << "),
        behind("\x1b[0;32m", "\x1b[0m"),
        behind("", "\x1b[K"),
        behind("", "   "),
        LOG.replace("\n", "\r\n"),
    ],
)
def test_a_wrapped_log_is_the_log(text: str) -> None:
    (plain,), (run,) = parse_log(LOG).runs, parse_log(text).runs
    assert facts(run) == facts(plain)
    assert detect(text) is Kind.TRTEXEC_LOG


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
def test_encodings_of_shells(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(LOG.replace("\n", "\r\n").encode(encoding))
    (plain,), (run,) = parse_log(LOG).runs, parse_log(path).runs
    assert facts(run) == facts(plain)
    assert detect(path) is Kind.TRTEXEC_LOG


def test_utf_16_appended_to_plain_text(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(LOG[:100].encode() + LOG[100:].encode("utf-16-le"))
    assert facts(parse_log(path).runs[0]) == facts(parse_log(LOG).runs[0])


def test_gzip_whole_torn_and_in_two_members(tmp_path: Path) -> None:
    path = tmp_path / "a.log.gz"
    path.write_bytes(gzip.compress(LOG[:200].encode()) + gzip.compress(LOG[200:].encode()))
    assert facts(parse_log(path).runs[0]) == facts(parse_log(LOG).runs[0])
    assert detect(path) is Kind.TRTEXEC_LOG
    path.write_bytes(gzip.compress(LOG.encode())[:200])
    assert parse_log(path).runs[0].tensorrt == "8.5.2"


def test_a_warning_in_the_middle_of_a_line_tears_nothing() -> None:
    warning = "[02/14/2025-10:33:45] [W] [TRT] Layer 'q' (POOLING): Unsupported on DLA. Switching this layer's device"
    torn = LOG.replace("Throughput: 10 qps", f"Throughput: {warning} type to GPU.\n10 qps")
    (run,) = parse_log(torn).runs
    assert run.performance is not None
    assert run.performance.throughput_qps == 10
    assert [message.layer for message in run.messages] == ["a", "a", "q"]


def test_two_lines_without_a_break_between_them() -> None:
    one = "[02/14/2025-10:33:45] [W] [TRT] Layer 'z' (POOLING): Unsupported on DLA. Switching this layer's type to GPU."
    (run,) = parse_log(one + one.replace("'z'", "'q'") + "\n").runs
    assert [message.layer for message in run.messages] == ["z", "q"]
    assert len(run.problems) == 2


def test_lines_of_other_programs_continue_no_error() -> None:
    (run,) = parse_log(
        "[02/14/2025-10:33:45] [E] [TRT] first\nits second line\n[INFO] [1680123.1] [node]: mine\n"
        "0:00:19.485292237  9519   0x558b5ce700 INFO                 nvinfer gstnvinfer.cpp:619: hers\n"
    ).runs
    assert [problem.text for problem in run.problems] == ["first\nits second line"]
    assert run.unknown_count == 2


def test_onnx_runtime() -> None:
    head = "2021-06-21 11:11:11.123 [W:onnxruntime:Default, tensorrt_execution_provider.h:63 log] "
    (run,) = parse_log(
        f"{head}[2021-06-21 11:11:11 WARNING] a: DLA cores do not support POW ElementWise operation.\n"
        f"{head}[2021-06-21 11:11:11   ERROR] 10: [optimizer.cpp::computeCosts::3869] Error Code 10: Internal Error "
        "(Could not find any implementation for node {ForeignNode[a...b]}.)\n"
    ).runs
    assert [(message.layer, message.level) for message in run.messages] == [("a", "W")]
    assert [(problem.level, problem.code) for problem in run.problems] == [("W", None), ("E", 10)]


def test_deepstream_behind_an_indent() -> None:
    (run,) = parse_log(
        "  WARNING: [TRT]: Default DLA is enabled but layer a is not supported on DLA, falling back to GPU.\n"
        "  INFO: [TRT]: --------------- Layers running on DLA: \n  INFO: [TRT]: {conv_1,bn_1}, {conv_2}, \n"
        "  INFO: [TRT]: --------------- Layers running on GPU: \n  INFO: [TRT]: conv1 + relu, pool, \n"
    ).runs
    assert [node.members for node in run.placement.dla] == [("conv_1", "bn_1"), ("conv_2",)]
    assert [node.name for node in run.placement.gpu] == ["conv1 + relu", "pool"]
    assert [message.level for message in run.messages] == ["W"]


@pytest.mark.parametrize("prefix", ["trt_1  | ", "2025-02-14T10:33:45.123Z ", "Feb 14 10:33:45 orin trtexec[1234]: "])
def test_an_empty_line_without_the_wrappers_blank(prefix: str) -> None:
    (run,) = parse_log(behind(prefix).replace(f"{prefix}&&&& PASSED", f"{prefix.rstrip()}\n{prefix}&&&& PASSED")).runs
    assert (run.result, run.unknown) == ("PASSED", ())


def test_an_unknown_wrapper_without_the_first_line_is_told_by_two_lines_alike() -> None:
    cut = LOG.partition("\n")[2]
    (plain,), (run,) = parse_log(cut).runs, parse_log("".join(f"o3<7> {line}\n" for line in cut.splitlines())).runs
    assert [each.layer for each in run.messages] == [each.layer for each in plain.messages]
    assert (run.engine_layers, run.performance) == (plain.engine_layers, plain.performance)


def test_a_line_that_another_one_broke_into_is_no_wrapper() -> None:
    torn = LOG.replace("[02/14/2025-10:33:45] [I] Precision", "loading weights [02/14/2025-10:33:45] [I] Precision")
    (run,) = parse_log(torn.replace("[I] Throughput", "[I] loading weights of Throughput")).runs
    assert run.performance is None


def test_a_head_that_tells_the_level_stays() -> None:
    text = "Layer 'a' (POOLING): Unsupported on DLA. Switching this layer's device type to GPU."
    lines = (f"W0511 12:00:0{number}.000000 1 logging.cc:43] [TRT] {text}\n" for number in range(3))
    assert [message.level for message in parse_log("".join(lines)).runs[0].messages] == ["W", "W", "W"]


def test_a_progress_bar_before_the_line() -> None:
    (plain,), (run,) = parse_log(LOG).runs, parse_log(LOG.replace("\n[", "\n 10%|#|\r100%|##|\r[")).runs
    assert facts(run)[:-1] == facts(plain)[:-1]


def contents(path: Path) -> list[LogRun]:
    """All that a log tells, without the numbers of its lines."""
    return [
        replace(
            run,
            messages=tuple(replace(message, line=0) for message in run.messages),
            problems=tuple(replace(problem, line=0) for problem in run.problems),
            unknown=(),
            unknown_count=0,
        )
        for run in parse_log(path).runs
    ]


REAL = (
    "trtexec_10.16.1_dumplayerinfo_skipinference.log",
    "trtexec_10.3.0_orin_dla0_fp16_resnet50_verbose_skipinference.log",
    "trtexec_10.3.0_orin_gpu_int8_qdq_parse_failed.log",
    "trtexec_7.1.3_jetson_int8_resnet50_n2_concat.txt",
    "trtexec_8.5.2_xavier_dla0_fp16_fallback_passed.log",
)


@pytest.mark.parametrize("name", REAL)
def test_real_logs_say_the_same_however_they_are_kept(name: str, artefacts: Path, tmp_path: Path) -> None:
    text = (artefacts / name).read_text()
    lines = text.rstrip("\n").split("\n")
    expected = contents(artefacts / name)
    path = tmp_path / name
    for prefix in ("trt_1  | ", "2025-02-14T10:33:45.123Z ", "Feb 14 10:33:45 orin t[12]: ", "[trtexec-1] ", "\x1b[0m"):
        path.write_text("".join(f"{prefix}{line}\n" for line in lines))
        assert contents(path) == expected, prefix
    path.write_bytes(gzip.compress(text.replace("\n", "\r\n").encode("utf-16")))
    assert contents(path) == expected


def test_real_warnings_in_the_middle_of_other_lines(artefacts: Path, tmp_path: Path) -> None:
    """As in a log that two threads write: each warning breaks into a line of the summary."""
    name = "trtexec_10.3.0_orin_dla0_fp16_resnet50_passed.log"
    lines = (artefacts / name).read_text().rstrip("\n").split("\n")
    warnings = [line for line in lines if "] [W] " in line]
    others = [line for line in lines if "] [W] " not in line]
    chance = random.Random(3)
    at = sorted(chance.sample([place for place, line in enumerate(others) if " ms, " in line], 3))
    for place, warning in zip(at, warnings, strict=False):
        middle = chance.randrange(40, len(others[place]))
        others[place] = f"{others[place][:middle]}{warning}\n{others[place][middle:]}"
    path = tmp_path / name
    path.write_text("\n".join(others[:-1] + warnings[3:] + others[-1:]) + "\n")
    (expected,), (run,) = contents(artefacts / name), contents(path)
    assert run.performance == expected.performance
    assert sorted(message.text for message in run.messages) == sorted(message.text for message in expected.messages)
    assert run.options == expected.options
