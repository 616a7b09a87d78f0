"""JSON exports: goldens of the real files, and what the C++ writer gets wrong."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from dlaflow.parse.exports import (
    datatype_of,
    parse_dumped_layers,
    parse_layer_info,
    parse_output,
    parse_profile,
    parse_times,
)
from dlaflow.parse.rows import RowKind, classified, device_changes, dla_regions
from dlaflow.parse.trtexec import parse_log


def test_yolo_profile(artefacts: Path) -> None:
    (profile,) = parse_profile(artefacts / "profile_8.5.2_dla_yolo11n.json").profiles
    assert (profile.iterations, len(profile.rows)) == (127, 50)
    rows = classified(profile)
    assert sum(row.kind is RowKind.DLA for row in rows) == 6
    assert device_changes(rows) == 12
    assert len(dla_regions(rows)) == 6


def test_googlenet_time_on_the_neighbour_row(artefacts: Path) -> None:
    (profile,) = parse_profile(artefacts / "profile_7.1_xavier_googlenet_gpu_transition_at_38.json").profiles
    largest = max(profile.rows, key=lambda row: row.percent)
    assert largest.name.endswith("output reformatter 0")
    assert round(largest.percent, 1) == 67.2
    (region,) = dla_regions(classified(profile))
    assert region.on_node_ms < 0.01
    assert region.average_ms > 1.8


def test_concatenated_profiles(artefacts: Path) -> None:
    found = parse_profile(artefacts / "profile_7.1.3_resnet50_n2_concat.json")
    assert (len(found.profiles), found.complete) == (7, True)
    assert [profile.iterations for profile in found.profiles][:3] == [1013, 477, 282]


def test_median_of_trex(artefacts: Path) -> None:
    (profile,) = parse_profile(artefacts / "profile_trex_mobilenet_qat_titanrtx.json").profiles
    assert (profile.iterations, len(profile.rows)) == (6610, 73)
    assert profile.rows[0].median_ms is not None


ROW = '{{ "name" : "{}", "timeMs" : {}, "averageMs" : 0.5, "percentage" : {} }}'


def test_names_that_break_json_are_read_by_rows() -> None:
    names = ["a\\b", 'say "x"']
    rows = "".join(f"\n, {ROW.format(name, 1, 50)}" for name in names)
    found = parse_profile(f'[\n  {{ "count" : 3 }}{rows}\n]')
    (profile,) = found.profiles
    assert [row.name for row in profile.rows] == names
    assert found.complete


def test_nan_of_an_empty_trace() -> None:
    (profile,) = parse_profile(f'[\n  {{ "count" : 0 }}\n, {ROW.format("a", 0, "-nan")}\n]').profiles
    assert math.isnan(profile.rows[0].percent)
    assert profile.rows[0].total_ms == 0


def test_a_torn_profile_keeps_its_rows() -> None:
    found = parse_profile(f'[\n  {{ "count" : 3 }}\n, {ROW.format("a", 1, 50)}\n, {{ "name" : "b", "tim')
    assert not found.complete
    assert [row.name for row in found.profiles[0].rows] == ["a"]


def test_detailed_layer_info(artefacts: Path) -> None:
    info = parse_layer_info(artefacts / "layerinfo_10.16_detailed.json")
    assert (len(info.layers), info.bindings, info.detailed) == (9, ("x", "y", "z"), True)
    first = info.layers[0]
    assert (first.type, first.onnx_layers, first.stream) == ("CaskConvolution", ("node_conv2d", "node_relu"), 0)
    assert ("Kernel", "[5, 5]") in first.parameters
    old = parse_layer_info(artefacts / "layerinfo_trex_mobilenet_qat_titanrtx.json")
    assert (len(old.layers), old.bindings, old.layers[0].outputs[0].datatype) == (73, ("input1", "1179"), "INT8")


def test_names_only_layer_info(artefacts: Path) -> None:
    info = parse_layer_info(artefacts / "layerinfo_8.x_names_only.json")
    assert (len(info.layers), info.bindings, info.detailed) == (15, ("tensor-0", "tensor-15"), False)
    detr = parse_layer_info(artefacts / "layerinfo_detr_names_only.json")
    assert (len(detr.layers), detr.bindings) == (840, ("image", "boxes", "logits", "classes"))


def test_torn_names_only_layer_info() -> None:
    info = parse_layer_info('{"Layers": ["a"\n,"b \\ c"\n],\n"Bindings": ["x"\n,"y"')
    assert [layer.name for layer in info.layers] == ["a", "b \\ c"]
    assert (info.bindings, info.complete) == (("x", "y"), False)


def test_dumped_layers_agree_with_the_exported(artefacts: Path) -> None:
    run = parse_log(artefacts / "trtexec_10.16.1_dumplayerinfo_skipinference.log").runs[0]
    dumped = parse_dumped_layers(run.layer_information)
    exported = parse_layer_info(artefacts / "layerinfo_10.16_detailed.json").layers
    assert len(dumped) == 9
    # The two files come from two builds, so fused names may differ; types and tensors of the shared ones must not.
    by_name = {layer.name: layer for layer in exported}
    shared = [layer for layer in dumped if layer.name in by_name]
    assert len(shared) >= 4
    for layer in shared:
        assert layer.type == by_name[layer.name].type
        assert [tensor.dimensions for tensor in layer.inputs] == [
            tensor.dimensions for tensor in by_name[layer.name].inputs
        ]


@pytest.mark.parametrize(
    ("prose", "datatype"),
    [
        ("Row major linear FP32", "FP32"),
        ("Channel major FP16 format where channel % 8 == 0", "FP16"),
        ("Thirty-two wide channel vectorized row major Int8 format", "INT8"),
        ("Half", "FP16"),
        ("Int64", "INT64"),
        ("something else", ""),
    ],
)
def test_datatypes_of_prose(prose: str, datatype: str) -> None:
    assert datatype_of(prose) == datatype


def test_swapped_times_of_seven_are_put_right(artefacts: Path) -> None:
    found = parse_times(artefacts / "times_7.1.3_resnet50_n2.json")
    assert (len(found.queries), found.swapped) == (132, True)
    first = found.queries[0]
    assert first.h2d.start is not None
    assert first.h2d.end is not None
    assert first.h2d_ms == pytest.approx(first.h2d.end - first.h2d.start, abs=1e-6)
    assert first.end_to_end_ms == 7.03043


def test_times_of_eight_four() -> None:
    text = (
        '[\n  { "startEnqMs" : 1, "endEnqMs" : 2, "startH2dMs" : 0.1, "endH2dMs" : 0.3, "startComputeMs" : 2, '
        '"endComputeMs" : 4, "startD2hMs" : 4, "endD2hMs" : 5, "h2dMs" : 0.2, "computeMs" : 2, "d2hMs" : 1, '
        '"latencyMs" : 3.2 }\n, { "startEnqMs" : 1'
    )
    found = parse_times(text)
    assert (len(found.queries), found.swapped) == (1, False)
    assert found.queries[0].end_to_end_ms is None
    assert found.queries[0].latency_ms == 3.2


def test_output(artefacts: Path) -> None:
    (tensor,) = parse_output(artefacts / "output_7.1.3_resnet50_n2.json")
    assert (tensor.name, tensor.dimensions, len(tensor.values)) == ("prob", (1000, 1, 1), 1000)


def test_a_torn_detailed_file_keeps_its_whole_layers(artefacts: Path) -> None:
    text = (artefacts / "layerinfo_10.16_detailed.json").read_text()
    whole = parse_layer_info(text).layers
    torn = parse_layer_info(text[: text.index('"node_conv2d_1 + node_relu_1"') + 5])
    assert (torn.layers, torn.complete, torn.detailed) == (whole[:2], False, True)
