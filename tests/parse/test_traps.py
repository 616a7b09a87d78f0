"""The ten traps of NVIDIA's artefacts, each a test.

Trap 5 (same placement, other speed) is in tests/measure/test_profile.py, trap 6 (the DLA in captures) in test_nsys.py.
"""

from __future__ import annotations

import pytest

from dlaflow.parse.exports import parse_profile
from dlaflow.parse.log import EngineLayer, LogRun, PlacementList
from dlaflow.parse.nodes import dla_node
from dlaflow.parse.rows import RowKind, classified, dla_names, dla_regions
from dlaflow.parse.trtexec import parse_log

STAMP = "[01/23/2025-09:18:04]"


def one(*lines: str) -> LogRun:
    (run,) = parse_log("\n".join(lines) + "\n").runs
    return run


def codes(run: LogRun) -> set[str]:
    return {note.code for note in run.notes}


def profile_of(*rows: tuple[str, float]) -> str:
    total = sum(ms for _, ms in rows) or 1
    body = [
        f', {{ "name" : "{name}", "timeMs" : {ms * 10}, "averageMs" : {ms}, "percentage" : {100 * ms / total} }}'
        for name, ms in rows
    ]
    return "\n".join(['[\n  { "count" : 10 }', *body, "]"])


def test_1_a_foreign_node_alone_is_not_the_dla() -> None:
    engine = (
        EngineLayer("Myelin", "{ForeignNode[a...b]}", "0x0", (), ()),
        EngineLayer("DLA", "{ForeignNode[c...d]}", "0x3", (), ()),
    )
    text = profile_of(("{ForeignNode[a...b]}", 1.0), ("{ForeignNode[c...d]}", 2.0))
    (profile,) = parse_profile(text).profiles
    known = classified(profile, dla_names(None, engine))
    assert [(row.kind, row.assumed) for row in known] == [(RowKind.GPU, False), (RowKind.DLA, False)]
    assert all(row.assumed for row in classified(profile))


def test_1_the_placement_list_decides_too() -> None:
    placement = PlacementList(dla=(dla_node("{ForeignNode[c...d]}"),), style="subgraphs", printed=True)
    (profile,) = parse_profile(profile_of(("{ForeignNode[a...b]}", 1.0), ("{ForeignNode[c...d]}", 2.0))).profiles
    assert [row.kind for row in classified(profile, dla_names(placement))] == [RowKind.GPU, RowKind.DLA]


def test_1_myelin_nodes_are_noted() -> None:
    run = one(
        f"{STAMP} [V] [TRT] Engine Layer Information:",
        "Layer(Myelin): {ForeignNode[a...b]}, Tactic: 0x0000000000000000, x (Float[1,3]) -> y (Float[1,3])",
    )
    assert "foreign_node_on_gpu" in codes(run)


def test_2_a_log_without_stderr_is_told_so() -> None:
    command = "&&&& RUNNING TensorRT.trtexec [TensorRT v8502] # trtexec --onnx=m.onnx --useDLACore=0"
    run = one(
        command,
        f"{STAMP} [I] [TRT] ---------- Layers Running on GPU ----------",
        f"{STAMP} [I] [TRT] [GpuLayer] SHUFFLE: a",
        "&&&& PASSED TensorRT.trtexec [TensorRT v8502] # trtexec --onnx=m.onnx --useDLACore=0",
    )
    (note,) = [note for note in run.notes if note.code == "stderr_missing"]
    assert "2>&1" in note.text
    assert "fell back" in note.text


def test_2_a_failure_without_its_reason_is_told_so() -> None:
    run = one("&&&& RUNNING TensorRT.trtexec # trtexec", f"{STAMP} [I] x", "&&&& FAILED TensorRT.trtexec # trtexec")
    assert "cause is not here" in next(note.text for note in run.notes if note.code == "stderr_missing")


