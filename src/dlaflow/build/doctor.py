"""What of dlaflow works on a machine, and the command that installs what is missing."""

from __future__ import annotations

from dataclasses import dataclass

from dlaflow.build.machine import Machine, System, inspect
from dlaflow.targets.release import releases


@dataclass(frozen=True, slots=True)
class Ability:
    """One thing that dlaflow can do: whether it works here, why not, and how to get it (empty: it cannot be had)."""

    name: str
    works: bool
    why: str
    install: str


@dataclass(frozen=True, slots=True)
class Checkup:
    """A machine, what works on it, and what is odd about it."""

    machine: Machine
    abilities: tuple[Ability, ...]
    oddities: tuple[str, ...]


def examine_machine(system: System | None = None) -> Checkup:
    """Ask a machine (None: this one) what it is and what of dlaflow works on it."""
    system = system or System()
    machine = inspect(system)
    return Checkup(machine, tuple(_abilities(system, machine)), tuple(_oddities(machine)))


def _abilities(system: System, machine: Machine) -> list[Ability]:
    ort = bool(system.package("onnxruntime"))
    torch = bool(system.package("torch")) and bool(system.package("safetensors"))
    memory = bool(system.package("cuda")) or bool(system.package("torch"))
    return [
        Ability("check, explain, boards, fix, estimate, profile of logs", True, "", ""),
        needs("train, export", torch, "torch and safetensors are missing", "pip install 'dlaflow[train]'"),
        needs("calibrate, evaluate (ONNX)", ort, "onnxruntime is missing", "pip install 'dlaflow[run]'"),
        needs(
            "build --via rtx",
            bool(system.package("tensorrt_rtx")),
            "tensorrt_rtx is missing" + ("" if machine.architecture == "x86_64" else "; it is for x86 computers"),
            "pip install 'dlaflow[rtx]'" if machine.architecture == "x86_64" else "",
        ),
        needs(
            "build --via trtexec",
            bool(machine.trtexec),
            "trtexec is neither on PATH nor where JetPack puts it",
            _apt(machine, "tensorrt", "build"),
        ),
        needs(
            "build --via python",
            bool(machine.bindings),
            f"TensorRT's bindings are missing for Python {machine.python}",
            _apt(machine, "python3-libnvinfer", "build"),
        ),
        needs(
            "evaluate (engine)",
            bool(machine.bindings) and memory,
            "needs TensorRT's bindings, and cuda-python or torch",
            "pip install cuda-python" if machine.bindings else _apt(machine, "python3-libnvinfer", "evaluate"),
        ),
        needs(
            "time lines",
            bool(system.which("nsys")),
            "nsys is not on PATH",
            f"{'sudo ' if machine.is_jetson else ''}apt-get install nsight-systems-cli",
        ),
        needs("running on a DLA", bool(machine.dla_cores), _why_no_dla(machine), ""),
        needs("remote", bool(system.which("ssh")), "ssh is not on PATH", "apt-get install openssh-client"),
    ]


def needs(name: str, works: bool, why: str, install: str) -> Ability:
    """An ability; why not and how to get it are left out where it works."""
    return Ability(name, works, "" if works else why, "" if works else install)


def _apt(machine: Machine, package: str, command: str) -> str:
    """A package of JetPack; elsewhere the command that does it on a board."""
    return f"sudo apt-get install {package}" if machine.is_jetson else f"on a board: dlaflow remote BOARD {command}"


def _why_no_dla(machine: Machine) -> str:
    if machine.dla_cores is None:
        return machine.dla_source
    if not machine.is_jetson:
        return "this is no Jetson"
    if machine.container:
        return "no DLA is visible in this container: start it with --runtime nvidia"
    return f"this board shows no DLA ({machine.dla_source}); Orin Nano and Thor have none"


def _python_of(jetpack: str) -> str:
    """The Python that the TensorRT bindings of a JetPack are for, such as 3.8; empty for an unknown JetPack."""
    line = jetpack.partition(".")[0]
    pythons = (each.python for each in releases() if each.family == "JetPack" and each.name.partition(".")[0] == line)
    return ".".join(next(pythons, "").split(".")[:2])


def _oddities(machine: Machine) -> list[str]:
    found = []
    line = machine.l4t.partition(".")[0]
    if machine.container and line and machine.host_l4t and line not in machine.host_l4t:
        found.append(
            f"The container is of L4T {machine.l4t}, the host of L4T {' or '.join(machine.host_l4t)}: the DLA and CUDA "
            "drivers are the host's, so take the base image of the host's release (docker/README.md)."
        )
    expected = _python_of(machine.jetpack)
    if expected and not machine.bindings and not machine.python.startswith(f"{expected}."):
        found.append(
            f"JetPack {machine.jetpack} binds TensorRT to Python {expected}, and this is {machine.python}: use "
            "--via trtexec, or run dlaflow with that Python where it is 3.10 or later."
        )
    if machine.tensorrt and machine.bindings[:1].isdigit() and not machine.bindings.startswith(machine.tensorrt):
        found.append(f"TensorRT's library is {machine.tensorrt}, its Python bindings are {machine.bindings}.")
    return found
