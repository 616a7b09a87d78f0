"""`dlaflow doctor` for a board: its questions, answered by the facts that the agent brings."""

from __future__ import annotations

from dataclasses import replace

from dlaflow.build.doctor import Ability, Checkup, needs
from dlaflow.build.machine import Machine, System, inspect
from dlaflow.remote.board import RemoteBoard
from dlaflow.remote.records import Facts
from dlaflow.targets.target import Target
from dlaflow.targets.version import agree

_INSTALL = {
    "trtexec": "sudo apt-get install tensorrt",
    "nsys": "sudo apt-get install nsight-systems-cli",
    "tegrastats": "part of JetPack (nvidia-l4t-tools)",
    "jetson_clocks": "part of JetPack (nvidia-l4t-tools)",
}


class RemoteSystem(System):
    """A board's facts as the `System` that `dlaflow doctor` asks. It also notes the paths that it is asked for."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._outputs = {command.command: command.text for command in facts.commands}
        self.asked: list[str] = []

    def read(self, path: str) -> str:
        return self._facts.files.get(path, "")

    def exists(self, path: str) -> bool:
        self.asked.append(path)
        return path in self._facts.paths or path in self._facts.files

    def run(self, *command: str) -> str:
        return self._outputs.get(command, "")

    def which(self, program: str) -> str:
        return self._facts.places.get(program, "")

    def package(self, name: str) -> str:
        """Always none: the host must not import a package in the board's place. `machine_of` adds the bindings."""
        return ""

    def architecture(self) -> str:
        return self._facts.architecture

    def kernel(self) -> str:
        return self._facts.kernel

    def python(self) -> str:
        return self._facts.python


def ask(board: RemoteBoard) -> tuple[Machine, Facts]:
    """What the board is. Raises as `RemoteBoard.ask` does."""
    questions = RemoteSystem(Facts())
    inspect(questions)
    facts = board.facts(tuple(dict.fromkeys(questions.asked)))
    return machine_of(facts), facts


def machine_of(facts: Facts) -> Machine:
    """The record of `dlaflow doctor`; TensorRT's own count of DLA cores goes before device nodes."""
    machine = inspect(RemoteSystem(facts))
    if not facts.tensorrt.version:
        return machine
    return replace(machine, bindings=facts.tensorrt.version, dla_cores=facts.tensorrt.dla_cores, dla_source="TensorRT")


def release_of(machine: Machine) -> str:
    """The TensorRT that is on the board, such as 8.5.2; empty where it is not known."""
    return machine.tensorrt or ".".join(machine.bindings.split(".")[:3])


def has_other_release(machine: Machine, target: Target) -> bool:
    """Whether the machine has another TensorRT than the target's, as far as its release is known."""
    installed = release_of(machine)
    return bool(installed) and not agree(installed, target.release.tensorrt)


def has_other_chip(machine: Machine, target: Target) -> bool:
    """Whether the machine has another chip than the target's board, as far as its chip is known."""
    chip = machine.soc.partition(" ")[0].removeprefix("tegra")
    return bool(chip) and target.board.soc.removeprefix("T") != chip


def examine(board: RemoteBoard) -> Checkup:
    """What the board is and which commands of `dlaflow remote` work on it."""
    machine, facts = ask(board)
    root = "sudo" in facts.places
    abilities = (
        needs(
            "remote build",
            "trtexec" in facts.places or bool(facts.tensorrt.version),
            "neither trtexec nor TensorRT's Python bindings",
            _INSTALL["trtexec"],
        ),
        _needs("remote probe, profile, bench, evaluate", facts, "trtexec"),
        _needs("remote profile: time lines", facts, "nsys"),
        _needs("remote bench: power", facts, "tegrastats"),
        _needs("--lock-clocks", facts, "jetson_clocks", "" if root else "; without sudo log in as root"),
        needs("rsync for large files", "rsync" in facts.places, "tar over ssh is used", "sudo apt-get install rsync"),
        needs("running on a DLA", bool(machine.dla_cores), _why_no_dla(machine), ""),
    )
    return Checkup(machine, abilities, ())


def _needs(name: str, facts: Facts, program: str, more: str = "") -> Ability:
    return needs(name, program in facts.places, f"{program} is not there{more}", _INSTALL[program])


def _why_no_dla(machine: Machine) -> str:
    return "this is no Jetson" if not machine.is_jetson else f"no DLA is visible ({machine.dla_source})"
