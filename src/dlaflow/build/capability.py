"""What a release cannot do, said before the build: an error where it would surely fail, a caution where it may.

Since when a release can do what stands in targets/features.toml.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from dlaflow.build.config import BuildConfig, IOFormat, standalone_format
from dlaflow.errors import UsageError
from dlaflow.targets.features import find_feature, has, io_layouts, io_types, trtexec_options
from dlaflow.targets.version import Version
from dlaflow.types import Confidence

Via = Literal["trtexec", "python", "rtx"]

_INPUT_LAYOUTS = {
    "int8": {"dla_linear", "dla_hwc4", "chw4", "chw32"},
    "fp16": {"dla_linear", "dla_hwc4", "chw4", "chw16"},
}
_OUTPUT_LAYOUTS = {"int8": {"dla_linear", "chw32"}, "fp16": {"dla_linear", "chw16"}}


@dataclass(frozen=True, slots=True)
class Caution:
    """Something that does not stop the build but that its owner should know, with what to do about it."""

    message: str
    then: str


def examine(config: BuildConfig, tensorrt: str, via: Via) -> list[Caution]:
    """The cautions for building `config` with this release.

    Raises UsageError for what the release, or the way of building, surely cannot do.
    """
    release = Version.parse(tensorrt)
    _refuse_precision(config, release, tensorrt)
    if via == "rtx":
        _refuse_rtx(config)
        return []
    _refuse_way(config, release, tensorrt, via)
    _refuse_formats(config, release, tensorrt, via)
    if config.on_dla:
        _refuse_dla(config, release, tensorrt)
    elif config.standalone or config.gpu_fallback:
        raise UsageError(
            "a standalone engine or GPU fallback was asked for without a DLA core",
            expected="--dla-core 0 or 1",
            received="no DLA core",
            then="Choose a core, or leave those options out for an engine on the GPU.",
        )
    return [*_about_scales(config, release), *_about_dla(config, release, tensorrt, via)]


def _refuse_precision(config: BuildConfig, release: Version, tensorrt: str) -> None:
    typed = config.strongly_typed or has("typed_only", release)
    if config.precision == "model" and not typed:
        raise UsageError(
            f"TensorRT {tensorrt} chooses types itself", expected="fp16 or int8", received="the model's own types"
        )
    if typed and not has("typed_networks", release):
        raise UsageError(
            "strongly typed networks came with TensorRT 9.1", received=tensorrt, then="Leave `strongly_typed` out."
        )
    if not typed:
        return
    requests = [
        (bool(config.cache) or config.scales in {"cache", "calibrator"}, "a calibration cache or calibrator"),
        (config.precision == "int8" and config.scales == "none", "INT8 without Q/DQ nodes"),
        (bool(config.layer_precisions), "layer precisions"),
        (config.precision_constraints != "default", "precision constraints"),
        (config.fp16_too, "FP16 beside INT8 by a builder flag"),
    ]
    for requested, name in requests:
        if requested:
            raise UsageError(
                f"TensorRT {tensorrt} takes types and scales from the model alone, so it cannot use {name}",
                expected="a model with Q/DQ nodes (INT8) or typed FP16",
                received=name,
                then="Write one with `dlaflow calibrate MODEL --qdq int8.onnx` and build that with --scales qdq.",
            )


def _refuse_rtx(config: BuildConfig) -> None:
    if config.on_dla or config.standalone:
        raise UsageError(
            "TensorRT-RTX builds for RTX GPUs and knows no DLA",
            received=f"DLA core {config.dla_core}",
            then="Build for the DLA with --via trtexec or --via python on the board.",
        )


def _refuse_way(config: BuildConfig, release: Version, tensorrt: str, via: Via) -> None:
    if via == "python" and not has("python_builder", release):
        raise UsageError(
            "the Python builder covers TensorRT 8.4 and later", received=tensorrt, then="Use --via trtexec."
        )
    if via == "trtexec" and config.scales == "calibrator":
        raise UsageError(
            "trtexec cannot calibrate from images",
            expected="a calibration cache",
            received="calibration data",
            then="Make one with `dlaflow calibrate MODEL --cache calib.cache`, or build with --via python.",
        )
    if via == "python" and config.precision == "int8" and config.scales == "none" and has("implicit_int8", release):
        raise UsageError(
            "the Python API invents no INT8 scales as trtexec does; without any it would use INT8 nowhere",
            expected="--cache FILE or --data NAME",
            received="neither",
            then="For a speed test alone use --via trtexec.",
        )
    if config.scales == "cache" and not config.cache:
        raise UsageError("scales from a cache need the cache file", expected="--cache FILE", received="none")


def _refuse_dla(config: BuildConfig, release: Version, tensorrt: str) -> None:
    if not has("dla", release):
        raise UsageError(
            f"TensorRT {tensorrt} has no DLA: NVIDIA took it out in 11.0 and brought it back in 11.4",
            expected="TensorRT up to 10.7, or 11.4.1 and later",
            received=tensorrt,
            then="Choose another release, or build for the GPU (--gpu-only).",
        )
    if config.precision == "fp32":
        raise UsageError("the DLA computes in FP16 and INT8 only", expected="fp16 or int8", received="fp32")
    open_inputs = [one.name for one in config.shapes if not one.shapes.is_fixed]
    if open_inputs:
        raise UsageError(
            f"the DLA takes one shape only: min, opt and max of {', '.join(open_inputs)} differ",
            expected="three equal shapes",
            received="a range",
            then="Give one shape, or build one engine for each.",
        )
    if not config.standalone:
        if not config.gpu_fallback:
            _refuse_layouts(config.input_formats, _INPUT_LAYOUTS, "input")
            _refuse_layouts(config.output_formats, _OUTPUT_LAYOUTS, "output")
        return
    if config.gpu_fallback:
        raise UsageError(
            "a standalone DLA loadable cannot fall back to the GPU",
            expected="standalone without GPU fallback",
            received="both",
            then="Drop one of the two.",
        )
    if config.scales == "qdq" and not has("qdq_on_dla", release):
        raise UsageError(
            f"Q/DQ layers are no DLA layers in TensorRT {tensorrt}, and a standalone loadable may hold nothing else",
            expected="a calibration cache",
            received="Q/DQ nodes",
            then="Use the plain model with `dlaflow calibrate MODEL --cache calib.cache`.",
        )
    for formats, allowed, side in (
        (config.input_formats, _INPUT_LAYOUTS, "input"),
        (config.output_formats, _OUTPUT_LAYOUTS, "output"),
    ):
        if not formats:
            raise UsageError(
                f"a standalone loadable has no reformatting, so its {side} format must be said",
                expected=_spelled(allowed),
                received="none",
                then=f"Give --{side}-format, for example {standalone_format(config.precision, tensorrt)}.",
            )
        _refuse_layouts(formats, allowed, side)


def _refuse_layouts(formats: tuple[IOFormat, ...], allowed: dict[str, set[str]], side: str) -> None:
    """Raises UsageError for a format that the DLA cannot take without the GPU's reformatting."""
    for one in formats:
        if not set(one.layouts) <= allowed.get(one.type, set()):
            raise UsageError(f"the DLA has no such {side} format", expected=_spelled(allowed), received=str(one))


