"""Every build path under strict doubles of the real bindings, 8.6.1 to 11.4.0."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlaflow.build.api import Messages, make_logger
from dlaflow.build.config import BuildConfig, InputShape, IOFormat, LayerOptions, MemoryPools, ShapeRange
from dlaflow.build.python_build import Bindings, CalibrationImages, EnginePlan, build_with_python
from dlaflow.build.refusals import RefusedNode
from dlaflow.errors import EnvironmentLacksError, InputError, UsageError
from dlaflow.targets.version import Version

machines = sys.modules["tensorrt_machine"]
SHAPES = (InputShape("input", ShapeRange.fixed((4, 3, 8, 8))),)
FP16 = BuildConfig(precision="fp16", shapes=SHAPES)
INT8 = BuildConfig(precision="int8", shapes=SHAPES)


def session_of(machine: Any) -> Bindings:
    messages = Messages()
    return Bindings(machine.trt, messages, make_logger(machine.trt, messages))


def build(machine: object, model: Path, config: BuildConfig, images: CalibrationImages | None = None) -> EnginePlan:
    return build_with_python(session_of(machine), model, config, images)


def typed(machine: Any) -> bool:
    return Version.parse(machine.surface.version).since("11.0")


def test_gpu_fp16(machine, tiny):
    plan = build(machine, tiny, FP16)
    assert len(plan.content) > 100
    assert plan.layers == 5
    assert plan.answers == ()
    assert machine.plugins_ready
    assert ("FP16" in machine.requests["flags"]) == (not typed(machine))
    assert "default_device_type" not in machine.requests["state"]
    assert machine.requests["profiles"] == 1


def test_hybrid_asks_every_layer_and_names_device_core_and_fallback(machine, tiny):
    plan = build(machine, tiny, replace(FP16, dla_core=1, gpu_fallback=True))
    assert machine.requests["state"]["default_device_type"] == "DLA"
    assert machine.requests["state"]["DLA_core"] == 1
    assert "GPU_FALLBACK" in machine.requests["flags"]
    assert [(answer.name, answer.runs) for answer in plan.answers] == [
        ("node0", True),
        ("node1", True),
        ("node2", False),
        ("node3", False),
        ("node4", True),
    ]
    reports = Version.parse(machine.surface.version).since("10.16")
    reasons = (RefusedNode(2, "GlobalAveragePool", "DLA cores do not support AVG Reduce operation."), RefusedNode(3))
    assert plan.refused_nodes == (reasons if reports else None)


def test_releases_before_8_6_lack_parser_flags_and_levels(implicit_machine, tiny, monkeypatch):
    """8.4 and 8.5 have no dump; what the headers say came later is taken from the double of 8.6.1."""
    if implicit_machine.surface.version != "8.6.1":
        pytest.skip("the nearest dump is that of 8.6.1")
    monkeypatch.delattr(implicit_machine.trt, "OnnxParserFlag")
    implicit_machine.trt.__version__ = "8.5.2.2"
    implicit_machine.surface.classes["IBuilderConfig"]["members"].pop("builder_optimization_level")
    plan = build(implicit_machine, tiny, replace(FP16, dla_core=0, gpu_fallback=True))
    assert plan.refused_nodes is None
    with pytest.raises(UsageError, match=r"came with TensorRT 8\.6"):
        build(implicit_machine, tiny, replace(FP16, optimization_level=3))


def test_int8_from_images(implicit_machine, tiny, tmp_path):
    images = [np.full((4, 3, 8, 8), value, np.float32) for value in (1.0, 2.0)] + [np.ones((2, 3, 8, 8), np.float32)]
    cache = tmp_path / "calib.cache"
    cache.write_bytes(b"TRT-1-EntropyCalibration2\ninput: 3c000000\n")
    config = replace(INT8, scales="calibrator", cache=str(cache), dla_core=0, gpu_fallback=True)
    feed = CalibrationImages(lambda: iter(images), 4, machines.HostMemory())
    build(implicit_machine, tiny, config, feed)
    assert [batch.mean() for batch in implicit_machine.calibrated] == [1.0, 2.0], (
        "whole batches alone, each as it was given"
    )
    assert "INT8" in implicit_machine.requests["flags"]
    assert implicit_machine.requests["calibration_profile"]
    assert cache.read_bytes().startswith(b"TRT-%s-" % implicit_machine.cache_tag.encode()), (
        "the stale cache was replaced"
    )


def test_int8_from_a_cache_of_another_release(implicit_machine, tiny, tmp_path):
    cache = tmp_path / "calib.cache"
    content = b"TRT-8400-EntropyCalibration2\ninput: 3c010a14\n"
    cache.write_bytes(content)
    build(implicit_machine, tiny, replace(INT8, scales="cache", cache=str(cache)))
    assert implicit_machine.calibrated == []
    assert cache.read_bytes() == content, "a cache that is only read stays as it is"


def test_a_cache_of_another_model_is_an_error(implicit_machine, tiny, tmp_path):
    cache = tmp_path / "calib.cache"
    cache.write_bytes(b"TRT-8502-EntropyCalibration2\nsomething_else: 3c010a14\n")
    with pytest.raises(InputError, match="did not accept the calibration cache"):
        build(implicit_machine, tiny, replace(INT8, scales="cache", cache=str(cache)))


@pytest.mark.parametrize("content", [b"input 2.3\n", b"TRT-8502-MinMaxCalibration\ninput: 3c010a14\n"])
def test_a_cache_that_the_dla_cannot_use_is_an_error(implicit_machine, tiny, tmp_path, content):
    cache = tmp_path / "calib.cache"
    cache.write_bytes(content)
    with pytest.raises(InputError, match=r"calibration cache|entropy calibrator"):
        build(implicit_machine, tiny, replace(INT8, scales="cache", cache=str(cache)))


def test_qdq_model(machine, tiny):
    build(machine, tiny, replace(INT8, scales="qdq", dla_core=0, gpu_fallback=True))
    late = ["ADJUST_FOR_DLA", "ENABLE_UINT8_AND_ASYMMETRIC_QUANTIZATION_DLA"]
    assert machine.requests["parser_flags"] == (late if Version.parse(machine.surface.version).since("10.16") else [])
    assert ("INT8" in machine.requests["flags"]) == (not typed(machine))
    if typed(machine):
        strong = 1 << int(machine.trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        assert machine.requests["network_flags"] == strong


def test_standalone(machine, all_on_dla):
    config = replace(FP16, dla_core=0, standalone=True)
    kind = "fp32" if typed(machine) else "fp16"
    linear = (IOFormat(kind, ("dla_linear",)),)
    plan = build(machine, all_on_dla, replace(config, input_formats=linear, output_formats=linear))
    assert machine.requests["state"]["engine_capability"] == "DLA_STANDALONE"
    assert "DIRECT_IO" in machine.requests["flags"]
    assert "GPU_FALLBACK" not in machine.requests["flags"]
    bit = 1 << int(machine.trt.TensorFormat.DLA_LINEAR)
    assert machine.requests["formats"] == [bit, bit]
    assert machine.requests["types"] == (["FLOAT"] * 2 if typed(machine) else ["HALF"] * 2)
    assert all(answer.runs for answer in plan.answers)


def test_typed_release_refuses_another_type_than_the_model_has(typed_machine, all_on_dla):
    linear = (IOFormat("fp16", ("dla_linear",)),)
    with pytest.raises(InputError, match="another type in the model"):
        build(typed_machine, all_on_dla, replace(FP16, dla_core=0, standalone=True, input_formats=linear))


def test_a_refusal_without_fallback_is_explained(machine, tiny):
    linear = (IOFormat("fp32", ("dla_linear",)),)
    config = replace(FP16, dla_core=0, standalone=True, input_formats=linear, output_formats=linear)
    with pytest.raises(InputError, match="DLA refused part of the model"):
        build(machine, tiny, config)


def test_no_such_core(machine, tiny):
    machine.cores = 0
    with pytest.raises(EnvironmentLacksError, match="no DLA core 0"):
        build(machine, tiny, replace(FP16, dla_core=0, gpu_fallback=True))


def test_pools_layers_levels_and_timing_cache(machine, tiny, tmp_path):
    timing = tmp_path / "timing.cache"
    config = replace(
        FP16,
        dla_core=0,
        gpu_fallback=True,
        pools=MemoryPools(workspace=64, dla_sram=0.5),
        layer_devices=(LayerOptions("node4", "GPU"),),
        layer_precisions=() if typed(machine) else (LayerOptions("node0", "fp16"),),
        precision_constraints="default" if typed(machine) else "prefer",
        timing_cache=str(timing),
        optimization_level=4,
        profiling_verbosity="detailed",
        version_compatible=True,
        sparsity="enable",
    )
    build(machine, tiny, config)
    assert machine.requests["pools"] == {"WORKSPACE": 64 << 20, "DLA_MANAGED_SRAM": 1 << 19}
    assert machine.requests["devices"] == {"node4": "GPU"}
    assert machine.requests["precisions"] == ({} if typed(machine) else {"node0": "HALF"})
    assert machine.requests["state"]["builder_optimization_level"] == 4
    assert machine.requests["state"]["profiling_verbosity"] == "DETAILED"
    assert {"VERSION_COMPATIBLE", "SPARSE_WEIGHTS"} <= set(machine.requests["flags"])
    assert timing.read_bytes() == b"timings"


def test_phases_are_reported_where_the_release_has_a_monitor(machine, tiny):
    plan = build(machine, tiny, FP16)
    has_monitor = Version.parse(machine.surface.version).since("10.0")
    assert plan.phases == (("Building engine", "Timing") if has_monitor else ())


def test_a_broken_model_is_our_error(machine, tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    with pytest.raises(InputError, match="TensorRT cannot read"):
        build(machine, broken, FP16)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shapes": ()}, "leaves dimensions open"),
        ({"shapes": (InputShape("image", ShapeRange.fixed((1, 3, 8, 8))),)}, "leaves dimensions open"),
        ({"shapes": (*SHAPES, InputShape("image", ShapeRange.fixed((1, 3))))}, "no such input"),
        ({"shapes": (InputShape("input", ShapeRange.fixed((4, 3, 9, 8))),)}, "does not fit the model"),
        ({"layer_devices": (LayerOptions("nowhere", "GPU"),)}, "no layer 'nowhere'"),
        ({"input_formats": (IOFormat("fp12", ("chw",)),)}, "unknown type"),
        ({"input_formats": (IOFormat("fp32", ("hwc4",)),)}, "unknown layout"),
        ({"input_formats": (IOFormat("fp32", ("chw",)),) * 2}, "do not match the tensors"),
        ({"sparsity": "force"}, "only trtexec"),
    ],
)
def test_wishes_that_do_not_fit(machine, tiny, change, words):
    with pytest.raises(UsageError, match=words):
        build(machine, tiny, replace(FP16, **change))
