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
from dlaflow.build.engine import Request
from dlaflow.build.trtexec import USUAL_PLACES
from dlaflow.build.trtexec_arguments import BUILD_ONLY, build_command, measuring_for
from dlaflow.profile.command import CaptureConfig, capture_commands
from dlaflow.targets.features import has, trtexec_options
from dlaflow.targets.version import Version


def walkthrough(request: Request, data: str = "cifar10") -> Iterator[str]:
    """The lines of the five steps for the hybrid engine of `request`: comments, and commands to paste.

    `data` is the dataset's name for dlaflow. Raises UsageError for what trtexec of this release has no option for.
    """
    model, engine, tensorrt = str(request.model), str(request.engine), request.built_for.tensorrt
    config = request.config
    stem = str(PurePath(engine).with_suffix(""))
    yield f"# On the board, TensorRT {tensorrt}: alias trtexec={USUAL_PLACES[0]}"
    yield "# 1. Build and measure"
    yield build_command(model, engine, config, tensorrt, measuring_for(tensorrt, f"{stem}.json"))
    yield "# 2. The same as a standalone loadable"
    if trtexec_options()["inputIOFormats"].known_to(Version.parse(tensorrt)):
        yield build_command(model, f"{stem}.dla", standalone_of(config, tensorrt), tensorrt, BUILD_ONLY)
    else:
        yield f"#    trtexec of TensorRT {tensorrt} cannot say I/O formats, so it builds none."
    yield "# 3. Capture a time line; `dlaflow profile` reads what the second line exports"
    yield from capture_commands(
        CaptureConfig(request.engine, request.built_for.jetpack, config.dla_core, tensorrt=tensorrt)
    ).shell()
    yield "# 4. Build with real scales"
    yield from _real_scales(request, data)
    yield "# 5. Evaluate the engine"
    yield shlex.join(["dlaflow", "evaluate", engine, "--data", data])


def _real_scales(request: Request, data: str) -> Iterator[str]:
    model, engine, tensorrt = str(request.model), str(request.engine), request.built_for.tensorrt
    config = request.config
    if has("python_builder", tensorrt):
        if not has("jetpack_6", tensorrt):
            yield (
                "#    JetPack 5 binds Python 3.8, dlaflow needs 3.10. Without it: `dlaflow calibrate "
                f"--cache calib.cache --tensorrt {tensorrt}` on any computer, then step 1 with --calib=calib.cache."
            )
        yield shlex.join(_scaled(model, engine, config, tensorrt, data))
    elif config.precision == "int8":
        command = ["dlaflow", "calibrate", model, "--data", data, "--cache", "calib.cache", "--tensorrt", tensorrt]
        yield "#    The first line on any computer, the second on the board"
        yield shlex.join(command)
        scaled = replace(config, scales="cache", cache="calib.cache")
        yield build_command(model, engine, scaled, tensorrt, measuring_for(tensorrt, f"{PurePath(engine).stem}.json"))
    else:
        yield "#    FP16 needs none: step 1 is enough"


def _scaled(model: str, engine: str, config: BuildConfig, tensorrt: str, data: str) -> list[str]:
    command = ["dlaflow", "build", model, "--out", engine, "--via", "python", "--tensorrt", tensorrt]
    command += ["--precision", config.precision]
    if config.precision == "int8":
        command += ["--scales", "qdq"] if has("typed_only", tensorrt) else ["--data", data]
    if config.shapes:
        command += ["--batch", str(config.shapes[0].shapes.usual[0])]
    return [*command, "--dla-core", str(config.dla_core or 0)]