def _spelled(allowed: dict[str, set[str]]) -> str:
    return "; ".join(f"{kind}:{' or '.join(sorted(layouts))}" for kind, layouts in allowed.items())


def _refuse_formats(config: BuildConfig, release: Version, tensorrt: str, via: Via) -> None:
    """Raises UsageError for names that this release does not know, and for what its standalone option does not take."""
    by_safe = config.standalone and via == "trtexec"
    narrow = by_safe and not trtexec_options()["buildDLAStandalone"].known_to(release)
    types, layouts = io_types(release), io_layouts(release)
    if via == "trtexec" and not layouts and (config.input_formats or config.output_formats):
        since = trtexec_options()["inputIOFormats"].since
        raise UsageError(
            f"trtexec of TensorRT {tensorrt} cannot be told I/O formats, which a standalone loadable needs",
            expected=f"TensorRT {since} or later",
            received=tensorrt,
            then="Leave formats and --standalone out, or choose JetPack 4.3 or later.",
        )
    for one in (*config.input_formats, *config.output_formats):
        for name, known, what in [(one.type, types, "type"), *((layout, layouts, "layout") for layout in one.layouts)]:
            if name not in known:
                raise UsageError(
                    f"TensorRT {tensorrt} knows no such {what} of an I/O format",
                    expected=f"one of {', '.join(known)}",
                    received=str(one),
                )
        if by_safe and len(one.layouts) > 1:
            raise UsageError("trtexec takes one layout a tensor for a standalone loadable", received=str(one))
        if narrow and one.layouts[0] not in io_layouts(release, safe=True):
            raise UsageError(
                f"`--safe`, which builds loadables with trtexec of {tensorrt}, refuses this I/O format",
                expected=f"a layout among {', '.join(io_layouts(release, safe=True))}",
                received=str(one),
                then=f"Use {standalone_format(config.precision, tensorrt)}; others from TensorRT "
                f"{trtexec_options()['buildDLAStandalone'].since} on.",
            )


