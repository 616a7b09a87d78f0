"""What this machine is: board, release, TensorRT, DLA cores, clocks, container. Asks, never changes anything.

Everything goes through a `System`, so that the same questions can be answered by another machine or by a record.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from dlaflow.build.trtexec import USUAL_PLACES
from dlaflow.parse.device import DeviceText, jetpack_of, parse_device
from dlaflow.process import captured

_SECONDS = 10
_DLA_HOSTS = ("host1x", "13e10000.host1x", "13e40000.host1x", "bus@0/13e00000.host1x")
_DLA_DEVICES = ("15880000.nvdla0", "158c0000.nvdla1")
_MODULE = re.compile(r"(p(?:2888|3668|3701|3767|3834)-\d{4})")
"""Xavier, Xavier NX, AGX Orin, Orin NX and Nano, Thor; the carrier board's number stands beside it."""
_SOC = re.compile(r"nvidia,(tegra\d+)")
_SOC_NAMES = {"tegra194": "Xavier", "tegra234": "Orin", "tegra264": "Thor"}
_KERNELS = {"4.9": ("32",), "5.10": ("34", "35"), "5.15": ("36",), "6.8": ("38",)}
"""Kernel of L4T → the first numbers of its releases: in a container the kernel is the host's."""
_LIBRARY = re.compile(r"libnvinfer(?:-bin|\d+)?\s+(\d+\.\d+\.\d+)")
_CUDA = re.compile(r"release (\d+\.\d+)")


class System:
    """A machine that can be asked: this one. A subclass answers the same questions for another machine."""

    def read(self, path: str) -> str:
        """The text of a file; empty when it cannot be read."""
        try:
            return Path(path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def exists(self, path: str) -> bool:
        """Whether a path is there."""
        return os.path.exists(path)

    def run(self, *command: str) -> str:
        """What a command prints on stdout and stderr; empty when it is not there or fails."""
        done = captured(command, _SECONDS)
        return done[1] if done is not None and done[0] == 0 else ""

    def which(self, program: str) -> str:
        """The path of a program; empty when it is not on PATH."""
        return shutil.which(program) or ""

    def package(self, name: str) -> str:
        """The version of a Python package; empty when it is not installed."""
        if importlib.util.find_spec(name.partition(".")[0]) is None:
            return ""
        try:
            return importlib.metadata.version(_DISTRIBUTIONS.get(name, name))
        except importlib.metadata.PackageNotFoundError:
            # Debian's TensorRT bindings come without a Python distribution.
            return "installed"

    def architecture(self) -> str:
        """x86_64, aarch64, ..."""
        return platform.machine()

    def kernel(self) -> str:
        """The kernel's release."""
        return platform.release()

    def python(self) -> str:
        """The version of the Python that runs dlaflow."""
        return platform.python_version()


_DISTRIBUTIONS = {"cuda": "cuda-python", "sklearn": "scikit-learn"}


@dataclass(frozen=True, slots=True)
class Machine:
    """What a machine is; empty strings and None stand for what is not known.

    `tensorrt` is the library's version, `bindings` that of its Python module. `dla_cores` comes from `dla_source`
    (TensorRT itself, or device nodes, which are only a hint). Clocks are in MHz. `host_l4t` holds the release lines
    that the kernel may belong to, which in a container is the host's.
    """

    architecture: str
    kernel: str
    python: str
    board: str
    module: str
    soc: str
    l4t: str
    jetpack: str
    host_l4t: tuple[str, ...]
    container: bool
    tensorrt: str
    bindings: str
    trtexec: str
    cuda: str
    gpu: str
    dla_cores: int | None
    dla_source: str
    power_mode: str
    dla_clocks_mhz: tuple[float, ...]

    @property
    def is_jetson(self) -> bool:
        """Whether this is a Jetson, by its SoC or its release."""
        return bool(self.soc or self.l4t)


def inspect(system: System | None = None) -> Machine:
    """Ask a machine (None: this one)."""
    system = system or System()
    compatible = system.read("/proc/device-tree/compatible")
    device = _device(system)
    l4t = device.release.version if device.release else ""
    cores, source = _dla_cores(system)
    bindings = system.package("tensorrt")
    soc = _first(_SOC, compatible)
    listed = system.run("nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader")
    return Machine(
        architecture=system.architecture(),
        kernel=system.kernel(),
        python=system.python(),
        board=system.read("/proc/device-tree/model").strip("\0\n "),
        module=_first(_MODULE, compatible),
        soc=f"{soc} ({_SOC_NAMES[soc]})" if soc in _SOC_NAMES else soc,
        l4t=l4t,
        jetpack=device.jetpack or (jetpack_of(l4t) or "" if l4t else ""),
        host_l4t=_KERNELS.get(".".join(system.kernel().split(".")[:2]), ()) if "tegra" in system.kernel() else (),
        container=any(map(system.exists, ("/.dockerenv", "/run/.containerenv"))),
        tensorrt=_first(_LIBRARY, system.run("dpkg-query", "--show", "libnvinfer*")),
        bindings=bindings,
        trtexec=system.which("trtexec") or next(filter(system.exists, USUAL_PLACES), ""),
        cuda=_first(_CUDA, system.run("nvcc", "--version") or system.run("/usr/local/cuda/bin/nvcc", "--version")),
        gpu=listed.strip().splitlines()[0] if listed.strip() else "",
        dla_cores=cores,
        dla_source=source,
        power_mode=device.mode.name if device.mode else "",
        dla_clocks_mhz=tuple(
            clock.current_hz / 1e6 for clock in device.clocks if clock.name.startswith("DLA") and "CORE" in clock.name
        ),
    )


def _device(system: System) -> DeviceText:
    """NVIDIA's files and what its tools print, read by the parser of such texts."""
    texts = [
        system.read("/etc/nv_tegra_release"),
        system.run("dpkg-query", "--show", "nvidia-l4t-core"),
        system.run("dpkg-query", "--show", "nvidia-jetpack"),
        system.run("nvpmodel", "-q"),
        system.run("jetson_clocks", "--show"),
    ]
    return parse_device("\n".join(filter(None, texts)) + "\n")


def _dla_cores(system: System) -> tuple[int | None, str]:
    if system.package("tensorrt"):
        from dlaflow.build.api import Messages, import_tensorrt, make_logger

        try:
            trt = import_tensorrt()
            return int(trt.Builder(make_logger(trt, Messages())).num_DLA_cores), "TensorRT"
        except Exception as error:
            # Without a working driver the bindings raise what they like; the question is then open.
            return None, f"TensorRT cannot tell: {' '.join(str(error).split())[:120]}"
    nodes = [
        device
        for device in _DLA_DEVICES
        if any(system.exists(f"/sys/devices/platform/{host}/{device}") for host in _DLA_HOSTS)
    ]
    if nodes:
        return len(nodes), "device nodes"
    return (0, "no device nodes") if system.exists("/proc/device-tree") else (0, "no Jetson")


def _first(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found.group(1) if found else ""
