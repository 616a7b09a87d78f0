"""What a release cannot do is said before anything runs; what may fail is a caution."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dlaflow.build.capability import examine
from dlaflow.build.config import BuildConfig, InputShape, IOFormat, LayerOptions, ShapeRange
from dlaflow.errors import UsageError

LINEAR = (IOFormat("int8", ("dla_linear",)),)
HYBRID = BuildConfig(precision="int8", scales="cache", cache="calib.cache", dla_core=0, gpu_fallback=True)
BOTH = replace(HYBRID, fp16_too=True)
ALONE = replace(HYBRID, gpu_fallback=False, standalone=True, input_formats=LINEAR, output_formats=LINEAR)
PACKED = (IOFormat("int8", ("chw32",)),)
ALONE_8_5 = replace(ALONE, input_formats=PACKED, output_formats=PACKED)
UNAIDED = replace(HYBRID, gpu_fallback=False, input_formats=LINEAR, output_formats=LINEAR)


def taking(*formats: str) -> BuildConfig:
    return replace(UNAIDED, input_formats=tuple(map(IOFormat.parse, formats)))


TYPED = replace(HYBRID, scales="qdq", cache=None)
OPEN = (InputShape("input", ShapeRange((1, 3, 8, 8), (4, 3, 8, 8), (8, 3, 8, 8))),)


@pytest.mark.parametrize(
    ("config", "release", "via", "words"),
    [
        (HYBRID, "11.4.1", "trtexec", "takes types and scales from the model alone"),
        (replace(TYPED, scales="none"), "11.4.1", "trtexec", "INT8 without Q/DQ nodes"),
        (replace(TYPED, layer_precisions=(LayerOptions("a", "fp16"),)), "11.4.1", "python", "layer precisions"),
        (replace(TYPED, fp16_too=True), "11.4.1", "python", "FP16 beside INT8"),
        (TYPED, "11.1.0", "trtexec", "has no DLA"),
        (replace(HYBRID, strongly_typed=True), "8.6.1", "python", "came with TensorRT 9.1"),
        (HYBRID, "8.2.1", "python", "8.4 and later"),
        (replace(HYBRID, scales="calibrator"), "10.3.0", "trtexec", "cannot calibrate from images"),
        (replace(HYBRID, cache=None), "10.3.0", "trtexec", "need the cache file"),
        (replace(HYBRID, scales="none", cache=None), "10.3.0", "python", "invents no INT8 scales"),
        (replace(TYPED, precision="model"), "10.3.0", "trtexec", "chooses types itself"),
        (replace(HYBRID, precision="fp32"), "10.3.0", "trtexec", "FP16 and INT8 only"),
        (replace(HYBRID, shapes=OPEN), "10.3.0", "trtexec", "one shape only"),
        (replace(ALONE, gpu_fallback=True), "10.3.0", "trtexec", "cannot fall back"),
        (replace(ALONE, input_formats=()), "10.3.0", "trtexec", "input format must be said"),
        (
            replace(ALONE, output_formats=(IOFormat("int8", ("dla_hwc4",)),)),
            "10.3.0",
            "trtexec",
            "no such output format",
        ),
        (replace(ALONE, input_formats=(IOFormat("fp16", ("chw32",)),)), "10.3.0", "trtexec", "no such input format"),
        (replace(ALONE, scales="qdq", cache=None), "10.3.0", "trtexec", "Q/DQ layers are no DLA layers"),
        (replace(HYBRID, dla_core=None), "10.3.0", "trtexec", "without a DLA core"),
        (taking("int8:hwc4"), "10.3.0", "trtexec", "knows no such layout"),
        (taking("uint8:dla_linear"), "8.5.2", "trtexec", "knows no such type"),
        (taking("int8:dla_linear"), "7.1.3", "trtexec", "knows no such layout"),
        (taking("int8:chw"), "10.3.0", "trtexec", "no such input format"),
        (taking("fp16:chw32"), "10.3.0", "python", "no such input format"),
        (replace(UNAIDED, output_formats=(IOFormat("int8", ("dla_hwc4",)),)), "8.5.2", "trtexec", "no such output"),
        (replace(HYBRID, input_formats=(IOFormat("int8", ("hwc4",)),)), "8.5.2", "trtexec", "knows no such layout"),
        (ALONE, "8.5.2", "trtexec", "`--safe`, which builds loadables"),
        (replace(ALONE, input_formats=(IOFormat("int8", ("dla_linear", "chw32")),)), "10.3.0", "trtexec", "one layout"),
        (HYBRID, "11.0.0", "rtx", "takes types and scales"),
        (replace(TYPED, precision="fp16"), "11.0.0", "rtx", "knows no DLA"),
    ],
)
def test_refusals(config, release, via, words):
    with pytest.raises(UsageError, match=words):
        examine(config, release, via)


@pytest.mark.parametrize(
    ("config", "release", "via", "words"),
    [
        (replace(HYBRID, scales="none", cache=None), "8.5.2", "trtexec", "invents a range"),
        (TYPED, "10.3.0", "trtexec", "cut around each"),
        (HYBRID, "10.16.1", "python", "last 10.x with a DLA"),
        (TYPED, "11.4.0", "python", "Windows on ARM only"),
        (ALONE_8_5, "8.5.2", "trtexec", "no --buildDLAStandalone"),
        (replace(UNAIDED, output_formats=()), "8.5.2", "trtexec", "also refuses to reformat"),
        (HYBRID, "5.0.6", "trtexec", "No source of trtexec"),
        (HYBRID, "5.1.6", "trtexec", "no support for ONNX"),
        (replace(HYBRID, gpu_fallback=False), "5.1.6", "trtexec", "whatever it is told"),
        (replace(HYBRID, gpu_fallback=False), "8.5.2", "trtexec", "also refuses to reformat"),
    ],
)
def test_cautions(config, release, via, words):
    assert any(words in caution.message for caution in examine(config, release, via))


@pytest.mark.parametrize(
    ("config", "release", "via"),
    [
        (BOTH, "8.5.2", "trtexec"),
        (HYBRID, "8.5.2", "trtexec"),
        (UNAIDED, "10.3.0", "trtexec"),
        (replace(HYBRID, input_formats=(IOFormat("fp32", ("chw",)),)), "8.5.2", "trtexec"),
        (replace(ALONE, fp16_too=True), "8.6.1", "python"),
        (BOTH, "10.3.0", "python"),
        (TYPED, "11.4.1", "python"),
        (
            replace(TYPED, gpu_fallback=False, standalone=True, input_formats=LINEAR, output_formats=LINEAR),
            "11.4.1",
            "trtexec",
        ),
        (BuildConfig(precision="fp16", shapes=OPEN), "10.3.0", "trtexec"),
    ],
)
def test_nothing_to_say(config, release, via):
    assert examine(config, release, via) == []