def test_2_one_warning_is_enough() -> None:
    assert "stderr_missing" not in codes(one(f"{STAMP} [I] x", f"{STAMP} [W] [TRT] y"))


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([("data to nvm", 0.1), ("{a,b}", 0.2), ("{a,b} output reformatter 0", 5.0), ("prob", 0.3)], 5.3),
        ([("x to nvm", 0.1), ("{ForeignNode[a...b]}", 0.1), ("y from nvm", 9.8), ("prob", 0.3)], 10.0),
        ([("Reformatting CopyNode for Input Tensor 0 to z", 0.2), ("{ForeignNode[a...b]}", 9.0), ("z", 0.3)], 9.0),
    ],
)
def test_3_dla_time_is_summed_over_the_region(rows: list[tuple[str, float]], expected: float) -> None:
    (profile,) = parse_profile(profile_of(*rows)).profiles
    (region,) = dla_regions(classified(profile))
    assert region.average_ms == pytest.approx(expected)


def test_4_made_up_ranges_are_warned_about() -> None:
    warning = "Calibrator is not being used. Users must provide dynamic range for all tensors that are not Int32."
    assert "made_up_ranges" in codes(one(f"{STAMP} [W] [TRT] {warning}"))


def test_4_int8_without_a_cache_is_noted() -> None:
    run = one("&&&& RUNNING TensorRT.trtexec # trtexec --onnx=m.onnx --int8", f"{STAMP} [W] x")
    assert "no_calibration" in codes(run)


def test_4_a_calibration_during_the_build_is_random() -> None:
    run = one(
        "&&&& RUNNING TensorRT.trtexec # trtexec --onnx=m.onnx --int8 --calib=missing.cache",
        f"{STAMP} [I] [TRT] Starting Calibration.",
    )
    (note,) = [note for note in run.notes if note.code == "random_calibration"]
    assert "missing.cache" in note.text


def test_7_a_refused_cache_is_noted() -> None:
    text = "Calibration table does not match calibrator algorithm type"
    run = one(f"{STAMP} [E] [TRT] 1: Unexpected exception {text}")
    assert "calibration_cache_header" in codes(run)


@pytest.mark.parametrize(("pools", "noted"), [("dlaSRAM:1", False), ("dlaSRAM:1024MiB", True), ("dlaSRAM:1M", True)])
def test_8_pool_sizes_with_a_unit_are_noted(pools: str, noted: bool) -> None:
    run = one(f"&&&& RUNNING TensorRT.trtexec # trtexec --memPoolSize={pools}", f"{STAMP} [I] x")
    assert ("pool_suffix" in codes(run)) is noted


def test_9_candidates_that_the_compiler_refused_are_noted() -> None:
    run = one(f"{STAMP} [V] [TRT] \tNumber of DLA node candidates offloaded : 16 out of 162")
    assert (run.dla.offloaded, run.dla.candidates) == (16, 162)
    assert "candidates_refused" in codes(run)


@pytest.mark.parametrize(
    ("number", "release", "noted"),
    [
        ("101602", "10.16.2", False),
        ("110000", "11.0.0", True),
        ("110300", "11.3.0", True),
        ("110401", "11.4.1", False),
        ("8..5", "8..5", False),
    ],
)
def test_10_a_release_without_dla_is_noted(number: str, release: str, noted: bool) -> None:
    run = one(f"&&&& RUNNING TensorRT.trtexec [TensorRT v{number}] # trtexec --onnx=m.onnx --useDLACore=0")
    assert run.tensorrt == release
    assert ("release_without_dla" in codes(run)) is noted


def test_7_tensors_without_a_scale_are_counted() -> None:
    warning = "Missing scale and zero-point for tensor {}, expect fall back to non-int8 implementation for any layer"
    run = one(
        "&&&& RUNNING TensorRT.trtexec [TensorRT v100300] # trtexec --int8 --calib=a.cache",
        *(f"{STAMP} [W] [TRT] {warning.format(name)}" for name in ("a", "b")),
    )
    (note,) = [note for note in run.notes if note.code == "missing_scales"]
    assert note.text.startswith("2 tensors")
    assert "first line" in note.text
