"""Logs, profiles and models together: placement, measurements, advice, comparison. Logs here are written by us."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from dlaflow.errors import InputError, UsageError
from dlaflow.observed.names import parts_of
from dlaflow.parse.exports import parse_profile, parse_times
from dlaflow.parse.log import Outcome
from dlaflow.parse.trtexec import parse_log
from dlaflow.profile.command import CaptureConfig, capture_commands
from dlaflow.profile.compare import compare_profiles
from dlaflow.profile.evidence import Evidence, Files
from dlaflow.profile.names import cause_of, operators_of
from dlaflow.profile.profile import Profiled, profile_of, read_profile
from dlaflow.types import (
    Device,
    Finding,
    Loadable,
    ModelInfo,
    PlacedLayer,
    Placement,
    Remedy,
    Summary,
    TargetInfo,
    Verdict,
)

STAMP = "[03/31/2022-10:00:00]"


def log_of(dla: list[str], gpu: list[str], qps: float, precision: str = "FP32+INT8") -> str:
    """A log as trtexec 8.4 writes it, with the placement section and a summary."""
    command = f"trtexec --onnx=m.onnx --{precision[5:].lower()} --useDLACore=0 --allowGPUFallback"
    lines = [
        f"&&&& RUNNING TensorRT.trtexec [TensorRT v8400] # {command}",
        f"{STAMP} [I] === Build Options ===",
        f"{STAMP} [I] Precision: {precision}",
        f"{STAMP} [I] ",
        f"{STAMP} [W] [TRT] Calibrator is not being used. Users must provide dynamic range for all tensors.",
        f"{STAMP} [I] [TRT] ---------- Layers Running on DLA ----------",
        *(f"{STAMP} [I] [TRT] [DlaLayer] {{ForeignNode[{name}]}}" for name in dla),
        f"{STAMP} [I] [TRT] ---------- Layers Running on GPU ----------",
        *(f"{STAMP} [I] [TRT] [GpuLayer] {name}" for name in gpu),
        f"{STAMP} [I] === Performance summary ===",
        f"{STAMP} [I] Throughput: {qps} qps",
        f"{STAMP} [I] GPU Compute Time: min = 1 ms, max = 2 ms, mean = {1000 / qps:.6f} ms, median = 1 ms",
        f"&&&& PASSED TensorRT.trtexec [TensorRT v8400] # {command}",
    ]
    return "\n".join(lines) + "\n"


def norm(number: int) -> list[str]:
    return [
        f"SHUFFLE: Reshape_{number} + (Unnamed Layer* {number}) [Shuffle]",
        f"PLUGIN_V2: InstanceNormalization_{number + 3}",
        f"SHUFFLE: (Unnamed Layer* {number + 5}) [Shuffle] + Reshape_{number + 5}",
        f"SCALE: 71 + (Unnamed Layer* {number + 9}) [Shuffle] + Mul_{number + 6}",
    ]


GROUPNORM = log_of(
    ["Conv_0", "Relu_10...Conv_11", "Relu_21...Conv_22", "Relu_32...Conv_33", "Relu_43"],
    [name for number in (2, 13, 24, 35) for name in norm(number)],
    305.926,
)
BATCHNORM = log_of(["Conv_0...Relu_7", "Gemm_15"], ["REDUCE: GlobalAveragePool_8"], 649.723)


def profiled(name: str, log: str, profile: str = "", predicted: Placement | None = None) -> Profiled:
    (run,) = parse_log(log).runs
    rows = parse_profile(profile).profiles[0] if profile else None
    return profile_of(Evidence(name, run=run, runs=1, profile=rows), predicted)


def test_the_walkthroughs_two_runs_and_their_cause() -> None:
    gn, bn = profiled("model_gn", GROUPNORM), profiled("model_bn", BATCHNORM)
    comparison = compare_profiles([gn, bn])
    assert comparison.factor == pytest.approx(649.723 / 305.926)
    assert "GroupNorm" in comparison.cause
    assert "5 subgraphs, against 2" in comparison.cause
    rows = {row.quantity: row for row in comparison.rows}
    assert rows["loadables"].values == (5.0, 2.0)
    assert rows["throughput"].ratios[1] == pytest.approx(2.12, abs=0.01)


def test_the_same_in_the_other_order() -> None:
    comparison = compare_profiles([profiled("model_bn", BATCHNORM), profiled("model_gn", GROUPNORM)])
    assert comparison.factor == pytest.approx(305.926 / 649.723)
    assert comparison.cause.startswith("GroupNorm runs on the GPU in model_gn")


def test_trap_5_the_same_placement_at_another_speed_is_the_precision() -> None:
    slow = profiled("fp16", log_of(["a...b"], ["REDUCE: GlobalAveragePool"], 56.4, "FP32+FP16"))
    fast = profiled("int8", log_of(["a...b"], ["REDUCE: GlobalAveragePool"], 782.0, "FP32+INT8"))
    comparison = compare_profiles([slow, fast])
    assert "not to be fast" in comparison.cause
    assert comparison.factor == pytest.approx(13.87, abs=0.01)


def test_one_profile_cannot_be_compared() -> None:
    with pytest.raises(UsageError, match="two runs"):
        compare_profiles([profiled("a", GROUPNORM)])


ROWS = """[
  { "count" : 10 }
, { "name" : "Reformatting CopyNode for Input Tensor 0 to {ForeignNode[a...b]}", "timeMs" : 1, "averageMs" : 0.1, "percentage" : 1 }
, { "name" : "{ForeignNode[a...b]}", "timeMs" : 50, "averageMs" : 5.0, "percentage" : 50 }
, { "name" : "/m/MatMul", "timeMs" : 20, "averageMs" : 2.0, "percentage" : 20 }
, { "name" : "noop", "timeMs" : 0, "averageMs" : 0, "percentage" : 0 }
, { "name" : "{ForeignNode[c...d]}", "timeMs" : 20, "averageMs" : 2.0, "percentage" : 20 }
, { "name" : "/m/Softmax", "timeMs" : 9, "averageMs" : 0.9, "percentage" : 9 }
]"""  # noqa: E501
WITH_ROWS = log_of(["a...b", "c...d"], ["MATRIX_MULTIPLY: /m/MatMul", "SOFTMAX: /m/Softmax"], 100.0).replace(
    f"{STAMP} [I] [TRT] ---------- Layers Running on DLA",
    f"{STAMP} [W] [TRT] /m/MatMul: MatMul is unsupported on DLA, relax constraints or use Convolution layer instead.\n"
    f"{STAMP} [W] [TRT] Layer '/m/MatMul' (MATRIX_MULTIPLY): Unsupported on DLA. Switching this layer's device.\n"
    f"{STAMP} [I] [TRT] ---------- Layers Running on DLA",
)


def test_log_and_profile_together() -> None:
    found = profiled("both", WITH_ROWS, ROWS)
    assert found.measured is not None
    assert (found.measured.source, found.measured.device_changes, found.measured.loadables) == (
        "the rows of the profile", 4, 2,
    )  # fmt: skip
    assert found.measured.switches is None
    values = {each.quantity: each.value for each in found.measurements}
    assert (values["DLA time"], values["reformat time"]) == (pytest.approx(7.0), pytest.approx(0.1))
    assert values["GPU time"] == pytest.approx(2.9)
    assert found.top[0].name == "{ForeignNode[a...b]}"
    assert "made_up_ranges" in {note.code for note in found.notes}


def test_advice_is_ranked_by_cost_and_carries_the_reason() -> None:
    first, second, *rest = profiled("both", WITH_ROWS, ROWS).advice
    assert "MatMul" in first.title
    assert first.gain_ms == pytest.approx(2.0)
    assert "MatMul is unsupported on DLA" in first.why
    assert "cuts the DLA's work" in first.why
    assert "Softmax" in second.title
    assert second.gain_ms == pytest.approx(0.9)
    assert any(advice.title == "Calibrate" for advice in rest)


def test_advice_promises_only_what_has_a_remedy() -> None:
    def against(rule: str, fix: str, remedy: Remedy, rewrites: list[str]) -> Finding:
        seen = Verdict.CONDITIONAL if rewrites else Verdict.FALLBACK
        return Finding(rule, "", seen, "no", "yes", "no", "here", fix, remedy=remedy, rewrites=rewrites)

    layers = [layer(name, Device.DLA) for name in ("a", "b", "c", "d")]
    matmul = replace(
        layer("/m/MatMul", Device.GPU),
        findings=[against("DLA190", "a convolution.", Remedy.EXACT, ["fully-connected"])],
    )
    softmax = replace(
        layer("/m/Softmax", Device.GPU), findings=[against("DLA260", "leave SoftMax to the GPU.", Remedy.NONE, [])]
    )
    predicted = predicted_of([*layers[:2], matmul, *layers[2:], softmax], [])
    first, second = profiled("both", WITH_ROWS, ROWS, predicted).advice[:2]
    assert first.title == "Move MatMul to the DLA (/m/MatMul)"
    assert first.then == "Remedy: a convolution. `dlaflow fix` does it: fully-connected."
    assert second.title == "Softmax stays on the GPU (/m/Softmax)"
    assert second.then == "The rules know no remedy (DLA260)."


def test_a_scale_on_the_dla_tells_a_group_norm() -> None:
    rows = ROWS.replace('"/m/MatMul"', '"/g/Reshape + /g/InstanceNormalization + /g/Reshape_1"')
    log = WITH_ROWS.replace("/m/MatMul", "/g/Reshape + /g/InstanceNormalization + /g/Reshape_1")
    plain, group = rows, rows.replace("[c...d]", "[/g/Mul.../h/Conv]")
    titles = [
        profiled("n", log.replace("c...d", ends), text).advice[0].title
        for ends, text in (("c...d", plain), ("/g/Mul.../h/Conv", group))
    ]
    assert titles[0].startswith("Move InstanceNormalization")
    assert titles[1].startswith("Move GroupNorm")


def layer(name: str, device: Device, macs: int = 10) -> PlacedLayer:
    return PlacedLayer(name, "CONVOLUTION", [f"node_{name}"], device, Verdict.NATIVE, None, macs, 4)


def chain(layers: list[PlacedLayer]) -> list[PlacedLayer]:
    """Each layer reads what the last one before it that works has written."""
    made, chained = "x", []
    for each in layers:
        works = each.device is not Device.FOLDED
        chained.append(replace(each, inputs=[made] if works else [], outputs=[f"{each.name}_out"] if works else []))
        made = f"{each.name}_out" if works else made
    return chained


def predicted_of(layers: list[PlacedLayer], loadables: list[Loadable]) -> Placement:
    return Placement(
        ModelInfo("m.onnx", "0", {}),
        TargetInfo("agx-orin-64gb", "5.1.1", "8.5.2", "v2", "int8", 1, "hybrid"),
        Summary(len(layers), 0, 0, 0, 0, 0.0, len(loadables), len(loadables), 4, standalone_ok=False),
        chain(layers),
        loadables,
        [],
    )


def test_the_model_names_nodes_and_gives_the_measured_placement() -> None:
    layers = [layer(name, Device.DLA) for name in ("a", "x", "b")]
    layers += [layer("/m/MatMul", Device.GPU, 5), layer("k", Device.FOLDED, 0)]
    layers += [layer(name, Device.DLA) for name in ("c", "d")] + [layer("/m/Softmax", Device.GPU, 5)]
    loadables = [Loadable(0, "a", "b", ["a", "x", "b"], 30)]
    found = profiled("both", WITH_ROWS, ROWS, predicted_of(layers, loadables))
    assert found.onnx_nodes["{ForeignNode[a...b]}"] == ["node_a", "node_x", "node_b"]
    assert found.onnx_nodes["{ForeignNode[c...d]}"] == ["node_c", "node_d"]
    assert found.onnx_nodes["/m/MatMul"] == ["node_/m/MatMul"]
    placement = found.placement
    assert placement is not None
    assert [each.loadable for each in placement.layers] == [0, 0, 0, None, None, 1, 1, None]
    assert placement.summary.dla_mac_share == pytest.approx(50 / 60)
    assert (placement.summary.switches, placement.summary.unknown_layers) == (3, 0)
    matmul = placement.layers[3]
    assert [finding.rule for finding in matmul.findings] == ["matmul_unsupported", "unsupported_layer"]


def test_changes_of_device_in_order_with_cost_tensors_and_reason() -> None:
    layers = [layer(name, Device.DLA) for name in ("a", "x", "b")]
    layers += [layer("/m/MatMul", Device.GPU), *(layer(name, Device.DLA) for name in ("c", "d"))]
    found = profiled("both", WITH_ROWS, ROWS, predicted_of([*layers, layer("/m/Softmax", Device.GPU)], []))
    ends = ["{ForeignNode[a...b]}", "/m/MatMul", "{ForeignNode[c...d]}", "/m/Softmax"]
    assert [(each.source, each.to) for each in found.changes[1:]] == list(pairwise(ends))
    assert [(each.into_dla, each.copies, each.ms) for each in found.changes] == [
        (True, 1, 0.1), (False, 0, 0.0), (True, 0, 0.0), (False, 0, 0.0),
    ]  # fmt: skip
    assert [[name for name, _ in each.tensors] for each in found.changes] == [
        [], ["b_out"], ["/m/MatMul_out"], ["d_out"],
    ]  # fmt: skip
    reasons = [each.why for each in found.changes]
    assert reasons[0].startswith("The network's input"), "a reformat is named after the DLA node, which is no reason"
    assert reasons[1] == reasons[2]
    assert "MatMul is unsupported on DLA" in reasons[1]
    assert reasons[3] == "On the GPU: Softmax. The files do not say why."
    without = profiled("log", WITH_ROWS, ROWS.replace("/m/MatMul", "conv output reformatter 0"))
    assert without.changes[1].why.startswith("Only a reformat lies between")


def test_files_that_tell_no_placement_say_what_does() -> None:
    silent = "[I] Throughput: 5 qps\n"
    assert "no_placement" in {note.code for note in profiled("x", silent).notes}
    assert "no_placement" not in {note.code for note in profiled("x", GROUPNORM).notes}
    failed = profile_of(Evidence("x", run=parse_log(silent).runs[0], outcome=Outcome("failed")))
    assert "no_placement" not in {note.code for note in failed.notes}


def test_lists_without_an_order_change_device_where_tensors_do() -> None:
    layers = [layer("a", Device.DLA), layer("norm", Device.GPU), layer("b", Device.DLA)]
    log = log_of(["a", "b"], ["PLUGIN_V2: norm"], 1.0)
    assert profiled("x", log).changes == ()
    found = profiled("x", log, predicted=predicted_of(layers, [])).changes
    assert [(each.source, each.to, each.tensors[0][0], each.copies, each.ms) for each in found] == [
        ("a", "norm", "a_out", None, None), ("norm", "b", "norm_out", None, None),
    ]  # fmt: skip


def test_a_release_that_books_time_elsewhere_tells_no_cost() -> None:
    rows = """[{ "count" : 10 }
, { "name" : "conv", "timeMs" : 9, "averageMs" : 0.9, "percentage" : 9 }
, { "name" : "{a,b}", "timeMs" : 0.1, "averageMs" : 0.01, "percentage" : 1 }
, { "name" : "{a,b} output reformatter 0", "timeMs" : 50, "averageMs" : 5.0, "percentage" : 90 }]"""
    found = profiled("moved", GROUPNORM, rows)
    assert found.breakdown is not None
    assert found.breakdown.moved
    assert [each.ms for each in found.changes] == [None]


def test_a_layer_that_no_evidence_names_is_unknown() -> None:
    layers = [layer("a", Device.DLA), layer("b", Device.DLA), layer("elsewhere", Device.DLA)]
    found = profiled("x", log_of(["a...b"], [], 1.0), predicted=predicted_of(layers, []))
    assert found.placement is not None
    assert [each.verdict for each in found.placement.layers] == [Verdict.NATIVE, Verdict.NATIVE, Verdict.UNKNOWN]


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a + b", ("a", "b")),
        ("a || b + c", ("a", "b", "c")),
        ("PWN(x, PWN(y, z))", ("x", "y", "z")),
        ("PWN(/c + (Unnamed Layer* 3) [Shuffle], PWN(/d))", ("/c", "(Unnamed Layer* 3) [Shuffle]", "/d")),
        ("Reformatting CopyNode for Input Tensor 1 to a + b", ("a", "b")),
        ("{ForeignNode[a...b + c]}", ("a", "b", "c")),
        ("{a,b,c}", ("a", "b", "c")),
        ("/m/Reshape_copy_output", ("/m/Reshape",)),
        ("conv output reformatter 0", ("conv",)),
        ("", ()),
    ],
)
def test_names_taken_apart(name: str, parts: tuple[str, ...]) -> None:
    assert parts_of(name) == parts


def test_operators_and_causes() -> None:
    assert operators_of(["/l/Conv_1 + /l/Relu", "Conv_2"]) == ("Conv", "Relu")
    written_out = ["Reshape_2 + x", "InstanceNormalization_5", "(Unnamed Layer* 3) [Shuffle] + Reshape_6", "Mul_8"]
    assert cause_of(written_out) == "GroupNorm"
    assert cause_of([*written_out, "InstanceNormalization_9"]) == "InstanceNormalization"
    assert cause_of(["/n/InstanceNormalization"]) == "InstanceNormalization"
    assert cause_of(["Conv_1", "InstanceNormalization_2", "Mul_3", "Add_4"]) == "InstanceNormalization"
    assert cause_of(["/n/GroupNormalization"]) == "GroupNorm"
    assert cause_of(["(Unnamed Layer* 3) [Shuffle]"]) == ""


def test_files_are_checked_against_their_option(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text(GROUPNORM)
    with pytest.raises(InputError, match="does not fit --layer-times"):
        read_profile(Files(layer_times=path))
    assert read_profile(Files(log=path)).name == "a"


def test_reports_are_told_to_be_exported(tmp_path: Path) -> None:
    path = tmp_path / "a.nsys-rep"
    path.write_bytes(b"\0\1\2")
    with pytest.raises(InputError, match="nsys export"):
        read_profile(Files(nsys=path))


def test_only_the_first_of_several_runs_counts_and_that_is_told() -> None:
    first, second = parse_log(GROUPNORM + BATCHNORM).runs
    assert first.performance != second.performance
    found = profile_of(Evidence("two", run=first, runs=2))
    assert "several_runs" in {note.code for note in found.notes}


@pytest.mark.parametrize(
    ("jetpack", "accelerator"),
    [
        ("5.0.2", "nvmedia"),
        ("5.1.1", "nvmedia"),
        ("5.1.2", "tegra-accelerators"),
        ("6.2", "tegra-accelerators"),
        ("", None),
    ],
)
def test_commands_of_each_release(jetpack: str, accelerator: str | None) -> None:
    commands = capture_commands(CaptureConfig(Path("m.engine"), jetpack=jetpack))
    line = "\n".join(commands.shell())
    assert ("--accelerator-trace=" in line) is (accelerator is not None)
    if accelerator:
        assert f"--accelerator-trace={accelerator}" in line
    assert "--loadEngine=m.engine" in line
    assert "useCudaGraph" not in line
    assert commands.sqlite == Path("m.sqlite")


def test_a_probed_nsys_without_the_flag_is_believed() -> None:
    config = CaptureConfig(Path("m.engine"), jetpack="6.2", known_flags=frozenset({"--trace"}))
    assert "--accelerator-trace" not in capture_commands(config).shell()[0]
    assert "--accelerator-trace" in capture_commands(replace(config, known_flags=None)).shell()[0]


def test_lists_without_an_order_take_the_models() -> None:
    layers = [layer("a", Device.DLA), layer("norm", Device.GPU), layer("b", Device.DLA), layer("end", Device.GPU)]
    log = log_of(["a", "b"], ["PLUGIN_V2: norm", "SOFTMAX: end"], 1.0)
    found = profiled("x", log, predicted=predicted_of(layers, []))
    assert found.measured is not None
    assert (found.measured.switches, found.measured.ordered) == (3, False)
    assert found.placement is not None
    assert [(switch.source, switch.to) for switch in found.placement.switches] == [
        ("a", "norm"), ("norm", "b"), ("b", "end"),
    ]  # fmt: skip
    alone = profiled("x", log).measured
    assert alone is not None
    assert (alone.switches, alone.device_changes) == (None, None)


def test_stretches_of_the_same_cause_are_one_advice() -> None:
    rows = ROWS.replace("/m/Softmax", "/n/MatMul_1")
    first = profiled("both", WITH_ROWS.replace("/m/Softmax", "/n/MatMul_1"), rows).advice[0]
    assert first.title == "Move MatMul to the DLA (2 places, /m/MatMul first)"
    assert first.gain_ms == pytest.approx(2.9)
    assert "3 changes of device" in first.why


def test_files_of_different_engines_are_refused(tmp_path: Path) -> None:
    log, rows = tmp_path / "a.log", tmp_path / "a.json"
    log.write_text(GROUPNORM)
    rows.write_text(ROWS)
    with pytest.raises(InputError, match="different engines"):
        read_profile(Files(log=log, layer_times=rows))
    log.write_text(WITH_ROWS)
    assert read_profile(Files(log=log, layer_times=rows)).breakdown is not None


def test_power_tells_rails_by_place_and_the_dla(tmp_path: Path) -> None:
    line = (
        "RAM 1/2MB CPU [0%@1] GR3D_FREQ 4%@[300,300] NVDLA0 {} NVDLA1 off cpu@50C VDD_IN {}mW/9mW NC 0mW/0mW NC 7mW/7mW"
    )
    log = tmp_path / "power.log"
    log.write_text(
        "\n".join(line.format(*each) for each in (("off", 100), ("80%@1369", 300), ("90%@1369", 500))) + "\n"
    )
    profile = read_profile(Files(tegrastats=log))
    assert profile.name == "power"
    found = {f"{each.quantity}{each.subject.removeprefix('power')}": each for each in profile.measurements}
    assert {name: each.value for name, each in found.items()} == {
        "power VDD_IN": 300, "power NC": 0, "power NC #2": 7, "GPU load": 4, "DLA0 clock": 1369, "DLA0 load": 85,
    }  # fmt: skip
    assert (found["DLA0 clock"].unit, found["DLA0 load"].n) == ("MHz", 2)


def test_warm_up_queries_are_left_out_where_the_log_tells_their_number() -> None:
    query = '{"startComputeMs":0,"endComputeMs":1,"computeMs":%s,"latencyMs":%s,"endToEndMs":1}'
    times = parse_times(f"[{query % (50, 60)},{query % (50, 60)},{query % (5, 6)}]")
    text = f"{STAMP} [I] Warmup completed 2 queries over 200 ms\n{STAMP} [I] Timing trace has 1 queries over 3 s\n"
    (run,) = parse_log(text).runs
    known = profile_of(Evidence("a", run=run, times=times)).measurements
    assert [(each.quantity, each.value, each.n) for each in known] == [("latency", 6, 1), ("compute time", 5, 1)]
    assert "warm-up included" in profile_of(Evidence("a", times=times)).measurements[0].detail
