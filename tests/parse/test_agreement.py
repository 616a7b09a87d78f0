"""Real files of the same run must agree with each other: a misread name would show."""

from __future__ import annotations

from pathlib import Path

from dlaflow.parse.exports import parse_layer_info, parse_profile
from dlaflow.parse.nsys import read_enqueues
from dlaflow.parse.rows import RowKind, classified, dla_names
from dlaflow.parse.trtexec import parse_log


def test_seven_placement_names_are_profile_rows(artefacts: Path) -> None:
    runs = parse_log(artefacts / "trtexec_7.1.3_jetson_int8_resnet50_n2_concat.txt").runs
    profiles = parse_profile(artefacts / "profile_7.1.3_resnet50_n2_concat.json").profiles
    assert len(runs) == len(profiles)
    for run, profile in zip(runs, profiles, strict=True):
        rows = {row.name for row in profile.rows}
        assert {node.name for node in run.placement.gpu} <= rows
        queries = (run.figures.warmup_queries or 0) + (run.figures.timed_queries or 0)
        assert profile.iterations is not None
        assert queries > 0


def test_eight_five_placement_names_are_profile_rows(artefacts: Path) -> None:
    (run,) = parse_log(artefacts / "trtexec_8.5.2_xavier_dla0_fp16_fallback_passed.log").runs
    (profile,) = parse_profile(artefacts / "profile_8.5.2_dla_yolo11n.json").profiles
    rows = classified(profile, dla_names(run.placement))
    named = {row.row.name for row in rows}
    assert {node.raw for node in run.placement.dla} == {row.row.name for row in rows if row.kind is RowKind.DLA}
    assert {node.name for node in run.placement.gpu} <= named
    # What is neither listed nor a reformat would be a row that the lists do not know.
    listed = {node.name for node in run.placement.gpu} | {node.raw for node in run.placement.dla}
    assert all(name in listed or name.startswith("Reformatting CopyNode") for name in named)


def test_verbose_lists_agree(artefacts: Path) -> None:
    (run,) = parse_log(artefacts / "trtexec_10.3.0_orin_dla0_fp16_resnet50_verbose_skipinference.log").runs
    assert [layer.name for layer in run.dla.layers] == [node.first for node in run.placement.dla]
    on_dla = [layer.name for layer in run.engine_layers if layer.kind == "DLA"]
    assert on_dla == [loadable.name for loadable in run.dla.loadables]
    assert {tactic.node for tactic in run.dla.tactics} == set(on_dla)
    assert {layer.loadable for layer in run.dla.layers} == set(on_dla)
    assert run.dla.total is not None
    memories = [loadable.memory for loadable in run.dla.loadables if loadable.memory]
    assert run.dla.total.local_dram == sum(memory.local_dram for memory in memories)
    assert run.dla.total.global_dram == sum(memory.global_dram for memory in memories)


def test_tensors_connect_the_engine(artefacts: Path) -> None:
    """Every input of a layer is an output of an earlier one or the network's own: tensor names are read whole."""
    (run,) = parse_log(artefacts / "trtexec_10.3.0_orin_dla0_fp16_resnet50_verbose_skipinference.log").runs
    for layers, known in (
        (run.engine_layers, {"input"}),
        (run.dla.layers, {"input", "/avgpool/GlobalAveragePool_output_0"}),
    ):
        seen = set(known)
        for layer in layers:
            assert {tensor.name for tensor in layer.inputs} <= seen, layer.name
            seen |= {tensor.name for tensor in layer.outputs}


def test_summary_agrees_with_the_averages(artefacts: Path) -> None:
    for name in (
        "trtexec_10.3.0_orin_dla0_fp16_resnet50_passed.log",
        "trtexec_8.5.2_xavier_dla0_fp16_fallback_passed.log",
        "trtexec_7.1.3_jetson_int8_resnet50_n2_concat.txt",
    ):
        for run in parse_log(artefacts / name).runs:
            assert run.performance is not None
            assert run.performance.gpu_compute is not None
            assert run.performance.gpu_compute.mean is not None
            mean = sum(each.gpu_ms for each in run.averages) / len(run.averages)
            assert abs(mean / run.performance.gpu_compute.mean - 1) < 0.02


def test_trex_profile_and_layer_info_join_by_name(artefacts: Path) -> None:
    (profile,) = parse_profile(artefacts / "profile_trex_mobilenet_qat_titanrtx.json").profiles
    info = parse_layer_info(artefacts / "layerinfo_trex_mobilenet_qat_titanrtx.json")
    assert [row.name for row in profile.rows] == [layer.name for layer in info.layers]


def test_every_inference_of_the_capture_has_the_same_layers(artefacts: Path) -> None:
    enqueues = list(read_enqueues(artefacts / "nsys_2023.4.4_orin_dla0_trt8.5.2_enq1-6.sqlite"))
    names = [[layer.name for layer in enqueue.layers] for enqueue in enqueues]
    assert all(each == names[0] for each in names)