def _about_scales(config: BuildConfig, release: Version) -> Iterator[Caution]:
    if config.precision != "int8" or not has("implicit_int8", release):
        return
    if config.scales == "none":
        yield Caution(
            "INT8 without scales: TensorRT invents a range for every tensor. Speed will be right, accuracy will not.",
            "For accuracy give --cache FILE (`dlaflow calibrate` makes one).",
        )
    if config.scales == "qdq" and config.on_dla and not has("qdq_on_dla", release):
        yield Caution(
            "Before DLA software 3.16 Q/DQ layers run on the GPU: the model will be cut around each of them.",
            "Build the plain model with a calibration cache instead.",
        )


def _about_dla(config: BuildConfig, release: Version, tensorrt: str, via: Via) -> Iterator[Caution]:
    if not config.on_dla:
        return
    on_jetson = find_feature("dla_on_jetson", release)
    if on_jetson is not None and on_jetson.value == "no" and on_jetson.confidence is Confidence.INFERRED:
        yield Caution(
            f"NVIDIA names 10.7 as the last 10.x with a DLA: that {tensorrt} has none is inferred, nobody tried it.",
            "If the build reports no DLA core, use JetPack 6 (10.3) or TensorRT 11.4.1 and later.",
        )
    elif not has("dla_on_jetson", release):
        yield Caution(
            f"TensorRT {tensorrt} has the DLA on Windows on ARM only; on Jetson it returns with 11.4.1.",
            "Update to TensorRT 11.4.1 or later.",
        )
    formats_said = config.input_formats and config.output_formats
    if via == "trtexec" and not config.gpu_fallback and not config.standalone and not formats_said:
        plain = standalone_format(config.precision, tensorrt)
        yield Caution(
            "Without GPU fallback trtexec also refuses to reformat: linear FP32 inputs and outputs fail even if every "
            "layer fits.",
            f"Give DLA formats for both, for example --input-format {plain} --output-format {plain}.",
        )
    if via == "trtexec" and not has("trtexec_onnx_options", release):
        yield from _about_trtexec_5(config, release, tensorrt)
    if config.standalone and via == "trtexec" and not trtexec_options()["buildDLAStandalone"].known_to(release):
        yield Caution(
            f"trtexec of {tensorrt} has no --buildDLAStandalone; `--safe` with a DLA core is its older spelling.",
            "If the loadable is refused, patch trtexec as NVIDIA's cuDLA samples do, or move to TensorRT 8.6.1.",
        )


def _about_trtexec_5(config: BuildConfig, release: Version, tensorrt: str) -> Iterator[Caution]:
    if not trtexec_options()["saveEngine"].known_to(release):
        yield Caution(
            f"No source of trtexec {tensorrt} is public: its options are taken from what 5.1 says of older ones.",
            "Compare with `trtexec --help` on the board.",
        )
    if not config.gpu_fallback:
        yield Caution(
            f"trtexec of {tensorrt} lets every ONNX model fall back to the GPU, whatever it is told.",
            "Look in its log for layers on the GPU, or use JetPack 4.3 and later.",
        )
    if config.precision == "int8":
        yield Caution(
            f"The help of trtexec {tensorrt} says of --int8 and --calib: no support for ONNX models.",
            "Build in FP16, or use JetPack 4.3 and later.",
        )
