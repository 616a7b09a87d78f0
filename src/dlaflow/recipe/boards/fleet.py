"""The boards of a run: who they are, asked before the first step; then all at work, each on its own steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dlaflow.build.machine import Machine
from dlaflow.errors import EnvironmentLacksError, InputError
from dlaflow.progress import Interruption, Progress, silent
from dlaflow.recipe.boards.plan import BoardPlanner, is_typed
from dlaflow.recipe.boards.records import FleetOptions, FleetOutcome
from dlaflow.recipe.boards.work import BoardAtWork
from dlaflow.recipe.engine import Listener, StepDone, run_steps
from dlaflow.recipe.files import plain
from dlaflow.recipe.plan import Planner
from dlaflow.remote.board import RemoteBoard
from dlaflow.remote.doctor import ask, has_other_chip, has_other_release, release_of
from dlaflow.remote.inventory import BoardEntry, answers_of, on_every_board, open_board
from dlaflow.remote.jobs import JobControl

if TYPE_CHECKING:
    from dlaflow.targets.target import Target


@dataclass(frozen=True, slots=True)
class Member:
    """A board that answered."""

    entry: BoardEntry
    board: RemoteBoard
    machine: Machine
    power: bool

    @property
    def name(self) -> str:
        """How the run calls it."""
        return self.entry.title

    @property
    def tensorrt(self) -> str:
        """Its release; empty where it does not tell."""
        return release_of(self.machine)

    @property
    def about(self) -> str:
        """The board in a line, for the report."""
        machine = self.machine
        parts = [machine.board or machine.module, machine.jetpack and f"JetPack {machine.jetpack}"]
        parts += [
            self.tensorrt and f"TensorRT {self.tensorrt}",
            machine.power_mode and f"power mode {machine.power_mode}",
        ]
        return f"{self.name}: {', '.join(filter(None, parts)) or 'tells nothing of itself'}"


class Fleet:
    """The boards, connected."""

    def __init__(self, members: Sequence[Member], options: FleetOptions) -> None:
        self._members = {member.name: member for member in members}
        self._options = options

    def wants_half(self, target: Target) -> bool:
        """Whether a board needs FP16 models, because its TensorRT changes no types."""
        releases = [member.tensorrt or target.release.tensorrt for member in self._members.values()]
        return target.precision == "fp16" and any(map(is_typed, releases))

    def about(self) -> tuple[str, ...]:
        """A line a board."""
        return tuple(member.about for member in self._members.values())

    def notices(self, target: Target) -> tuple[str, ...]:
        """Where a board is another than the one that the prediction is for."""
        found = []
        for member in self._members.values():
            if has_other_chip(member.machine, target):
                found.append(f"{member.name} is no {target.board.id}, which the prediction is for.")
            if has_other_release(member.machine, target):
                wanted = target.release.tensorrt
                found.append(f"{member.name} has TensorRT {member.tensorrt}, the prediction is for {wanted}.")
        return tuple(found)

    def work(self, planner: Planner, folder: Path, *, resume: bool, listener: Listener | None) -> FleetOutcome:
        """Do every board's steps, the boards side by side. An error ends the steps of its board alone."""
        done: list[StepDone] = []

        def listen(step: StepDone) -> None:
            done.append(step)
            if listener:
                listener(step)

        def one(entry: BoardEntry, interruption: Interruption) -> None:
            member = self._members[entry.title]
            member.board.interruption = interruption
            options = planner.recipe.remote
            board = BoardAtWork(
                board=member.board,
                name=member.name,
                tensorrt=member.tensorrt or planner.target.release.tensorrt,
                jetpack=member.machine.jetpack,
                power=options.power and member.power,
                options=options,
                control=JobControl(attach=resume, ask_to_stop=self._options.user.ask_to_stop),
            )
            steps = BoardPlanner(planner.recipe, planner.target, planner.files, planner.data, board).steps()
            run_steps(steps, folder, resume=resume, progress=member.board.progress, listener=listen)

        results = on_every_board(self._options.entries, one, self._options.user)
        failed = {result.entry.title: result.error for result in results if result.error is not None}
        whole = tuple(name for name in self._members if name not in failed)
        sent = {name: member.board.transport.sent for name, member in self._members.items()}
        return FleetOutcome(done, whole, failed, sent)


@contextmanager
def connected(options: FleetOptions, progress: Progress = silent) -> Iterator[Fleet]:
    """Meet all boards; a run should not train for an hour before it hears that a board is not there.

    Raises InputError for boards whose names make one folder, what the boards raise, and EnvironmentLacksError for one
    without trtexec.
    """
    names = [plain(entry.title) for entry in options.entries]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise InputError("two boards have one name", expected="names of their own", received=repr(twice))
    with ExitStack() as stack:
        boards = {
            entry.title: stack.enter_context(open_board(entry, options.patience, progress)) for entry in options.entries
        }
        met = on_every_board(options.entries, lambda entry, _: _meet(entry, boards[entry.title]), options.user)
        yield Fleet(tuple(answers_of(met, options.user.tell, "Nothing was begun.").values()), options)


def _meet(entry: BoardEntry, board: RemoteBoard) -> Member:
    machine, facts = ask(board)
    if "trtexec" not in facts.places:
        raise EnvironmentLacksError(
            f"{entry.title} has no trtexec", then=f"`dlaflow remote {entry.host} doctor` tells how to get it."
        )
    return Member(entry, board, machine, "tegrastats" in facts.places)
