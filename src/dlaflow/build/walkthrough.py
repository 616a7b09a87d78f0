"""The walk-through's five steps as commands to paste on a board, for any release (`build --print-command --all-steps`).

The text for TensorRT 8.5.2 is the walk-through's own (NVIDIA-AI-IOT/jetson_dla_tutorial); where its code no longer runs
(Python API of TensorRT 10 and 11) dlaflow's command stands in its place.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePath

from dlaflow.build.config import BuildConfig, standalone_of
from dlaflow.build.trtexec import USUAL_PLACES
from dlaflow.build.trtexec_arguments import BUILD_ONLY, CAPTURE, build_command, load_arguments, measuring_for
from dlaflow.targets.features import has, trtexec_options
from dlaflow.targets.version import Version


def walkthrough(model: str, engine: str, config: BuildConfig, tensorrt: str, data: str = "cifar10") -> Iterator[str]:
    """The lines of the five steps for `model`: comments, and commands to paste.

    `config` is that of a hybrid engine, `data` the dataset's name for dlaflow. Raises UsageError for what trtexec of
    this release has no option for.
    """
    stem = str(PurePath(engine).with_suffix(""))
    yield f"# On the board, TensorRT {tensorrt}: alias trtexec={USUAL_PLACES[0]}"
    yield "# 1. Build and measure"
    yield build_command(model, engine, config, tensorrt, measuring_for(tensorrt, f"{stem}.json"))
    yield "# 2. The same as a standalone loadable"
    yield build_command(model, f"{stem}.dla", standalone_of(config), tensorrt, BUILD_ONLY)
    yield "# 3. Capture a time line"
    yield shlex.join(_capture(engine, stem, tensorrt))
    yield "# 4. Build with real scales"
    if not has("jetpack_6", tensorrt):
        yield (
            "#    JetPack 5 and earlier bind Python 3.8 and older, dlaflow needs 3.10. Without it: `dlaflow calibrate "
            f"--cache calib.cache --tensorrt {tensorrt}` on any computer, then step 1 with --calib=calib.cache."
        )
    yield shlex.join(_scaled(model, engine, config, tensorrt, data))
    yield "# 5. Evaluate the engine"
    yield shlex.join(["dlaflow", "evaluate", engine, "--data", data])


def _capture(engine: str, stem: str, tensorrt: str) -> list[str]:
    # No CUDA graph and no profiler: both would hide the layers from the time line.
    idles = trtexec_options()["idleTime"].known_to(Version.parse(tensorrt))
    capture = CAPTURE if idles else replace(CAPTURE, idle=None)
    accelerators = "tegra-accelerators" if has("jetpack_6", tensorrt) else "nvmedia"
    traces = [f"--trace=cuda,nvtx,cublas,cudla,cusparse,cudnn,{accelerators}"]
    if has("jetpack_6", tensorrt):
        traces.append(f"--accelerator-trace={accelerators}")
    run = [USUAL_PLACES[0], *load_arguments(engine, tensorrt, capture)]
    return ["nsys", "profile", *traces, f"--output={stem}.nvvp", *run]


def _scaled(model: str, engine: str, config: BuildConfig, tensorrt: str, data: str) -> list[str]:
    command = ["dlaflow", "build", model, "--out", engine, "--via", "python", "--tensorrt", tensorrt]
    command += ["--precision", config.precision]
    if config.precision == "int8":
        command += ["--scales", "qdq"] if has("typed_only", tensorrt) else ["--data", data]
    if config.shapes:
        command += ["--batch", str(config.shapes[0].shapes.usual[0])]
    return [*command, "--dla-core", str(config.dla_core or 0)]
