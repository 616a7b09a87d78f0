"""The walk-through's steps as commands to paste on a board, for any release.

Five steps: build and measure with trtexec, the same as a standalone loadable, capture a time line with nsys, build with
real scales, evaluate. The text for TensorRT 8.5.2 is the walk-through's own (NVIDIA-AI-IOT/jetson_dla_tutorial); where
its code no longer runs (Python API of TensorRT 10 and 11) dlaflow's command stands in its place.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import PurePath

from dlaflow.build.config import BuildConfig, IOFormat
from dlaflow.build.measuring import BUILD_ONLY, CAPTURE, WALKTHROUGH, Measuring
from dlaflow.build.release import version_of
from dlaflow.build.trtexec_arguments import build_arguments, load_arguments

TRTEXEC_ON_JETSON = "/usr/src/tensorrt/bin/trtexec"
_TYPED = (11, 0, 0)
_SEPARATE_PROFILE = (7, 2, 1)
_IDLE = (8, 2, 0)
_PYTHON_310 = (8, 6, 0)
_NVMEDIA_UNTIL = (8, 6, 0)
_TRACES = "cuda,nvtx,cublas,cudla,cusparse,cudnn"


@dataclass(frozen=True, slots=True)
class Step:
    """One command: what it is for, the line to paste, and what to know of it (empty: nothing)."""

    title: str
    command: str
    note: str = ""


def build_command(
    model: str, engine: str, config: BuildConfig, tensorrt: str, measuring: Measuring | None = None
) -> str:
    """The trtexec line that builds `engine`; its output goes to a log beside it, warnings included.

    Raises UsageError as `build_arguments` does.
    """
    return _line(["trtexec", *build_arguments(model, engine, config, tensorrt, measuring), *_redirect(engine)])


def walkthrough(model: str, engine: str, config: BuildConfig, tensorrt: str, data: str = "cifar10") -> list[Step]:
    """The five steps for `model`; `config` is that of a hybrid engine, `data` the dataset's name for dlaflow.

    Raises UsageError for what trtexec of this release has no option for.
    """
    stem = str(PurePath(engine).with_suffix(""))
    measuring = measuring_for(tensorrt, f"{stem}.json")
    alone = standalone_of(config)
    return [
        Step("Build and measure", build_command(model, engine, config, tensorrt, measuring)),
        Step("The same as a standalone loadable", build_command(model, f"{stem}.dla", alone, tensorrt, BUILD_ONLY)),
        Step("Capture a time line", _capture(engine, stem, tensorrt)),
        Step("Build with real scales", _scaled(model, engine, config, tensorrt, data), _about_python(tensorrt)),
        Step("Evaluate the engine", _line(["dlaflow", "evaluate", engine, "--data", data])),
    ]


def measuring_for(tensorrt: str, profile: str) -> Measuring:
    """The walk-through's measurement with the layer profile in the file `profile`, as far as the release can do both.

    Before 7.2.1 a profile would disturb the measurement, so there is none.
    """
    if version_of(tensorrt) < _SEPARATE_PROFILE:
        return replace(WALKTHROUGH, separate_profile_run=False)
    return replace(WALKTHROUGH, export_profile=profile)


def standalone_of(config: BuildConfig) -> BuildConfig:
    """The standalone counterpart of a hybrid configuration: no fallback, linear DLA formats of its precision."""
    kind = "int8" if config.precision == "int8" else "fp16"
    linear = (IOFormat(kind, ("dla_linear",)),)
    return replace(config, gpu_fallback=False, standalone=True, input_formats=linear, output_formats=linear)


def trace_options(tensorrt: str) -> list[str]:
    """The nsys options that show the DLA, for the nsys that ships beside this TensorRT.

    JetPack 5 names the accelerators `nvmedia`, JetPack 6 and later `tegra-accelerators`; x86 packages know neither.
    """
    if version_of(tensorrt) < _NVMEDIA_UNTIL:
        return [f"--trace={_TRACES},nvmedia"]
    return [f"--trace={_TRACES},tegra-accelerators", "--accelerator-trace=tegra-accelerators"]


def _capture(engine: str, stem: str, tensorrt: str) -> str:
    # No CUDA graph and no profiler: both would hide the layers from the time line.
    capture = CAPTURE if version_of(tensorrt) >= _IDLE else replace(CAPTURE, idle=None)
    run = [TRTEXEC_ON_JETSON, *load_arguments(engine, tensorrt, capture)]
    return _line(["nsys", "profile", *trace_options(tensorrt), f"--output={stem}.nvvp", *run])


def _scaled(model: str, engine: str, config: BuildConfig, tensorrt: str, data: str) -> str:
    scales = ["--scales", "qdq"] if version_of(tensorrt) >= _TYPED else ["--data", data]
    batch = [str(one.shapes.usual[0]) for one in config.shapes[:1]]
    words = ["dlaflow", "build", model, "--out", engine, "--via", "python", "--tensorrt", tensorrt]
    words += ["--precision", config.precision, *(scales if config.precision == "int8" else [])]
    words += [word for value in batch for word in ("--batch", value)]
    return _line([*words, "--dla-core", str(config.dla_core or 0)])


def _about_python(tensorrt: str) -> str:
    if version_of(tensorrt) >= _PYTHON_310:
        return ""
    return (
        "JetPack 5 and earlier bind Python 3.8 and older, dlaflow needs 3.10. Without it: `dlaflow calibrate "
        f"--cache calib.cache --tensorrt {tensorrt}` on any computer, then step 1 with --calib=calib.cache."
    )


def _redirect(engine: str) -> list[str]:
    # Warnings and errors go to stderr: a log of stdout alone lacks every reason for a fallback.
    path = PurePath(engine)
    log = path.with_suffix(".log") if path.suffix in {".engine", ".plan"} else f"{path}.log"
    return [">", str(log), "2>&1"]


def _line(words: list[str]) -> str:
    return " ".join(word if word in {">", "2>&1"} else shlex.quote(word) for word in words)
