"""The `nsys` commands that capture an engine as the walk-through does: few iterations, idle time, the DLA traced."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from dlaflow.errors import UsageError
from dlaflow.targets.features import find_feature, trtexec_options
from dlaflow.targets.release import find_release
from dlaflow.targets.version import Version

_TRACES = {
    "nvmedia": ("cuda", "nvtx", "cublas", "cudnn", "cudla", "nvmedia"),
    "tegra-accelerators": ("cuda", "nvtx", "cublas", "cudnn", "cudla", "cudla-verbose", "tegra-accelerators"),
}
_FLAG = "--accelerator-trace"


@dataclass(frozen=True, slots=True)
class CaptureConfig:
    """What to capture.

    `jetpack` decides how nsys spells the DLA's traces (5.0 to 5.1.1: NvMedia; 5.1.2 on: accelerators; empty: neither),
    and `tensorrt` (empty: that of the JetPack) which options its trtexec has.
    `known_flags` are those of the device's `nsys profile --help` (`dlaflow.parse.help_text`), when they were asked for:
    packages of the same number differ, and desktop ones trace no accelerator.
    """

    engine: Path
    jetpack: str = ""
    dla_core: int | None = 0
    iterations: int = 10
    idle_ms: int = 500
    trtexec: str = "/usr/src/tensorrt/bin/trtexec"
    known_flags: frozenset[str] | None = None
    tensorrt: str = ""

    @property
    def release(self) -> Version | None:
        """TensorRT's release; None where nothing tells it."""
        try:
            return Version.parse(self.tensorrt or find_release(self.jetpack).tensorrt)
        except UsageError:
            return None


@dataclass(frozen=True, slots=True)
class CaptureCommands:
    """Two command lines as argument lists: capture, then export to SQLite."""

    profile: tuple[str, ...]
    export: tuple[str, ...]
    sqlite: Path

    def shell(self) -> tuple[str, str]:
        """Both, as a person would type them."""
        return shlex.join(self.profile), shlex.join(self.export)


def capture_commands(config: CaptureConfig) -> CaptureCommands:
    """The commands for an engine. CUDA graphs, which 11.0 made the default, stay off, since they hide the layers."""
    out = config.engine.with_suffix("")
    dialect = _dialect(config)
    traces = _TRACES.get(dialect, ("cuda", "nvtx", "cublas", "cudnn"))
    flags = [f"--trace={','.join(traces)}", "--force-overwrite=true", f"--output={out}"]
    if dialect:
        flags.append(f"{_FLAG}={dialect}")
    core = [] if config.dla_core is None else [f"--useDLACore={config.dla_core}"]
    wanted = {"iterations": config.iterations, "idleTime": config.idle_ms, "duration": 0}
    run = [config.trtexec, f"--{_known(config, 'loadEngine') or 'engine'}={config.engine}", *core]
    run += [f"--{name}={value}" for name, value in wanted.items() if _known(config, name)]
    run += ["--noCudaGraph"] if config.release and _known(config, "noCudaGraph") else ["--useSpinWait"]
    return CaptureCommands(
        profile=("nsys", "profile", *flags, *run),
        export=(
            "nsys",
            "export",
            "--type=sqlite",
            "--force-overwrite=true",
            f"--output={out}.sqlite",
            f"{out}.nsys-rep",
        ),
        sqlite=Path(f"{out}.sqlite"),
    )


def _known(config: CaptureConfig, name: str) -> str:
    """The option where trtexec has it, or where nobody knows which trtexec it is; else empty."""
    release = config.release
    return name if release is None or trtexec_options()[name].known_to(release) else ""


def _dialect(config: CaptureConfig) -> str:
    """How this release's nsys calls the DLA's traces; empty where it knows none."""
    if config.known_flags is not None and _FLAG not in config.known_flags:
        return ""
    try:
        found = find_feature("nsys_accelerators", Version.parse(config.jetpack))
    except UsageError:  # no JetPack, or a DRIVE OS
        return ""
    return str(found.value) if found else ""
