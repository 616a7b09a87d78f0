"""Arguments over releases: the evidence logs' own command lines, the walk-through's, and what each release lacks."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlaflow.build.config import BuildConfig, InputShape, IOFormat, LayerOptions, MemoryPools, ShapeRange
from dlaflow.build.trtexec_arguments import BUILD_ONLY, WALKTHROUGH, Measuring, build_arguments, load_arguments
from dlaflow.errors import UsageError
from dlaflow.parse.help_text import parse_help
from dlaflow.targets.features import trtexec_options
from dlaflow.targets.version import Version

EVIDENCE = Path(os.environ.get("DLAFLOW_EVIDENCE") or Path(__file__).parents[3] / "shared" / "evidence")
LOGS = EVIDENCE / "artefacts" / "open"
WALKTHROUGH_5 = replace(WALKTHROUGH, separate_profile_run=False)
SHAPES = (InputShape("input", ShapeRange.fixed((32, 3, 32, 32))),)
HYBRID = BuildConfig(precision="int8", dla_core=0, gpu_fallback=True, shapes=SHAPES)


def range_of(name: str, *batches: int) -> tuple[InputShape, ...]:
    return (InputShape(name, ShapeRange(*((batch, 1, 28, 28) for batch in batches))),)


def resnet_7(batch: int) -> list[str]:
    files = {name: f"{name}_ResNet50_N2_None_int8_10_{batch}.json" for name in ("times", "output", "profile")}
    measuring = Measuring(
        average_runs=10,
        iterations=10,
        spin_wait=True,
        export_times=files["times"],
        export_output=files["output"],
        export_profile=files["profile"],
    )
    config = BuildConfig(precision="int8", implicit_batch=batch, outputs=("prob",))
    model = "/usr/src/tensorrt/data/resnet50/ResNet50_N2.prototxt"
    return build_arguments(model, None, config, "7.1.3", measuring)


LONG = Measuring(warm_up=2000, duration=10, iterations=200)
FP16 = BuildConfig(precision="fp16")
FP16_DLA = BuildConfig(precision="fp16", dla_core=0, gpu_fallback=True)
CASES = {
    "trtexec_7.1.3_jetson_int8_resnet50_n2_concat.txt": [resnet_7(2**power) for power in (0, 2, 3, 4, 5, 6, 7)],
    "trtexec_8.2.3_failed_stdout_only.txt": [
        build_arguments(
            "model.onnx",
            "model-FP16.plan",
            replace(FP16, shapes=range_of("x:0", 1, 4, 16), pools=MemoryPools(workspace=1024)),
            "8.2.3",
            Measuring(verbose=True),
        )
    ],
    "trtexec_8.4.1_load_fp32_trimmed.txt": [
        load_arguments(
            "./model-FP32.plan",
            "8.4.1",
            Measuring(verbose=True, export_layer_info="./modelInformation.txt"),
            range_of("tensor-0", 4, 4, 4),
        )
    ],
    "trtexec_8.5.2_xavier_dla0_fp16_fallback_passed.log": [
        build_arguments(
            "2024_11_28_canicas_yolo11n.onnx",
            "model_gn.engine",
            FP16_DLA,
            "8.5.2",
            replace(WALKTHROUGH, export_profile="model_gn.json"),
        )
    ],
    "trtexec_10.3.0_orin_dla0_fp16_resnet50_passed.log": [
        build_arguments("onnx/resnet50_fp32.onnx", "engines/rn50_dla_fp16.plan", FP16_DLA, "10.3.0", LONG)
    ],
    "trtexec_10.3.0_orin_dla0_fp16_resnet50_verbose_skipinference.log": [
        build_arguments(
            "onnx/resnet50_fp32.onnx",
            "engines/tmp_dla_fp16_v.plan",
            FP16_DLA,
            "10.3.0",
            replace(BUILD_ONLY, verbose=True),
        )
    ],
    "trtexec_10.3.0_orin_gpu_int8_qdq_parse_failed.log": [
        build_arguments(
            "/home/katech/orin_bench/onnx/detr_int8.onnx",
            "/home/katech/orin_bench/engines/detr_gpu_int8_explicit.plan",
            BuildConfig(precision="int8", scales="qdq", fp16_too=True),
            "10.3.0",
            replace(LONG, average_runs=100),
        )
    ],
    "trtexec_10.14.1_cudagraph_nodatatransfers_verbose.log": [
        load_arguments(
            "model-trained.trt",
            "10.14.1",
            Measuring(data_transfers=False, spin_wait=True, cuda_graph=True, verbose=True),
            range_of("x", 4, 4, 4),
        )
    ],
    "trtexec_10.14.1_dumpprofile.log": [
        load_arguments(
            "./model-trained.trt",
            "10.14.1",
            Measuring(
                dump_profile=True,
                export_times="./model-trained-exportTimes.json",
                export_profile="./model-trained-exportProfile.json",
            ),
        )
    ],
    "trtexec_10.16.1_dumplayerinfo_skipinference.log": [
        build_arguments(
            "/work/trt-samples-for-hackathon-cn/cookbook/00-Data/model/model-trained.onnx",
            None,
            BuildConfig(precision="fp32", profiling_verbosity="detailed"),
            "10.16.1",
            replace(BUILD_ONLY, dump_layer_info=True, export_layer_info="./model-trained-exportLayerInfo.log"),
        )
    ],
    "trtexec_10.16_under_nsys.log": [load_arguments("model-trained.trt", "10.16.1", Measuring())],
}
"""Log → what dlaflow writes for each run in it."""


def commands_in(log: Path) -> list[list[str]]:
    found = re.findall(r"^&&&& RUNNING TensorRT\.trtexec.*?# (.*)$", log.read_text(errors="replace"), re.MULTILINE)
    return [line.split()[1:] for line in found]


@pytest.mark.skipif(not LOGS.is_dir(), reason=f"no evidence in {LOGS}")
def test_every_real_command_line_is_reproduced():
    """trtexec takes its options in any order, so each line must hold the same arguments, no more and no fewer."""
    with_commands = {path.name for path in LOGS.glob("trtexec_*") if "_help_" not in path.name and commands_in(path)}
    assert with_commands == set(CASES), "every log with a command is covered"
    for name, ours in CASES.items():
        assert [sorted(one) for one in ours] == [sorted(one) for one in commands_in(LOGS / name)], name


@pytest.mark.skipif(not LOGS.is_dir(), reason=f"no evidence in {LOGS}")
def test_the_order_is_that_of_the_real_build_log_of_the_walk_through_kind():
    name = "trtexec_8.5.2_xavier_dla0_fp16_fallback_passed.log"
    assert CASES[name] == commands_in(LOGS / name)


@pytest.mark.skipif(not LOGS.is_dir(), reason=f"no evidence in {LOGS}")
@pytest.mark.parametrize("release", ["8.6.1", "10.6.0"])
def test_the_flag_table_agrees_with_the_real_help(release):
    listed = {name.removeprefix("--") for name in parse_help(LOGS / f"trtexec_help_{release}.txt")}
    # 8.6.1 and 10.6.0 accept these without listing them (the help names caffe's and older spellings only in part).
    silent = {"batch", "explicitBatch", "buildOnly", "plugins"}
    known = {name for name, option in trtexec_options().items() if option.known_to(Version.parse(release))}
    assert known - silent <= listed
    unknown = {name for name, option in trtexec_options().items() if not option.known_to(Version.parse(release))}
    assert not unknown & listed


def test_the_walk_through_for_8_5_2():
    ours = build_arguments(
        "model_gn.onnx", "model_gn.engine", HYBRID, "8.5.2", replace(WALKTHROUGH, export_profile="model_gn.json")
    )
    assert " ".join(ours) == (
        "--onnx=model_gn.onnx --shapes=input:32x3x32x32 --saveEngine=model_gn.engine --exportProfile=model_gn.json "
        "--int8 --useDLACore=0 --allowGPUFallback --useSpinWait --separateProfileRun"
    )


def test_an_onnx_model_keeps_its_batch_in_every_release():
    """TensorRT 5 takes a batch, 6 and 7.1 must be told that the model has one, later ones know."""
    fixed = replace(HYBRID, shapes=())
    for release, opened, closed in (
        ("5.0.6", ["--batch=32", "--engine=m.engine"], ["--engine=m.engine"]),
        ("5.1.6", ["--batch=32", "--saveEngine=m.engine"], ["--saveEngine=m.engine"]),
        ("6.0.1", ["--shapes=input:32x3x32x32", "--saveEngine=m.engine"], ["--explicitBatch", "--saveEngine=m.engine"]),
        ("7.1.3", ["--shapes=input:32x3x32x32", "--saveEngine=m.engine"], ["--explicitBatch", "--saveEngine=m.engine"]),
        ("7.2.1", ["--shapes=input:32x3x32x32", "--saveEngine=m.engine"], ["--saveEngine=m.engine"]),
    ):
        assert build_arguments("m.onnx", "m.engine", HYBRID, release)[1:-3] == opened
        assert build_arguments("m.onnx", "m.engine", fixed, release)[1:-3] == closed
    assert "--useSpinWait" in build_arguments("m.onnx", "m.engine", HYBRID, "5.1.6", WALKTHROUGH_5)


def test_behind_safe_trtexec_must_leave_after_the_build():
    packed = (IOFormat.parse("int8:chw32"),)
    config = replace(HYBRID, gpu_fallback=False, standalone=True, input_formats=packed, output_formats=packed)
    assert "--buildOnly" in build_arguments("m.onnx", "m.dla", config, "8.5.2", BUILD_ONLY)
    assert "--skipInference" not in build_arguments("m.onnx", "m.dla", config, "8.6.1", BUILD_ONLY)


def test_from_11_on_a_format_is_a_layout_alone():
    config = replace(HYBRID, scales="qdq", input_formats=(IOFormat.parse("int8:dla_hwc4"),))
    assert "--inputIOFormats=dla_hwc4" in build_arguments("m.onnx", "m.engine", config, "11.4.1")
    assert "--inputIOFormats=int8:dla_hwc4" in build_arguments("m.onnx", "m.engine", config, "10.3.0")


def test_meaning_is_kept_on_11():
    """11.0 made spin-wait, CUDA graphs and no transfers the default: what was not asked for is switched off."""
    ours = build_arguments("m.onnx", "m.engine", replace(HYBRID, scales="qdq"), "11.4.1", WALKTHROUGH)
    assert ours[-2:] == ["--includeDataTransfers", "--noCudaGraph"]
    assert not {"--int8", "--useSpinWait", "--separateProfileRun"} & set(ours)
    plain = load_arguments("m.engine", "11.4.1", Measuring(cuda_graph=True, data_transfers=False))
    assert plain == ["--loadEngine=m.engine", "--noSpinWait"]


@pytest.mark.parametrize("release", ["7.1.3", "8.5.2", "10.3.0", "11.4.1"])
@pytest.mark.parametrize(("core", "expected"), [(None, []), (0, ["--useDLACore=0"]), (1, ["--useDLACore=1"])])
def test_the_core_that_was_asked_for_is_named_when_building_and_when_loading(release, core, expected):
    config = BuildConfig(precision="fp16", dla_core=core, gpu_fallback=core is not None)
    built = build_arguments("m.onnx", "m.engine", config, release, BUILD_ONLY)
    loaded = load_arguments("m.engine", release, Measuring(), dla_core=core)
    assert [argument for argument in built if "DLACore" in argument] == expected
    assert [argument for argument in loaded if "DLACore" in argument] == expected


@pytest.mark.parametrize(
    ("release", "flag"), [("8.5.2", "--safe"), ("8.6.0", "--safe"), ("8.6.1", "--buildDLAStandalone")]
)
def test_standalone_is_spelled_by_release(release, flag):
    linear = (IOFormat.parse("int8:dla_linear"),)
    config = replace(HYBRID, gpu_fallback=False, standalone=True, input_formats=linear, output_formats=linear)
    ours = build_arguments("m.onnx", "m.dla", config, release)
    assert flag in ours
    assert {"--inputIOFormats=int8:dla_linear", "--outputIOFormats=int8:dla_linear"} <= set(ours)


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ("5.1.6", "--iterations=1"),
        ("6.0.1", "--buildOnly"),
        ("8.5.2", "--buildOnly"),
        ("8.6.0", "--skipInference"),
        ("9.3.0", "--skipInference"),
        ("11.4.1", "--skipInference"),
    ],
)
def test_leaving_after_the_build(release, expected):
    config = replace(HYBRID, scales="qdq")
    assert expected in build_arguments("m.onnx", "m.engine", config, release, BUILD_ONLY)


@pytest.mark.parametrize(
    ("release", "scales", "expected"),
    [
        ("10.3.0", "qdq", []),
        ("10.11.0", "qdq", ["--uint8AsymmetricQuantizationDLA"]),
        ("10.16.1", "none", ["--adjustForDLA"]),
        ("11.4.1", "qdq", ["--adjustForDLA", "--uint8AsymmetricQuantizationDLA"]),
    ],
)
def test_the_importer_is_told_of_the_dla_where_it_can_be(release, scales, expected):
    ours = build_arguments("m.onnx", "m.engine", replace(HYBRID, scales=scales), release)
    assert [argument for argument in ours if argument.endswith("DLA")] == expected
    on_gpu = build_arguments("m.onnx", "m.engine", BuildConfig(precision="fp16"), release)
    assert not [argument for argument in on_gpu if argument.endswith("DLA")]


def test_pools_are_plain_mib_and_respelled_before_8_4():
    config = replace(HYBRID, pools=MemoryPools(workspace=512, dla_sram=0.5))
    assert "--memPoolSize=workspace:512,dlaSRAM:0.5" in build_arguments("m.onnx", "m.engine", config, "10.3.0")
    with pytest.raises(UsageError, match="no --memPoolSize"):
        build_arguments("m.onnx", "m.engine", config, "8.2.1")
    workspace = replace(HYBRID, pools=MemoryPools(workspace=512))
    assert "--workspace=512" in build_arguments("m.onnx", "m.engine", workspace, "8.2.1")


@pytest.mark.parametrize(
    ("config", "release", "flag"),
    [
        (replace(HYBRID, layer_devices=(LayerOptions("a", "GPU"),)), "8.5.2", "layerDeviceTypes"),
        (replace(HYBRID, layer_precisions=(LayerOptions("a", "fp16"),)), "8.2.1", "layerPrecisions"),
        (replace(HYBRID, layer_precisions=(LayerOptions("a", "fp16"),)), "11.4.1", "layerPrecisions"),
        (replace(HYBRID, cache="calib.cache"), "11.4.1", "calib"),
        (replace(HYBRID, optimization_level=5), "8.5.2", "builderOptimizationLevel"),
        (replace(HYBRID, version_compatible=True), "8.5.2", "versionCompatible"),
        (replace(HYBRID, implicit_batch=4), "10.3.0", "batch"),
    ],
)
def test_a_wish_without_an_option_is_refused(config, release, flag):
    with pytest.raises(UsageError, match=f"has no --{flag}"):
        build_arguments("m.onnx", "m.engine", config, release)


versions = st.tuples(st.integers(7, 11), st.integers(0, 20), st.integers(0, 20)).map(lambda v: ".".join(map(str, v)))


@settings(max_examples=60, deadline=None)
@given(release=versions, core=st.sampled_from([None, 0, 1]), verbose=st.booleans())
def test_only_options_that_the_release_knows_are_ever_written(release, core, verbose):
    config = BuildConfig(precision="fp16", dla_core=core, gpu_fallback=core is not None, shapes=SHAPES)
    for arguments in (
        build_arguments("m.onnx", "m.engine", config, release, Measuring(verbose=verbose)),
        load_arguments("m.engine", release, Measuring(verbose=verbose), SHAPES, core),
    ):
        for argument in arguments:
            name = argument.removeprefix("--").partition("=")[0]
            assert trtexec_options()[name].known_to(Version.parse(release)), argument


def test_an_io_format_that_cannot_be_read():
    with pytest.raises(UsageError, match="I/O format"):
        IOFormat.parse("dla_linear")
